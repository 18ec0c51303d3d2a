"""The tasks of the service ``clip``."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from hearth.models.clip.labels import IMAGENET, SCENES
from hearth.models.clip.model import LONGEST_TEXT, ClipModel
from hearth.models.clip.tower import Vector
from hearth.tasks import render
from hearth.tasks.options import RAW_VECTOR, TOP_K
from hearth.tasks.parse import text_of
from hearth.tasks.task import IMAGES, JSON, RAW, TEXT, Call, Result, Task

PROMPT = "a photo of a {}"
"""What ``clip_embed`` puts a text into, as clients of the contract expect."""

_LONGEST = LONGEST_TEXT - len(PROMPT)

Scored = list[tuple[str, float]]


def _parse_image(_: ClipModel, call: Call) -> bytes:
    # Whatever the label says: the reader looks at the bytes.
    return call.request.payload


def _parse_prompt(_: ClipModel, call: Call) -> str:
    # Not str.format: a text may hold braces of its own.
    return PROMPT.replace("{}", text_of(call, _LONGEST))


async def _embed_image(model: ClipModel, payload: bytes, call: Call) -> Vector:
    return await model.embed_image(payload, call.ticket)


async def _embed_text(model: ClipModel, text: str, call: Call) -> Vector:
    return await model.embed_text(text, call.ticket)


def _classify(labels: str) -> Callable[[ClipModel, bytes, Call], Awaitable[Scored]]:
    async def classify(model: ClipModel, payload: bytes, call: Call) -> Scored:
        vector = await model.embed_image(payload, call.ticket)
        return model.classify(vector, labels, call.options[TOP_K.name])

    return classify


def _labels_missing(labels: str) -> Callable[[ClipModel], str | None]:
    return lambda model: model.labels_missing(labels)


def _render_vector(model: ClipModel, vector: Vector, call: Call) -> Result:
    return render.embedding(vector, model.model_id, call)


def _render_labels(model: ClipModel, scored: Scored, _: Call) -> Result:
    return render.labels(scored, model.model_id)


CLIP_TASKS: tuple[Task, ...] = (
    Task(
        name="clip_classify",
        service="clip",
        summary="what is in a picture, out of ImageNet's 1000 classes",
        inputs=IMAGES,
        schema=render.LABELS,
        parse=_parse_image,
        call=_classify(IMAGENET),
        render=_render_labels,
        options=(TOP_K,),
        missing=_labels_missing(IMAGENET),
    ),
    Task(
        name="clip_scene_classify",
        service="clip",
        summary="what kind of scene a picture shows",
        inputs=IMAGES,
        schema=render.LABELS,
        parse=_parse_image,
        call=_classify(SCENES),
        render=_render_labels,
        options=(replace(TOP_K, default=3),),
        missing=_labels_missing(SCENES),
    ),
    Task(
        name="clip_image_embed",
        service="clip",
        summary="the unit vector of a picture",
        inputs=IMAGES,
        outputs=(JSON, RAW),
        schema=render.EMBEDDING,
        parse=_parse_image,
        call=_embed_image,
        render=_render_vector,
        options=(RAW_VECTOR,),
    ),
    Task(
        name="clip_embed",
        aliases=("clip_text_embed",),
        service="clip",
        summary=f"the unit vector of “{PROMPT}” with a text",
        inputs=(TEXT,),
        outputs=(JSON, RAW),
        schema=render.EMBEDDING,
        parse=_parse_prompt,
        call=_embed_text,
        render=_render_vector,
        options=(RAW_VECTOR,),
        interactive=True,
        limits={"max_characters": str(_LONGEST)},
        missing=ClipModel.text_missing,
    ),
)
