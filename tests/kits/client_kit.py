"""A node of the contract whose every answer is scripted: it breaks rules that ours keeps."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import Any, Self

import grpc
from google.protobuf.empty_pb2 import Empty

from hearth.client import Client
from hearth.contract import ml_service_pb2 as pb
from hearth.contract.ml_service_pb2_grpc import InferenceServicer, add_InferenceServicer_to_server

Requests = AsyncIterator[pb.InferRequest]
Infer = Callable[[Requests, Any], AsyncIterator[pb.InferResponse]]


class ScriptedNode(InferenceServicer):
    """``infer`` is the whole of the Infer call; ``capabilities`` what it says of itself."""

    def __init__(self, infer: Infer, capabilities: tuple[pb.Capability, ...] = ()) -> None:
        self._infer = infer
        self._capabilities = capabilities
        self.loading = 0
        """How many questions for capabilities are still answered with UNAVAILABLE."""

    async def Infer(self, requests: Requests, context: Any) -> AsyncIterator[pb.InferResponse]:
        async for response in self._infer(requests, context):
            yield response

    async def StreamCapabilities(self, _: Empty, context: Any) -> AsyncIterator[pb.Capability]:
        if self.loading:
            self.loading -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "still loading")
        for capability in self._capabilities:
            yield capability

    async def GetCapabilities(self, _: Empty, context: Any) -> pb.Capability:
        [capability] = self._capabilities
        return capability

    async def Health(self, _: Empty, context: Any) -> Empty:
        return Empty()


@asynccontextmanager
async def serving(node: InferenceServicer) -> AsyncIterator[str]:
    """The address of ``node`` while it serves."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 4 << 20)])
    add_InferenceServicer_to_server(node, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def scripted(infer: Infer) -> Any:
    """A scripted node's address, as a context manager."""
    return serving(ScriptedNode(infer))


def echo(request: pb.InferRequest, **changes: Any) -> pb.InferResponse:
    """The payload back, as a final answer."""
    fields: dict[str, Any] = {
        "correlation_id": request.correlation_id,
        "is_final": True,
        "result": request.payload,
        "result_mime": "application/octet-stream",
        "total": 1,
    }
    return pb.InferResponse(**{**fields, **changes})


def in_pieces(
    request: pb.InferRequest, pieces: list[bytes], **faults: Any
) -> list[pb.InferResponse]:
    """One answer cut into ``pieces``; ``faults`` maps fields to functions of (seq, right value)."""
    answers = []
    offset = 0
    for seq, piece in enumerate(pieces):
        fields: dict[str, Any] = {
            "seq": seq,
            "total": len(pieces),
            "offset": offset,
            "is_final": seq == len(pieces) - 1,
        }
        for name, fault in faults.items():
            fields[name] = fault(seq, fields[name])
        answers.append(echo(request, result=piece, **fields))
        offset += len(piece)
    return answers


# --- for hearth.Client: a node that says what it can do -------------------------------------

TASK = "echo"


def capability(
    *tasks: str,
    models: tuple[str, ...] = ("m-1",),
    inputs: tuple[str, ...] = ("application/octet-stream",),
    limits: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> pb.Capability:
    """A service of its own for ``tasks``."""
    return pb.Capability(
        service_name="scripted",
        model_ids=models,
        runtime="script",
        protocol_version="1.0.0",
        extra=extra or {},
        tasks=[
            pb.IOTask(name=task, input_mimes=inputs, limits=limits or {})
            for task in tasks or (TASK,)
        ],
    )


class EndStream(Exception):
    """A handler's wish: end the whole call with this status."""

    def __init__(
        self, code: grpc.StatusCode, details: str = "", trailers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(details)
        self.code, self.details = code, details
        self.trailers = tuple((trailers or {}).items())


Handler = Callable[[pb.InferRequest], Awaitable[pb.InferResponse | None]]


async def echoing(request: pb.InferRequest) -> pb.InferResponse:
    """The payload back, with the model that the node advertises."""
    return echo(request, meta={"lumen.model.id": "m-1"})


def failing(request: pb.InferRequest, code: int, message: str = "no", **meta: str) -> Any:
    """An in-band error."""
    error = pb.Error(code=code, message=message)
    return echo(request, result=b"", error=error, meta=meta)


class Script(ScriptedNode):
    """Answers each whole request with what ``handler`` makes of it: at once, out of order.

    None: never. EndStream ends the call for all that are on it. ``patience`` is how many
    answers a call carries before it is ended with OK (the Lumen nodes': 1).
    """

    def __init__(
        self,
        handler: Handler = echoing,
        *capabilities: pb.Capability,
        patience: int | None = None,
        unary: bool = False,
    ) -> None:
        super().__init__(self._stream, capabilities or (capability(),))
        self.handler = handler
        self.seen: list[pb.InferRequest] = []
        """Requests, put together, in the order of their ends."""
        self.streams = 0
        self.asked = 0
        """Questions for capabilities."""
        self._patience, self._unary = patience, unary

    async def StreamCapabilities(self, empty: Empty, context: Any) -> AsyncIterator[pb.Capability]:
        self.asked += 1
        if self._unary:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "unknown method")
        async with aclosing(super().StreamCapabilities(empty, context)) as answers:
            async for answer in answers:
                yield answer

    async def _stream(self, requests: Requests, context: Any) -> AsyncIterator[pb.InferResponse]:
        self.streams += 1
        answers: asyncio.Queue[pb.InferResponse | EndStream | None] = asyncio.Queue()
        reading = asyncio.create_task(self._read(requests, answers))
        left = self._patience
        try:
            while (answer := await answers.get()) is not None:
                if isinstance(answer, EndStream):
                    await context.abort(answer.code, answer.details, answer.trailers)
                yield answer
                left = left and left - 1
                if left == 0:
                    return
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, requests: Requests, answers: Any) -> None:
        chunks: dict[str, list[pb.InferRequest]] = {}
        async with asyncio.TaskGroup() as working:
            async for message in requests:
                pieces = chunks.setdefault(message.correlation_id, [])
                pieces.append(message)
                if len(pieces) >= message.total:
                    del chunks[message.correlation_id]
                    request = pb.InferRequest()
                    request.CopyFrom(pieces[0])
                    request.payload = b"".join(piece.payload for piece in pieces)
                    working.create_task(self._work(request, answers))
        answers.put_nowait(None)

    async def _work(self, request: pb.InferRequest, answers: Any) -> None:
        self.seen.append(request)
        try:
            answer = await self.handler(request)
        except EndStream as end:
            answers.put_nowait(end)
        else:
            if answer is not None:
                answers.put_nowait(answer)


@asynccontextmanager
async def client_of(*nodes: ScriptedNode, **how: Any) -> AsyncIterator[Client]:
    """A client of these nodes alone, all of which it knows; ``how`` is the client's."""
    async with AsyncExitStack() as stack:
        targets = [await stack.enter_async_context(serving(node)) for node in nodes]
        client = await stack.enter_async_context(Client(targets, **how))
        async with asyncio.timeout(5):
            while any(node.state == "new" for node in client.nodes):
                await asyncio.sleep(0.01)
        yield client


@asynccontextmanager
async def nothing_left(wait: float = 2.0) -> AsyncIterator[None]:
    """No task is left of what ran within, shortly after its end."""
    before = asyncio.all_tasks()
    yield
    with suppress(TimeoutError):
        async with asyncio.timeout(wait):
            while asyncio.all_tasks() - before:
                await asyncio.sleep(0.01)
    assert asyncio.all_tasks() - before == set()


async def gathered(answers: Any) -> list[Any]:
    """All of an async iterator."""
    return [answer async for answer in answers]


class ScriptThread:
    """A ``Script`` on a thread and a loop of its own: it goes on while the test's loop stands."""

    def __init__(self, handler: Handler = echoing, *capabilities: pb.Capability) -> None:
        self.script = Script(handler, *capabilities)
        self.target = ""
        self._serving = threading.Event()
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._serve(),), name="script", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._serving.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        async with serving(self.script) as self.target:
            self._serving.set()
            await self._done.wait()
