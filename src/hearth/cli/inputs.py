"""What ``hearth infer`` is given: files, standard input, texts."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hearth.client import TaskInfo
from hearth.client.mime import TEXT
from hearth.client.sources import Payload, of_file

STDIN = "-"
LONGEST_LABEL = 40


@dataclass(frozen=True, slots=True)
class Input:
    """One thing that the task is done to: a file (``-`` is stdin), or a text."""

    file: str | None = None
    text: str | None = None

    @property
    def label(self) -> str:
        """A short name for it."""
        if self.text is not None:
            quoted = " ".join(self.text.split())
            return f"“{quoted}”" if len(quoted) < LONGEST_LABEL else f"“{quoted[:36]}…”"
        return "(stdin)" if self.file == STDIN else str(self.file)

    def load(self, task: TaskInfo) -> Payload:
        """What is sent; raises OSError where it can't be read, ValueError where it isn't to be."""
        if self.text is not None:
            return Payload(self.text.encode(), TEXT)
        try:
            payload = of_file(self._bytes(), "" if self.file == STDIN else str(self.file), task)
        except IsADirectoryError:
            if task.takes_text:
                raise
            raise ValueError(
                f"can't be read: is a directory ({self._elsewhere(task)} takes folders)"
            ) from None
        if payload.mime.startswith("video/") and any(
            each.startswith("image/") for each in task.inputs
        ):
            raise ValueError(f"a video: {self._elsewhere(task)} takes videos")
        return payload

    def _elsewhere(self, task: TaskInfo) -> str:
        return f"`hearth watch {task.name} {self.label}`"

    def _bytes(self) -> bytes:
        if self.file == STDIN:
            return sys.stdin.buffer.read()
        return Path(str(self.file)).read_bytes()


def gather(files: Sequence[str], texts: Sequence[str]) -> list[Input]:
    """Texts first, then files, in the order given."""
    return [*(Input(text=text) for text in texts), *(Input(file=file) for file in files)]
