"""Model of composed requests: none at all; only room for the pictures they share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hearth.batching import NO_CONTEXT, BatchQueue, RequestContext
from hearth.media import File, ImageReader, Picture
from hearth.models.options import QueueOptions
from hearth.models.pictures import PictureWork


class Composer:
    """Decoder of the pictures of composed requests; satisfies ``models.model.Model``."""

    model_id = ""
    runtime = ""
    device = "cpu"
    precisions: tuple[str, ...] = ()

    def __init__(self, *, reader: ImageReader, options: QueueOptions | None = None) -> None:
        self._pictures = PictureWork("compose-pictures", reader, options or QueueOptions())

    @asynccontextmanager
    async def decoded(
        self, file: File, context: RequestContext = NO_CONTEXT
    ) -> AsyncIterator[Picture]:
        """Decode a picture, and hold it while it is worked on; see ``PictureWork.decoded``."""
        async with self._pictures.decoded(file, context) as picture:
            yield picture

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        """Queue of pictures to be decoded."""
        return (self._pictures.queue,)

    async def warm_up(self) -> None:
        """Do nothing: there is nothing that could fail."""

    def close(self) -> None:
        """End the queue."""
        self._pictures.close()


class ComposeLoader:
    """Loader of the service ``compose``, which needs no files; satisfies ``ModelLoader``."""

    service = "compose"

    def __init__(self, *, reader: ImageReader, options: QueueOptions | None = None) -> None:
        self._reader = reader
        self._options = options

    def load(self) -> Composer:
        """Make the decoder."""
        return Composer(reader=self._reader, options=self._options)
