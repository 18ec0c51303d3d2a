"""mp.solutions' side of ``vision.py``: run in the environment of tools/mediapipe_reference.py.

Each line on the standard input asks for one measurement, {"task", "mode", "frames", "jpeg"},
and gets a line with the CPU seconds of a frame, all threads, and whether something was found.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "kits"))

import cv2
import numpy as np
from mediapipe.python import solutions

import reference_kit as kit
from _vision_cases import CASES, there_and_back

MAKERS: Mapping[str, Callable[[bool], Any]] = {
    "face_detection": lambda _: solutions.face_detection.FaceDetection(model_selection=0),
    "face_detection full": lambda _: solutions.face_detection.FaceDetection(model_selection=1),
    "face_mesh": lambda still: solutions.face_mesh.FaceMesh(static_image_mode=still),
    "iris_tracking": lambda still: solutions.face_mesh.FaceMesh(
        static_image_mode=still, refine_landmarks=True
    ),
    "hand_tracking": lambda still: solutions.hands.Hands(static_image_mode=still),
    "pose_tracking": lambda still: solutions.pose.Pose(static_image_mode=still),
    "holistic_tracking": lambda still: solutions.holistic.Holistic(static_image_mode=still),
    "selfie_segmentation": lambda _: solutions.selfie_segmentation.SelfieSegmentation(0),
    "selfie_segmentation landscape": lambda _: solutions.selfie_segmentation.SelfieSegmentation(1),
}
"""Solutions with their defaults; the argument: for single pictures."""

FOUND = ("detections", "multi_face_landmarks", "multi_hand_landmarks", "pose_landmarks",
         "segmentation_mask")  # fmt: skip


class Side:
    """The graphs, each made once, and how far each video is."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[str, bool], Any] = {}
        self._at: dict[str, int] = {}
        self._videos: dict[str, Any] = {}

    def measure(self, task: str, mode: str, frames: int, jpeg: str) -> dict[str, Any]:
        """CPU seconds of a frame."""
        key = (task, mode != "video")
        if key not in self._graphs:
            self._graphs[key] = MAKERS[task](mode != "video")
        process = self._graphs[key].process
        case = CASES[task]
        if mode == "video":
            return self._timed(process, self._next(task, case.video or "", frames))
        if mode == "raw":
            return self._timed(process, [kit.picture(case.picture)] * frames)
        data = np.frombuffer(Path(jpeg).read_bytes(), np.uint8)

        def decoded(payload: Any) -> Any:
            pixels = cv2.imdecode(payload, cv2.IMREAD_COLOR)
            return process(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))

        return self._timed(decoded, [data] * frames)

    def _next(self, task: str, video: str, count: int) -> list[Any]:
        if video not in self._videos:
            self._videos[video] = kit.VIDEOS[video].frames()
        frames = self._videos[video]
        start = self._at.get(task, 0)
        self._at[task] = start + count
        return [frames[at] for at in there_and_back(count, start, len(frames))]

    @staticmethod
    def _timed(process: Callable[[Any], Any], inputs: list[Any]) -> dict[str, Any]:
        started = time.process_time()
        for one in inputs:
            result = process(one)
        took = time.process_time() - started
        found = any(getattr(result, name, None) is not None for name in FOUND)
        return {"cpu": took / len(inputs), "found": found}


def main() -> None:
    """Answer line by line."""
    # mediapipe writes its log lines to either stream; the answers have one of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    side = Side()
    for line in sys.stdin:
        print(json.dumps(side.measure(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
