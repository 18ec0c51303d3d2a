"""What ``hearth infer`` is given: files, standard input, texts."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hearth.client import TaskInfo
from hearth.client.mime import TEXT, guess

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

    def read(self, task: TaskInfo) -> tuple[bytes, str]:
        """Payload and mime; raises OSError where the file can't be read."""
        if self.text is not None:
            return self.text.encode(), TEXT
        payload = self._bytes()
        mime = guess(payload, "" if self.file == STDIN else str(self.file))
        if task.takes_text and mime == TEXT:
            # The end of a file's last line is no part of the text.
            payload = payload.removesuffix(b"\n").removesuffix(b"\r")
        return payload, mime

    def _bytes(self) -> bytes:
        if self.file == STDIN:
            return sys.stdin.buffer.read()
        return Path(str(self.file)).read_bytes()


def gather(files: Sequence[str], texts: Sequence[str]) -> list[Input]:
    """Texts first, then files, in the order given."""
    return [*(Input(text=text) for text in texts), *(Input(file=file) for file in files)]
