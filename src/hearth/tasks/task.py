"""Declares tasks: data and three small functions.

``parse`` turns a request into what the model takes, ``call`` asks the model,
``render`` turns what it gave into bytes. The declarations feed the router, the
capabilities, the README's table and the command line's help alike.
"""

from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Mapping,
)
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from hearth.batching import RequestContext, Timings
from hearth.catalog import JSON, RAW, OptionInfo, SchemaInfo, TaskInfo
from hearth.media import IMAGE, Decodable, Medium
from hearth.media.registry import medium_of
from hearth.tasks.answer import NO_META, AnswerStream, Result
from hearth.tasks.options import PAGE, PRIORITY, STREAM, TIMEOUT, Option


@dataclass(slots=True)
class Request:
    """One whole request on its way through the house, from the message that completed it."""

    task: str
    """Name or alias of the task."""
    payload: bytes | Decodable
    """Bytes as they came, or what several requests look at and decode once."""
    mime: str = ""
    meta: Mapping[str, str] = field(default_factory=lambda: NO_META)
    correlation_id: str = ""
    """Name that the client has for it: may be empty, and may repeat."""
    size: int = field(default=0, compare=False)
    """Bytes that the node holds for it."""
    deadline: float | None = None
    """Time from which on its answer is of no use any more, on the clock of ``time.monotonic()``."""
    source: Hashable = None
    """Client or stream that it is from: requests of different sources take turns."""
    timings: Timings = field(default_factory=Timings, compare=False)
    """Times of its stages; filled in on the way."""
    entry: str = ""
    """Name of the entry of a composed request that it is a part of; empty: of none."""
    ready_by: float | None = None
    """Time until which a model is waited for that is about to be ready, on the clock of
    ``deadline``; None: for as long as the node lets a request wait."""

    @property
    def data(self) -> bytes:
        """Payload as it came."""
        payload = self.payload
        return payload if isinstance(payload, bytes) else payload.payload


class ModelReadiness(Protocol):
    """A waiter for models that load; ``serving.readiness.Readiness`` is the real one."""

    def give_up_at(self) -> float:
        """Tell until when a request waits that comes now, on the clock of ``time.monotonic()``."""
        ...

    async def wait_for_any(self, services: Iterable[str], until: float | None = None) -> None:
        """Wait until one of these models is loaded, or none of them is about to be."""
        ...


class LiveStream(Protocol):
    """State of one live stream; ``serving.stream_state.StreamState`` is the real one."""

    before: Any
    """State that the last item that went well has left for the next one; only touched in a turn."""

    def turn(self, *, drop: bool) -> AbstractAsyncContextManager[bool]:
        """Wait for an item's turn; False: a newer one came meanwhile, so it is dropped."""
        ...

    def begin(self, moment: float, shape: Hashable) -> Any:
        """Take what an item of this moment, in seconds, goes on from; only in its turn."""
        ...


class LiveStreams(Protocol):
    """Keeper of live streams' states; ``serving.stream_state.StreamStates`` is the real one."""

    def of(self, source: Any, key: Hashable) -> LiveStream:
        """Give the state of a client's stream by its key; a new one where there is none."""
        ...


class Asks(Protocol):
    """An answerer of requests; ``serving.router.Router`` is the real one."""

    def find(self, name: str) -> "Task":
        """Find the task of that name; raises UnknownTask and InvalidInput."""
        ...

    def answer(self, task: "Task", request: Request) -> Coroutine[Any, Any, Result | AnswerStream]:
        """Answer a request, or a part of one that is being answered."""
        ...

    @property
    def readiness(self) -> ModelReadiness:
        """Waiter for models that are about to be ready."""
        ...


class Call(NamedTuple):
    """Arguments of a task's three functions beside the model."""

    request: Request
    options: Mapping[str, Any]
    """The task's options by name, checked and with their defaults."""
    context: RequestContext
    """Context for the queues of the model."""
    others: Mapping[str, Any] = MappingProxyType({})
    """The models of the services that the task uses beside its own."""
    router: Asks | None = None
    """Answerer for a task that asks others."""
    streams: LiveStreams | None = None
    """State for a task that follows videos or sound from request to request."""


def nothing_missing(_: Any, __: Mapping[str, Any]) -> str | None:
    """Say that a loaded model can do the task: the ``missing`` of most tasks."""
    return None


@dataclass(frozen=True, slots=True)
class Task:
    """The declaration of a task; ``Any`` stands for the model of ``service``."""

    name: str
    service: str
    summary: str
    inputs: tuple[str, ...]
    schema: SchemaInfo | None
    """Schema of the JSON that ``render`` writes; None of a task whose answers have others'."""
    parse: Callable[[Any, Call], Any]
    """Raises InvalidInput. It runs on the loop: reading a text, or taking the payload as it is."""
    call: Callable[[Any, Any, Call], Awaitable[Any]]
    render: Callable[[Any, Any, Call], Result | AnswerStream]
    options: tuple[Option, ...] = ()
    outputs: tuple[str, ...] = (JSON,)
    aliases: tuple[str, ...] = ()
    limits: Mapping[str, str] = field(default_factory=dict)
    interactive: bool = False
    """True: somebody waits for the answer, unless the request's ``priority`` says otherwise."""
    missing: Callable[[Any, Mapping[str, Any]], str | None] = nothing_missing
    """Function that tells why the model can't do this task yet, or None: label vectors still being
    made. Gets the options of a request; none of them where the task itself is meant."""
    uses: Mapping[str, Callable[[Any], str | None]] = field(default_factory=dict)
    """Services whose models it needs beside its own, and why such a model isn't enough yet."""
    tensors: bool = False
    """Pictures that the client has prepared are taken too, where the model's ``preprocess_id``
    says how."""
    delta_schema: SchemaInfo | None = None
    """Schema of the deltas in which it tells of its answer, to those who ask for them; None: it
    has none."""
    medium: Medium | None = field(init=False)
    """Medium of its ``inputs``; None: of none that is decoded, such as text."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "medium", medium_of(self.inputs))

    @property
    def readable(self) -> tuple[str, ...]:
        """Mimes of ``inputs`` that can be read with what is installed."""
        medium = self.medium
        return tuple(mime for mime in self.inputs if medium is None or medium.is_read(mime))

    @property
    def names(self) -> tuple[str, ...]:
        """The task's name and its aliases."""
        return (self.name, *self.aliases)

    @property
    def all_options(self) -> tuple[OptionInfo, ...]:
        """The task's own options, and those of every task, or of every one of images."""
        pages = (PAGE,) if self.medium is IMAGE else ()
        usual = "interactive" if self.interactive else "bulk"
        streams = () if self.delta_schema is None else (STREAM,)
        return (*self.options, *pages, *streams, replace(PRIORITY, default=usual), TIMEOUT)

    def describe(
        self,
        *,
        limits: Mapping[str, str] = NO_META,
        missing: str = "",
        preprocess_id: str = "",
        batches_tensors: bool = False,
    ) -> TaskInfo:
        """Describe the task as it is declared, and as a model can do it.

        ``limits`` are the node's; ``missing`` is why it can't be done yet. Tensors are taken
        where a ``preprocess_id`` says how they are made.
        """
        options = self.all_options
        return TaskInfo(
            name=self.name,
            inputs=(*self.readable, RAW) if preprocess_id else self.readable,
            outputs=self.outputs,
            limits={
                **limits,
                **self.limits,
                **{option.name: option.in_words() for option in options},
            },
            aliases=self.aliases,
            service=self.service,
            summary=self.summary,
            schema=self.schema,
            options=options,
            missing=missing,
            preprocess_id=preprocess_id,
            batches_tensors=batches_tensors,
        )
