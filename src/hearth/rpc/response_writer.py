"""The answers of one stream on their way out."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable

import grpc

from hearth.contract import ml_service_pb2 as pb
from hearth.rpc.responses import responses
from hearth.serving.admission import StreamBudget
from hearth.tasks.answer import Delta

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[pb.InferRequest, pb.InferResponse]

MOST_PARTS = 16
"""Parts of one request that may wait to be written: all that a composed request has, so that what
it holds of the node (a decoded picture) is free as soon as its work is done."""

LARGEST_DELTA = 64 * 1024
"""Bytes that waiting deltas of one request are merged up to."""


class Window:
    """Parts of one request that wait to be written; who fills it waits until there is room."""

    __slots__ = ("_room", "delta", "parts")

    def __init__(self) -> None:
        self.parts = 0
        """Number of parts that wait."""
        self.delta: _WaitingDelta | None = None
        """The one that waits last, if it is a delta: what follows it is merged into it."""
        self._room: asyncio.Future[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether the next part is to wait."""
        if self.parts >= MOST_PARTS:
            return True
        return self.delta is not None and self.delta.delta.size >= LARGEST_DELTA

    async def room(self) -> None:
        """Wait until something of it is written."""
        self._room = asyncio.get_running_loop().create_future()
        await self._room

    def written(self) -> None:
        """Make room: one of its parts is on its way."""
        self.parts -= 1
        if self._room is not None and not self._room.done():
            self._room.set_result(None)


class _WaitingDelta:
    """A delta that waits to be written, and grows meanwhile."""

    __slots__ = ("correlation_id", "delta", "window")

    def __init__(self, correlation_id: str, delta: Delta, window: Window) -> None:
        self.correlation_id = correlation_id
        self.delta = delta
        self.window = window

    @property
    def size(self) -> int:
        """Bytes that it holds, near enough."""
        return len(self.correlation_id) + self.delta.size

    def messages(self) -> Iterable[pb.InferResponse]:
        """Write what it is by now; it grows no more."""
        if self.window.delta is self:
            self.window.delta = None
        try:
            result = self.delta.render()
        except Exception:
            log.exception("a delta can't be rendered; the whole answer comes without it")
            return ()
        return responses(self.correlation_id, result, final=False)


Waiting = tuple["Iterable[pb.InferResponse] | _WaitingDelta", int, int, Window | None]
"""Messages that wait; the bytes and the requests (1, or 0 where more parts follow) that are given
back when they are written; and the window that a part waits in. Of a delta its own size counts."""


class ResponseWriter:
    """Sends the answers of a stream one after another: gRPC allows one write at a time.

    What a request holds of the node's room is given back when its answer is written; until
    then the answer counts as well. A client that takes nothing for ``reader_seconds`` has left
    for all that anybody knows; one in the middle of an answer's parts may take ``part_seconds``
    for what fills its own buffers, which isn't seen from here. Then ``give_up`` is called, which
    is to end the stream.
    """

    def __init__(
        self,
        context: Context,
        budget: StreamBudget,
        give_up: Callable[[], object],
        *,
        reader_seconds: float,
        part_seconds: float,
    ) -> None:
        self.broken = False
        """Whether the client has left, or is left: nothing is written any more."""
        self.writer: asyncio.Task[None] | None = None
        """The task that is writing; None: nobody is."""
        self._context = context
        self._budget = budget
        self._waiting: deque[Waiting] = deque()
        self._progress = 0
        self._in_parts = False
        self._reader_seconds = reader_seconds
        self._part_seconds = part_seconds
        self._give_up = give_up
        self._watch: asyncio.TimerHandle | None = None

    async def send(self, messages: Iterable[pb.InferResponse], size: int, held: int) -> None:
        """Send the last messages, of ``size`` bytes, to a request that holds ``held`` bytes."""
        self._waiting.append((messages, size + held, 1, None))
        self._budget.answer(size)
        if self.writer is None:
            await self.write()

    def put_part(self, messages: Iterable[pb.InferResponse], size: int, window: Window) -> None:
        """Have a part that isn't the last sent by whoever writes."""
        window.delta = None
        window.parts += 1
        self._waiting.append((messages, size, 0, window))
        self._budget.answer(size)

    def put_delta(self, correlation_id: str, delta: Delta, window: Window) -> None:
        """Have a delta sent by whoever writes, with those that still wait before it."""
        if (waiting := window.delta) is None:
            waiting = window.delta = _WaitingDelta(correlation_id, delta, window)
            window.parts += 1
            self._waiting.append((waiting, 0, 0, window))
            self._budget.answer(waiting.size)
            return
        before, waiting.delta = waiting.size, waiting.delta.merged(delta)
        self._budget.answer(waiting.size - before)

    async def write(self) -> None:
        """Write all that waits.

        Whoever is writing already, writes this as well: there is no lock to wait for, and
        no task to wake. Returns when nothing waits, or somebody else is at it.
        """
        if self.writer is not None:
            return
        self.writer = asyncio.current_task()
        if self._watch is None:
            self._look_again()
        try:
            while self._waiting:
                messages, size, items, window = self._waiting.popleft()
                self._in_parts = window is not None
                if isinstance(messages, _WaitingDelta):
                    size, messages = messages.size, messages.messages()
                if not self.broken:
                    try:
                        for message in messages:
                            if self.broken:
                                break
                            await self._context.write(message)
                            self._progress += 1
                    except Exception as error:  # gRPC raises several kinds, none of them public
                        # gRPC ends the call, and with it this stream.
                        log.debug("an answer could not be written: %s", error)
                        self.broken = True
                del messages
                self._progress += 1
                self._budget.give_back(size, items)
                if window is not None:
                    window.written()
        finally:
            self.writer = None

    def close(self) -> None:
        """Begin no further message, and keep nothing for it."""
        self.broken = True
        self._waiting.clear()
        if self._watch is not None:
            self._watch.cancel()

    def _look_again(self) -> None:
        loop = asyncio.get_running_loop()
        self._watch = loop.call_later(self._reader_seconds, self._look, self._progress)

    def _look(self, written: int, waited: bool = False) -> None:
        """See whether anything was written; one timer for many writes: each would pay for its own.

        A client in the middle of an answer has ``waited`` once it had its own, longer time.
        """
        self._watch = None
        if self.writer is None:
            return
        if self._progress != written:
            self._look_again()
        elif self._in_parts and not waited:
            left = max(0.0, self._part_seconds - self._reader_seconds)
            self._watch = asyncio.get_running_loop().call_later(left, self._look, written, True)
        else:
            log.info("a client took no answer for too long; its stream is ended")
            self._give_up()
