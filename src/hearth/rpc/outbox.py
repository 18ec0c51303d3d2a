"""The answers of one stream on their way out."""

import logging
from collections import deque
from collections.abc import Iterable

import grpc

from hearth.contract import ml_service_pb2 as pb
from hearth.rpc.admission import Share

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[pb.InferRequest, pb.InferResponse]
Messages = Iterable[pb.InferResponse]


class Outbox:
    """Sends the answers of a stream one after another: gRPC allows one write at a time.

    What a request holds of the node's room is given back when its answer is written.
    """

    def __init__(self, context: Context, share: Share) -> None:
        self.broken = False
        """The client has left: nothing can be written any more."""
        self._context = context
        self._share = share
        self._waiting: deque[tuple[Messages, int]] = deque()
        self._writing = False

    async def send(self, answer: Messages, size: int) -> None:
        """Send the answer to a request that holds ``size`` bytes.

        Whoever is writing already, writes this answer as well: there is no lock to wait
        for, and no task to wake. Returns when nothing waits, or somebody else is at it.
        """
        self._waiting.append((answer, size))
        if self._writing:
            return
        self._writing = True
        try:
            while self._waiting:
                await self._write(*self._waiting.popleft())
        finally:
            self._writing = False

    async def _write(self, answer: Messages, size: int) -> None:
        if not self.broken:
            try:
                for message in answer:
                    await self._context.write(message)
            except Exception as error:  # gRPC raises several kinds, none of them public
                # gRPC ends the call, and with it this stream.
                log.debug("an answer could not be written: %s", error)
                self.broken = True
        self._share.give_back(size)
