"""Options of tasks: how they are read from ``meta``, and those that many tasks have."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hearth.catalog import JSON, RAW, OptionInfo, in_full
from hearth.errors import InvalidInput

_FLAGS = {"true": True, "false": False, "1": True, "0": False}


_DIGITS = re.compile(r"[+-]?[0-9]{1,30}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Option(OptionInfo):
    """An option that is read from a request's ``meta``."""

    def read(self, meta: Mapping[str, str]) -> Any:
        """Return the value that ``meta`` gives, or the default; raises InvalidInput."""
        for name in (self.name, *self.aliases):
            if name in meta:
                text = meta[name].strip()
                return text if self.kind == "text" else self._parse(name, text)
        return self.default

    def _parse(self, name: str, text: str) -> Any:
        if self.kind == "list":
            return self._entries(name, text)
        if self.kind == "flag":
            if (value := _FLAGS.get(text.lower())) is None:
                raise InvalidInput(f"{name} = {text!r}: choose from {', '.join(_FLAGS)}")
            return value
        if self.kind == "choice":
            text = text.lower()
            if text not in self.choices:
                raise InvalidInput(f"{name} = {text!r}: choose from {', '.join(self.choices)}")
            return text
        return self._bounded(name, text)

    def _bounded(self, name: str, text: str) -> int | float:
        value = self._number(name, text)
        if self.least is not None and value < self.least:
            raise InvalidInput(f"{name} = {text} is less than {in_full(self.least)}")
        if self.most is not None and value > self.most:
            raise InvalidInput(f"{name} = {text} is more than {in_full(self.most)}")
        return value

    def _number(self, name: str, text: str) -> int | float:
        if self.kind == "int" and _DIGITS.fullmatch(text):
            return int(text)  # also what a float would round
        try:
            value = float("" if "_" in text else text)
        except ValueError:
            raise InvalidInput(f"{name} = {text!r} is not a number") from None
        if not math.isfinite(value):
            raise InvalidInput(f"{name} = {text!r} is not a finite number")
        if self.kind == "int" and value != int(value):
            raise InvalidInput(f"{name} = {text!r} is not a whole number")
        return int(value) if self.kind == "int" else value

    def _entries(self, name: str, text: str) -> tuple[str, ...]:
        """Read a JSON array of texts, or texts with line ends or else commas between; each once."""
        try:
            parts = orjson.loads(text) if text.startswith(("[", "{")) else _split(text)
        except ValueError as error:
            raise InvalidInput(f"{name} is no JSON array: {error}") from None
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            raise InvalidInput(f"{name} takes a list of texts, and nothing else")
        entries = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
        if not entries:
            raise InvalidInput(f"{name} is empty")
        if self.most is not None and len(entries) > self.most:
            raise InvalidInput(
                f"{name} has {len(entries)} entries; at most {in_full(self.most)} are taken"
            )
        return entries


def _split(text: str) -> list[str]:
    return text.split("\n" if "\n" in text else ",")


def read_all(options: Sequence[Option], meta: Mapping[str, str]) -> dict[str, Any]:
    """Read every option, by its name; raises InvalidInput for the first that is wrong."""
    return {option.name: option.read(meta) for option in options}


# Clients put whole lists of mimes here; only the raw vector's changes anything.
RAW_VECTOR = Option(
    "accept",
    "text",
    JSON,
    f"{RAW} gives the vector as raw little-endian float32",
)

# Understood by every task of pictures, and declared by none.
PAGE = Option(
    "page",
    "int",
    1,
    "which page of a TIFF with several; the answer's meta says how many there are: pages",
    least=1,
)

# Understood by every task, and declared by none, as is the next.
PRIORITY = Option(
    "priority",
    "choice",
    None,
    "interactive: overtakes bulk, which takes its time (default: interactive for texts)",
    choices=("interactive", "bulk"),
)

# A stream that many requests share has one gRPC deadline at most; this one is each request's own.
TIMEOUT = Option(
    "timeout_ms",
    "int",
    None,
    "milliseconds, from when the request is whole, after which its answer is of no use",
    least=1,
    most=24 * 60 * 60 * 1000,  # a day: who waits longer waits for ever
)

# Understood by every task that tells of its answer in deltas.
STREAM = Option(
    "stream",
    "flag",
    False,
    "true: what there is of the answer is sent as it comes; the last message has all of it",
)
