"""Where to look for a body's face and hands, and when to go on looking where they were.

Constants and formulas: MediaPipe 0.10.21, graphs pose_landmark_cpu and holistic_landmark_cpu.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.families.mediapipe.region import Region, around, rotation_of

Floats = NDArray[np.floating]

_FACE = 11
"""A pose's first points are those of the face."""
_RIGHT_EYE, _LEFT_EYE = 5, 2


def circle(middle: Floats, edge: Floats, degrees: float) -> Region:
    """Return the square around a circle, turned so that ``edge`` is where ``degrees`` say.

    ``middle`` and ``edge`` are points (2 or more numbers); degrees count anticlockwise from
    the right (AlignmentPointsRectsCalculator).
    """
    x, y = float(middle[0]), float(middle[1])
    side = 2 * math.hypot(float(edge[0]) - x, float(edge[1]) - y)
    return Region(x, y, side, side, rotation_of(middle, edge, degrees))


def face_of_pose(points: Floats) -> Region:
    """Tell where a face is searched, of a pose's points (33, 2 or 3)."""
    turned = rotation_of(points[_RIGHT_EYE], points[_LEFT_EYE], 0)
    return around(points[:_FACE])._replace(rotation=turned).square_long().scaled(3)


def face_of_detection(keypoints: Floats) -> Region:
    """Tell where the mesh of a face is looked for, of its six keypoints, the eyes first."""
    turned = rotation_of(keypoints[0], keypoints[1], 0)
    region = around(keypoints)._replace(rotation=turned)
    return region.shifted(0, -0.1).square_long().scaled(2)


def hand_of_pose(wrist: Floats, pinky: Floats, index: Floats) -> Region:
    """Tell where a hand is searched, of a pose's points (HandDetectionsFromPoseToRectsCalculator).

    The circle is about where the middle finger begins, and goes through the wrist.
    """
    middle = (2 * index + pinky) / 3
    region = circle(middle, wrist, -90)
    return region.shifted(0, -0.1).scaled(2.7)


def hand_of_recrop(middle: Floats, edge: Floats) -> Region:
    """Tell where a hand is looked for, of the two points that the model hand_recrop gives."""
    return circle(middle, edge, -90).shifted(0, -0.1)


class Limits(NamedTuple):
    """Bounds on how far a thing may be from where it was (RoiTrackingCalculator)."""

    degrees: float
    """Degrees by which it has turned."""
    shift: float
    """Shift, as a share of the region where it is now."""
    scale: float
    """Growth, as a share of that region."""
    margin: float
    """Share of that region by which what must hold all points is smaller."""


FACE = Limits(15, 0.1, 0.3, 0.2)
HAND = Limits(40, 0.2, 0.4, 0.1)


def same(before: Region, points: Floats, now: Region, limits: Limits) -> bool:
    """Tell whether a thing is still where it was, as far as a coarse look tells.

    ``before`` is the region made of its ``points`` (n, 2 or 3) in the last frame; ``now`` is
    that of the coarse look.
    """
    cos, sin = math.cos(now.rotation), math.sin(now.rotation)
    turn = np.array([[cos, -sin], [sin, cos]])
    """Turn onto the directions of ``now``."""
    places = (points[:, :2] - [now.x, now.y]) @ turn
    x, y = np.array([before.x - now.x, before.y - now.y]) @ turn
    turned = math.remainder(before.rotation - now.rotation, 2 * math.pi)
    half = np.array([now.width, now.height]) * (1 - limits.margin) / 2
    return bool(
        abs(math.degrees(turned)) <= limits.degrees
        and abs(x) <= now.width * limits.shift
        and abs(y) <= now.height * limits.shift
        and abs(before.width - now.width) <= now.width * limits.scale
        and abs(before.height - now.height) <= now.height * limits.scale
        and (np.abs(places) < half).all()
    )
