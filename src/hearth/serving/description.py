"""Describes what a node offers just now, in the catalog's neutral words, for every door."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hearth.batching import BatchQueue
from hearth.catalog import ModelInfo, ServiceInfo, TaskInfo
from hearth.models.model import HasMetadata, Model, TakesTensors
from hearth.models.tuning import described
from hearth.serving.managed_model import ManagedModel
from hearth.serving.router import Router
from hearth.tasks.task import Task


def describe_services(router: Router, *, largest_request: int) -> list[ServiceInfo]:
    """Describe every service, ready or not; ``largest_request`` is in bytes."""
    return [_service(managed, router, largest_request) for managed in router.models.values()]


def one_runtime(runtimes: Iterable[str]) -> str:
    """Name the engines of several services as one: theirs, ``mixed``, or ``none``."""
    distinct = {runtime for runtime in runtimes if runtime}
    return distinct.pop() if len(distinct) == 1 else "mixed" if distinct else "none"


def _service(managed: ManagedModel, router: Router, largest_request: int) -> ServiceInfo:
    info = ServiceInfo(managed.service, str(managed.state), managed.reason)
    model = managed.model
    if model is None:
        return info
    metadata = model.metadata if isinstance(model, HasMetadata) else {}
    batching = _batching_of(model.queues)
    limits = {"max_payload_bytes": str(largest_request)}
    if "max_batch" in batching:
        limits["max_batch"] = batching["max_batch"]
    return replace(
        info,
        model=ModelInfo(
            id=model.model_id,
            runtime=model.runtime,
            device=model.device,
            precisions=model.precisions,
            # The narrowest of the queues that a request may go through.
            max_concurrency=min((queue.capacity for queue in model.queues), default=1),
            metadata={**metadata, **batching},
        ),
        tasks=tuple(
            _task(task, model, limits, router.missing(task) or "")
            for task in router.tasks
            if task.service == managed.service
        ),
    )


def _task(task: Task, model: Model, limits: dict[str, str], missing: str) -> TaskInfo:
    preprocess_id = ""
    if task.tensors and isinstance(model, TakesTensors):
        preprocess_id = model.preprocess_id or ""
    return task.describe(
        limits=limits,
        missing=missing,
        preprocess_id=preprocess_id,
        batches_tensors=bool(preprocess_id) and limits.get("max_batch", "1") != "1",
    )


def _batching_of(queues: Sequence[BatchQueue[object, object]]) -> dict[str, str]:
    """Describe how each queue batches: up to which size now, and the times that were measured."""
    facts = {}
    if queues:  # as with `max_concurrency`, what holds whichever way a request goes
        facts["max_batch"] = str(min(queue.max_batch for queue in queues))
    for queue in queues:
        facts[f"max_batch.{queue.name}"] = str(queue.max_batch)
        if queue.profile is not None:
            facts[f"curve.{queue.name}"] = described(queue.profile)
        if shrunk := queue.statistics().shrunk:
            facts[f"shrunk.{queue.name}"] = f"{shrunk} (for lack of memory)"
    return facts
