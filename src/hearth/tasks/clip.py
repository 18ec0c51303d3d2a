"""The tasks of the service ``clip``."""

from dataclasses import replace

from hearth.models.labels import SCENES
from hearth.tasks import render, vectors
from hearth.tasks.aliases import ALIASES
from hearth.tasks.options import LABELS, RAW_VECTOR, TOP_K
from hearth.tasks.prepared import file_of
from hearth.tasks.task import IMAGES, JSON, RAW, TEXT, Task

CLIP_TASKS: tuple[Task, ...] = (
    Task(
        name="clip_classify",
        service="clip",
        summary="what is in a picture, out of ImageNet's 1000 classes or labels of your own",
        inputs=IMAGES,
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
        inputs=IMAGES,
        schema=render.LABELS,
        parse=file_of,
        call=vectors.classify_with(SCENES),
        render=vectors.render_labels,
        options=(replace(TOP_K, default=3),),
        missing=vectors.labels_missing(SCENES),
    ),
    Task(
        name="clip_image_embed",
        aliases=ALIASES["clip_image_embed"],
        service="clip",
        summary="the unit vector of a picture",
        inputs=IMAGES,
        outputs=(JSON, RAW),
        schema=render.EMBEDDING,
        parse=file_of,
        call=vectors.embed_image,
        render=vectors.render_vector,
        options=(RAW_VECTOR,),
    ),
    Task(
        name="clip_embed",
        aliases=ALIASES["clip_embed"],
        service="clip",
        summary=f"the unit vector of “{vectors.PROMPT}” with a text",
        inputs=(TEXT,),
        outputs=(JSON, RAW),
        schema=render.EMBEDDING,
        parse=vectors.parse_prompt,
        call=vectors.embed_text,
        render=vectors.render_vector,
        options=(RAW_VECTOR,),
        interactive=True,
        limits={"max_characters": str(vectors.LONGEST_NAME)},
        missing=vectors.text_missing,
    ),
)
