"""What an earlier run has left in a file of JSON lines, and what of it stays."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from hearth.cli.infer.inputs import STDIN, InferInput, left_of
from hearth.client.affinity import MODEL
from hearth.errors import SettingsError
from hearth.files import atomic_file

START = b'{"file":'
"""How every line begins; a write that was cut off may have left less."""


PIECE = 1 << 20
"""Bytes that are copied at a time."""


class InputKey(NamedTuple):
    """What a line is about."""

    file: str | None
    text: str | None


def key_of(source: InferInput) -> InputKey:
    """Of an input: its file's name as it is written, or its text."""
    return InputKey(source.name, source.text)


class RunIdentity(NamedTuple):
    """What a run does; an earlier one did the same, or its lines don't belong together."""

    task: str
    options: Mapping[str, str]
    """As lines tell them."""


@dataclass
class EarlierRun:
    """The lines of an earlier run that stay: whole ones, without an error, each once."""

    path: Path
    size: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Where they are, from a byte to another."""
    done: Counter[InputKey] = field(default_factory=Counter)
    models: set[str] = field(default_factory=set)
    is_of_sources: bool = False
    """Whether answers say that models take turns, as smart_classify's do."""

    @property
    def model_id(self) -> str | None:
        """The model of all answers, where there is one."""
        return None if self.is_of_sources or len(self.models) != 1 else next(iter(self.models))

    def left(self, inputs: Sequence[InferInput]) -> list[InferInput]:
        """The inputs that have no line yet."""
        return left_of(inputs, key_of, self.done)

    def prune(self) -> bool:
        """Leave these lines alone in the file, in one step; whether it is another file then.

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


def look_up(path: Path, work: RunIdentity, inputs: Sequence[InferInput]) -> EarlierRun:
    """What is in a file, which may not be there; nothing is changed.

    Raises SettingsError where it isn't of the same work, OSError where it can't be read.
    """
    found = EarlierRun(path)
    if not path.exists():
        return found
    if not path.is_file():
        raise SettingsError(f"--out {path}: this is no plain file, which --resume needs")
    wanted = Counter(map(key_of, inputs))
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            start, found.size = found.size, found.size + len(line)
            if (key := _read(line, number, work, found)) is None:
                continue
            if key.file == STDIN and wanted[key]:
                continue  # it isn't what it was then
            if found.done[key] < max(1, wanted[key]):
                found.done[key] += 1
                _extend(found.spans, start, found.size)
    return found


def _read(line: bytes, number: int, work: RunIdentity, found: EarlierRun) -> InputKey | None:
    """What a line is about; None for one that is to be done again."""
    if not line.endswith(b"\n") and (line.startswith(START) or START.startswith(line)):
        return None  # its writer was killed
    if not line.strip():
        return None
    try:
        told = _Line.of(orjson.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SettingsError(
            f"--out {found.path}: line {number} is no answer of `hearth infer`: "
            "--resume can't go on with this file"
        ) from None
    if (told.task, told.options) != (work.task, work.options):
        raise SettingsError(f"--out {found.path}: {_other(told.task, told.options, work)}")
    if told.is_failed:
        return None
    found.is_of_sources |= "source" in told.meta
    if MODEL in told.meta:
        found.models.add(told.meta[MODEL])
    return told.key


class _Line(NamedTuple):
    """What a line of JSON says."""

    key: InputKey
    task: str
    options: Mapping[str, str]
    meta: Mapping[str, str]
    is_failed: bool

    @classmethod
    def of(cls, told: Any) -> "_Line":
        """Raises KeyError, TypeError and AttributeError for what no run has written."""
        entries = told.get("entries", {}).values()
        file, text = told["file"], told.get("text")
        if not all(each is None or isinstance(each, str) for each in (file, text)):
            raise TypeError
        return cls(
            InputKey(file, text),
            _word(told["task"]),
            _words(told.get("options", {})),
            _words(told["meta"]),
            told["error"] is not None or any(part["error"] is not None for part in entries),
        )


def _word(told: Any) -> str:
    if not isinstance(told, str):
        raise TypeError
    return told


def _words(told: Any) -> Mapping[str, str]:
    return {name: _word(value) for name, value in told.items()}


def _other(task: str, options: Mapping[str, Any], work: RunIdentity) -> str:
    what = f"answers of {task}"
    if task == work.task:
        listed = ", ".join(f"{name}={value}" for name, value in options.items())
        what += f" with {listed}" if listed else " without options"
    return f"it holds {what}; name another file, or leave --resume out to replace it"


def _extend(spans: list[tuple[int, int]], start: int, end: int) -> None:
    if spans and spans[-1][1] == start:
        spans[-1] = spans[-1][0], end
    else:
        spans.append((start, end))


def _copy(old: Any, new: Any, size: int) -> None:
    """So many bytes, a piece at a time."""
    while size:
        piece = old.read(min(size, PIECE))
        if not piece:
            raise OSError(0, "the file has become shorter meanwhile")
        new.write(piece)
        size -= len(piece)
