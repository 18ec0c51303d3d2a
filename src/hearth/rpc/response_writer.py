"""The answers of one stream on their way out."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import grpc

from hearth.contract import ml_service_pb2 as pb
from hearth.serving.admission import StreamBudget

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[pb.InferRequest, pb.InferResponse]


class Answer(NamedTuple):
    """What a request is told."""

    messages: Iterable[pb.InferResponse]
    size: int
    """Bytes, near enough."""


NOTHING = Answer((), 0)


class ResponseWriter:
    """Sends the answers of a stream one after another: gRPC allows one write at a time.

    What a request holds of the node's room is given back when its answer is written; until
    then the answer counts as well. A client that takes nothing for ``patience`` seconds has
    left for all that anybody knows: then ``give_up`` is called, which is to end the stream.
    """

    def __init__(
        self, context: Context, budget: StreamBudget, patience: float, give_up: Callable[[], object]
    ) -> None:
        self.broken = False
        """The client has left, or is left: nothing is written any more."""
        self._context = context
        self._budget = budget
        self._waiting: deque[tuple[Answer, int, int]] = deque()
        self.writer: asyncio.Task[None] | None = None
        """Whoever is writing."""
        self._progress = 0
        self._patience = patience
        self._give_up = give_up
        self._watch: asyncio.TimerHandle | None = None

    async def send(self, answer: Answer, size: int) -> None:
        """Send the answer to a request that holds ``size`` bytes."""
        self.put(answer, size)
        if self.writer is None:
            await self.write()

    def put(self, answer: Answer, size: int, *, last: bool = True) -> None:
        """Have an answer sent by whoever writes; or a part of one, which isn't the last."""
        self._waiting.append((answer, size + answer.size, int(last)))
        self._budget.answer(answer.size)

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
                await self._write(*self._waiting.popleft())
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
        self._watch = loop.call_later(self._patience, self._look, self._progress)

    def _look(self, written: int) -> None:
        """One timer for many writes: each would else pay for its own."""
        self._watch = None
        if self.writer is None:
            return
        if self._progress == written:
            log.info("a client took no answer for %g s; its stream is ended", self._patience)
            self._give_up()
        else:
            self._look_again()

    async def _write(self, answer: Answer, size: int, items: int) -> None:
        if not self.broken:
            try:
                for message in answer.messages:
                    if self.broken:
                        break
                    await self._context.write(message)
                    self._progress += 1
            except Exception as error:  # gRPC raises several kinds, none of them public
                # gRPC ends the call, and with it this stream.
                log.debug("an answer could not be written: %s", error)
                self.broken = True
        self._progress += 1
        self._budget.give_back(size, items)
