"""One task that asks two models: CLIP for the scene, and BioCLIP what lives in it."""

from dataclasses import replace
from typing import NamedTuple

from hearth.batching import RequestContext
from hearth.families.clip.labels.index import Scored
from hearth.families.clip.labels.sets.source import SCENES
from hearth.families.clip.model import ClipModel, shared_picture
from hearth.families.clip.preprocess import SharedPicture
from hearth.families.clip.tasks import vectors
from hearth.families.clip.tasks.vectors import TOP_K
from hearth.media import ImagePayload
from hearth.media.formats import PICTURES
from hearth.plan import Plan, Step
from hearth.tasks import render
from hearth.tasks.answer import Result
from hearth.tasks.images import parse_image
from hearth.tasks.task import Call, Task

ANIMAL_LIKE = frozenset({"animal", "bird", "insect"})
"""Scenes of ``assets/scenes.txt`` that BioCLIP is asked about."""

SOURCE = "source"


class SourcedLabels(NamedTuple):
    """Labels of a picture, and which model's they are."""

    scored: Scored
    model_id: str
    source: str


class _SmartRequest(NamedTuple):
    clip: ClipModel
    bioclip: ClipModel
    most: int
    context: RequestContext


async def _scene(asked: _SmartRequest, picture: SharedPicture) -> SourcedLabels:
    clip, _, most, context = asked
    vector = await clip.embed_image(picture, context)
    scored = await clip.classify(vector, SCENES, most, context=context)
    return SourcedLabels(scored, clip.model_id, "scene_classification")


async def _species(
    asked: _SmartRequest, picture: SharedPicture, scene: SourcedLabels
) -> SourcedLabels:
    """Ask for the species of an animal; any other picture keeps its scene."""
    if scene.scored[0][0] not in ANIMAL_LIKE:
        return scene
    _, bioclip, most, context = asked
    vector = await bioclip.embed_image(picture, context)
    scored = await bioclip.classify(vector, bioclip.classes, most, context=context)
    return SourcedLabels(scored, bioclip.model_id, "bioclip_classification")


SMART = Plan(
    (Step("scene", _scene, ("picture",)), Step("species", _species, ("picture", "scene"))),
    given=("picture",),
)


async def _classify(clip: ClipModel, file: ImagePayload, call: Call) -> SourcedLabels:
    bioclip: ClipModel = call.others["bioclip"]
    asked = _SmartRequest(clip, bioclip, call.options[TOP_K.name], call.context)
    answers = await SMART.run(asked, {"picture": shared_picture(file, clip, bioclip)})
    answer: SourcedLabels = answers["species"]
    return answer


def _render(_: ClipModel, answer: SourcedLabels, __: Call) -> Result:
    result = render.labels(answer.scored, answer.model_id)
    return result._replace(meta={**result.meta, SOURCE: answer.source})


SMART_TASKS: tuple[Task, ...] = (
    Task(
        name="smart_classify",
        aliases=("smartclip_classify",),
        service="clip",
        uses={"bioclip": lambda model: model.labels_missing(model.classes)},
        summary="which species a picture of an animal shows, and of any other picture the scene",
        inputs=PICTURES,
        schema=render.LABELS_V1,
        parse=parse_image,
        call=_classify,
        render=_render,
        options=(replace(TOP_K, default=3),),
        missing=vectors.labels_missing(SCENES),
    ),
)
