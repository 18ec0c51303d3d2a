"""Tasks on pictures and videos of people: faces, hands, bodies, and who stands in front."""

from hearth.tasks.mediapipe.faces import FACE_DETECTION
from hearth.tasks.mediapipe.hands import HAND_TRACKING
from hearth.tasks.task import Task

__all__ = ["MEDIAPIPE_TASKS"]

MEDIAPIPE_TASKS: tuple[Task, ...] = (FACE_DETECTION, HAND_TRACKING)
