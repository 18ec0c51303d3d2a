"""The tasks of the service ``clip``."""

from dataclasses import replace

from hearth.models.labels.sets.source import PROMPT, SCENES
from hearth.tasks import render, vectors
from hearth.tasks.aliases import ALIASES
from hearth.tasks.options import LABELS, TOP_K
from hearth.tasks.prepared import file_of
from hearth.tasks.task import PICTURES, Task

CLIP_TASKS: tuple[Task, ...] = (
    Task(
        name="clip_classify",
        service="clip",
        summary="what is in a picture, out of ImageNet's 1000 classes or labels of your own",
        inputs=PICTURES,
        schema=render.LABELS,
        parse=file_of,
        call=vectors.classify,
        render=vectors.render_labels,
        options=(TOP_K, LABELS),
        missing=vectors.classes_missing,
    ),
    Task(
        name="clip_scene_classify",
        aliases=ALIASES["clip_scene_classify"],
        service="clip",
        summary="what kind of scene a picture shows",
        inputs=PICTURES,
        schema=render.LABELS,
        parse=file_of,
        call=vectors.classify_with(SCENES),
        render=vectors.render_labels,
        options=(replace(TOP_K, default=3),),
        missing=vectors.labels_missing(SCENES),
    ),
    vectors.picture_task("clip_image_embed", "clip", "the unit vector of a picture", tensors=False),
    vectors.text_task(
        "clip_embed", "clip", f"the unit vector of “{PROMPT}” with a text", prompt=True
    ),
)
