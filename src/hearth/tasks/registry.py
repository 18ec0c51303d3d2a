"""All tasks there are: the one list that routing, capabilities, help and README are made from."""

from hearth.tasks.clip import CLIP_TASKS
from hearth.tasks.ocr import OCR_TASKS
from hearth.tasks.task import Task

TASKS: tuple[Task, ...] = (*CLIP_TASKS, *OCR_TASKS)
