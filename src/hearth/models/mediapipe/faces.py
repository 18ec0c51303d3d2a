"""Faces as boxes with six keypoints, by BlazeFace at short and at full range."""

from typing import Literal

from hearth.batching import NO_HURRY, Ticket
from hearth.models.mediapipe import detector
from hearth.models.mediapipe.detector import Detection
from hearth.models.mediapipe.frame import Frame
from hearth.models.mediapipe.stage import StageOf

Range = Literal["short", "full"]

KEYPOINTS = (
    "right_eye",
    "left_eye",
    "nose_tip",
    "mouth_center",
    "right_ear_tragion",
    "left_ear_tragion",
)
"""In the model's order; right and left are the subject's (MediaPipe's FaceKeyPoint)."""

MIN_CONFIDENCE = 0.5
"""MediaPipe's min_detection_confidence."""


class FaceFinder:
    """Finds faces: within some 2 metres (short range), or 5 (full range)."""

    def __init__(self, stage_of: StageOf) -> None:
        self._readers = {"short": detector.FACE_SHORT, "full": detector.FACE_FULL}
        names = {"short": "face_detection_short_range", "full": "face_detection_full_range_sparse"}
        self._stages = {
            which: stage_of(names[which], reader.wants, reader.read)
            for which, reader in self._readers.items()
        }

    async def find(
        self,
        frame: Frame,
        *,
        which: Range = "short",
        min_confidence: float = MIN_CONFIDENCE,
        ticket: Ticket = NO_HURRY,
    ) -> list[Detection]:
        """The faces in a frame, the surest first, with ``KEYPOINTS``.

        Raises ModelFailed, and what a batch queue raises.
        """
        region = self._readers[which].region(frame)
        found: list[Detection] = await self._stages[which].look(
            frame, region, ticket, asked=min_confidence
        )
        return found
