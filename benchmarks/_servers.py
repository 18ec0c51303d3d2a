"""The servers that the benchmarks ask, each a process of its own.

``echo``                       a bare grpc.aio server that answers each message with its payload
``noop``                       a hearth node with a task that does nothing, and one that counts
``paced BASE EACH``            a hearth node with a model of so many milliseconds
``perceptron POLICY``          a hearth node with a model that gains from batches
``clip``                       a hearth node with CLIP, as the settings say
``soak``                       a hearth node with CLIP, text recognition and a paced model

``--set PATH=VALUE`` sets anything; ``--profile FILE`` writes what took the loop's time.
SIGUSR1 prints the statistics of the node's queues as one line of JSON.
"""

import argparse
import asyncio
import cProfile
import json
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvloop
from grpc import aio

from _lab import LAB, NOOP, NUMBERS, Model, Paced, Perceptron
from _models import FOLDER
from hearth.batching import BatchQueue
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.families.tasks import TASKS
from hearth.node import InferenceNode
from hearth.settings import Settings, load
from hearth.wiring import loaders_of


class Echo(pb_grpc.InferenceServicer):
    """Answers each message at once, in the way that costs grpc.aio least."""

    async def Infer(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.InferRequest], context: Any
    ) -> None:
        """Read a message, write a message."""
        async for message in request_iterator:
            await context.write(
                pb.InferResponse(
                    correlation_id=message.correlation_id, result=message.payload, is_final=True
                )
            )


async def echo(profile: str | None) -> None:
    """Serve until the process is told to end."""
    server = aio.server()
    pb_grpc.add_InferenceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await _told_to_end(profile)
    await server.stop(0)


def node_of(kind: str, arguments: list[str], settings: Settings) -> InferenceNode:
    """Return the node of this kind."""
    if kind == "clip":
        return InferenceNode(settings)
    if kind == "soak":
        # A short queue, so that some are refused.
        loaders: list[Any] = [*loaders_of(settings), Paced(2, 1, capacity=24)]
        return InferenceNode(settings, loaders=loaders, tasks=[*TASKS, NOOP, LAB])
    kinds: dict[str, Callable[..., Model]] = {
        "noop": Model,
        "paced": lambda base, each: Paced(float(base), float(each)),
        "perceptron": Perceptron,
    }
    return InferenceNode(settings, loaders=[kinds[kind](*arguments)], tasks=[NOOP, LAB, NUMBERS])


async def serve(node: InferenceNode, profile: str | None) -> None:
    """Serve until the process is told to end."""
    async with node:
        await settled(node)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell, node)
        print(node.port, flush=True)
        await _told_to_end(profile)


async def settled(node: InferenceNode) -> None:
    """Wait until the node does nothing by itself: it is ready, its label vectors are made, and
    it knows how long batches take."""
    await node.wait_until(lambda: node.status == "ready")
    await node.wait_until(lambda: all(slot.artifacts_ready for slot in node.models.values()))
    while any(queue.to_be_measured for queue in queues_of(node)):
        await asyncio.sleep(0.1)


def queues_of(node: InferenceNode) -> list[BatchQueue[Any, Any]]:
    """Return all queues of the models that are loaded."""
    models = [slot.model for slot in node.models.values() if slot.model is not None]
    return [queue for model in models for queue in model.queues]


def tell(node: InferenceNode) -> None:
    """Print the statistics of the queues, by their names."""
    statistics = {queue.name: _plain(queue.statistics()) for queue in queues_of(node)}
    print(json.dumps(statistics), flush=True)


def _plain(value: Any) -> Any:
    """Named tuples as objects."""
    if not hasattr(value, "_asdict"):
        return value
    return {name: _plain(field) for name, field in value._asdict().items()}


async def _told_to_end(profile: str | None) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    if profile is None:
        await told.wait()
        return
    profiler = cProfile.Profile()
    with profiler:
        await told.wait()
    profiler.dump_stats(profile)


def main() -> None:
    """Read the flags and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind")
    parser.add_argument("arguments", nargs="*")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--profile")
    asked = parser.parse_args()
    if asked.kind == "echo":
        uvloop.run(echo(asked.profile))
        return
    flags = {
        "host": "127.0.0.1", "port": 0, "mdns.enabled": False, "log_level": "warning",
        "data_dir": FOLDER, "services": "clip", "clip.templates": "single", "hub.offline": True,
        # The payloads of a benchmark come again.
        "cache_entries": 0,
        **dict(setting.split("=", 1) for setting in asked.set),
    }  # fmt: skip
    settings = load(flags, environment={})
    uvloop.run(serve(node_of(asked.kind, asked.arguments, settings), asked.profile))


if __name__ == "__main__":
    main()
