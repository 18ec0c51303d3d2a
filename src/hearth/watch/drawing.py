"""An answer on its frame: one way to draw for each schema."""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from hearth.client import Outcome
from hearth.media.raw import Pixels
from hearth.watch import skeletons
from hearth.watch.answer_content import (
    Content,
    mask_of_runs,
    picture_of,
    raw_mask_of,
    schema_of,
)
from hearth.watch.canvas import GREEN, ORANGE, PINK, PURPLE, RED, YELLOW, Canvas

MOST_LABELS = 8
"""Of a classification, that are drawn."""


class DrawingStyle(NamedTuple):
    """What the user wants to see."""

    mirrored: bool = False
    angles: bool = False
    """Write the angles at a body's joints."""


def drawn(pixels: Pixels, outcome: Outcome, sent: tuple[int, int], look: DrawingStyle) -> Pixels:
    """A frame's pixels (RGB) with what the node saw in it; blocking.

    ``sent`` is width and height of the frame as it was sent.
    """
    canvas = Canvas(pixels, sent, mirrored=look.mirrored)
    for answer in sorted(outcome.parts.values() or [outcome], key=_layer):
        _draw(canvas, answer, look)
    return canvas.pixels


def _layer(answer: Outcome) -> int:
    """What covers all the frame is drawn first, masks next."""
    if answer.error is not None:
        return 3
    if answer.mime.startswith("image/"):
        return 1 if "coverage" in answer.meta else 0
    return 1 if "coverage" in answer.meta else 2


def _draw(canvas: Canvas, answer: Outcome, look: DrawingStyle) -> None:
    try:
        _draw_answer(canvas, answer, look)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, cv2.error):
        # Not what its schema promises.
        canvas.caption(f"an answer that can't be drawn: {schema_of(answer) or answer.mime}", RED)


def _draw_answer(canvas: Canvas, answer: Outcome, look: DrawingStyle) -> None:
    if answer.error is not None:
        canvas.caption(str(answer.error), RED)
    elif (picture := picture_of(answer)) is not None:
        if picture.ndim == 2:
            _tint(canvas, picture)
        else:
            canvas.cover(picture)
    elif (mask := raw_mask_of(answer)) is not None:
        _tint(canvas, mask)
    elif answer.is_json:
        content = answer.json()
        if not content.get("dropped"):
            _SHOWN.get(schema_of(answer), _unknown)(canvas, content, look)
    else:
        canvas.caption(f"{len(answer.body):,} bytes of {answer.mime or 'unknown type'}")


def _tint(canvas: Canvas, mask: Pixels) -> None:
    canvas.tint(mask, PURPLE)


def _runs(canvas: Canvas, content: Content, _: DrawingStyle) -> None:
    _tint(canvas, mask_of_runs(content))


def _faces(canvas: Canvas, content: Content, _: DrawingStyle) -> None:
    for face in content["faces"]:
        canvas.box(face["bbox"], GREEN, 1.5)
        canvas.dots(np.reshape(np.asarray(face["landmarks"], np.float64), (-1, 2)), PINK, 2)
        canvas.label(f"{100 * face['confidence']:.0f} %", face["bbox"][:2], GREEN)


def _ocr(canvas: Canvas, content: Content, _: DrawingStyle) -> None:
    canvas.inscribe([(str(item["text"]), item["box"]) for item in content["items"]], YELLOW)


def _labels(canvas: Canvas, content: Content, _: DrawingStyle) -> None:
    for label in content["labels"][:MOST_LABELS]:
        share = float(label["score"])
        canvas.bar(f"{label['label']}  {100 * share:.1f} %", share, ORANGE)


def _embedding(canvas: Canvas, content: Content, _: DrawingStyle) -> None:
    canvas.caption(f"{content['dim']} numbers")


def _generated(canvas: Canvas, content: Content, _: DrawingStyle) -> None:
    canvas.caption(str(content["text"]))


def _unknown(canvas: Canvas, content: Content, _: DrawingStyle) -> None:
    count = content.get("count")
    canvas.caption("an answer of an unknown kind" if count is None else f"{count} found")


_SHOWN: dict[str, Callable[[Canvas, Content, DrawingStyle], None]] = {
    "face_detection_v1": lambda canvas, content, _: skeletons.found_faces(canvas, content),
    "face_mesh_v1": lambda canvas, content, _: skeletons.meshes(canvas, content),
    "iris_tracking_v1": lambda canvas, content, _: skeletons.eyes(canvas, content),
    "hand_tracking_v1": lambda canvas, content, _: skeletons.hands(canvas, content),
    "pose_tracking_v1": lambda canvas, content, look: skeletons.poses(
        canvas, content, angles=look.angles
    ),
    "holistic_tracking_v1": lambda canvas, content, look: skeletons.holistic(
        canvas, content, angles=look.angles
    ),
    "selfie_segmentation_v1": _runs,
    "face_v1": _faces,
    "ocr_v1": _ocr,
    "labels_v1": _labels,
    "embedding_v1": _embedding,
    "text_generation_v1": _generated,
}
