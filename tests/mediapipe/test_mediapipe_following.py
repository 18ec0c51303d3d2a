"""What holds for all that is followed through videos: each by itself, calmly, left and right."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import reference_kit as kit
from hearth.batching import RequestContext
from hearth.errors import DeadlinePassed, InvalidInput, ModelFailed
from hearth.families.mediapipe.hands import WantedHands
from hearth.families.mediapipe.mesh import WantedMeshes
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.pose import WantedPose
from hearth.families.mediapipe.tasks.hands import HAND_TRACKING
from hearth.families.mediapipe.tasks.holistic import HOLISTIC_TRACKING
from hearth.families.mediapipe.tasks.iris import IRIS_TRACKING
from hearth.families.mediapipe.tasks.mesh import FACE_MESH
from hearth.families.mediapipe.tasks.pose import POSE_TRACKING
from hearth.tasks.options import read_all
from hearth.tasks.task import Task
from mesh_kit import Client, Track, Turn, followed, moody_model, raw, runs_of, see

Points = NDArray[np.floating]

PARTS = ("pose", "face", "left_hand", "right_hand")


class Case(NamedTuple):
    """One of the model's finders, and what to look for in what it finds."""

    finder: str
    task: Task
    wanted: Callable[..., Any]
    """Its wishes, by ``smooth``."""
    detector: str
    last: str
    """The model that is asked last."""
    shown: tuple[str, str, str]
    """Three different pictures."""
    moving: Callable[[Any], Mapping[str, Points]]
    """All that is smoothed."""
    sides: Callable[[Any], Mapping[str, Points]]
    """The subject's right and left: points of each, in an order that a mirror keeps."""
    calm: float
    """How much of the trembling is left at most."""
    wrong: tuple[tuple[str, str], ...] = ()
    """Options of its own, out of their bounds."""


def _sides_of_mesh(found: Any) -> Mapping[str, Points]:
    # Corners of the eyes and the mouth, and the nose's side.
    points = found[0].points
    return {"right": points[[33, 133, 61, 129]], "left": points[[263, 362, 291, 358]]}


def _sides_of_iris(found: Any) -> Mapping[str, Points]:
    [eyes] = found
    return {side: np.vstack([getattr(eyes, side).iris[:1], getattr(eyes, side).contour])
            for side in ("right", "left")}  # fmt: skip


def _sides_of_hands(found: Any) -> Mapping[str, Points]:
    return {"right" if hand.right > 0.5 else "left": hand.points for hand in found}


def _sides_of_pose(pose: Any) -> Mapping[str, Points]:
    # Eyes, ear, corner of the mouth and shoulder.
    return {"right": pose.points[[4, 5, 6, 8, 10, 12]], "left": pose.points[[1, 2, 3, 7, 9, 11]]}


_FACE_OPTIONS = (("max_faces", "0"), ("max_faces", "17"), ("range", "endless"))
_FACES = ("astronaut_head", "grace_head", "camera")

CASES = (
    Case(
        "mesh", FACE_MESH, WantedMeshes, "face_detection_short_range", "face_landmark", _FACES,
        lambda found: {"points": found[0].points},
        _sides_of_mesh, 0.3, _FACE_OPTIONS,
    ),
    Case(
        "iris", IRIS_TRACKING, WantedMeshes, "face_detection_short_range", "iris_landmark", _FACES,
        lambda found: {
            "iris": found[0].right.iris, "gaze": np.array(found[0].right.gaze.direction)},
        _sides_of_iris, 0.3, _FACE_OPTIONS,
    ),
    Case(
        "hands", HAND_TRACKING, WantedHands, "palm_detection_full", "hand_landmark_full",
        ("two_hands", "victory_left", "ok_right"),
        lambda found: {"points": found[0].points[:, :2], "metres": found[0].world_points},
        _sides_of_hands, 0.5,
        (("max_hands", "0"), ("max_hands", "9"), ("model", "heavy"), ("mirrored", "perhaps")),
    ),
    Case(
        "pose", POSE_TRACKING, WantedPose, "pose_detection", "pose_landmark_full",
        ("grace", "astronaut_half", "camera"),
        lambda found: {"points": found.points[:, :2], "metres": found.world_points},
        _sides_of_pose, 0.7,
    ),
    Case(
        "holistic", HOLISTIC_TRACKING, WantedPose, "pose_detection", "hand_landmark_full",
        ("grace_waving", "grace", "astronaut_half"),
        lambda found: {part: getattr(found, part).points[:, :2] for part in PARTS},
        lambda found: {side: getattr(found, f"{side}_hand").points for side in ("right", "left")},
        0.7,
    ),
)  # fmt: skip

each = pytest.mark.parametrize("case", CASES, ids=[case.finder for case in CASES])


@pytest.fixture(scope="module")
def model(vision_model: MediaPipeModel) -> MediaPipeModel:
    return vision_model


async def found_in(
    model: MediaPipeModel,
    case: Case,
    pixels: NDArray[np.uint8],
    turn: Turn | None = None,
    *,
    smooth: bool = True,
    **options: Any,
) -> Any:
    finder, wanted = getattr(model, case.finder), case.wanted(smooth=smooth)
    return await followed(model, finder, pixels, turn, wanted, **options)


def passing(name: str, count: int) -> list[NDArray[np.uint8]]:
    """A picture that moves to the right."""
    return [np.roll(kit.picture(name), 2 * at, axis=1) for at in range(count)]


# --- whose is whose ---------------------------------------------------------------------------


@each
async def test_videos_know_nothing_of_each_other(case: Case, model: MediaPipeModel) -> None:
    """Two clients with the same stream_id, and a second stream of one of them, all at once."""
    clients = Client(), Client()
    streams = [(clients[0], "door"), (clients[0], "yard"), (clients[1], "door")]
    scenes = [passing(name, 3) for name in case.shown]

    async def told(client: Client, stream_id: str, frames: list[NDArray[np.uint8]]) -> list[Any]:
        answers = []
        for at, pixels in enumerate(frames):
            answer = await see(
                model, case.task, raw(pixels), source=client, stream_id=stream_id,
                timestamp_ms=str(at * 33), frame_number=str(at),
            )  # fmt: skip
            assert (answer.pop("frame_number"), answer.pop("stream_id")) == (at, stream_id)
            answers.append(answer)
        return answers

    together = await asyncio.gather(
        *(told(*stream, scene) for stream, scene in zip(streams, scenes, strict=True))
    )
    for number, scene in enumerate(scenes):
        assert together[number] == await told(clients[0], f"alone {number}", scene)


@each
async def test_a_frame_that_fails_leaves_things_as_they_were(case: Case) -> None:
    """Whether its last model gives no numbers or its time is up: the next frame follows on."""
    pixels, track = kit.picture(case.shown[0]), Track()
    with moody_model(case.last) as (model, bad_day):
        await found_in(model, case, pixels, Turn(track, 0.0))
        before = track.before
        assert before
        bad_day.set()
        with pytest.raises(ModelFailed, match=case.last):
            await found_in(model, case, pixels, Turn(track, 0.1))
        bad_day.clear()
        with pytest.raises(DeadlinePassed):
            await found_in(
                model, case, pixels, Turn(track, 0.2), context=RequestContext(deadline=0.0)
            )
        assert track.before is before
        searched = runs_of(model, case.detector)
        assert case.moving(await found_in(model, case, pixels, Turn(track, 0.3)))
        assert track.before is not before
        assert runs_of(model, case.detector) == searched


# --- smoothing --------------------------------------------------------------------------------


@each
async def test_smoothing_calms_points_that_tremble(case: Case, model: MediaPipeModel) -> None:
    """Of who stands still before a camera with noise in its pixels."""
    still = kit.picture(case.shown[0])
    noise = np.random.default_rng(5).integers(-12, 13, (7, *still.shape), np.int16)
    frames = np.clip(still + noise, 0, 255).astype(np.uint8)
    trembling: dict[bool, dict[str, float]] = {}
    for smooth in (True, False):
        track, found = Track(), []
        for at, pixels in enumerate(frames):
            turn = Turn(track, (at + 1) * kit.FRAME_MS / 1000)
            found.append(case.moving(await found_in(model, case, pixels, turn, smooth=smooth)))
        trembling[smooth] = {
            part: float(np.abs(np.diff([one[part] for one in found[2:]], axis=0)).mean())
            for part in found[0]
        }
    for part, rough in trembling[False].items():
        assert trembling[True][part] < case.calm * rough, part


@each
async def test_single_pictures_and_first_frames_are_never_smoothed(
    case: Case, model: MediaPipeModel
) -> None:
    frame = raw(kit.picture(case.shown[0]))
    plain = await see(model, case.task, frame, smooth="false")
    assert await see(model, case.task, frame, smooth="true") == plain
    first = await see(model, case.task, frame, source=Client(), stream_id="door")
    assert first.pop("stream_id") == "door"
    assert first == plain


# --- left and right ---------------------------------------------------------------------------


@each
async def test_who_is_mirrored_has_left_and_right_exchanged(
    case: Case, model: MediaPipeModel
) -> None:
    """Left and right are the subject's: who faces the camera has the left on the right."""
    pixels = kit.picture(case.shown[0])
    plain = case.sides(await found_in(model, case, pixels))
    mirrored = case.sides(await found_in(model, case, kit.mirrored(pixels)))
    for sides in (plain, mirrored):
        assert sides["right"][:, 0].mean() < sides["left"][:, 0].mean()
    width = np.ptp(np.concatenate([*plain.values()])[:, 0])
    for side, other in (("left", "right"), ("right", "left")):
        back = mirrored[other] * [-1, 1, 1] + [pixels.shape[1], 0, 0]
        away = np.linalg.norm((back - plain[side])[:, :2], axis=1).mean()
        assert away < 0.05 * width, side


# --- options ----------------------------------------------------------------------------------

WRONG = (
    ("min_confidence", "2"), ("min_tracking_confidence", "-1"), ("smooth", "maybe"),
    ("coordinates", "sideways"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("task", "name", "value"),
    [(case.task, *wrong) for case in CASES for wrong in (*WRONG, *case.wrong)],
    ids=lambda value: value.name if isinstance(value, Task) else value,
)
def test_options_out_of_their_bounds_are_refused(task: Task, name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        read_all(task.options, {name: value})
