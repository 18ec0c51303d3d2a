"""Poses are those of mp.solutions, and each video is followed by itself."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import reference_kit as kit
from hearth.families.mediapipe.heatmap import refined
from hearth.families.mediapipe.joints import VISIBLE
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.pose import Pose, WantedPose
from hearth.families.mediapipe.tasks.pose import POSE_TRACKING
from mesh_kit import Track, Turn, followed, raw, runs_of, see

DETECTOR = "pose_detection"


@pytest.fixture(scope="module")
def model(vision_model: MediaPipeModel) -> MediaPipeModel:
    return vision_model


async def pose_of(
    model: MediaPipeModel,
    pixels: NDArray[np.uint8],
    turn: Turn | None = None,
    wanted: WantedPose | None = None,
) -> Pose | None:
    found: Pose | None = await followed(model, model.pose, pixels, turn, wanted)
    return found


async def film(
    model: MediaPipeModel, frames: NDArray[np.uint8], *, smooth: bool = True
) -> list[Pose | None]:
    track = Track()
    return [
        await pose_of(
            model, pixels, Turn(track, (at + 1) * kit.FRAME_MS / 1000), WantedPose(smooth=smooth)
        )
        for at, pixels in enumerate(frames)
    ]


class Apart:
    """How far a pose is from mediapipe's."""

    def __init__(self, ours: Pose, theirs: Mapping[str, Any]) -> None:
        points = np.array(theirs["points"])
        height = np.ptp(points[:, 1])
        self.points = np.linalg.norm((ours.points - points)[:, :2], axis=1).mean() / height
        """The mean in x and y, in heights of the body."""
        self.depth = np.abs(ours.points - points)[:, 2].mean() / height
        self.metres = np.linalg.norm(ours.world_points - theirs["world_points"], axis=1).mean()
        self.visibility = np.abs(ours.visibility - theirs["visibility"]).max()


# --- single pictures --------------------------------------------------------------------------


async def test_poses_are_those_of_mediapipe(model: MediaPipeModel) -> None:
    """Whole, turned, scaled, mirrored and cropped pictures, of one, of several and of nobody."""
    apart = {}
    for name, pixels, answer in kit.compared("pose"):
        ours = await pose_of(model, pixels)
        assert (ours is None) == (answer["pose"] is None), name
        if ours is not None:
            apart[name] = Apart(ours, answer["pose"])
    assert len(apart) > 25
    for name, one in apart.items():
        # 3 % is what the issue asks for. Of two equal persons the model sees one unclearly.
        assert one.points < 0.005, name
        assert one.depth < 0.15, name
        assert one.metres < 0.05, name
        assert one.visibility < 0.25, name
    every = list(apart.values())
    assert np.mean([one.points for one in every]) < 0.01
    assert np.mean([one.depth for one in every]) < 0.03
    assert np.mean([one.metres for one in every]) < 0.02
    assert np.mean([one.visibility for one in every]) < 0.07


async def test_world_points_turn_with_the_person(model: MediaPipeModel) -> None:
    """Up is up in the picture: who lies has the head to the side, and as far from the hips."""
    upright = await pose_of(model, kit.picture("astronaut"))
    lying = await pose_of(model, kit.picture("astronaut_turned_90"))
    assert upright is not None and lying is not None
    x, y, _ = (upright.world_points[11] + upright.world_points[12]).tolist()
    assert y < -0.7 and abs(x) < 0.3
    # Who faces the camera has the left shoulder on the picture's right.
    assert upright.world_points[11, 0] > 0.1 > -0.1 > upright.world_points[12, 0]
    x, y, _ = (lying.world_points[11] + lying.world_points[12]).tolist()
    assert x > 0.7 and abs(y) < 0.3


async def test_where_nobody_is_there_is_no_pose(model: MediaPipeModel) -> None:
    answer = await see(model, POSE_TRACKING, raw(kit.picture("coffee")))
    assert answer["poses"] == [] and answer["count"] == 0


async def test_who_wants_to_be_surer_gets_nothing_uncertain(model: MediaPipeModel) -> None:
    pixels = kit.picture("astronaut_half_a_face")
    found = await pose_of(model, pixels)
    assert found is not None and 0.5 < found.confidence < 0.95
    assert await pose_of(model, pixels, wanted=WantedPose(min_tracking_confidence=0.95)) is None
    assert await pose_of(model, pixels, wanted=WantedPose(min_confidence=0.99)) is None


# --- videos -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["astronaut_drifting", "grace_leaving"])
async def test_videos_are_followed_as_mediapipe_does(case: str, model: MediaPipeModel) -> None:
    frames, answer = kit.video("video_pose", case)
    before = runs_of(model, DETECTOR)
    found = await film(model, frames)
    detected = runs_of(model, DETECTOR) - before
    assert [[int(pose is not None)] for pose in found] == answer["found"]
    for at, kept in answer["frames"].items():
        ours = found[int(at)]
        if ours is not None:
            apart = Apart(ours, kept["pose"])
            assert apart.points < 0.03, at
            assert apart.metres < 0.05, at
            assert apart.visibility < 0.25, at
    # Searched in the first frame, and again after every frame without anybody.
    assert detected == 1 + sum(pose is None for pose in found[:-1])


async def test_smoothing_begins_anew_where_it_was_off(model: MediaPipeModel) -> None:
    frames, track = kit.VIDEOS["astronaut_drifting"].frames()[:3], Track()
    rough = await film(model, frames, smooth=False)
    for at, (pixels, smooth) in enumerate(zip(frames, (True, False, True), strict=True)):
        turn = Turn(track, (at + 1) * kit.FRAME_MS / 1000)
        found = await pose_of(model, pixels, turn, WantedPose(smooth=smooth))
        assert found is not None and rough[at] is not None
        # Where to look next is smoothed in any case, as in mediapipe.
        np.testing.assert_array_equal(found.points, rough[at].points)


# --- as a task --------------------------------------------------------------------------------


async def test_a_pose_as_json(model: MediaPipeModel) -> None:
    pixels = kit.picture("astronaut_bust")
    answer = await see(model, POSE_TRACKING, raw(pixels))
    assert (answer["width"], answer["height"], answer["count"]) == (370, 400, 1)
    [pose] = answer["poses"]
    points, shares = np.array(pose["points"]), np.array(pose["points_normalized"])
    assert points.shape == shares.shape == (33, 3)
    np.testing.assert_allclose(points, shares * [370, 400, 370], atol=0.01)
    left, top, right, bottom = pose["box"]
    assert (left, top) == tuple(points[:, :2].min(axis=0))
    assert (right, bottom) == tuple(points[:, :2].max(axis=0))
    for name in ("visibility", "presences"):
        assert len(pose[name]) == 33
        assert all(0 <= value <= 1 for value in pose[name])
    assert np.array(pose["world_points"]).shape == (33, 3)
    # Her knees are below the picture, and her shoulders well in it.
    assert pose["angles"]["left_knee"] is None
    assert max(pose["visibility"][25], pose["visibility"][27]) < VISIBLE
    assert pose["angles"].keys() == {
        f"{side}_{joint}"
        for side in ("left", "right")
        for joint in ("elbow", "shoulder", "hip", "knee")
    }
    [pose] = (await see(model, POSE_TRACKING, raw(pixels), coordinates="normalized"))["poses"]
    assert pose.keys() == {
        "points_normalized", "visibility", "presences", "world_points", "angles",
        "box_normalized", "confidence",
    }  # fmt: skip


async def test_angles_are_those_between_the_world_points(model: MediaPipeModel) -> None:
    answer = await see(model, POSE_TRACKING, raw(kit.picture("grace_waving")))
    [pose] = answer["poses"]
    points = np.array(pose["world_points"])
    for side, corners in (("left", (11, 13, 15)), ("right", (12, 14, 16))):
        shoulder, elbow, wrist = points[list(corners)]
        upper, lower = shoulder - elbow, wrist - elbow
        cosine = upper @ lower / np.linalg.norm(upper) / np.linalg.norm(lower)
        assert min(pose["visibility"][at] for at in corners) >= VISIBLE
        told = pose["angles"][f"{side}_elbow"]
        assert told == pytest.approx(math.degrees(math.acos(cosine)), abs=0.2)
        # She holds her hands up beside her: about a right angle.
        assert 70 < told < 110
    assert pose["angles"]["left_knee"] is None


# --- heat maps --------------------------------------------------------------------------------


def plainly_refined(x: float, y: float, heat: NDArray[np.float64]) -> tuple[float, float]:
    """One point, cell by cell."""
    high, wide = heat.shape
    column, row = int(x * wide), int(y * high)
    if not (0 <= column < wide and 0 <= row < high):
        return x, y
    total = across = down = best = 0.0
    for at_row in range(max(0, row - 4), min(high, row + 5)):
        for at_column in range(max(0, column - 4), min(wide, column + 5)):
            weight = 1 / (1 + math.exp(-heat[at_row, at_column]))
            total += weight
            across += weight * at_column
            down += weight * at_row
            best = max(best, weight)
    return (across / total / wide, down / total / high) if best >= 0.5 else (x, y)


def test_points_go_to_the_middle_of_the_heat_around_them() -> None:
    """Also at the map's edges, beyond them, and where nothing is hot."""
    random = np.random.default_rng(3)
    points = random.uniform(-0.2, 1.2, (200, 2)).astype(np.float32)
    heat = random.normal(-4, 2, (64, 48, 200)).astype(np.float32)
    found = refined(points, heat)
    wanted = [
        plainly_refined(float(x), float(y), heat[:, :, at].astype(np.float64))
        for at, (x, y) in enumerate(points)
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    moved = (found != points).any(axis=1)
    assert 20 < moved.sum() < 180
