"""The servers that overhead.py compares, each a process of its own.

``echo``: a bare grpc.aio server that answers each message of a stream with its payload.
``noop``: a hearth node with a task that does nothing.
``clip FOLDER``: a hearth node with CLIP from an ONNX folder.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import uvloop
from grpc import aio

from _models import FOLDER
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.node import Node
from hearth.settings import load
from hearth.tasks.task import Call, Result, Task


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


async def echo() -> None:
    """Serve until the process is ended."""
    server = aio.server()
    pb_grpc.add_InferenceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


class Nothing:
    """A model manager without a model."""

    service, model_id, runtime, device, precisions = "noop", "noop", "none", "cpu", ()
    queues: tuple[Any, ...] = ()
    facts: Mapping[str, str] = {}

    def is_local(self) -> bool:
        return True

    def load(self) -> "Nothing":
        return self

    async def warm_up(self) -> None: ...

    def load_derived(self) -> None: ...

    async def derive(self, progress: object) -> None: ...

    def close(self) -> None: ...


async def _call(_: Nothing, payload: bytes, call: Call) -> bytes:
    return payload


NOOP = Task(
    "noop", "noop", "nothing", ("application/octet-stream",), "noop_v1",
    lambda _, call: call.request.payload, _call,
    lambda _, answer, call: Result(answer, "application/octet-stream;schema=noop_v1", "noop_v1"),
)  # fmt: skip


async def _run(node: Node) -> None:
    async with node:
        await node.wait_until(lambda: node.status == "ready")
        # Label vectors would be made in the background of what is measured.
        await node.wait_until(lambda: all(slot.derived for slot in node.slots.values()))
        print(node.port, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """``_servers.py echo | noop | clip FOLDER``."""
    kind, *rest = sys.argv[1:]
    common = {"host": "127.0.0.1", "port": 0, "mdns.enabled": False, "log_level": "warning"}
    if kind == "echo":
        uvloop.run(echo())
    elif kind == "noop":
        settings = load(common, environment={})
        uvloop.run(_run(Node(settings, sources=[Nothing()], tasks=[NOOP])))  # type: ignore[list-item]
    else:
        clip = {"services": "clip", "clip.model": rest[0], "clip.templates": "single"}
        settings = load({**common, **clip, "data_dir": FOLDER}, environment={})
        uvloop.run(_run(Node(settings)))


if __name__ == "__main__":
    main()
