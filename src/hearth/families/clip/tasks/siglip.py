"""The tasks of the service ``siglip``: vectors that search goes by."""

from hearth.families.clip.tasks import vectors
from hearth.tasks.task import Task

SIGLIP_TASKS: tuple[Task, ...] = (
    vectors.picture_task(
        "semantic_image_embed", "siglip", "the unit vector of a picture, for search", tensors=True
    ),
    vectors.text_task(
        "semantic_text_embed",
        "siglip",
        "the unit vector of a text as it is, for search",
        prompt=False,
    ),
)
