"""Parts of the tasks of CLIP's family: pictures and texts to vectors and labels."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hearth.catalog import JSON, RAW, TEXT
from hearth.errors import InvalidInput
from hearth.families.clip.labels.index import Scored
from hearth.families.clip.labels.limits import MOST_ANSWERS, MOST_LABELS
from hearth.families.clip.labels.ranks import RANKS
from hearth.families.clip.labels.sets.source import PROMPT
from hearth.families.clip.model import LONGEST_TEXT, ClipModel
from hearth.families.clip.tasks.tensors import parse_image_or_tensor
from hearth.families.clip.tensors import PreparedTensor
from hearth.media import ImagePayload
from hearth.media.formats import PICTURES
from hearth.models.vectors import Vector
from hearth.tasks import render
from hearth.tasks.answer import Result
from hearth.tasks.images import parse_image
from hearth.tasks.options import RAW_VECTOR, Option
from hearth.tasks.parse import text_of
from hearth.tasks.task import Call, Task

TOP_K = Option(
    "topk",
    "int",
    5,
    f"how many labels, at most {MOST_ANSWERS}; more than there are means all",
    # All of these are sent by clients of the field.
    aliases=("top_k", "TopK", "topK", "top-k", "lumen.top_k"),
    least=1,
)

RANK = Option(
    "rank",
    "choice",
    None,
    "answer with names at this rank: what is below one is summed up",
    choices=RANKS,
)

LABELS = Option(
    "labels",
    "list",
    None,
    "classify among these instead: a JSON array, or texts with commas or line ends between",
    most=MOST_LABELS,
)

LONGEST_NAME = LONGEST_TEXT - len(PROMPT)
"""Largest number of characters in a text that is put into the prompt."""


def parse_prompt(_: ClipModel, call: Call) -> str:
    """Put the request's text into the prompt that clients of the contract expect."""
    # Not str.format: a text may hold braces of its own.
    return PROMPT.replace("{}", text_of(call, LONGEST_NAME))


def parse_text(_: ClipModel, call: Call) -> str:
    """Return the request's text as it is."""
    return text_of(call, LONGEST_TEXT)


def parse_to_classify(model: ClipModel, call: Call) -> ImagePayload | PreparedTensor:
    """Return the picture; refuse options that don't go together before anything runs."""
    rank = call.options.get(RANK.name)
    if rank and call.options.get(LABELS.name):
        raise InvalidInput("rank is of the node's own labels: send rank or labels, not both")
    if rank and not model.has_ranks(model.classes):
        raise InvalidInput(f"rank = {rank!r}: the labels here have no ranks")
    return parse_image_or_tensor(model, call)


def embed_image(
    model: ClipModel, picture: ImagePayload | PreparedTensor, call: Call
) -> Awaitable[Vector]:
    """Embed the request's picture."""
    return model.embed_image(picture, call.context)


def embed_text(model: ClipModel, text: str, call: Call) -> Awaitable[Vector]:
    """Embed the request's text."""
    return model.embed_text(text, call.context)


async def classify(model: ClipModel, picture: ImagePayload | PreparedTensor, call: Call) -> Scored:
    """Classify among the labels of the request, or else the model's own."""
    vector = await model.embed_image(picture, call.context)
    count = call.options[TOP_K.name]
    if labels := call.options.get(LABELS.name):
        return await model.classify_among(vector, labels, count, call.context)
    rank = call.options.get(RANK.name)
    return await model.classify(vector, model.classes, count, rank=rank, context=call.context)


def classify_with(name: str) -> Callable[[ClipModel, ImagePayload, Call], Awaitable[Scored]]:
    """Make the ``call`` of a task that always classifies with one label set."""

    async def call_it(model: ClipModel, picture: ImagePayload, call: Call) -> Scored:
        vector = await model.embed_image(picture, call.context)
        return await model.classify(vector, name, call.options[TOP_K.name], context=call.context)

    return call_it


def classes_missing(model: ClipModel, options: Mapping[str, Any]) -> str | None:
    """Say why nothing can be classified, or None; labels of the request's own need none of ours."""
    if options.get(LABELS.name):
        return model.text_missing()
    return model.labels_missing(model.classes)


def labels_missing(name: str) -> Callable[[ClipModel, Mapping[str, Any]], str | None]:
    """Make the ``missing`` of a task that always classifies with one label set."""
    return lambda model, _: model.labels_missing(name)


def render_labels(model: ClipModel, scored: Scored, _: Call) -> Result:
    return render.labels(scored, model.model_id)


def _text_missing(model: ClipModel, _: Mapping[str, Any]) -> str | None:
    return model.text_missing()


def picture_task(
    name: str, service: str, summary: str, *, tensors: bool, aliases: tuple[str, ...] = ()
) -> Task:
    """Declare a task that gives a picture's vector; ``tensors``: prepared ones are taken too."""
    return Task(
        name=name,
        aliases=aliases,
        service=service,
        summary=summary,
        inputs=PICTURES,
        outputs=(JSON, RAW),
        schema=render.EMBEDDING_V1,
        parse=parse_image_or_tensor if tensors else parse_image,
        call=embed_image,
        render=render.embedding,
        options=(RAW_VECTOR,),
        tensors=tensors,
    )


def text_task(
    name: str, service: str, summary: str, *, prompt: bool, aliases: tuple[str, ...] = ()
) -> Task:
    """Declare a task that gives the vector of a text, as it is or in ``PROMPT``."""
    return Task(
        name=name,
        aliases=aliases,
        service=service,
        summary=summary,
        inputs=(TEXT,),
        outputs=(JSON, RAW),
        schema=render.EMBEDDING_V1,
        parse=parse_prompt if prompt else parse_text,
        call=embed_text,
        render=render.embedding,
        options=(RAW_VECTOR,),
        interactive=True,
        limits={"max_characters": str(LONGEST_NAME if prompt else LONGEST_TEXT)},
        missing=_text_missing,
    )
