"""Sessions of a service: what its settings ask for, where they really run, how fast they are."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from hearth.backends import Session, SessionOptions
from hearth.batching import BatchQueue
from hearth.models.options import QueueOptions
from hearth.models.tuning import facts_of, tune


class DeviceSettings(Protocol):
    """Settings of a service that name what its sessions run on."""

    @property
    def device(self) -> str:
        """Device: auto, cpu, cuda, cuda:N or mps."""
        ...

    @property
    def ort_providers(self) -> tuple[str, ...] | None:
        """Execution providers of ONNX Runtime to take instead."""
        ...

    @property
    def require_device(self) -> bool:
        """Whether to fail rather than take the CPU."""
        ...


def session_options(settings: DeviceSettings) -> SessionOptions:
    """Make the options of sessions on the device that a service's settings name."""
    return SessionOptions(
        device=settings.device,
        providers=settings.ort_providers or (),
        require_device=settings.require_device,
    )


def fallback_of(*sessions: Session | None) -> str:
    """Say why sessions don't run where they were asked to; empty where they do."""
    reasons = (session.fallback for session in sessions if session is not None)
    return "; ".join(dict.fromkeys(filter(None, reasons)))


async def tune_session(
    queue: BatchQueue[Any, Any],
    item: Any,
    session: Session,
    *,
    model_id: str,
    files: Iterable[Path],
    shape: Sequence[int],
    options: QueueOptions,
    largest: int | None = None,
) -> None:
    """Give the queue of a session its profile (``tune``), by what its speed depends on.

    ``item`` is one to measure with, of that ``shape``; ``files`` are the model's. Raises OSError
    where these can't be read.
    """
    facts = await asyncio.to_thread(facts_of, session, model_id=model_id, files=files, item=shape)
    await tune(
        queue,
        item,
        cache=options.profiles,
        key=queue.name,
        facts=facts,
        largest=largest,
        max_batch=options.max_batch,
    )
