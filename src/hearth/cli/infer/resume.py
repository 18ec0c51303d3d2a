"""Lines of JSON that an earlier run has left in a file, and which of them stay."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from hearth.cli.infer.inputs import STDIN, InferInput, left_of
from hearth.client.messages import MODEL
from hearth.errors import SettingsError
from hearth.files import atomic_file

START = b'{"file":'
"""Beginning of every line; a write that was cut off may have left less."""


PIECE = 1 << 20
"""Bytes that are copied at a time."""


class InputKey(NamedTuple):
    """Subject of a line: a file or a text."""

    file: str | None
    text: str | None


def key_of(source: InferInput) -> InputKey:
    """Return an input's key: its file's name as it is written, or its text."""
    return InputKey(source.name, source.text)


class RunIdentity(NamedTuple):
    """Task and options of a run; lines of runs that differ in them don't belong together."""

    task: str
    options: Mapping[str, str]
    """Options as lines tell them."""


@dataclass
class EarlierRun:
    """The lines of an earlier run that stay: whole ones, without an error, each once."""

    path: Path
    size: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Places of these lines, from a byte to another."""
    done: Counter[InputKey] = field(default_factory=Counter)
    models: set[str] = field(default_factory=set)
    is_of_sources: bool = False
    """Whether answers say that models take turns, as smart_classify's do."""

    @property
    def model_id(self) -> str | None:
        """The model of all answers, where there is one."""
        return None if self.is_of_sources or len(self.models) != 1 else next(iter(self.models))

    def left(self, inputs: Sequence[InferInput]) -> list[InferInput]:
        """Return the inputs that have no line yet."""
        return left_of(inputs, key_of, self.done)

    def prune(self) -> bool:
        """Delete all other lines, in one step; return whether it is another file then.

        Raises OSError.
        """
        end = sum(end - start for start, end in self.spans)
        if end == self.size:
            return False
        if not self.spans or self.spans == [(0, end)]:
            with self.path.open("r+b") as file:
                file.truncate(end)
            return False
        with atomic_file(self.path, alone=True) as new, self.path.open("rb") as old:
            for start, end in self.spans:
                old.seek(start)
                _copy(old, new, end - start)
        return True


def look_up(path: Path, identity: RunIdentity, inputs: Sequence[InferInput]) -> EarlierRun:
    """Read the lines of a file, which may not be there; nothing is changed.

    Raises SettingsError where it isn't of the same work, OSError where it can't be read.
    """
    earlier = EarlierRun(path)
    if not path.exists():
        return earlier
    if not path.is_file():
        raise SettingsError(f"--out {path}: this is no plain file, which --resume needs")
    requested = Counter(map(key_of, inputs))
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            start, earlier.size = earlier.size, earlier.size + len(line)
            if (key := _read(line, number, identity, earlier)) is None:
                continue
            if key.file == STDIN and requested[key]:
                continue  # it isn't what it was then
            if earlier.done[key] < max(1, requested[key]):
                earlier.done[key] += 1
                _extend(earlier.spans, start, earlier.size)
    return earlier


def _read(line: bytes, number: int, identity: RunIdentity, earlier: EarlierRun) -> InputKey | None:
    """Return what a line is about; None for one that is to be done again."""
    if not line.endswith(b"\n") and (line.startswith(START) or START.startswith(line)):
        return None  # its writer was killed
    if not line.strip():
        return None
    try:
        content = _Line.of(orjson.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SettingsError(
            f"--out {earlier.path}: line {number} is no answer of `hearth infer`: "
            "--resume can't go on with this file"
        ) from None
    if (content.task, content.options) != (identity.task, identity.options):
        raise SettingsError(
            f"--out {earlier.path}: {_other(content.task, content.options, identity)}"
        )
    if content.is_failed:
        return None
    earlier.is_of_sources |= "source" in content.meta
    if MODEL in content.meta:
        earlier.models.add(content.meta[MODEL])
    return content.key


class _Line(NamedTuple):
    """Facts that a line of JSON tells."""

    key: InputKey
    task: str
    options: Mapping[str, str]
    meta: Mapping[str, str]
    is_failed: bool

    @classmethod
    def of(cls, content: Any) -> "_Line":
        """Read a line; raises KeyError, TypeError, AttributeError for what no run has written."""
        entries = content.get("entries", {}).values()
        file, text = content["file"], content.get("text")
        if not all(each is None or isinstance(each, str) for each in (file, text)):
            raise TypeError
        return cls(
            InputKey(file, text),
            _word(content["task"]),
            _words(content.get("options", {})),
            _words(content["meta"]),
            content["error"] is not None or any(part["error"] is not None for part in entries),
        )


def _word(content: Any) -> str:
    if not isinstance(content, str):
        raise TypeError
    return content


def _words(content: Any) -> Mapping[str, str]:
    return {name: _word(value) for name, value in content.items()}


def _other(task: str, options: Mapping[str, Any], identity: RunIdentity) -> str:
    what = f"answers of {task}"
    if task == identity.task:
        listed = ", ".join(f"{name}={value}" for name, value in options.items())
        what += f" with {listed}" if listed else " without options"
    return f"it holds {what}; name another file, or leave --resume out to replace it"


def _extend(spans: list[tuple[int, int]], start: int, end: int) -> None:
    if spans and spans[-1][1] == start:
        spans[-1] = spans[-1][0], end
    else:
        spans.append((start, end))


def _copy(old: Any, new: Any, size: int) -> None:
    """Copy so many bytes, a piece at a time."""
    while size:
        piece = old.read(min(size, PIECE))
        if not piece:
            raise OSError(0, "the file has become shorter meanwhile")
        new.write(piece)
        size -= len(piece)
