"""MediaPipe's tasks for tests: the real models in a real node, and raw frames to send.

async with vision_node() as node, stub_of(node) as stub:
    [answer] = await answers(stub, [frame(pixels, "face_detection", min_confidence="0.7")])
"""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from hearth.backends.litert_pool import LiteRtPool
from hearth.batching import Workers
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks import MEDIAPIPE_TASKS
from hearth.media import ImageReader
from hearth.models.options import QueueOptions
from hearth.node import InferenceNode
from hearth.settings import load
from hearth.tasks.task import Task
from mediapipe_kit import model_path

Pixels = NDArray[np.uint8]

READER = ImageReader(100_000_000)


def new_model(reader: ImageReader = READER, **options: Any) -> MediaPipeModel:
    """The models of MediaPipe's, one interpreter each; ``options`` are QueueOptions'."""
    return MediaPipeModel(
        lambda name: LiteRtPool(model_path(name), width=1),
        reader=reader,
        options=QueueOptions(workers=Workers(2), **options),
    )


@contextmanager
def model_of(reader: ImageReader = READER) -> Iterator[MediaPipeModel]:
    """The same, closed at the end."""
    model = new_model(reader)
    try:
        yield model
    finally:
        model.close()


class VisionLoader:
    """Brings the models up in a node."""

    service = "mediapipe"

    def __init__(self, model: MediaPipeModel) -> None:
        self.model = model

    def load(self) -> MediaPipeModel:
        return self.model


@asynccontextmanager
async def vision_node(
    *tasks: Task, reader: ImageReader = READER, **flags: Any
) -> AsyncIterator[InferenceNode]:
    """A running node with MediaPipe's models alone: all of their tasks, or these."""
    flags = {"host": "127.0.0.1", "port": 0, "mdns.enabled": False, "grace_seconds": 2, **flags}
    settings = load(flags, environment={}, config=Path("/dev/null"))
    node = InferenceNode(
        settings, loaders=[VisionLoader(new_model(reader))], tasks=tasks or MEDIAPIPE_TASKS
    )
    async with node:
        await node.wait_until(lambda: node.status == "ready")
        yield node


def mime_of(pixels: Pixels) -> str:
    """Of a raw RGB frame."""
    height, width = pixels.shape[:2]
    return f"image/x-raw;format=rgb;width={width};height={height}"


def frame(pixels: Pixels, task: str, cid: str = "1", **meta: object) -> pb.InferRequest:
    """One raw RGB frame."""
    return pb.InferRequest(
        correlation_id=cid,
        task=task,
        payload=pixels.tobytes(),
        payload_mime=mime_of(pixels),
        meta={key: str(value) for key, value in meta.items()},
    )


class Answer(NamedTuple):
    """A whole answer, put together from its chunks."""

    cid: str
    body: bytes
    mime: str
    schema: str
    meta: dict[str, str]
    error: str
    """What went wrong; empty where nothing did."""

    @property
    def json(self) -> Any:
        """Its content; fails where there was an error."""
        assert not self.error, self.error
        return orjson.loads(self.body)


async def each_answer(stream: AsyncIterator[pb.InferResponse]) -> AsyncIterator[Answer]:
    """The answers of a stream as they come; each id must be asked for once."""
    parts: dict[str, bytes] = {}
    async for part in stream:
        parts[part.correlation_id] = parts.get(part.correlation_id, b"") + part.result
        if part.is_final:
            yield Answer(
                part.correlation_id,
                parts.pop(part.correlation_id),
                part.result_mime,
                part.result_schema,
                dict(part.meta),
                part.error.message if part.HasField("error") else "",
            )


async def answers(stub: pb_grpc.InferenceStub, requests: Iterable[pb.InferRequest]) -> list[Answer]:
    """Those to several requests of one stream, in the order in which they came."""
    return [answer async for answer in each_answer(stub.Infer(iter(list(requests))))]
