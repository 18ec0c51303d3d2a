"""The tasks of the service ``bioclip``."""

from dataclasses import replace

from hearth.tasks import render, vectors
from hearth.tasks.aliases import ALIASES
from hearth.tasks.options import LABELS, RANK, RAW_VECTOR, TOP_K
from hearth.tasks.prepared import file_or_tensor_of
from hearth.tasks.task import IMAGES, JSON, RAW, TEXT, Task

BIOCLIP_TASKS: tuple[Task, ...] = (
    Task(
        name="bioclip_classify",
        aliases=ALIASES["bioclip_classify"],
        service="bioclip",
        summary="which species a picture shows, or which genus, family, …; or labels of your own",
        inputs=IMAGES,
        schema=render.LABELS,
        parse=vectors.parse_to_classify,
        call=vectors.classify,
        render=vectors.render_labels,
        options=(replace(TOP_K, default=3), RANK, LABELS),
        tensors=True,
        missing=vectors.classes_missing,
    ),
    Task(
        name="bioclip_image_embed",
        service="bioclip",
        summary="the unit vector of a picture of something alive",
        inputs=IMAGES,
        outputs=(JSON, RAW),
        schema=render.EMBEDDING,
        parse=file_or_tensor_of,
        call=vectors.embed_image,
        render=vectors.render_vector,
        options=(RAW_VECTOR,),
        tensors=True,
    ),
    Task(
        name="bioclip_embed",
        aliases=ALIASES["bioclip_embed"],
        service="bioclip",
        summary=f"the unit vector of “{vectors.PROMPT}” with a name",
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
