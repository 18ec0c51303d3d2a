"""The tasks of the service ``bioclip``."""

from dataclasses import replace

from hearth.families.clip.labels.sets.source import PROMPT
from hearth.families.clip.tasks import vectors
from hearth.families.clip.tasks.vectors import LABELS, RANK, TOP_K
from hearth.media.formats import PICTURES
from hearth.tasks import render
from hearth.tasks.task import Task

BIOCLIP_TASKS: tuple[Task, ...] = (
    Task(
        name="bioclip_classify",
        aliases=("smartclip_bioclassify",),
        service="bioclip",
        summary="which species a picture shows, or which genus, family, …; or labels of your own",
        inputs=PICTURES,
        schema=render.LABELS_V1,
        parse=vectors.parse_to_classify,
        call=vectors.classify,
        render=vectors.render_labels,
        options=(replace(TOP_K, default=3), RANK, LABELS),
        tensors=True,
        missing=vectors.classes_missing,
    ),
    vectors.picture_task(
        "bioclip_image_embed",
        "bioclip",
        "the unit vector of a picture of something alive",
        tensors=True,
    ),
    vectors.text_task(
        "bioclip_embed",
        "bioclip",
        f"the unit vector of “{PROMPT}” with a name",
        prompt=True,
        aliases=("bioclip_text_embed",),
    ),
)
