"""Tasks on frames, asked as a node asks them, on MediaPipe's real models.

with frames_model() as model:
    answer = await see(model, FACE_MESH, raw(pixels), stream_id="door", source=client)
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth.backends.litert_pool import LiteRtPool
from hearth.batching import NO_HURRY, BatchQueue, Ticket
from hearth.media import ImageReader, Picture
from hearth.models.mediapipe.model import MediaPipeModel
from hearth.tasks.options import read_all
from hearth.tasks.task import Call, Request, Task
from mediapipe_kit import model_path


@contextmanager
def frames_model() -> Iterator[MediaPipeModel]:
    """MediaPipe's models, each opened when it is first needed."""
    model = MediaPipeModel(
        lambda name: LiteRtPool(model_path(name), width=1), reader=ImageReader(10**8)
    )
    yield model
    model.close()


def raw(pixels: NDArray[np.uint8]) -> tuple[bytes, str]:
    """An RGB frame's payload and mime."""
    height, width = pixels.shape[:2]
    return pixels.tobytes(), f"image/x-raw;format=rgb;width={width};height={height}"


def picture(pixels: NDArray[np.uint8]) -> Picture:
    """The same as a picture."""
    return Picture(*raw(pixels))


async def see(
    model: MediaPipeModel,
    task: Task,
    frame: tuple[bytes, str],
    *,
    source: Any = None,
    ticket: Ticket = NO_HURRY,
    **meta: str,
) -> Any:
    """The JSON of an answer; ``source`` is the client, ``meta`` holds the options."""
    payload, mime = frame
    call = Call(
        Request(task.name, payload, mime, meta, source=source),
        read_all(task.options, meta),
        ticket,
    )
    found = await task.call(model, task.parse(model, call), call)
    result = task.render(model, found, call)
    assert result.schema == f"{task.name}_v1"
    return json.loads(result.body)


def queue_of(model: MediaPipeModel, name: str) -> BatchQueue[Any, Any]:
    """The queue in front of a model."""
    [queue] = [queue for queue in model.queues if queue.name == name]
    return queue


def runs_of(model: MediaPipeModel, name: str) -> int:
    """How many regions a model has looked at."""
    return queue_of(model, name).statistics().items


class Client:
    """Whoever sends frames; its videos are forgotten with it."""
