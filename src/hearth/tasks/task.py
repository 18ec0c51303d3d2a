"""What a task is: data and three small functions.

``parse`` turns a request into what the model takes, ``call`` asks the model,
``render`` turns what it gave into bytes. The declarations feed the router, the
capabilities, the README's table and the command line's help alike.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hearth.batching import Ticket
from hearth.tasks.options import Option

JSON = "application/json"
RAW = "application/octet-stream"
TEXT = "text/plain"
IMAGES = ("image/jpeg", "image/png", "image/webp", "image/avif", "image/bmp", "image/gif",
          "image/tiff")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """One whole request, put together from its chunks."""

    task: str
    payload: bytes
    mime: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    deadline: float | None = None
    """On the clock of ``time.monotonic()``."""


@dataclass(frozen=True, slots=True)
class Result:
    """One whole answer, before it is cut into chunks."""

    body: bytes
    mime: str
    schema: str
    meta: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """What the three functions of a task get beside the model."""

    request: Request
    options: Mapping[str, Any]
    """The task's options by name, checked and with their defaults."""
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Task:
    """The declaration of a task; ``Any`` stands for the model manager of ``service``."""

    name: str
    service: str
    summary: str
    inputs: tuple[str, ...]
    schema: str
    parse: Callable[[Any, Call], Any]
    """Raises InvalidInput. With ``decodes`` it runs in the decoding threads."""
    call: Callable[[Any, Any, Call], Awaitable[Any]]
    render: Callable[[Any, Any, Call], Result]
    options: tuple[Option, ...] = ()
    outputs: tuple[str, ...] = (JSON,)
    aliases: tuple[str, ...] = ()
    limits: Mapping[str, str] = field(default_factory=dict)
    decodes: bool = False
    missing: Callable[[Any], str | None] = lambda _: None
    """Why the model can't do this task yet, or None: label vectors still being made."""

    @property
    def names(self) -> tuple[str, ...]:
        """The task's name and its aliases."""
        return (self.name, *self.aliases)
