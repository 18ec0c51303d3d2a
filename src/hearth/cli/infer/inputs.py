"""Inputs of ``hearth infer``: files, standard input, texts."""

import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hearth.cli.console import shown
from hearth.client import TaskInfo
from hearth.client.sources import TEXT, Payload, of_file, read
from hearth.output_files import writable_name

STDIN = "-"
LONGEST_LABEL = 40


@dataclass(frozen=True, slots=True)
class InferInput:
    """File (``-`` is stdin) or text that the task is done to."""

    file: str | None = None
    text: str | None = None

    @property
    def name(self) -> str | None:
        """The file's name as it can be written: not every one of a disk is Unicode."""
        return None if self.file is None else writable_name(self.file)

    @property
    def label(self) -> str:
        """A short name for it, on one line."""
        if self.text is not None:
            quoted = " ".join(self.text.split())
            return f"“{quoted}”" if len(quoted) < LONGEST_LABEL else f"“{quoted[:36]}…”"
        return (
            "(stdin)" if self.file == STDIN else shown(str(self.name)).replace("\n", r"\n") or "“”"
        )

    def load(self, task: TaskInfo) -> Payload:
        """Read what is sent; raises OSError where it can't be, ValueError where it isn't to be."""
        if self.text is not None:
            return Payload(self.text.encode(), TEXT)
        if not self.file:
            raise ValueError("a file's name is empty: is a variable not set?")
        try:
            payload = of_file(self._bytes(), "" if self.file == STDIN else self.file, task)
        except FileNotFoundError as error:
            if not task.takes_text:
                raise
            reason = f"can't be read: {str(error.strerror).lower()}"
            raise ValueError(f"{reason} (a text is given with --text)") from None
        if payload.mime.startswith("video/") and any(
            each.startswith("image/") for each in task.inputs
        ):
            raise ValueError(f"a video: `hearth watch {task.name} {self.label}` takes videos")
        return payload

    def _bytes(self) -> bytes:
        if self.file == STDIN:
            return sys.stdin.buffer.read()
        return read(str(self.file))


def _of_words(text: str) -> str:
    """Replace what no encoding has a word for."""
    return text.encode(errors="replace").decode()


def left_of(
    inputs: Iterable[InferInput], key_of: Callable[[InferInput], Hashable], done: Mapping[Any, int]
) -> list[InferInput]:
    """Return the inputs that aren't done; of a key that was done twice, two of its inputs are."""
    left, unclaimed = [], Counter(done)
    for each in inputs:
        key = key_of(each)
        if unclaimed[key]:
            unclaimed[key] -= 1
        else:
            left.append(each)
    return left


def gather(files: Iterable[str], texts: Iterable[str]) -> list[InferInput]:
    """List texts first, then files, in the order given."""
    return [
        *(InferInput(text=_of_words(text)) for text in texts),
        *(InferInput(file=file) for file in files),
    ]
