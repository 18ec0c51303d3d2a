"""Answers of mediapipe's solutions: run by mediapipe_reference.py, where mediapipe is."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mediapipe.python import solutions

import reference_kit as kit

STILL: Mapping[str, Any] = {"static_image_mode": True}
MOVING: Mapping[str, Any] = {"static_image_mode": False}
WALKS = ("astronaut_drifting", "grace_leaving")
WHOLE = (
    "astronaut", "astronaut_turned_15", "astronaut_tall", "grace", "camera", "coffee",
    "grace_waving",
)  # fmt: skip
MASKED = ("palm", "group_2", "group_4", "group_6")

SAME = 0.05
"""Largest difference of another machine's answers, in twentieths of a pixel."""


def points_of(landmarks: Any, width: int, height: int) -> list[list[float]]:
    """[x, y, z] in pixels; z is relative and scales with the width."""
    return [
        [round(p.x * width, 2), round(p.y * height, 2), round(p.z * width, 2)]
        for p in landmarks.landmark
    ]


def world_of(landmarks: Any) -> list[list[float]]:
    """[x, y, z] in metres."""
    return [[round(value, 4) for value in (p.x, p.y, p.z)] for p in landmarks.landmark]


def face_boxes(result: Any, width: int, height: int) -> dict[str, Any]:
    """Read the answer ofFaceDetection, best first."""
    faces = []
    for found in result.detections or ():
        box = found.location_data.relative_bounding_box
        left, top = box.xmin * width, box.ymin * height
        corners = (left, top, left + box.width * width, top + box.height * height)
        faces.append({
            "score": round(found.score[0], 4),
            "box": [round(value, 2) for value in corners],
            "keypoints": [
                [round(p.x * width, 2), round(p.y * height, 2)]
                for p in found.location_data.relative_keypoints
            ],
        })  # fmt: skip
    return {"faces": faces}


def meshes(result: Any, width: int, height: int) -> dict[str, Any]:
    """Read the answer ofFaceMesh."""
    return {"faces": [points_of(f, width, height) for f in result.multi_face_landmarks or ()]}


def irises(result: Any, width: int, height: int) -> dict[str, Any]:
    """Read the answer ofFaceMesh with refine_landmarks, each face's right and left: centre
    first.
    """
    faces = meshes(result, width, height)["faces"]
    return {"faces": [{"right": f[468:473], "left": f[473:478]} for f in faces]}


def hands_of(result: Any, width: int, height: int) -> dict[str, Any]:
    """Read the answer ofHands."""
    found = zip(
        result.multi_hand_landmarks or (),
        result.multi_hand_world_landmarks or (),
        result.multi_handedness or (),
        strict=True,
    )
    other = {"Left": "Right", "Right": "Left"}
    return {"hands": [{
        "label": handedness.classification[0].label,
        "side": other[handedness.classification[0].label],
        "score": round(handedness.classification[0].score, 4),
        "points": points_of(points, width, height),
        "world_points": world_of(world),
    } for points, world, handedness in found]}  # fmt: skip


def pose_of(result: Any, width: int, height: int) -> dict[str, Any]:
    """Read the answer ofPose and Holistic."""
    if result.pose_landmarks is None:
        return {"pose": None}
    return {"pose": {
        "points": points_of(result.pose_landmarks, width, height),
        "visibility": [round(p.visibility, 4) for p in result.pose_landmarks.landmark],
        "world_points": world_of(result.pose_world_landmarks),
    }}  # fmt: skip


def whole_body(result: Any, width: int, height: int) -> dict[str, Any]:
    """Read the answer ofHolistic; left and right are the subject's here."""
    parts = {
        "face": result.face_landmarks,
        "left_hand": result.left_hand_landmarks,
        "right_hand": result.right_hand_landmarks,
    }
    return pose_of(result, width, height) | {
        name: None if part is None else points_of(part, width, height)
        for name, part in parts.items()
    }


def mask_of(result: Any, width: int, height: int) -> dict[str, Any]:
    """Read the answer ofSelfieSegmentation."""
    mask = result.segmentation_mask
    assert mask.shape == (height, width)
    return kit.packed_mask(mask)


Process = Callable[[Any], dict[str, Any]]


def processor(solution: str, kind: str, read: Callable[..., Any], **options: Any) -> Process:
    """Make a function from pixels to an answer; one graph, for as long as the function lives."""
    graph = getattr(getattr(solutions, solution), kind)(**options)

    def process(pixels: Any) -> dict[str, Any]:
        height, width = pixels.shape[:2]
        return read(graph.process(pixels), width, height)

    return process


class Job:
    """One configuration of one solution, and what it sees: the content of one file."""

    def __init__(
        self,
        sees: Iterable[str],
        read: Callable[..., Any],
        solution: str,
        kind: str,
        **options: Any,
    ) -> None:
        self.sees = tuple(sees)
        """Names of pictures, or of videos."""
        self._made = (solution, kind, read)
        self._options = options
        shown = ", ".join(f"{name}={value}" for name, value in options.items())
        self.says = f"mediapipe 0.10.21, mp.solutions.{solution}.{kind}({shown})"

    def process(self) -> Process:
        """Run a fresh graph."""
        return processor(*self._made, **self._options)


def pictures_job(job: Job) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the answers by picture, and by how much other times' differ at most."""
    first, second = ({name: job.process()(kit.picture(name)) for name in job.sees} for _ in "12")
    process = job.process()
    again = {name: [process(kit.picture(name)) for _ in "12"][-1] for name in job.sees}
    cases = {
        name: {
            "crc32": kit.crc32(kit.picture(name)),
            "width": kit.picture(name).shape[1],
            "height": kit.picture(name).shape[0],
            **answer,
        }
        for name, answer in first.items()
    }
    return cases, {
        "repeats_within": difference(first, second),
        "carried_over": difference(first, again),
    }


def videos_job(job: Job) -> tuple[dict[str, Any], dict[str, float]]:
    """Give the answers by video, of which some frames' answers are kept."""
    cases, largest = {}, 0.0
    for name in job.sees:
        video = kit.VIDEOS[name]
        frames = video.frames()
        runs = []
        for _ in range(2):
            process = job.process()
            runs.append([process(frame) for frame in frames])
        largest = max(largest, difference(*runs))
        cases[name] = {
            "crc32": kit.crc32(frames),
            "width": frames.shape[2],
            "height": frames.shape[1],
            "found": [found(answer) for answer in runs[0]],
            "frames": {str(at): runs[0][at] for at in video.kept},
        }
    return cases, {"repeats_within": largest}


def found(answer: Mapping[str, Any]) -> list[int]:
    """Count each part."""
    return [len(p) if isinstance(p, list) else int(p is not None) for p in answer.values()]


def difference(one: Any, other: Any) -> float:
    """Find the largest difference between numbers at the same place; infinite where anything else
    differs.
    """
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other)
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(difference, one, other), default=0.0)
    return 0.0 if one == other else float("inf")


_MESH = ("face_mesh", "FaceMesh")
_BOXES = ("face_detection", "FaceDetection")
_POSE = ("pose", "Pose")
_HANDS = ("hands", "Hands")
_HOLISTIC = ("holistic", "Holistic")
_MASK = ("selfie_segmentation", "SelfieSegmentation")
_PLAIN: Mapping[str, Any] = {"refine_landmarks": False}
_FULL: Mapping[str, Any] = {"model_complexity": 1}

JOBS: Mapping[str, Job] = {
    "face_detection_short": Job(kit.PICTURES, face_boxes, *_BOXES, model_selection=0),
    "face_detection_full": Job(kit.PICTURES, face_boxes, *_BOXES, model_selection=1),
    "face_mesh": Job(
        (*kit.PEOPLE, *kit.NOBODY), meshes, *_MESH, **STILL, **_PLAIN, max_num_faces=1
    ),
    "face_mesh_several": Job(kit.SEVERAL, meshes, *_MESH, **STILL, **_PLAIN, max_num_faces=3),
    "iris": Job(kit.PEOPLE, irises, *_MESH, **STILL, refine_landmarks=True),
    "pose": Job(kit.PICTURES, pose_of, *_POSE, **STILL, **_FULL),
    "hands": Job(
        (*kit.HANDS, "astronaut", *kit.NOBODY), hands_of, *_HANDS, **STILL, max_num_hands=2
    ),
    "holistic": Job(WHOLE, whole_body, *_HOLISTIC, **STILL, **_FULL),
    "selfie_general": Job(kit.PICTURES, mask_of, *_MASK, model_selection=0),
    "selfie_landscape": Job(kit.PICTURES, mask_of, *_MASK, model_selection=1),
    "real_face_detection_short": Job(kit.GROUPS, face_boxes, *_BOXES, model_selection=0),
    "real_face_detection_full": Job(kit.GROUPS, face_boxes, *_BOXES, model_selection=1),
    "real_face_mesh": Job(kit.GROUPS, meshes, *_MESH, **STILL, **_PLAIN, max_num_faces=5),
    "real_pose": Job(("palm", *kit.GROUPS), pose_of, *_POSE, **STILL, **_FULL),
    "real_hands": Job(kit.REAL, hands_of, *_HANDS, **STILL, max_num_hands=4),
    "real_holistic": Job(("palm", *kit.GROUPS), whole_body, *_HOLISTIC, **STILL, **_FULL),
    "real_selfie_general": Job(MASKED, mask_of, *_MASK, model_selection=0),
    "real_selfie_landscape": Job(MASKED, mask_of, *_MASK, model_selection=1),
    "video_face_mesh": Job(WALKS, meshes, *_MESH, **MOVING, **_PLAIN, max_num_faces=1),
    "video_face_mesh_two": Job(
        ("two_passing",), meshes, *_MESH, **MOVING, **_PLAIN, max_num_faces=2
    ),
    "video_pose": Job(WALKS, pose_of, *_POSE, **MOVING, **_FULL),
    "video_hands": Job(("hands_passing",), hands_of, *_HANDS, **MOVING, max_num_hands=2),
    "real_video_pose": Job(("pedestrian_walking",), pose_of, *_POSE, **MOVING, **_FULL),
    "video_holistic": Job(("grace_greeting",), whole_body, *_HOLISTIC, **MOVING, **_FULL),
}
"""By the names of their files."""


def written(job: Job) -> str:
    """Write a file's text: one line a case."""
    moves = all(name in kit.VIDEOS for name in job.sees)
    cases, repeats = (videos_job if moves else pictures_job)(job)
    head = {"made_by": job.says, **repeats}
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    rows = (f"{json.dumps(name)}: {json.dumps(case, separators=(',', ':'))}"
            for name, case in cases.items())  # fmt: skip
    return "{" + ",\n".join(lines) + ',\n"cases": {\n' + ",\n".join(rows) + "\n}}\n"


def work(names: Iterable[str], *, check: bool) -> int:
    """Answer, and write or compare; the exit code."""
    different = []
    for name in names or JOBS:
        text = written(JOBS[name])
        path = kit.ANSWERS / f"{name}.json"
        if not check:
            path.write_text(text)
            print(f"{path.name}: {len(text):,} bytes", flush=True)
            continue
        kept, now = (json.loads(one)["cases"] for one in (path.read_text(), text))
        if (largest := difference(kept, now)) > SAME:
            different.append(name)
        print(f"{name}: differs by {largest:g} from what is kept", flush=True)
    return 1 if different else 0


if __name__ == "__main__":
    *chosen, last = sys.argv[1:]
    sys.exit(work(chosen, check=last == "check"))
