"""Whole bodies are those of mp.solutions; face and hands are looked for at once."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import reference_kit as kit
from hearth.backends.litert_pool import LiteRtPool
from hearth.families.mediapipe import roi
from hearth.families.mediapipe.holistic import POINTS, Whole
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.pose import WantedPose
from hearth.families.mediapipe.region import Region
from hearth.families.mediapipe.tasks.holistic import HOLISTIC_TRACKING
from hearth.media import ImageReader
from mediapipe_kit import model_path
from mesh_kit import Track, Turn, followed, raw, runs_of, see

PARTS = ("pose", "face", "left_hand", "right_hand")


@pytest.fixture(scope="module")
def model(vision_model: MediaPipeModel) -> MediaPipeModel:
    return vision_model


async def whole_of(
    model: MediaPipeModel,
    pixels: NDArray[np.uint8],
    turn: Turn | None = None,
    wanted: WantedPose | None = None,
) -> Whole:
    found: Whole = await followed(model, model.holistic, pixels, turn, wanted)
    return found


def apart(whole: Whole, answer: Mapping[str, Any]) -> dict[str, float]:
    """By how much each part that is there differs from mediapipe's.

    The mean in x and y, in heights of the body and in widths of face and hands.
    """
    differences = {}
    for name, ours in whole._asdict().items():
        theirs = answer[name]
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            points = np.array(theirs["points"] if name == "pose" else theirs)
            size = np.ptp(points[:, 1 if name == "pose" else 0])
            away = np.linalg.norm((ours.points - points)[:, :2], axis=1).mean()
            differences[name] = float(away / size)
    return differences


CLOSE = {"pose": 0.01, "face": 0.01, "left_hand": 0.015, "right_hand": 0.015}


# --- single pictures --------------------------------------------------------------------------


async def test_parts_are_those_of_mediapipe(model: MediaPipeModel) -> None:
    """Whole pictures, one that is turned, one with drawn hands, and one without anybody."""
    compared = dict.fromkeys(PARTS, 0)
    for name, pixels, answer in kit.compared("holistic"):
        for part, difference in apart(await whole_of(model, pixels), answer).items():
            assert difference < CLOSE[part], (name, part)
            compared[part] += 1
    assert compared["pose"] >= 6 and compared["face"] >= 6
    assert compared["left_hand"] and compared["right_hand"]


async def test_all_points_are_there_when_all_parts_are(model: MediaPipeModel) -> None:
    pixels = kit.picture("grace_waving")
    answer = await see(model, HOLISTIC_TRACKING, raw(pixels))
    assert answer["points_total"] == POINTS == 543
    assert [len(answer[part]["points"]) for part in PARTS] == [33, 468, 21, 21]
    for part in PARTS:
        points, shares = (np.array(answer[part][key]) for key in ("points", "points_normalized"))
        np.testing.assert_allclose(points, shares * [500, 420, 500], atol=0.01)
    for side in ("left", "right"):
        hand = answer[f"{side}_hand"]
        assert hand["handedness"] == side.title()
        assert hand["handedness_score"] > 0.8
        # The hand is at the end of its arm.
        wrist = np.array(answer["pose"]["points"][15 if side == "left" else 16])
        assert np.linalg.norm((wrist - hand["points"][0])[:2]) < 40
    assert answer["pose"]["angles"].keys() >= {"left_elbow", "right_knee"}


async def test_where_nobody_is_every_part_is_null(model: MediaPipeModel) -> None:
    before = runs_of(model, "hand_recrop")
    answer = await see(model, HOLISTIC_TRACKING, raw(kit.picture("coffee")))
    assert [answer[part] for part in PARTS] == [None] * 4
    assert answer["points_total"] == 0
    # Without a pose nothing else was looked for.
    assert runs_of(model, "hand_recrop") == before


async def test_parts_that_are_not_seen_are_null(model: MediaPipeModel) -> None:
    answer = await see(model, HOLISTIC_TRACKING, raw(kit.picture("astronaut")), coordinates="pixel")
    assert answer["left_hand"] is None and answer["right_hand"] is None
    assert answer["points_total"] == 33 + 468
    assert answer["face"].keys() == {"points", "box", "presence"}


# --- steps ------------------------------------------------------------------------------------


class Met:
    """A model's session whose first run begins only while others' do."""

    def __init__(self, session: LiteRtPool, barrier: threading.Barrier) -> None:
        self._session = session
        self._barrier: threading.Barrier | None = barrier

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, feeds: Mapping[str, Any]) -> Any:
        if self._barrier is not None:
            self._barrier.wait(20)
            self._barrier = None
        return self._session.run(feeds)


async def test_face_and_hands_are_looked_for_at_once() -> None:
    """The face's detector and the hands' model wait for each other, and both are served."""
    barrier = threading.Barrier(2)

    def opened(name: str) -> Any:
        session = LiteRtPool(model_path(name), width=1)
        alone = name not in ("face_detection_short_range", "hand_recrop")
        return session if alone else Met(session, barrier)

    model = MediaPipeModel(opened, reader=ImageReader(10**8))
    try:
        found = await whole_of(model, kit.picture("grace_waving"))
    finally:
        barrier.abort()
        model.close()
    assert None not in found


# --- videos -----------------------------------------------------------------------------------


async def test_videos_are_followed_as_mediapipe_does(model: MediaPipeModel) -> None:
    frames, answer = kit.video("video_holistic", "grace_greeting")
    searched, palms = runs_of(model, "pose_detection"), runs_of(model, "palm_detection_full")
    track, moments = Track(), [(at + 1) * kit.FRAME_MS / 1000 for at in range(len(frames))]
    for at, (pixels, moment) in enumerate(zip(frames, moments, strict=True)):
        found = await whole_of(model, pixels, Turn(track, moment))
        told = [0 if part is None else len(part.points) for part in found]
        pose, *others = answer["found"][at]
        assert told == [33 * pose, *others]
        if str(at) in answer["frames"]:
            for part, difference in apart(found, answer["frames"][str(at)]).items():
                assert difference < CLOSE[part], (at, part)
    assert runs_of(model, "pose_detection") == searched + 1
    # Hands are found by the arms.
    assert runs_of(model, "palm_detection_full") == palms


async def test_a_person_who_leaves_takes_face_and_hands_along(model: MediaPipeModel) -> None:
    pixels, track = kit.picture("grace_waving"), Track()
    assert None not in await whole_of(model, pixels, Turn(track, 1.0))
    assert await whole_of(model, np.zeros_like(pixels), Turn(track, 1.1)) == (None,) * 4
    assert track.before == (None,) * 4
    assert None not in await whole_of(model, pixels, Turn(track, 1.2))


# --- regions ----------------------------------------------------------------------------------

NOW = Region(100, 80, 50, 50, 0.3)
INSIDE = np.array([[100.0, 80.0], [110.0, 85.0]])


@pytest.mark.parametrize(
    ("before", "points", "still"),
    [
        (NOW, INSIDE, True),
        (NOW._replace(rotation=0.3 + np.radians(39)), INSIDE, True),
        (NOW._replace(rotation=0.3 + np.radians(41)), INSIDE, False),
        (NOW._replace(rotation=0.3 - 2 * np.pi), INSIDE, True),
        (NOW.shifted(0.19, -0.19), INSIDE, True),
        (NOW.shifted(0.21, 0), INSIDE, False),
        (NOW.shifted(0, -0.21), INSIDE, False),
        (NOW.scaled(1.39), INSIDE, True),
        (NOW.scaled(1.41), INSIDE, False),
        (NOW.scaled(0.59), INSIDE, False),
        (NOW, NOW.place(np.array([[0.06, 0.94]])), True),
        (NOW, NOW.place(np.array([[0.04, 0.5]])), False),
        (NOW, NOW.place(np.array([[0.5, 0.5], [0.5, 0.96]])), False),
    ],
)
def test_a_hand_is_still_where_it_was_within_limits(
    before: Region, points: NDArray[np.floating], still: bool
) -> None:
    """40 degrees, a fifth of the region, two fifths of its size, and all points well within."""
    assert roi.same(before, points, NOW, roi.HAND) is still


def test_a_region_turns_with_the_body() -> None:
    """The same points turned by a quarter: the same square, turned by a quarter."""
    points = np.random.default_rng(1).uniform(50, 200, (33, 2))
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    for region in (
        lambda p: roi.hand_of_pose(p[15], p[17], p[19]),
        lambda p: roi.circle(p[0], p[1], 90),
        lambda p: roi.hand_of_recrop(p[0], p[1]),
        roi.face_of_pose,
        lambda p: roi.face_of_detection(p[:6]),
    ):
        one, other = region(points), region(points @ quarter)
        assert other.width == pytest.approx(one.width)
        turned = np.remainder(other.rotation - one.rotation, 2 * np.pi)
        assert turned == pytest.approx(np.pi / 2)
