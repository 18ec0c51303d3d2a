"""The catalog's descriptions as the contract's Capability messages."""

from collections.abc import Iterable, Mapping, Sequence

from hearth.catalog import ServiceInfo, TaskInfo
from hearth.contract import ml_service_pb2 as pb
from hearth.serving.admission import AdmissionStatistics
from hearth.serving.description import one_runtime

# Clients of family C route to no node whose capability has an empty version.
PROTOCOL_VERSION = "1.0.0"


def capability(service: ServiceInfo) -> pb.Capability:
    """Write one service as a message, ready or not."""
    extra = {"state": service.state}
    if service.reason:
        extra["reason"] = service.reason
    message = pb.Capability(
        service_name=service.name, extra=extra, protocol_version=PROTOCOL_VERSION
    )
    if (model := service.model) is None:
        return message
    if model.id:
        message.model_ids.append(model.id)
    message.runtime = model.runtime
    message.max_concurrency = model.max_concurrency
    message.precisions.extend(model.precisions)
    message.extra.update({"device": model.device, **model.metadata})
    for task in service.tasks:
        if task.missing:
            message.extra.update({f"task.{name}": task.missing for name in task.names})
        else:
            message.tasks.extend(_io_task(name, task) for name in task.names)
    return message


def load(held: AdmissionStatistics) -> dict[str, str]:
    """Tell how busy the node is, all clients together, to those who choose between nodes."""
    return {
        "load.in_flight": str(held.in_flight),
        "load.streams": str(held.streams),
        "load.waiting": str(held.waiting),
    }


def merged(parts: Sequence[pb.Capability], *, node: Mapping[str, str]) -> pb.Capability:
    """Write all services as one message: their ``extra`` keys with their names in front.

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


def _io_task(name: str, task: TaskInfo) -> pb.IOTask:
    return pb.IOTask(
        name=name,
        input_mimes=task.inputs,
        output_mimes=task.outputs,
        limits=task.limits,
        tensor_preprocess_id=task.preprocess_id,
        tensor_batching_supported=task.batches_tensors,
    )


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
