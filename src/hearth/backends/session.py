"""Protocol of a session over one loaded graph, which every engine gives.

A session is small on purpose. It knows arrays; it knows nothing of images,
queues or gRPC. It isn't thread-safe: one owner thread calls it at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class TensorSpec(NamedTuple):
    """One input or output of a session."""

    name: str
    shape: tuple[int | None, ...]
    """None where the size is free."""
    dtype: np.dtype[Any]

    @property
    def is_pixels(self) -> bool:
        """Whether it takes pictures as they are: uint8 (n, height, width, 3), RGB."""
        return self.dtype == np.uint8 and len(self.shape) == 4 and self.shape[-1] == 3


class BatchSizes(NamedTuple):
    """The batch sizes that a session runs.

    ``fixed`` empty: any size from 1 to ``largest`` (None: no limit).
    Otherwise only the sizes in ``fixed``, ascending.
    """

    largest: int | None = None
    fixed: tuple[int, ...] = ()

    def limit(self, wanted: int) -> int:
        """Return the largest batch to form where ``wanted`` would be welcome."""
        if self.fixed:
            return max((size for size in self.fixed if size <= wanted), default=self.fixed[0])
        return wanted if self.largest is None else min(wanted, self.largest)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """Options of opening a file, whichever engine opens it.

    An engine leaves aside what it has no choice in: one that knows the CPU alone has no
    providers, and one that keeps no memory has none to give back.
    """

    device: str = "auto"
    """Device to run on: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
    providers: tuple[str, ...] = ()
    """Execution providers to take instead of a device, first choice first."""
    require_device: bool = False
    """Whether to fail where anything but the CPU was asked for and can't be had."""
    precision: str = "auto"
    """Precision that the weights must have (``fp32``, ``fp16``, ``int8``); auto: what they have."""
    threads: int | None = None
    """Threads of a run, at most; None: one a core."""
    parallel_rows: int | None = None
    """Rows of a batch that run side by side, each alone on one thread; None: a batch runs whole."""
    keep_memory: bool = True
    """Whether the memory of a run is kept for the next; a little slower without."""
    spin_us: int = 0
    """Microseconds that a run's threads stay awake for each other's work; 0: they sleep at once."""
    content: bytes | None = None
    """Content to open in the file's place: rewritten in memory, or read already."""

    @property
    def names_device(self) -> bool:
        """Whether a device or provider is asked for, and not only the best there is."""
        return self.device != "auto" or bool(self.providers)


DEFAULTS = SessionOptions()
"""Options where nothing is asked for."""


class Session(Protocol):
    """One graph on one device.

    ``runtime`` names the engine as the contract does (``onnxrt``, ``torch``, …);
    ``device``, ``precision`` and ``provider`` say what is really in use, never
    what was asked for; ``fallback`` says why that isn't what was asked for (empty: it is).
    ``threads`` is how many a run is held to (None: the engine's own choice).
    """

    runtime: str
    device: str
    precision: str
    provider: str
    fallback: str
    threads: int | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch_sizes: BatchSizes
    metadata: Mapping[str, str]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the graph once; every output by its name, in arrays that no later run changes.

        Raises OutOfMemory, and ModelFailed in one line for whatever else goes wrong: feeds that
        aren't just the inputs, in their shapes and dtypes; a closed session. The next run goes
        well again. Denormals count as zero (``_denormals.flush_denormals``), whatever thread
        calls, and its own mode stays.
        """
        ...

    def close(self) -> None:
        """Free the graph; the session can't be used afterwards. A second time does nothing."""
        ...


@runtime_checkable
class KeepsMemory(Protocol):
    """Session that keeps the memory of a run for the next one, and gives it back when told to."""

    def release_memory(self, feeds: Mapping[str, Array]) -> None:
        """Run once with small ``feeds``, and keep no more memory than that takes.

        Other threads may be running it.
        """
        ...


def release_memory(session: Session, feeds: Mapping[str, Array]) -> None:
    """Have a session that keeps memory give it back; ``feeds`` are the smallest that it takes.

    Raises what a run raises.
    """
    if isinstance(session, KeepsMemory):
        session.release_memory(feeds)
