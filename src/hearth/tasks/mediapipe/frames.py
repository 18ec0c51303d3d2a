"""What all tasks on frames have in common: pictures and videos in, what was seen out."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from hearth.errors import InvalidInput
from hearth.media import File
from hearth.media.raw import MIME as RAW_FRAME
from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.model import MediaPipeModel
from hearth.models.mediapipe.streams import Turn
from hearth.tasks import render
from hearth.tasks.options import Option
from hearth.tasks.prepared import picture_of
from hearth.tasks.task import IMAGES, JSON, Call, Result, Task

SERVICE = "mediapipe"

STREAM_ID = Option(
    "stream_id", "text", "", "the video that a frame is of; followed from frame to frame"
)
FRAME_NUMBER = Option("frame_number", "int", None, "told back with the answer", least=0)
TIMESTAMP = Option(
    "timestamp_ms",
    "float",
    None,
    "when the frame was taken, in milliseconds; without it, when it came",
    least=0,
)
DROP = Option(
    "drop",
    "choice",
    "never",
    "oldest: frames that still wait when a newer one comes are answered at once, as dropped",
    choices=("never", "oldest"),
)
LONGEST_ID = 200
"""Characters of a stream_id, which is kept as long as its video."""

VIDEO = (STREAM_ID, FRAME_NUMBER, TIMESTAMP, DROP)
"""Options that every task on frames has."""

COORDINATES = Option(
    "coordinates",
    "choice",
    "both",
    "pixel, normalized (0 to 1 of width and height) or both",
    choices=("both", "pixel", "normalized"),
)


class Seen(NamedTuple):
    """What was found in a frame; nothing where it was dropped."""

    width: int = 0
    height: int = 0
    found: Any = None
    dropped: bool = False


Find = Callable[[MediaPipeModel, Frame, Turn[Any] | None, Call], Awaitable[Any]]
"""Finds what a task is about in a frame; without a turn it is a single picture."""

Describe = Callable[[Any, Seen, Call], Mapping[str, Any] | Result]
"""What was found (first argument) as JSON's content, or as a whole result of another kind."""


def frame_task(
    name: str,
    summary: str,
    *,
    find: Find,
    describe: Describe,
    track: Callable[[], Any] | None,
    options: tuple[Option, ...] = (),
    outputs: tuple[str, ...] = (JSON,),
    limits: Mapping[str, str] | None = None,
) -> Task:
    """A task of MediaPipe's; ``track`` begins what is followed through a video (None: nothing)."""
    return Task(
        name=name,
        service=SERVICE,
        summary=summary,
        inputs=(*IMAGES, RAW_FRAME),
        schema=f"{name}_v1",
        parse=lambda _, call: picture_of(call),
        call=_caller(name, find, track or (lambda: None)),
        render=_renderer(f"{name}_v1", describe),
        options=(*options, *VIDEO),
        outputs=outputs,
        limits=limits or {},
    )


def _caller(
    name: str, find: Find, track: Callable[[], Any]
) -> Callable[[MediaPipeModel, File, Call], Awaitable[Seen]]:
    async def see(model: MediaPipeModel, picture: File, call: Call) -> Seen:
        stream_id = call.options[STREAM_ID.name]
        if not stream_id:
            return await look(model, picture, None, call)
        if len(stream_id) > LONGEST_ID:
            raise InvalidInput(f"{STREAM_ID.name} has {len(stream_id)} characters: {LONGEST_ID} do")
        moment = _moment(call)
        video = model.videos.video(call.request.source, (name, stream_id), track)
        # Whoever films waits for the answer, whatever the node does for others overnight.
        call = call._replace(ticket=call.ticket._replace(urgent=True))
        async with video.turn(drop=call.options[DROP.name] == "oldest") as mine:
            if not mine:
                return Seen(dropped=True)
            return await look(
                model, picture, lambda frame: video.follow(moment, frame.width, frame.height), call
            )

    async def look(
        model: MediaPipeModel,
        picture: File,
        follow: Callable[[Frame], Turn[Any]] | None,
        call: Call,
    ) -> Seen:
        async with model.frame(picture, call.ticket) as frame:
            turn = follow(frame) if follow else None
            found = await find(model, frame, turn, call)
            return Seen(frame.width, frame.height, found)

    return see


def _moment(call: Call) -> float:
    """Seconds, on the client's clock or on ours."""
    told = call.options[TIMESTAMP.name]
    return time.monotonic() if told is None else float(told) / 1000


def _renderer(schema: str, describe: Describe) -> Callable[[MediaPipeModel, Seen, Call], Result]:
    def rendered(model: MediaPipeModel, seen: Seen, call: Call) -> Result:
        echo = _echo(call)
        meta = {render.MODEL_ID: model.model_id, **{key: str(value) for key, value in echo.items()}}
        if seen.dropped:
            content = {**echo, "dropped": True, "model_id": model.model_id}
            return render.as_json(content, schema, {**meta, "dropped": "true"})
        meta |= {"width": str(seen.width), "height": str(seen.height)}
        told = describe(seen.found, seen, call)
        if isinstance(told, Result):
            return told._replace(meta={**meta, **told.meta})
        meta |= {key: str(told[key]) for key in ("count", "coverage", "format") if key in told}
        size = {"width": seen.width, "height": seen.height}
        return render.as_json({**size, **told, **echo, "model_id": model.model_id}, schema, meta)

    return rendered


def _echo(call: Call) -> dict[str, Any]:
    """What a frame of a video is told back."""
    values = {
        option.name: call.options[option.name] for option in (STREAM_ID, FRAME_NUMBER, TIMESTAMP)
    }
    return {name: value for name, value in values.items() if value not in (None, "")}
