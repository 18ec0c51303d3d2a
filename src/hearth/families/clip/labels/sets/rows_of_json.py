"""A long JSON array, read element by element: as a whole it would take half a gigabyte."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_CHUNK = 1 << 20
_LONGEST = 1 << 22
"""Characters of one element; more isn't what we read here."""


def rows_of(path: Path) -> Iterator[Any]:
    """Read the elements of the array in a UTF-8 file, all of them arrays themselves.

    Raises ValueError for anything else, and OSError.
    """
    with path.open(encoding="utf-8") as file:
        reader = _Reader(file)
        reader.take("[")
        mark = "]" if reader.peek() == "]" else ","
        while mark == ",":
            yield reader.element()
            mark = reader.take(",]")


class _Reader:
    """The text of a file from where we are."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._decode = json.JSONDecoder().raw_decode
        self._text, self._at = "", 0

    def peek(self) -> str:
        """Look at the next character that isn't white; "" at the end."""
        while True:
            while self._at < len(self._text):
                if not self._text[self._at].isspace():
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, allowed: str) -> str:
        """Take the next character that isn't white, which must be one of these."""
        found = self.peek()
        if not found or found not in allowed:
            raise ValueError("not an array of arrays in JSON")
        self._at += 1
        return found

    def element(self) -> Any:
        """Read the next element."""
        self.take("[")
        self._at -= 1
        while True:
            try:
                element, self._at = self._decode(self._text, self._at)
                return element
            except ValueError:
                # Wrong, or cut off where the chunk ends.
                if len(self._text) - self._at > _LONGEST or not self._more():
                    raise

    def _more(self) -> bool:
        chunk = self._file.read(_CHUNK)
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)
