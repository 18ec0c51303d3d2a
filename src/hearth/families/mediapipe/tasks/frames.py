"""Tasks on frames: pictures and videos in, what was seen out."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from hearth.catalog import JSON, FieldInfo, SchemaInfo
from hearth.errors import InvalidInput
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks.shapes import Size
from hearth.media import ImagePayload, PixelForm
from hearth.media.formats import PICTURES
from hearth.tasks import render
from hearth.tasks.answer import Result
from hearth.tasks.images import parse_image
from hearth.tasks.options import PRIORITY, Option
from hearth.tasks.task import Call, Task

SERVICE = "mediapipe"

STREAM_ID = Option(
    "stream_id", "text", "", "the video that a frame is of; followed from frame to frame"
)
FRAME_NUMBER = Option(
    "frame_number", "int", None, "told back with the answer", least=0, most=2**63 - 1
)
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
"""Largest number of characters of a stream_id, which is kept as long as its video."""

VIDEO = (STREAM_ID, FRAME_NUMBER, TIMESTAMP, DROP)
"""Options that every task on frames has."""


_SIZE = (
    FieldInfo("width", "count", "of the upright picture, in pixels"),
    FieldInfo("height", "count"),
)
_ECHO = (
    FieldInfo("stream_id", "name", "the video", optional=True),
    FieldInfo("frame_number", "count", optional=True),
    FieldInfo("timestamp_ms", "number", optional=True),
    FieldInfo("dropped", "flag", "true: a frame that nobody looked at", optional=True),
)


class Seen(NamedTuple):
    """Findings in a frame of this size; neither is there where the frame was dropped."""

    size: Size | None = None
    found: Any = None


class Past(NamedTuple):
    """State that a frame of a video goes on from."""

    before: Any = None
    """State that the frame before has left; None: this is the first one."""
    moment: float | None = None
    """Time at which this frame was taken, in seconds; None: it is a single picture."""


Follow = Callable[[MediaPipeModel, Frame, Past, Call], Awaitable[tuple[Any, Any]]]
"""Function that finds what a task is about, and what the video's next frame goes on from."""

Describe = Callable[[Any, Size, Call], Mapping[str, Any] | Result]
"""Function that turns what was found into JSON's content, or into a result of another kind."""


def frame_task(
    name: str,
    summary: str,
    *,
    follow: Follow,
    describe: Describe,
    fields: tuple[FieldInfo, ...] = (),
    options: tuple[Option, ...] = (),
    outputs: tuple[str, ...] = (JSON,),
    limits: Mapping[str, str] | None = None,
    form: PixelForm = PixelForm.STORED,
) -> Task:
    """Declare a task of MediaPipe's on pixels of this form.

    ``fields`` are those that ``describe`` gives to JSON; those of every frame come around them.
    """
    schema = SchemaInfo(
        f"{name}_v1", summary, (*_SIZE, *fields, *_ECHO, render.MODEL), nothing="nobody"
    )
    return Task(
        name=name,
        service=SERVICE,
        summary=summary,
        inputs=PICTURES,
        schema=schema,
        parse=parse_image,
        call=_caller(name, follow, form),
        render=_renderer(schema, describe),
        options=(*options, *VIDEO),
        outputs=outputs,
        limits=limits or {},
    )


def _caller(
    name: str, follow: Follow, form: PixelForm
) -> Callable[[MediaPipeModel, ImagePayload, Call], Awaitable[Seen]]:
    async def see(model: MediaPipeModel, picture: ImagePayload, call: Call) -> Seen:
        stream_id = call.options[STREAM_ID.name]
        if not stream_id:
            async with model.frame(picture, call.context, form) as frame:
                seen, _ = await look(model, frame, Past(), call)
                return seen
        if len(stream_id) > LONGEST_ID:
            raise InvalidInput(f"{STREAM_ID.name} has {len(stream_id)} characters: {LONGEST_ID} do")
        moment = _moment(call)
        assert call.streams is not None
        video = call.streams.of(call.request.source, (name, stream_id, call.request.entry))
        if PRIORITY.name not in call.request.meta:
            # Whoever films waits for the answer, whatever the node does for others overnight.
            call = call._replace(context=call.context._replace(interactive=True))
        async with video.turn(drop=call.options[DROP.name] == "oldest") as has_turn:
            if not has_turn:
                return Seen()
            async with model.frame(picture, call.context, form) as frame:
                past = Past(video.begin(moment, (frame.width, frame.height)), moment)
                # Left for the next frame only when all has gone well.
                seen, video.before = await look(model, frame, past, call)
                return seen

    async def look(model: MediaPipeModel, frame: Frame, past: Past, call: Call) -> tuple[Seen, Any]:
        found, after = await follow(model, frame, past, call)
        return Seen(Size(frame.width, frame.height), found), after

    return see


def _moment(call: Call) -> float:
    """Return when a frame was taken, in seconds on the client's clock or on ours."""
    timestamp = call.options[TIMESTAMP.name]
    return time.monotonic() if timestamp is None else float(timestamp) / 1000


def _renderer(
    schema: SchemaInfo, describe: Describe
) -> Callable[[MediaPipeModel, Seen, Call], Result]:
    def rendered(model: MediaPipeModel, seen: Seen, call: Call) -> Result:
        echo = _echo(call)
        meta = {render.MODEL_ID: model.model_id, **{key: str(value) for key, value in echo.items()}}
        if seen.size is None:
            content = {**echo, "dropped": True, "model_id": model.model_id}
            return render.as_json(content, schema, {**meta, "dropped": "true"})
        meta |= {name: str(side) for name, side in seen.size._asdict().items()}
        told = describe(seen.found, seen.size, call)
        if isinstance(told, Result):
            return told._replace(meta={**meta, **told.meta})
        meta |= {key: str(told[key]) for key in ("count", "coverage", "format") if key in told}
        content = {**seen.size._asdict(), **told, **echo, "model_id": model.model_id}
        return render.as_json(content, schema, meta)

    return rendered


def _echo(call: Call) -> dict[str, Any]:
    """Collect what a frame of a video is told back."""
    values = {
        option.name: call.options[option.name] for option in (STREAM_ID, FRAME_NUMBER, TIMESTAMP)
    }
    return {name: _as_sent(value) for name, value in values.items() if value not in (None, "")}


def _as_sent(value: Any) -> Any:
    """Turn a whole number into one: clients find their frames by it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
