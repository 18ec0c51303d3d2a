"""Faces, eyes, hands and bodies, drawn."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hearth.cli.view import bones
from hearth.cli.view.canvas import (
    BLUE,
    GREEN,
    ORANGE,
    PALETTE,
    PINK,
    WHITE,
    YELLOW,
    Canvas,
)
from hearth.cli.view.reading import Content, box, points
from hearth.models.mediapipe.joints import JOINTS, VISIBLE

GAZE_LENGTH = 3.0
"""Of the arrow of an eye that looks sideways, in diameters of its iris."""


def found_faces(canvas: Canvas, content: Content) -> None:
    """face_detection_v1."""
    for face in content["faces"]:
        edges = box(face, canvas)
        canvas.box(edges, GREEN, 1.5)
        canvas.dots(points(face, "keypoints", canvas), PINK, 2)
        canvas.label(f"{100 * face['confidence']:.0f} %", edges[:2], GREEN)


def meshes(canvas: Canvas, content: Content) -> None:
    """face_mesh_v1."""
    for face in content["faces"]:
        mesh(canvas, face)


def mesh(canvas: Canvas, face: Content) -> None:
    """The points of one face, and the lines that make it a face."""
    placed = points(face, "points", canvas)
    canvas.dots(placed, WHITE, 0.45)
    lips = [(line, ORANGE) for line in bones.LIPS]
    both = [(bones.RIGHT_EYE, GREEN), (bones.LEFT_EYE, BLUE)]
    for line, color in ((bones.FACE_OVAL, WHITE), *lips, *both):
        canvas.path(placed[list(line)], color, closed=True, rim=False)
    for brow in bones.BROWS:
        canvas.path(placed[list(brow)], YELLOW, rim=False)


def eyes(canvas: Canvas, content: Content) -> None:
    """iris_tracking_v1."""
    for face in content["faces"]:
        for side, color in (("right", GREEN), ("left", BLUE)):
            _eye(canvas, face[side], color)


def _eye(canvas: Canvas, eye: Content, color: tuple[int, int, int]) -> None:
    contour, iris = points(eye, "contour", canvas), points(eye, "iris", canvas)
    canvas.dots(contour[len(bones.EYE) :], WHITE, 0.45)
    canvas.path(contour[list(bones.EYE)], color, closed=True, width=0.7, rim=False)
    center, diameter = iris[0, :2], float(eye["diameter"])
    canvas.ring(center.tolist(), diameter, YELLOW)
    canvas.dots(iris, YELLOW, 0.8)
    looks = np.asarray(eye["gaze"]["direction"][:2], np.float64)
    end = center + looks * diameter * GAZE_LENGTH
    canvas.arrow(center.tolist(), end.tolist(), PINK)


def hands(canvas: Canvas, content: Content) -> None:
    """hand_tracking_v1."""
    for one in content["hands"]:
        hand(canvas, one)


def hand(canvas: Canvas, one: Content) -> None:
    """A hand's bones, a colour a finger, and what it is and does."""
    placed = points(one, "points", canvas)
    for pairs, color in zip(bones.HAND_BONES, (WHITE, *PALETTE), strict=False):
        canvas.lines(placed, pairs, color, 1.6)
    canvas.dots(placed, WHITE, 1.5)
    gesture = str(one.get("gesture") or "None").replace("_", " ")
    text = str(one["handedness"]) + ("" if gesture == "None" else f": {gesture}")
    top = placed[placed[:, 1].argmin()]
    canvas.label(text, (float(placed[:, 0].min()), float(top[1]) - 4), ORANGE)


def poses(canvas: Canvas, content: Content, *, angles: bool = False) -> None:
    """pose_tracking_v1."""
    for one in content["poses"]:
        pose(canvas, one, angles=angles)


def pose(
    canvas: Canvas, one: Content, *, angles: bool = False, without: Sequence[int] = ()
) -> None:
    """A body's bones, as far as they are seen, but for those at the points ``without``."""
    placed = points(one, "points", canvas)
    seen = np.asarray(one["visibility"], np.float64) >= VISIBLE
    seen[list(without)] = False
    for pairs, color in (
        (bones.POSE_TRUNK, WHITE),
        (bones.POSE_FACE, WHITE),
        (bones.POSE_LEFT, ORANGE),
        (bones.POSE_RIGHT, BLUE),
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


def holistic(canvas: Canvas, content: Content, *, angles: bool = False) -> None:
    """holistic_tracking_v1."""
    told = {side: content[f"{side}_hand"] for side in ("left", "right")}
    if content["pose"] is not None:
        without = [*bones.POSE_POINTS_OF_FACE] if content["face"] else []
        for side, one in told.items():
            without += bones.POSE_POINTS_OF_HANDS[side] if one else ()
        pose(canvas, content["pose"], angles=angles, without=without)
    if content["face"] is not None:
        mesh(canvas, content["face"])
    for one in told.values():
        if one is not None:
            hand(canvas, one)
