"""Faces, eyes, hands and bodies, drawn along the lines that join their points.

Which points belong together: facts of MediaPipe 0.10.21's own lists of connections.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hearth.families.mediapipe.joints import JOINTS, VISIBLE
from hearth.watch.answer_content import Content, points
from hearth.watch.canvas import (
    BLUE,
    GREEN,
    ORANGE,
    PALETTE,
    PINK,
    WHITE,
    YELLOW,
    Canvas,
)

HAND_BONES: tuple[tuple[tuple[int, int], ...], ...] = (
    ((0, 1), (0, 5), (5, 9), (9, 13), (13, 17), (0, 17)),
    ((1, 2), (2, 3), (3, 4)),
    ((5, 6), (6, 7), (7, 8)),
    ((9, 10), (10, 11), (11, 12)),
    ((13, 14), (14, 15), (15, 16)),
    ((17, 18), (18, 19), (19, 20)),
)
"""The palm, and the thumb to the little finger (hands_connections)."""

POSE_LEFT = ((11, 13), (13, 15), (15, 17), (15, 19), (15, 21), (17, 19),
             (23, 25), (25, 27), (27, 29), (27, 31), (29, 31))  # fmt: skip
POSE_RIGHT = ((12, 14), (14, 16), (16, 18), (16, 20), (16, 22), (18, 20),
              (24, 26), (26, 28), (28, 30), (28, 32), (30, 32))  # fmt: skip
POSE_TRUNK = ((11, 12), (11, 23), (12, 24), (23, 24))
POSE_FACE = ((0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10))
"""A body's 33 points, by sides (pose_connections)."""

POSE_POINTS_OF_FACE = range(11)
POSE_POINTS_OF_HANDS = {"left": (17, 19, 21), "right": (18, 20, 22)}
"""Points that a face or a hand of its own tells better."""

FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400,
             377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67,
             109)  # fmt: skip
LIPS = (
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),
    (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191),
)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
"""Closed lines of a mesh of 468 points (face_mesh_connections)."""

BROWS = (
    (70, 63, 105, 66, 107), (46, 53, 52, 65, 55),
    (300, 293, 334, 296, 336), (276, 283, 282, 295, 285),
)  # fmt: skip
"""Brows: open lines of that mesh."""

EYE = (0, 1, 2, 3, 4, 5, 6, 7, 8, 15, 14, 13, 12, 11, 10, 9)
"""A closed line of the iris model's contour: along the lower lid to the inner corner, and back
along the upper one."""

GAZE_LENGTH = 3.0
"""Length of the arrow of an eye that looks sideways, in diameters of its iris."""


def mesh(canvas: Canvas, face: Content) -> None:
    """Draw the points of one face, and the lines that make it a face."""
    placed = points(face, "points", canvas)
    canvas.dots(placed, WHITE, 0.45)
    lips = [(line, ORANGE) for line in LIPS]
    both = [(RIGHT_EYE, GREEN), (LEFT_EYE, BLUE)]
    for line, color in ((FACE_OVAL, WHITE), *lips, *both):
        canvas.path(placed[list(line)], color, closed=True, rim=False)
    for brow in BROWS:
        canvas.path(placed[list(brow)], YELLOW, rim=False)


def eye(canvas: Canvas, eye: Content, *, side: str) -> None:
    """Draw an eye's contour and iris, and an arrow along its gaze; ``side`` is right or left."""
    color = GREEN if side == "right" else BLUE
    contour, iris = points(eye, "contour", canvas), points(eye, "iris", canvas)
    canvas.dots(contour[len(EYE) :], WHITE, 0.45)
    canvas.path(contour[list(EYE)], color, closed=True, width=0.7, rim=False)
    center, diameter = iris[0, :2], float(eye["diameter"])
    canvas.ring(center.tolist(), diameter, YELLOW)
    canvas.dots(iris, YELLOW, 0.8)
    looks = np.asarray(eye["gaze"]["direction"][:2], np.float64)
    end = center + looks * diameter * GAZE_LENGTH
    canvas.arrow(center.tolist(), end.tolist(), PINK)


def hand(canvas: Canvas, one: Content) -> None:
    """Draw a hand's bones, a colour a finger, and write what it is and does."""
    placed = points(one, "points", canvas)
    for pairs, color in zip(HAND_BONES, (WHITE, *PALETTE), strict=False):
        canvas.lines(placed, pairs, color, 1.6)
    canvas.dots(placed, WHITE, 1.5)
    gesture = str(one.get("gesture") or "None").replace("_", " ")
    text = str(one["handedness"]) + ("" if gesture == "None" else f": {gesture}")
    top = placed[placed[:, 1].argmin()]
    canvas.label(text, (float(placed[:, 0].min()), float(top[1]) - 4), ORANGE)


def pose(
    canvas: Canvas, one: Content, *, angles: bool = False, without: Sequence[int] = ()
) -> None:
    """Draw a body's bones, as far as they are seen, but for those at the points ``without``."""
    placed = points(one, "points", canvas)
    seen = np.asarray(one["visibility"], np.float64) >= VISIBLE
    seen[list(without)] = False
    for pairs, color in (
        (POSE_TRUNK, WHITE),
        (POSE_FACE, WHITE),
        (POSE_LEFT, ORANGE),
        (POSE_RIGHT, BLUE),
    ):
        canvas.lines(placed, [pair for pair in pairs if seen[list(pair)].all()], color, 1.8)
    canvas.dots(placed[seen], WHITE, 2)
    if angles:
        _angles(canvas, placed, one["angles"])


def _angles(canvas: Canvas, placed: Any, angles: Content) -> None:
    for name, degrees in angles.items():
        if degrees is not None and name in JOINTS:
            _, joint, _ = JOINTS[name]
            canvas.label(f"{degrees:.0f}°", placed[joint].tolist(), YELLOW, above=False)


def told_better(beside: Content) -> list[int]:
    """List the points of a pose that the face and hands ``beside`` it tell better."""
    points = [*POSE_POINTS_OF_FACE] if beside.get("face") else []
    for side, those in POSE_POINTS_OF_HANDS.items():
        points += those if beside.get(f"{side}_hand") else ()
    return points
