"""The tasks of the service ``siglip``: vectors that search goes by."""

from hearth.models.clip.model import LONGEST_TEXT
from hearth.tasks import render, vectors
from hearth.tasks.options import RAW_VECTOR
from hearth.tasks.prepared import file_or_tensor_of
from hearth.tasks.task import IMAGES, JSON, RAW, TEXT, Task

SIGLIP_TASKS: tuple[Task, ...] = (
    Task(
        name="semantic_image_embed",
        service="siglip",
        summary="the unit vector of a picture, for search",
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
        name="semantic_text_embed",
        service="siglip",
        summary="the unit vector of a text as it is, for search",
        inputs=(TEXT,),
        outputs=(JSON, RAW),
        schema=render.EMBEDDING,
        parse=vectors.parse_text,
        call=vectors.embed_text,
        render=vectors.render_vector,
        options=(RAW_VECTOR,),
        interactive=True,
        limits={"max_characters": str(LONGEST_TEXT)},
        missing=vectors.text_missing,
    ),
)
