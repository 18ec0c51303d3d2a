"""Being written."""

from hearth.tasks.task import Task

CLIP_TASKS: tuple[Task, ...] = ()
