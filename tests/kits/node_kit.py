"""Nodes for tests: the real one on a real socket, with small tasks of the tests' own.

The service ``lab`` stands beside the real ones: its model is a batch queue over a
plain function, so that a test can say what happens when.
"""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from batch_kit import Panic, upper
from hearth.batching import BatchQueue, Workers
from hearth.catalog import SchemaInfo
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.errors import InvalidInput
from hearth.families.clip.tasks.vectors import TOP_K
from hearth.hub.progress import Progress
from hearth.node import InferenceNode
from hearth.serving.managed_model import ModelState
from hearth.serving.readiness import WAIT_SECONDS
from hearth.settings import load
from hearth.tasks.answer import AnswerStream, Result
from hearth.tasks.render import stream
from hearth.tasks.task import Call, Task
from stream_kit import COUNT_DELTA_V1, COUNT_OPTIONS, COUNT_V1, Counting


class Lab:
    """A model whose model is a function over a batch of payloads."""

    service = "lab"
    model_id = "lab-1"
    runtime = "python"
    device = "cpu"
    precisions = ("fp32",)

    def __init__(self, run: Callable[[Sequence[bytes]], Sequence[bytes]], **options: Any) -> None:
        self._workers = Workers(2)
        self.counting = Counting()
        self.queue: BatchQueue[bytes, bytes] = BatchQueue(
            run, name="lab", workers=self._workers, **{"max_batch": 8, **options}
        )

    @property
    def queues(self) -> tuple[BatchQueue[Any, Any], ...]:
        return (self.queue,)

    @property
    def metadata(self) -> Mapping[str, str]:
        return {"kind": "test"}

    async def warm_up(self) -> None: ...

    def close(self) -> None:
        self.queue.close()
        self._workers.close()


class Hold:
    """A step of a model's life that waits until the test lets it go."""

    def __init__(self) -> None:
        self._go = threading.Event()

    def __call__(self) -> None:
        assert self._go.wait(30)

    def let_go(self) -> None:
        self._go.set()


class LabLoader:
    """Brings a Lab up, by steps that a test can hold or break; ``options`` are its queue's."""

    def __init__(
        self,
        run: Callable[[Sequence[bytes]], Sequence[bytes]] = upper,
        *,
        service: str = "lab",
        local: bool = True,
        download: Callable[[], None] = lambda: None,
        load: Callable[[], None] = lambda: None,
        **options: Any,
    ) -> None:
        self.service = service
        self._run, self._local, self._options = run, local, options
        self._download, self._load = download, load

    def is_local(self) -> bool:
        return self._local

    def download(self, progress: Progress) -> None:
        progress("weights", 1, 2)
        self._download()

    def load(self) -> Lab:
        self._load()
        lab = Lab(self._run, **self._options)
        lab.service = self.service
        return lab


def _payload(_: Lab, call: Call) -> bytes:
    return call.request.data


def _checked(payload: bytes) -> bytes:
    if payload.startswith(b"bad"):
        raise InvalidInput("bad input")
    if payload == b"panic":
        raise Panic("in native code")
    if payload == b"cancelled":
        raise asyncio.CancelledError  # of something else than the request
    return payload


def _parse(_: Lab, call: Call) -> bytes:
    return _checked(call.request.data)


async def _ask(lab: Lab, payload: bytes, call: Call) -> bytes:
    return await lab.queue.submit(payload, context=call.context)


async def _ask_aside(lab: Lab, payload: bytes, call: Call) -> bytes:
    return await lab.queue.submit_raw(payload, _checked, context=call.context)


def _render(lab: Lab, answer: bytes, call: Call) -> Result:
    return Result(
        answer * int(call.request.meta.get("times", "1")),
        "application/json;schema=lab_v1",
        "lab_v1",
        {"topk": str(call.options["topk"]), "lumen.model.id": lab.model_id},
    )


async def _nothing(_: Lab, payload: bytes, call: Call) -> bytes:
    return payload


async def _count(lab: Lab, _: bytes, call: Call) -> AnswerStream:
    return lab.counting.stream(call.options)


LAB_V1 = SchemaInfo("lab_v1", "what the lab answers")
LAB_TASKS = (
    Task("upper", "lab", "upper case", ("text/plain",), LAB_V1, _parse, _ask, _render,
         options=(TOP_K,), aliases=("shout",)),
    Task("upper_aside", "lab", "upper case, prepared aside", ("text/plain",), LAB_V1, _payload,
         _ask_aside, _render, options=(TOP_K,)),
    Task("later", "lab", "never ready", ("text/plain",), LAB_V1, _parse, _ask, _render,
         missing=lambda _, __: "still being made (7 %)"),
    Task("noop", "lab", "nothing", ("application/octet-stream",), LAB_V1, _parse, _nothing,
         _render, options=(TOP_K,)),
)  # fmt: skip

STREAM_TASKS = (
    *LAB_TASKS,
    Task("count", "lab", "numbers, at a pace", ("text/plain",), COUNT_V1, _parse, _count,
         stream, options=COUNT_OPTIONS, delta_schema=COUNT_DELTA_V1),
)  # fmt: skip


@asynccontextmanager
async def lab_node(
    loader: LabLoader | None = None,
    *,
    others: Sequence[LabLoader] = (),
    settled: bool = True,
    tasks: Sequence[Task] = LAB_TASKS,
    wait_seconds: float = WAIT_SECONDS,
    **flags: Any,
) -> AsyncIterator[InferenceNode]:
    """A running node with the lab and ``others`` alone, on loopback, without mDNS."""
    flags = {"host": "127.0.0.1", "port": 0, "mdns.enabled": False, "hub.retry_seconds": 0.05,
             "grace_seconds": 2, **_someone(flags), **flags}  # fmt: skip
    settings = load(flags, environment={}, config=_empty_config())
    loaders = [loader or LabLoader(), *others]
    node = InferenceNode(settings, loaders=loaders, tasks=tasks, wait_seconds=wait_seconds)
    async with node:
        if settled:
            await node.wait_until(lambda: node.status == "ready")
        yield node


def _someone(flags: Mapping[str, object]) -> dict[str, str]:
    """An identity of its own for a node that would share the working directory's."""
    return {} if "data_dir" in flags else {"mdns.uuid": str(uuid.uuid4())}


def _empty_config() -> Path:
    return Path("/dev/null")


@asynccontextmanager
async def stub_of(node: InferenceNode) -> AsyncIterator[pb_grpc.InferenceStub]:
    """A client's stub on a channel of its own."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{node.port}") as channel:
        yield pb_grpc.InferenceStub(channel)


def counting_of(node: InferenceNode) -> Counting:
    """The lab's producer of streamed answers."""
    lab = node.models["lab"].require()
    assert isinstance(lab, Lab)
    return lab.counting


def queue_of(node: InferenceNode) -> BatchQueue[Any, Any]:
    """The lab's queue."""
    [queue] = node.models["lab"].require().queues
    return queue


def ask(
    payload: bytes = b"x", cid: str = "1", task: str = "upper", **fields: Any
) -> pb.InferRequest:
    """One request message."""
    return pb.InferRequest(correlation_id=cid, task=task, payload=payload, **fields)


async def talk(
    stub: pb_grpc.InferenceStub, requests: Iterable[pb.InferRequest], **call: Any
) -> list[pb.InferResponse]:
    """Send all, half-close, and read to the end; raises what the RPC ends with."""
    stream = stub.Infer(iter(requests), **call)
    return [response async for response in stream]


async def write_all(stream: Any, requests: Iterable[pb.InferRequest]) -> None:
    """Send requests without half-closing."""
    for request in requests:
        await stream.write(request)


LONGEST_SECONDS = 100
"""For a node to start, or to do what it is told, on a machine however busy."""


class NodeThread:
    """A node on a thread and a loop of its own, for tests that ask from other processes.

    Without ``derived`` it counts as started before its label vectors are made.
    """

    def __init__(self, *, derived: bool = True, **flags: Any) -> None:
        self._derived = derived
        flags = {"host": "127.0.0.1", "port": 0, "mdns.enabled": False, **_someone(flags), **flags}
        self._settings = load(flags, environment={}, config=_empty_config())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="node", daemon=True)
        self.node: InferenceNode

    @property
    def port(self) -> int:
        return self.node.port

    @property
    def target(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.node.port}"

    def __enter__(self) -> "NodeThread":
        self._thread.start()
        try:
            self._do(self._start())
        except BaseException:
            # Else it would live on: nobody calls `__exit__` for what was never entered.
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self.node.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    async def _start(self) -> None:
        self.node = InferenceNode(self._settings)
        await self.node.start()
        await self.node.wait_until(
            lambda: (
                all(
                    slot.artifacts_ready if self._derived else slot.model is not None
                    for slot in self.node.models.values()
                )
                or any(slot.state == ModelState.FAILED for slot in self.node.models.values())
            )
        )

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(LONGEST_SECONDS)
