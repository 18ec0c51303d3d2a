"""A node of the contract whose every answer is scripted: it breaks rules that ours keeps."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty

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
