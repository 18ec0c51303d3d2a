"""Protocol of a loaded model: little for all, and the rest only for a model that has it.

A model is a plain class made from sessions and files, usable in a notebook without a node. Its
operations are coroutines that go through its own batch queues: there is no second way into it.
The further protocols are optional: whoever wants to know asks ``isinstance``.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from hearth.batching import BatchQueue
from hearth.hub.progress import Progress
from hearth.models.single_flight import SharedStatistics


class Model(Protocol):
    """A loaded model."""

    model_id: str
    """Name of the model, as clients compare it; empty where there is none."""
    runtime: str
    """Engine that is really in use, as in the contract: ``onnxrt``, ``torch``, …"""
    device: str
    """Device that is really in use: ``cpu``, ``cuda:0``, …"""
    precisions: tuple[str, ...]
    """Precisions of its sessions: ``fp32``, ``int8``, …"""

    @property
    def queues(self) -> tuple[BatchQueue[object, object], ...]:
        """All batch queues that requests go through."""
        ...

    async def warm_up(self) -> None:
        """Try the model through its queues, and tune these; raises HearthError if it can't work."""
        ...

    def close(self) -> None:
        """End the queues and free the sessions."""
        ...


@runtime_checkable
class HasMetadata(Protocol):
    """A model with more to tell, in the capabilities' ``extra``."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """Further facts by name, for people: sizes, the provider in use, …"""
        ...


@runtime_checkable
class FallsBack(Protocol):
    """A model that may run elsewhere than it was asked to."""

    @property
    def fallback(self) -> str:
        """Reason why it doesn't run on the device asked for; empty where it does."""
        ...


@runtime_checkable
class CachesResults(Protocol):
    """A model that computes once what several requests ask for."""

    @property
    def cache_statistics(self) -> Mapping[str, SharedStatistics]:
        """Counts of each cache, by its name."""
        ...


@runtime_checkable
class DerivesArtifacts(Protocol):
    """A model that something lasting is computed from: vectors of labels."""

    def load_artifacts(self) -> None:
        """Take over what was derived before and is kept on disk; blocking."""
        ...

    async def derive_artifacts(self, progress: Progress) -> None:
        """Make what isn't kept yet, through the queues."""
        ...


@runtime_checkable
class TakesTensors(Protocol):
    """A model whose inputs clients may prepare themselves."""

    preprocess_id: str | None
    """Id of the contract under which pictures come prepared; None where it has none."""
