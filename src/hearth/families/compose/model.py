"""Model of composed requests: none at all; only room for the payloads that they share."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from hearth.batching import NO_CONTEXT, BatchQueue, RequestContext
from hearth.media import Decodable, Decoder, Medium
from hearth.models.media_work import MediaWork
from hearth.models.options import QueueOptions


class Composer:
    """Decoder of the payloads of composed requests; satisfies ``models.model.Model``.

    ``decoders`` has one for each medium that entries may share.
    """

    model_id = ""
    runtime = ""
    device = "cpu"
    precisions: tuple[str, ...] = ()

    def __init__(
        self, decoders: Mapping[Medium, Decoder], *, options: QueueOptions | None = None
    ) -> None:
        options = options or QueueOptions()
        self._work = {
            medium: MediaWork(f"compose-{medium.name}", decoder, options, ahead=medium.most_decoded)
            for medium, decoder in decoders.items()
        }

    def decoded(
        self, medium: Medium, payload: Decodable, context: RequestContext = NO_CONTEXT
    ) -> AbstractAsyncContextManager[Decodable]:
        """Decode a payload, and hold it while it is worked on; see ``MediaWork.decoded``."""
        return self._work[medium].decoded(payload, context)

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        """Queues of payloads to be decoded, one for each medium."""
        return tuple(work.queue for work in self._work.values())

    async def warm_up(self) -> None:
        """Do nothing: there is nothing that could fail."""

    def close(self) -> None:
        """End the queues."""
        for work in self._work.values():
            work.close()


class ComposeLoader:
    """Loader of the service ``compose``, which needs no files; satisfies ``ModelLoader``."""

    service = "compose"

    def __init__(
        self, decoders: Mapping[Medium, Decoder], *, options: QueueOptions | None = None
    ) -> None:
        self._decoders = decoders
        self._options = options

    def load(self) -> Composer:
        """Make the decoder."""
        return Composer(self._decoders, options=self._options)
