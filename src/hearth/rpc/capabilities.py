"""What the node can do, as the contract's Capability messages."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hearth.batching import BatchQueue
from hearth.contract import ml_service_pb2 as pb
from hearth.models.model import HasMetadata, Model, TakesTensors
from hearth.models.tuning import described
from hearth.serving.admission import AdmissionStatistics
from hearth.serving.managed_model import ManagedModel
from hearth.serving.router import Router
from hearth.tasks.options import PAGE, PRIORITY, TIMEOUT, Option
from hearth.tasks.task import RAW, Task

# Clients of family C route to no node whose capability has an empty version.
PROTOCOL_VERSION = "1.0.0"


def of_services(router: Router, *, largest_request: int) -> list[pb.Capability]:
    """One Capability for each service, ready or not."""
    return [_capability(managed, router, largest_request) for managed in router.models.values()]


def load(held: AdmissionStatistics) -> dict[str, str]:
    """How busy the node is, all clients together, for those who choose between nodes."""
    return {
        "load.in_flight": str(held.in_flight),
        "load.streams": str(held.streams),
        "load.waiting": str(held.waiting),
    }


def merged(parts: Sequence[pb.Capability], *, node: Mapping[str, str]) -> pb.Capability:
    """All services in one Capability: their ``extra`` keys with their names in front.

    ``node`` is what is true of all of it, and stands there as it is.
    """
    return pb.Capability(
        service_name="hearth",
        model_ids=_distinct(name for part in parts for name in part.model_ids),
        runtime=one_runtime(part.runtime for part in parts),
        max_concurrency=max((part.max_concurrency for part in parts), default=0),
        precisions=_distinct(name for part in parts for name in part.precisions),
        extra={
            **node,
            **{
                f"{part.service_name}.{key}": value
                for part in parts
                for key, value in part.extra.items()
            },
        },
        tasks=[task for part in parts for task in part.tasks],
        protocol_version=PROTOCOL_VERSION,
    )


def one_runtime(runtimes: Iterable[str]) -> str:
    """What stands for the engines of several services: theirs, ``mixed``, or ``none``."""
    distinct = {runtime for runtime in runtimes if runtime}
    return distinct.pop() if len(distinct) == 1 else "mixed" if distinct else "none"


def _capability(managed: ManagedModel, router: Router, largest_request: int) -> pb.Capability:
    extra = {"state": str(managed.state)}
    if managed.reason:
        extra["reason"] = managed.reason
    model = managed.model
    if model is None:
        return pb.Capability(
            service_name=managed.service, extra=extra, protocol_version=PROTOCOL_VERSION
        )
    tasks = [task for task in router.tasks if task.service == managed.service]
    missing = _missing(tasks, router)
    batching = _of_queues(model.queues)
    limits = {"max_payload_bytes": str(largest_request)}
    if "max_batch" in batching:
        limits["max_batch"] = batching["max_batch"]
    return pb.Capability(
        service_name=managed.service,
        model_ids=[model.model_id] if model.model_id else [],
        runtime=model.runtime,
        # The narrowest of the queues that a request may go through.
        max_concurrency=min((queue.capacity for queue in model.queues), default=1),
        precisions=model.precisions,
        extra={
            **extra,
            "device": model.device,
            **(model.metadata if isinstance(model, HasMetadata) else {}),
            **batching,
            **{f"task.{name}": reason for name, reason in missing.items()},
        },
        tasks=[
            _io_task(name, task, limits, model)
            for task in tasks
            for name in task.names
            if name not in missing
        ],
        protocol_version=PROTOCOL_VERSION,
    )


def _of_queues(queues: Sequence[BatchQueue[object, object]]) -> dict[str, str]:
    """How each queue batches: up to which size now, and the times that were measured."""
    facts = {}
    if queues:  # as with `max_concurrency`, what holds whichever way a request goes
        facts["max_batch"] = str(min(queue.max_batch for queue in queues))
    for queue in queues:
        facts[f"max_batch.{queue.name}"] = str(queue.max_batch)
        if queue.curve is not None:
            facts[f"curve.{queue.name}"] = described(queue.curve)
        if shrunk := queue.statistics().shrunk:
            facts[f"shrunk.{queue.name}"] = f"{shrunk} (for lack of memory)"
    return facts


def _missing(tasks: Iterable[Task], router: Router) -> dict[str, str]:
    """By name: why a task isn't listed yet."""
    return {
        name: reason
        for task in tasks
        if (reason := router.missing(task)) is not None
        for name in task.names
    }


def _io_task(name: str, task: Task, limits: dict[str, str], model: Model) -> pb.IOTask:
    preprocess_id = ""
    if task.tensors and isinstance(model, TakesTensors):
        preprocess_id = model.preprocess_id or ""
    return pb.IOTask(
        name=name,
        input_mimes=[*task.readable, RAW] if preprocess_id else task.readable,
        tensor_preprocess_id=preprocess_id,
        tensor_batching_supported=bool(preprocess_id) and limits.get("max_batch", "1") != "1",
        output_mimes=task.outputs,
        limits={
            **limits,
            **task.limits,
            **{option.name: option.in_words() for option in _options(task)},
        },
    )


def _options(task: Task) -> list[Option]:
    """The task's own, and what every task understands, or every one of pictures."""
    usual = "interactive" if task.interactive else "bulk"
    pages = [PAGE] if task.takes_pictures else []
    return [*task.options, *pages, replace(PRIORITY, default=usual), TIMEOUT]


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
