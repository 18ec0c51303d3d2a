"""Work on whole payloads, such as pictures, done by the threads that decode them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Generic, TypeVar

from hearth.batching import NO_CONTEXT, BatchQueue, Exclusive, QueueHandle, RequestContext
from hearth.media import Decodable, Decoder, HeavyPayload
from hearth.models.options import QueueOptions

AnyDecoder = TypeVar("AnyDecoder", bound=Decoder)
AnyDecodable = TypeVar("AnyDecodable", bound=Decodable)
Payload = TypeVar("Payload")
Item = TypeVar("Item")
T = TypeVar("T")


class MediaWork(Generic[AnyDecoder]):
    """Queue for work on whole payloads: decoding and cutting, masks and effects, encoding.

    It takes turns, priorities, deadlines and cancels as the queues of models do, and no more
    of it runs at once than there are threads. ``ahead`` payloads are worked on, and held, at
    once. Methods raise what the work raises, and what a batch queue raises.

    Work is a function of the decoder. All that it decodes, it decodes with that argument: where
    that is heavy, the work is begun anew in the thread for these.
    """

    def __init__(
        self, name: str, decoder: AnyDecoder, options: QueueOptions, *, ahead: int
    ) -> None:
        self._decoder = decoder
        self._prepare = exclusive_when_heavy(_do, decoder)
        self.queue: BatchQueue[Any, Any] = BatchQueue(
            None,
            name=name,
            max_batch=ahead,
            capacity=options.capacity,
            workers=options.workers,
            ahead=ahead,
        )

    async def made(
        self, work: Callable[[AnyDecoder], T], context: RequestContext = NO_CONTEXT
    ) -> T:
        """Have the work done; gives what it gives."""
        result: T = await self.queue.submit_raw(work, self._prepare, context=context)
        return result

    def held(
        self,
        work: Callable[[AnyDecoder], T],
        context: RequestContext = NO_CONTEXT,
        handle: QueueHandle | None = None,
    ) -> AbstractAsyncContextManager[T]:
        """Have the work done; until the block ends it counts as one of those under way."""
        return self.queue.passing(work, self._prepare, context=context, handle=handle)

    @asynccontextmanager
    async def decoded(
        self, payload: AnyDecodable, context: RequestContext = NO_CONTEXT, *form: Any
    ) -> AsyncIterator[AnyDecodable]:
        """Hold a payload until the block ends, decoded in its first form or in this one.

        Raises InvalidInput for what can't be decoded.
        """
        if payload.is_ready(*form):
            payload.decode(self._decoder, *form)  # whether it can be read at all
            yield payload
            return
        async with self.held(partial(_decode, payload, form), context):
            yield payload

    def inherit_priority(self, handle: QueueHandle, context: RequestContext) -> None:
        """Let work that waits be as urgent as a request that came to it."""
        self.queue.inherit_priority(handle, context)

    def close(self) -> None:
        """End the queue."""
        self.queue.close()


def _do(decoder: AnyDecoder, work: Callable[[AnyDecoder], Any]) -> Any:
    return work(decoder)


def _decode(payload: Decodable, form: tuple[Any, ...], decoder: Decoder) -> None:
    payload.decode(decoder, *form)


def exclusive_when_heavy(
    prepare: Callable[[AnyDecoder, Payload], Item], decoder: AnyDecoder
) -> Callable[[Payload], Item]:
    """Make ``prepare`` fit for a batch queue: heavy payloads are decoded one at a time.

    Its threads leave them to the one for exclusive items, where ``prepare`` is begun anew. All
    that it decodes, it decodes with its first argument.
    """
    exclusive = partial(prepare, decoder)

    def light(payload: Payload) -> Item:
        try:
            return prepare(decoder.light, payload)
        except HeavyPayload:
            raise Exclusive(exclusive) from None

    return light
