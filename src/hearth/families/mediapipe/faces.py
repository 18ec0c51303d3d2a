"""Faces as boxes with six keypoints, by BlazeFace at short and at full range."""

from typing import Literal, NamedTuple

from hearth.batching import NO_CONTEXT, RequestContext
from hearth.families.mediapipe import detector
from hearth.families.mediapipe.detector import Detection, RegionDetector
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.stage import StageOf

Range = Literal["short", "full"]

KEYPOINTS = (
    "right_eye",
    "left_eye",
    "nose_tip",
    "mouth_center",
    "right_ear_tragion",
    "left_ear_tragion",
)
"""Names in the model's order; right and left are the subject's (MediaPipe's FaceKeyPoint)."""

MIN_CONFIDENCE = 0.5
"""MediaPipe's min_detection_confidence."""


class WantedFaces(NamedTuple):
    """Choice of the faces that are wanted."""

    range: Range = "short"
    min_confidence: float = MIN_CONFIDENCE


ANY_FACE = WantedFaces()


class FaceFinder:
    """Finds faces: within some 2 metres (short range), or 5 (full range)."""

    def __init__(self, stage_of: StageOf) -> None:
        self._detectors = {
            "short": RegionDetector("face_detection_short_range", detector.FACE_SHORT, stage_of),
            "full": RegionDetector(
                "face_detection_full_range_sparse", detector.FACE_FULL, stage_of
            ),
        }

    async def find(
        self, frame: Frame, wanted: WantedFaces = ANY_FACE, context: RequestContext = NO_CONTEXT
    ) -> list[Detection]:
        """Find the faces in a frame, the surest first, with ``KEYPOINTS``.

        Raises ModelFailed, and what a batch queue raises.
        """
        return await self._detectors[wanted.range].find(frame, wanted.min_confidence, context)
