"""Tasks on pictures and videos of people: faces, hands, bodies, and who stands in front."""

from hearth.families.mediapipe.tasks.effect import SEGMENTATION_EFFECT
from hearth.families.mediapipe.tasks.faces import FACE_DETECTION
from hearth.families.mediapipe.tasks.hands import HAND_TRACKING
from hearth.families.mediapipe.tasks.holistic import HOLISTIC_TRACKING
from hearth.families.mediapipe.tasks.iris import IRIS_TRACKING
from hearth.families.mediapipe.tasks.mesh import FACE_MESH
from hearth.families.mediapipe.tasks.pose import POSE_TRACKING
from hearth.families.mediapipe.tasks.segmentation import SELFIE_SEGMENTATION
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
