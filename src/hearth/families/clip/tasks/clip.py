"""The tasks of the service ``clip``; their aliases are sent by clients of the field."""

from dataclasses import replace

from hearth.families.clip.labels.sets.source import PROMPT, SCENES
from hearth.families.clip.tasks import vectors
from hearth.families.clip.tasks.vectors import LABELS, TOP_K
from hearth.media.formats import PICTURES
from hearth.tasks import render
from hearth.tasks.images import parse_image
from hearth.tasks.task import Task

CLIP_TASKS: tuple[Task, ...] = (
    Task(
        name="clip_classify",
        service="clip",
        summary="what is in a picture, out of ImageNet's 1000 classes or labels of your own",
        inputs=PICTURES,
        schema=render.LABELS_V1,
        parse=parse_image,
        call=vectors.classify,
        render=vectors.render_labels,
        options=(TOP_K, LABELS),
        missing=vectors.classes_missing,
    ),
    Task(
        name="clip_scene_classify",
        aliases=("smartclip_scene_classify",),
        service="clip",
        summary="what kind of scene a picture shows",
        inputs=PICTURES,
        schema=render.LABELS_V1,
        parse=parse_image,
        call=vectors.classify_with(SCENES),
        render=vectors.render_labels,
        options=(replace(TOP_K, default=3),),
        missing=vectors.labels_missing(SCENES),
    ),
    vectors.picture_task(
        "clip_image_embed",
        "clip",
        "the unit vector of a picture",
        tensors=False,
        aliases=("smartclip_image_embed",),
    ),
    vectors.text_task(
        "clip_embed",
        "clip",
        f"the unit vector of “{PROMPT}” with a text",
        prompt=True,
        aliases=("clip_text_embed", "smartclip_text_embed"),
    ),
)
