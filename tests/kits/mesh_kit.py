"""Tasks on frames, asked as a node asks them, on MediaPipe's real models.

with model_of() as model:
    answer = await see(model, FACE_MESH, raw(pixels), stream_id="door", source=client)
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.backends import Array, Session
from hearth.backends.litert_pool import LiteRtPool
from hearth.batching import NO_CONTEXT, BatchQueue, RequestContext
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.media import Picture
from hearth.serving.stream_state import StreamStates
from hearth.tasks.options import read_all
from hearth.tasks.task import Call, Request, Task
from mediapipe_kit import model_path
from vision_kit import READER, mime_of

STREAMS = StreamStates()
"""Videos of all clients; whoever follows one names a source of its own."""


def raw(pixels: NDArray[np.uint8]) -> tuple[bytes, str]:
    """An RGB frame's payload and mime."""
    return pixels.tobytes(), mime_of(pixels)


def picture(pixels: NDArray[np.uint8]) -> Picture:
    """The same as a picture."""
    return Picture(*raw(pixels))


async def see(
    model: MediaPipeModel,
    task: Task,
    frame: tuple[bytes, str],
    *,
    source: Any = None,
    context: RequestContext = NO_CONTEXT,
    **meta: str,
) -> Any:
    """The JSON of an answer; ``source`` is the client, ``meta`` holds the options."""
    payload, mime = frame
    call = Call(
        Request(task.name, payload, mime, meta, source=source),
        read_all(task.options, meta),
        context,
        streams=STREAMS,
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


class Track:
    """What a video's frames leave for the next."""

    def __init__(self) -> None:
        self.before: Any = None


class Turn(NamedTuple):
    """A frame of a video that a test follows by itself."""

    track: Track
    moment: float
    """In seconds."""


async def followed(
    model: MediaPipeModel,
    finder: Any,
    pixels: NDArray[np.uint8],
    turn: Turn | None = None,
    wanted: Any = None,
    context: RequestContext = NO_CONTEXT,
) -> Any:
    """What one of the model's finders finds in a frame; without a turn in a single picture."""
    wishes = {} if wanted is None else {"wanted": wanted}
    async with model.frame(picture(pixels)) as frame:
        if turn is None:
            found, _ = await finder.follow(frame, context=context, **wishes)
            return found
        track, moment = turn
        found, track.before = await finder.follow(
            frame, track.before, moment, context=context, **wishes
        )
        return found


class Moody:
    """A model's session that gives no numbers on bad days."""

    def __init__(self, session: Session, bad_day: threading.Event) -> None:
        self._session, self._bad_day = session, bad_day
        self.inputs, self.outputs = session.inputs, session.outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = self._session.run(feeds)
        if not self._bad_day.is_set():
            return outputs
        return {name: np.full_like(array, np.nan) for name, array in outputs.items()}

    def close(self) -> None:
        self._session.close()


@contextmanager
def moody_model(moody: str) -> Iterator[tuple[MediaPipeModel, threading.Event]]:
    """The models, of which this one has bad days, and what says that it is one."""
    bad_day = threading.Event()

    def opened(name: str) -> Any:
        session = LiteRtPool(model_path(name), width=1)
        return Moody(session, bad_day) if name == moody else session

    model = MediaPipeModel(opened, reader=READER)
    try:
        yield model, bad_day
    finally:
        model.close()


class Client:
    """Whoever sends frames; its videos are forgotten with it."""
