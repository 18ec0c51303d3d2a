"""Being written."""

from hearth.tasks.task import Task

OCR_TASKS: tuple[Task, ...] = ()
