"""All tasks there are: the one list that routing, capabilities, help and README are made from."""

from hearth.catalog import FieldInfo, SchemaInfo
from hearth.families.clip.tasks.bioclip import BIOCLIP_TASKS
from hearth.families.clip.tasks.clip import CLIP_TASKS
from hearth.families.clip.tasks.siglip import SIGLIP_TASKS
from hearth.families.clip.tasks.smart import SMART_TASKS
from hearth.families.compose.tasks import COMPOSE_TASKS
from hearth.families.face.tasks import FACE_TASKS
from hearth.families.mediapipe.tasks import MEDIAPIPE_TASKS
from hearth.families.ocr.tasks import OCR_TASKS
from hearth.tasks.render import MODEL
from hearth.tasks.task import Task

TASKS: tuple[Task, ...] = (
    *CLIP_TASKS,
    *BIOCLIP_TASKS,
    *SMART_TASKS,
    *SIGLIP_TASKS,
    *OCR_TASKS,
    *MEDIAPIPE_TASKS,
    *FACE_TASKS,
    *COMPOSE_TASKS,
)

TEXT_GENERATION_V1 = SchemaInfo(
    "text_generation_v1",
    "text that a model wrote; other nodes answer so",
    (
        FieldInfo("text", "text"),
        FieldInfo("finish_reason", "name", "stop, length, eos_token, stop_sequence or error"),
        FieldInfo("generated_tokens", "count"),
        FieldInfo("input_tokens", "count"),
        MODEL,
    ),
)

SCHEMAS: dict[str, SchemaInfo] = {
    schema.name: schema
    for schema in (*(task.schema for task in TASKS), TEXT_GENERATION_V1)
    if schema is not None
}
"""Schemas of all answers by name, each once."""
