"""The tuned loop that the node's pictures are held against: one stream, no queue.

A bare grpc.aio server that decodes each JPEG with simplejpeg into the same buffer (with the
node's own settings, which are exact), runs the node's own session on it and writes the unit
vector: what somebody writes by hand who serves this one model to one client and nothing else.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import uvloop
from grpc import aio

from _loop import clip_model
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc


class Tuned(pb_grpc.InferenceServicer):
    """Answers each picture as soon as it is read, one after another."""

    def __init__(self, model: Path) -> None:
        self._session = clip_model(model)._image.session
        self._input, self._output = self._session.inputs[0], self._session.outputs[0]
        self._buffer = np.empty((1, *self._input.shape[1:]), np.uint8)
        if self._buffer.shape[-1] != 3:
            raise SystemExit("the session doesn't take pixels")

    async def Infer(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.InferRequest], context: Any
    ) -> None:
        """Read a picture, write its vector."""
        async for message in request_iterator:
            simplejpeg.decode_jpeg(message.payload, "RGB", buffer=self._buffer[0], strict=True)
            [vector] = self._session.run({self._input.name: self._buffer})[self._output.name]
            await context.write(
                pb.InferResponse(
                    correlation_id=message.correlation_id,
                    result=(vector / np.linalg.norm(vector)).tobytes(),
                    result_mime="application/octet-stream",
                    meta={"dim": str(len(vector))},
                    total=1,
                    is_final=True,
                )
            )


async def serve(model: Path) -> None:
    """Print the port; serve until the process is told to end."""
    server = aio.server()
    pb_grpc.add_InferenceServicer_to_server(Tuned(model), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    print(port, flush=True)
    await ended.wait()
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))
