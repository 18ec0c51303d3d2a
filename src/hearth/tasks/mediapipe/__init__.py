"""Tasks on pictures and videos of people: faces, hands, bodies, and who stands in front."""

from hearth.tasks.mediapipe.effect import SEGMENTATION_EFFECT
from hearth.tasks.mediapipe.faces import FACE_DETECTION
from hearth.tasks.mediapipe.hands import HAND_TRACKING
from hearth.tasks.mediapipe.holistic import HOLISTIC_TRACKING
from hearth.tasks.mediapipe.iris import IRIS_TRACKING
from hearth.tasks.mediapipe.mesh import FACE_MESH
from hearth.tasks.mediapipe.pose import POSE_TRACKING
from hearth.tasks.mediapipe.segmentation import SELFIE_SEGMENTATION
from hearth.tasks.task import Task

__all__ = ["MEDIAPIPE_TASKS"]

MEDIAPIPE_TASKS: tuple[Task, ...] = (
    FACE_DETECTION,
    FACE_MESH,
    IRIS_TRACKING,
    HAND_TRACKING,
    POSE_TRACKING,
    HOLISTIC_TRACKING,
    SELFIE_SEGMENTATION,
    SEGMENTATION_EFFECT,
)
