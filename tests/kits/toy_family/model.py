"""A model that shouts; its files are none."""

from collections.abc import Sequence
from typing import Any

from hearth.batching import NO_CONTEXT, BatchQueue, RequestContext
from hearth.families.toy.family import ToySettings
from hearth.models.options import QueueOptions


class ToyModel:
    """Shouts texts, batched; satisfies ``models.model.Model``."""

    model_id = "toy-1"
    runtime = "python"
    device = "cpu"
    precisions: tuple[str, ...] = ("fp32",)

    def __init__(self, settings: ToySettings, options: QueueOptions) -> None:
        self._mark = settings.mark
        self._queue: BatchQueue[str, str] = BatchQueue(
            self._run, name="toy", max_batch=settings.largest_batch, capacity=options.capacity
        )

    def _run(self, texts: Sequence[str]) -> Sequence[str]:
        return [text.upper() for text in texts]

    async def shout(self, text: str, times: int, context: RequestContext = NO_CONTEXT) -> str:
        """Say a text in capitals, with so many marks behind it."""
        return await self._queue.submit(text, context=context) + self._mark * times

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        """All queues that requests go through."""
        return (self._queue,)

    async def warm_up(self) -> None:
        """Try the model; raises HearthError if it can't work."""
        await self.shout("warm", 1)

    def close(self) -> None:
        """End the queue."""
        self._queue.close()


class ToyLoader:
    """Makes the model; satisfies ``models.loader.ModelLoader``."""

    service = "toy"

    def __init__(self, settings: ToySettings, options: QueueOptions) -> None:
        self._settings, self._options = settings, options

    def load(self) -> ToyModel:
        """Make the model."""
        return ToyModel(self._settings, self._options)
