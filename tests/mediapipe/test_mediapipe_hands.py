"""Hands are those of mp.solutions, sign what was drawn, and are followed through a video."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import hand_kit
import reference_kit as kit
from hearth.families.mediapipe.detector import Detection
from hearth.families.mediapipe.gestures import GESTURES
from hearth.families.mediapipe.hands import (
    Hand,
    WantedHands,
    region_of_palm,
    region_of_points,
)
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.tasks.hands import HAND_TRACKING
from mesh_kit import Track, Turn, followed, raw, runs_of, see

PALMS, POINTS = "palm_detection_full", "hand_landmark_full"
SECONDS = kit.FRAME_MS / 1000


@pytest.fixture(scope="module")
def model(vision_model: MediaPipeModel) -> MediaPipeModel:
    return vision_model


async def hands_of(
    model: MediaPipeModel,
    pixels: NDArray[np.uint8],
    turn: Turn | None = None,
    wanted: WantedHands | None = None,
) -> list[Hand]:
    found: list[Hand] = await followed(model, model.hands, pixels, turn, wanted)
    return found


def size_of(hand: Hand) -> float:
    """The longer side of the box around a hand."""
    left, top, right, bottom = hand.box
    return max(right - left, bottom - top)


class Apart:
    """How far a hand is from mediapipe's."""

    def __init__(self, ours: Hand, theirs: Mapping[str, Any]) -> None:
        gaps = np.abs(ours.points - np.array(theirs["points"])) / size_of(ours)
        self.points = np.linalg.norm(gaps[:, :2], axis=1).mean()
        """The mean in x and y, in sizes of the hand."""
        self.depth = gaps[:, 2].mean()
        self.metres = np.linalg.norm(ours.world_points - theirs["world_points"], axis=1).mean()
        right = theirs["score"] if theirs["side"] == "Right" else 1 - theirs["score"]
        self.side = abs(ours.right - right)


def covered(pixels: NDArray[np.uint8], *, left: bool) -> NDArray[np.uint8]:
    """With one half of the wall before what stands there."""
    wall = hand_kit.backdrop(pixels.shape[1], pixels.shape[0])
    half = slice(0, pixels.shape[1] // 2) if left else slice(pixels.shape[1] // 2, None)
    shown = pixels.copy()
    shown[:, half] = wall[:, half]
    return shown


# --- single pictures --------------------------------------------------------------------------


async def test_hands_are_those_of_mediapipe(model: MediaPipeModel) -> None:
    """Drawn hands of every gesture and both sides, turned, small and large; and no hands."""
    apart = {}
    for name, pixels, answer in kit.compared("hands"):
        ours = await hands_of(model, pixels)
        assert len(ours) == len(answer["hands"]), name
        for at, (hand, theirs) in enumerate(zip(ours, answer["hands"], strict=True)):
            assert (hand.right > 0.5) == (theirs["side"] == "Right"), name
            apart[name, at] = Apart(hand, theirs)
    assert len(apart) > 24
    for name, one in apart.items():
        assert one.points < 0.01, name
        assert one.depth < 0.02, name
        assert one.metres < 0.003, name
        assert one.side < 0.1, name
    assert np.mean([one.points for one in apart.values()]) < 0.002
    assert np.mean([one.metres for one in apart.values()]) < 0.001


def test_the_hands_that_are_kept_are_those_that_are_drawn() -> None:
    """The others' CRC-32 proves that they are those of when the answers were written."""
    np.testing.assert_array_equal(kit.picture("open_small"), kit.drawn_hands("open_small"))


@pytest.mark.parametrize("case", hand_kit.CASES)
async def test_a_drawn_hand_is_told_as_what_it_is(case: str, model: MediaPipeModel) -> None:
    """Which hand it is, what it signs, and where its joints are."""
    answer = await see(model, HAND_TRACKING, raw(kit.picture(case)))
    drawn = hand_kit.CASES[case]
    assert answer["count"] == len(drawn)
    for hand, held in zip(answer["hands"], drawn, strict=True):
        assert hand["handedness"] == ("Left" if held.view.left else "Right")
        assert hand["handedness_score"] > 0.7
        assert hand["gesture"] == held.gesture
        assert hand["gesture_score"] > 0.6
        away = np.linalg.norm(np.array(hand["points"])[:, :2] - held.points()[:, :2], axis=1)
        centimetre = held.view.scale
        assert away.mean() < 1.1 * centimetre


@pytest.mark.parametrize("case", ["open_right", "ok_left", "two_hands"])
async def test_a_mirrored_picture_may_be_called_one(case: str, model: MediaPipeModel) -> None:
    """Left and right are the subject's both ways; a hand signs the same."""
    pixels = kit.picture(case)
    plain = (await see(model, HAND_TRACKING, raw(pixels)))["hands"]
    mirror = raw(kit.mirrored(pixels))
    told = (await see(model, HAND_TRACKING, mirror, mirrored="true"))["hands"]
    untold = (await see(model, HAND_TRACKING, mirror))["hands"]
    by_side = {hand["handedness"]: hand["gesture"] for hand in told}
    assert by_side == {hand["handedness"]: hand["gesture"] for hand in plain}
    other = {"Left": "Right", "Right": "Left"}
    assert [hand["handedness"] for hand in untold] == [other[hand["handedness"]] for hand in told]
    # The points are those of the picture as it came.
    assert [hand["points"] for hand in untold] == [hand["points"] for hand in told]


@pytest.mark.parametrize("case", ["open_right", "ok_left", "victory_turned_60"])
async def test_the_lite_model_sees_the_same_hand(case: str, model: MediaPipeModel) -> None:
    [full] = await hands_of(model, kit.picture(case))
    before = runs_of(model, POINTS)
    [lite] = await hands_of(model, kit.picture(case), wanted=WantedHands(model="lite"))
    assert runs_of(model, POINTS) == before
    away = np.linalg.norm((full.points - lite.points)[:, :2], axis=1)
    assert 0 < away.mean() < 0.06 * size_of(full)
    assert (full.right > 0.5) == (lite.right > 0.5)


async def test_no_more_hands_than_asked_for(model: MediaPipeModel) -> None:
    both = await hands_of(model, kit.picture("two_hands"), wanted=WantedHands(max_hands=8))
    assert len(both) == 2
    [one] = await hands_of(model, kit.picture("two_hands"), wanted=WantedHands(max_hands=1))
    np.testing.assert_array_equal(one.points, both[0].points)


async def test_where_no_hand_is_there_is_none(model: MediaPipeModel) -> None:
    for name in kit.NOBODY:
        answer = await see(model, HAND_TRACKING, raw(kit.picture(name)))
        assert (answer["hands"], answer["count"]) == ([], 0)


async def test_who_wants_to_be_surer_gets_nothing_uncertain(model: MediaPipeModel) -> None:
    pixels = kit.picture("fist_right")
    [found] = await hands_of(model, pixels)
    assert 0.5 < found.presence < 0.95
    assert await hands_of(model, pixels, wanted=WantedHands(min_tracking_confidence=0.95)) == []
    assert await hands_of(model, pixels, wanted=WantedHands(min_confidence=0.99)) == []


# --- regions ----------------------------------------------------------------------------------


def test_a_hand_is_looked_for_where_mediapipe_looks() -> None:
    """Its graph's hand_rects_from_landmarks for these points: x, y, width, height, rotation."""
    asked = {
        "ok_left": (121.056, 168.018, 243.185, 243.185, -0.393),
        "open_turned_90": (157.239, 179.829, 247.202, 247.202, 1.622),
        "fist_right": (155.85, 182.118, 171.861, 171.861, -0.025),
    }
    for case, theirs in asked.items():
        [hand] = kit.answers("hands").cases[case]["hands"]
        np.testing.assert_allclose(region_of_points(np.array(hand["points"])), theirs, atol=0.05)


@given(st.floats(-3.1, 3.1), st.floats(0.1, 10), st.floats(-1000, 1000), st.floats(-1000, 1000))
def test_the_region_turns_and_grows_with_the_hand(
    angle: float, size: float, x: float, y: float
) -> None:
    [hand] = kit.answers("hands").cases["ok_left"]["hands"]
    points = np.array(hand["points"])[:, :2]
    palm = Detection((100.0, 120.0, 180.0, 190.0), 1.0, points[[0, 5, 9, 13, 17, 1, 2]])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * size

    def moved(place: NDArray[np.float64]) -> NDArray[np.float64]:
        return place @ turn.T + [x, y]

    before, after = region_of_points(points), region_of_points(moved(points))
    np.testing.assert_allclose(
        after[:4],
        [*moved(np.array(before[:2])), before.width * size, before.height * size],
        rtol=1e-6,
        atol=1e-3,
    )
    assert np.cos(after.rotation - before.rotation - angle) == pytest.approx(1)
    # A palm's box is upright, so only its rotation is held to this.
    turned = palm._replace(keypoints=moved(palm.keypoints))
    difference = region_of_palm(turned).rotation - region_of_palm(palm).rotation
    assert np.cos(difference - angle) == pytest.approx(1)


# --- videos -----------------------------------------------------------------------------------


async def test_a_video_is_followed_as_mediapipe_does(model: MediaPipeModel) -> None:
    frames, answer = kit.video("video_hands", "hands_passing")
    before, track = (runs_of(model, PALMS), runs_of(model, POINTS)), Track()
    for at, pixels in enumerate(frames):
        ours = await hands_of(
            model, pixels, Turn(track, (at + 1) * SECONDS), WantedHands(smooth=False)
        )
        assert [len(ours)] == answer["found"][at]
        # Always in the same order.
        assert [hand.right > 0.5 for hand in ours] == [True, False]
        if str(at) in answer["frames"]:
            theirs = answer["frames"][str(at)]["hands"]
            for hand, one in zip(ours, theirs, strict=True):
                assert Apart(hand, one).points < 0.01, at
    # Palms were searched in the first frame, and never again.
    assert runs_of(model, PALMS) - before[0] == 1
    assert runs_of(model, POINTS) - before[1] == 2 * len(frames)


async def test_who_comes_back_comes_last_and_nobody_changes_places(model: MediaPipeModel) -> None:
    """Palms are searched exactly while there are fewer hands than asked for."""
    both = kit.picture("two_hands")
    hidden = covered(both, left=True)
    shown = [both, both, hidden, hidden, both, both]
    track, sides, searched = Track(), [], []
    for at, pixels in enumerate(shown):
        before = runs_of(model, PALMS)
        found = await hands_of(model, pixels, Turn(track, at * SECONDS))
        sides.append("".join("LR"[hand.right > 0.5] for hand in found))
        searched.append(runs_of(model, PALMS) - before)
    assert sides == ["RL", "RL", "L", "L", "LR", "LR"]
    assert searched == [1, 0, 0, 1, 1, 0]


async def test_a_lost_hand_is_searched_again(model: MediaPipeModel) -> None:
    hand = kit.picture("open_right")
    dark = np.zeros_like(hand)
    track, seen = Track(), []
    for at, pixels in enumerate([hand, hand, dark, dark, hand]):
        before = runs_of(model, PALMS)
        found = await hands_of(model, pixels, Turn(track, at * SECONDS), WantedHands(max_hands=1))
        seen.append((len(found), runs_of(model, PALMS) - before))
    assert seen == [(1, 1), (1, 0), (0, 0), (0, 1), (1, 1)]


async def test_a_hand_is_told_once(model: MediaPipeModel) -> None:
    """Its palm is found again, beside where it was: mp.solutions tells of such a hand twice."""
    track = Track()
    for at, (roll, x) in enumerate([(-10, 130), (0, 140), (10, 160)]):
        held = hand_kit.Held("Pointing", hand_kit.View(roll=roll, at=(x, 200)), hand_kit.DRESSED)
        found = await hands_of(model, hand_kit.drawn((held,)), Turn(track, at / 30))
        assert len(found) == len(track.before) == 1


# --- as a task --------------------------------------------------------------------------------


async def test_hands_as_json(model: MediaPipeModel) -> None:
    frame = raw(kit.picture("two_hands"))
    answer = await see(model, HAND_TRACKING, frame)
    assert (answer["width"], answer["height"], answer["count"]) == (300, 340, 2)
    for hand in answer["hands"]:
        points, shares = np.array(hand["points"]), np.array(hand["points_normalized"])
        assert points.shape == shares.shape == np.array(hand["world_points"]).shape == (21, 3)
        np.testing.assert_allclose(points, shares * [300, 340, 300], atol=0.01)
        left, top, right, bottom = hand["box"]
        assert (left, top) == tuple(points[:, :2].min(axis=0))
        assert (right, bottom) == tuple(points[:, :2].max(axis=0))
        # A grown-up's hand, from its middle.
        assert 0.03 < np.abs(hand["world_points"]).max() < 0.15
        assert 0.5 <= hand["handedness_score"] <= 1 and 0.5 <= hand["presence"] <= 1
        assert hand["gesture"] in GESTURES
    answer = await see(model, HAND_TRACKING, frame, coordinates="normalized", max_hands="1")
    [hand] = answer["hands"]
    assert hand.keys() == {
        "handedness", "handedness_score", "points_normalized", "world_points", "gesture",
        "gesture_score", "presence", "box_normalized",
    }  # fmt: skip
