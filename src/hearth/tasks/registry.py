"""All tasks there are: the one list that routing, capabilities, help and README are made from."""

from hearth.tasks.bioclip import BIOCLIP_TASKS
from hearth.tasks.clip import CLIP_TASKS
from hearth.tasks.compose import COMPOSE_TASKS
from hearth.tasks.face import FACE_TASKS
from hearth.tasks.mediapipe import MEDIAPIPE_TASKS
from hearth.tasks.ocr import OCR_TASKS
from hearth.tasks.siglip import SIGLIP_TASKS
from hearth.tasks.smart import SMART_TASKS
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
