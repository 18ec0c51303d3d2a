"""Where an eye looks: an estimate from geometry, made by no model of gaze.

The iris of an eye that looks straight ahead has a known place between the corners; how far it
is from there, in millimetres (an iris is 11.8 wide), tells by how much the eye is turned in
the head, and five points of the mesh tell how the head is turned. The picture is taken as seen
from far away: an eye that looks at the camera has about (0, 0, -1) wherever in the picture it
is.

What it is worth: two people who look into the lens, or close by, come out within 8 degrees of
it (the mean of their two eyes within 6), and two constants below were chosen on just them;
where their irises are moved in the picture it follows by 0.6 to 1.1 of the angle. That is for
open eyes, upright faces of some 50 pixels or more and heads turned little; it gets worse from
there, and in profile, or where the mesh is wrong, it means nothing. People differ by a few
degrees, which only measuring a person could cure.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.families.mediapipe.region import Points

Side = Literal["right", "left"]
"""The subject's."""

Vector = Sequence[float]
"""x, y and z."""

IRIS_MM = 11.8
"""The width of a human iris, which differs little (MediaPipe's IrisToDepthCalculator)."""

TURN_MM = 10.0
"""Distance from the point about which an eye turns to the middle of its iris: 13.5 mm to the front
of the cornea (the figure that optometry takes) less 3.5 for the chamber between."""

OUT_MM, ABOVE_MM, FRONT_MM = 0.85, 1.6, 3.6
"""Place where the iris of an eye that looks straight ahead is, from the middle between its corners.
In front of it by as much as in MediaPipe's face_model_with_iris.obj (points 33, 133, 468); nearer
to the temple, for one sees along an axis a few degrees nearer to the nose than the pupil's own (the
angle kappa), and higher: both measured, about the mean of the four eyes of two people who look into
the lens (tests/references), so that theirs come out near 0."""

FOLLOWS = 0.35
"""Share of a moved iris's way by which the eye's corners, as the iris model sees them, follow it:
measured on the same photographs, with their irises moved by up to 3 mm."""

_MOST = 0.98
"""The sine of the largest angle: an iris that seems to be off the ball is taken to its edge."""

_LANDMARKS = [33, 263, 10, 129, 358]
"""Points of the mesh that neither the jaw nor the brows move: the eyes' right and left outer
corners, the top of the forehead, and the right and left wings of the nose."""

_LEAN = 0.04
"""Distance by which the wings of the nose are further in front than the forehead, for each unit
that they are lower (0.37 cm of 9.24 in MediaPipe's canonical_face_model.obj)."""


class Gaze(NamedTuple):
    """Direction of an eye's look, seen from the camera: x to the right, y down, z away from it."""

    direction: tuple[float, float, float]
    """Vector of length 1."""
    yaw_degrees: float
    """0: at the camera; positive: to the picture's right, which is the subject's left."""
    pitch_degrees: float
    """0: level with the camera; positive: up."""


def gaze(
    side: Side,
    mesh: Points,
    corners: NDArray[np.floating],
    iris: NDArray[np.floating],
    diameter: float,
) -> Gaze:
    """Tell where an eye looks.

    ``mesh`` is the face's (468, 3); ``corners`` of the eye, outer and inner, are (2, 2 or 3)
    and ``iris`` is its centre (2 or 3), all in pixels, as is the iris' ``diameter``.
    """
    # Plain numbers: numpy takes ten times as long for three of them.
    left, down, back = head_axes(mesh)
    pixels = max(diameter, 1e-3) / IRIS_MM
    out = -OUT_MM if side == "right" else OUT_MM
    outer, inner = corners.tolist()
    x, y = (
        _turned(
            float(iris[at]) - (outer[at] + inner[at]) / 2,
            (out * left[at] - ABOVE_MM * down[at] - FRONT_MM * back[at]) * pixels,
            TURN_MM * pixels,
        )
        - back[at]
        for at in (0, 1)
    )
    if (off := math.hypot(x, y)) > _MOST:
        x, y = x / off * _MOST, y / off * _MOST
    z = -math.sqrt(1 - x * x - y * y)
    return Gaze((x, y, z), math.degrees(math.atan2(x, -z)), -math.degrees(math.asin(y)))


def head_axes(mesh: Points) -> tuple[Vector, Vector, Vector]:
    """Find a head's own directions in the picture: to its left, down and backwards.

    Each is of length 1 and square to the others. They are x, y and z of the picture for a
    head that is upright and faces the camera.
    """
    right_corner, left_corner, forehead, right_ala, left_ala = mesh[_LANDMARKS].tolist()
    left = _unit(_sum(left_corner, right_corner, -1))
    down = _sum(_sum(right_ala, left_ala), forehead, -2)
    down = _unit(_sum(down, left, -_dot(left, down)))
    down = _unit(_sum(down, _cross(left, down), _LEAN))
    return left, down, _cross(left, down)


def _turned(seen: float, straight: float, radius: float) -> float:
    """Compute the sine of the angle by which an eye is turned in the head, along one direction."""
    return (seen - straight) / (1 - FOLLOWS) / radius


def _sum(one: Vector, other: Vector, times: float = 1) -> Vector:
    return (one[0] + times * other[0], one[1] + times * other[1], one[2] + times * other[2])


def _dot(one: Vector, other: Vector) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def _cross(one: Vector, other: Vector) -> Vector:
    return (
        one[1] * other[2] - one[2] * other[1],
        one[2] * other[0] - one[0] * other[2],
        one[0] * other[1] - one[1] * other[0],
    )


def _unit(vector: Vector) -> Vector:
    length = max(math.hypot(*vector), 1e-9)
    return (vector[0] / length, vector[1] / length, vector[2] / length)
