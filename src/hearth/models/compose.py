"""What composed requests need of a model: none; only room for the pictures they share."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from hearth.batching import NO_CONTEXT, BatchQueue, RequestContext
from hearth.media import File, ImageReader, Picture
from hearth.models.manager import About, Progress
from hearth.models.options import QueueOptions
from hearth.models.pictures import PictureWork
from hearth.models.single_flight import SharedStatistics


class Composer:
    """Decodes the pictures of composed requests; satisfies ``models.manager.Manager``."""

    preprocess_id = None
    service = "compose"
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
        """As ``PictureWork.decoded``."""
        async with self._pictures.decoded(file, context) as picture:
            yield picture

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        """That of pictures to be decoded."""
        return (self._pictures.queue,)

    @property
    def shared(self) -> Mapping[str, SharedStatistics]:
        """Nothing is kept here."""
        return {}

    @property
    def facts(self) -> Mapping[str, str]:
        """Nothing to tell."""
        return {}

    async def warm_up(self) -> None:
        """Nothing can fail."""

    def load_derived(self) -> None:
        """Nothing is derived."""

    async def derive(self, progress: Progress) -> None:
        """Nothing is derived."""

    def close(self) -> None:
        """End the queue."""
        self._pictures.close()


class ComposeSource:
    """The source of the service ``compose``, always there; satisfies ``ModelSource``."""

    service = "compose"

    def __init__(self, *, reader: ImageReader, options: QueueOptions | None = None) -> None:
        self._reader = reader
        self._options = options

    def about(self) -> About:
        """That there is no model."""
        return About("", precision="")

    def look_up(self) -> str:
        """Nothing to fetch."""
        return ""

    def is_local(self) -> bool:
        """Always."""
        return True

    def download(self, progress: Progress) -> None:
        """Nothing to fetch."""

    pull = download

    def load(self) -> Composer:
        """The manager."""
        return Composer(reader=self._reader, options=self._options)
