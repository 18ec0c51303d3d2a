"""Joint angles of skeletons whose angles are known."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from hearth.families.mediapipe.joints import JOINTS, VISIBLE, angles

Skeleton = NDArray[np.float64]

STANDING: dict[int, tuple[float, float, float]] = {
    # x to the picture's right, y down: the subject's left is on the right.
    11: (0.2, -0.5, 0), 13: (0.2, -0.2, 0), 15: (0.2, 0.05, 0), 23: (0.12, 0, 0),
    25: (0.12, 0.4, 0), 27: (0.12, 0.8, 0),
    12: (-0.2, -0.5, 0), 14: (-0.2, -0.2, 0), 16: (-0.2, 0.05, 0), 24: (-0.12, 0, 0),
    26: (-0.12, 0.4, 0), 28: (-0.12, 0.8, 0),
}  # fmt: skip
"""Shoulders, elbows, wrists, hips, knees and ankles, in metres: arms and legs hang straight."""

SEEN = np.ones(33)


def skeleton(**moved: tuple[float, float, float]) -> Skeleton:
    """STANDING, with points moved to other places: ``p15=(…)``."""
    points = np.zeros((33, 3))
    for number, place in {**STANDING, **{int(key[1:]): to for key, to in moved.items()}}.items():
        points[number] = place
    return points


def turned(points: Skeleton, seed: int) -> Skeleton:
    """Seen from anywhere, at any size."""
    random = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(random.normal(size=(3, 3)))
    return 3.7 * points @ (rotation * np.sign(np.linalg.det(rotation))) + random.normal(size=3)


def test_who_stands_straight_has_straight_limbs() -> None:
    found = angles(skeleton(), SEEN)
    for joint in ("left_elbow", "right_elbow", "left_knee", "right_knee"):
        assert found[joint] == pytest.approx(180, abs=1e-6)
    # From the hip the trunk leans out to the shoulder, which is 8 cm farther from the middle.
    lean = math.degrees(math.atan2(0.08, 0.5))
    for side in ("left", "right"):
        assert found[f"{side}_hip"] == pytest.approx(180 - lean)
        assert found[f"{side}_shoulder"] == pytest.approx(lean)


@pytest.mark.parametrize("degrees", [0.001, 30, 90, 135, 179.999])
@pytest.mark.parametrize("seed", range(3))
def test_a_bent_elbow_is_bent_by_as_much_from_wherever_it_is_seen(
    degrees: float, seed: int
) -> None:
    """The forearm comes forward, out of the picture's plane."""
    bend = math.radians(degrees)
    wrist = (0.2, -0.2 - 0.25 * math.cos(bend), -0.25 * math.sin(bend))
    found = angles(turned(skeleton(p15=wrist), seed), SEEN)
    assert found["left_elbow"] == pytest.approx(degrees, abs=1e-5)
    assert found["right_elbow"] == pytest.approx(180, abs=1e-5)


def test_every_joint_is_that_of_its_own_side() -> None:
    moves = {
        "left_elbow": {"p15": (0.45, -0.2, 0)},
        "right_elbow": {"p16": (-0.45, -0.2, 0)},
        "left_shoulder": {"p13": (0.5, -0.5, 0), "p15": (0.8, -0.5, 0)},
        "right_shoulder": {"p14": (-0.5, -0.5, 0), "p16": (-0.8, -0.5, 0)},
        "left_hip": {"p25": (0.12, 0, -0.4), "p27": (0.12, 0, -0.8)},
        "right_hip": {"p26": (-0.12, 0, -0.4), "p28": (-0.12, 0, -0.8)},
        "left_knee": {"p27": (0.12, 0.4, 0.4)},
        "right_knee": {"p28": (-0.12, 0.4, 0.4)},
    }
    standing = angles(skeleton(), SEEN)
    for joint, move in moves.items():
        found = angles(skeleton(**move), SEEN)
        assert {name for name in JOINTS if found[name] != standing[name]} == {joint}
        # Straight out, or forward: a right angle, but for the trunk's lean at the shoulders.
        off = math.degrees(math.atan2(0.08, 0.5)) if "shoulder" in joint else 0
        assert found[joint] == pytest.approx(90 + off, abs=1e-6), joint


def test_what_is_not_seen_has_no_angle() -> None:
    for joint, points in JOINTS.items():
        for point in points:
            visibility = SEEN.copy()
            visibility[point] = VISIBLE - 0.01
            found = angles(skeleton(), visibility)
            assert found[joint] is None
            others = [name for name, own in JOINTS.items() if point not in own]
            assert all(found[name] is not None for name in others)
    assert None not in angles(skeleton(), np.full(33, VISIBLE)).values()


def test_points_that_coincide_have_no_angle() -> None:
    found = angles(skeleton(p15=STANDING[13]), SEEN)
    assert found["left_elbow"] is None
    assert found["right_elbow"] is not None
