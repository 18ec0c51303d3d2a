"""An answer on its frame, drawn by what the catalog says of its fields."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import cv2

from hearth.catalog import FieldInfo
from hearth.client import Outcome
from hearth.known import SCHEMAS
from hearth.media.raw import Pixels
from hearth.watch import skeletons
from hearth.watch.answer_content import (
    Content,
    box,
    mask_of_runs,
    picture_of,
    points,
    raw_mask_of,
    schema_of,
)
from hearth.watch.canvas import GREEN, ORANGE, PINK, PURPLE, RED, YELLOW, Canvas

MOST_LABELS = 8
"""Labels of a classification that are drawn."""
NOTHING: Mapping[str, Any] = MappingProxyType({})


class DrawingStyle(NamedTuple):
    """Wishes of the user for how answers are drawn."""

    mirrored: bool = False
    angles: bool = False
    """Whether the angles at a body's joints are written."""


def drawn(pixels: Pixels, outcome: Outcome, sent: tuple[int, int], look: DrawingStyle) -> Pixels:
    """Draw what the node saw in a frame on its pixels (RGB); blocking.

    ``sent`` is width and height of the frame as it was sent.
    """
    canvas = Canvas(pixels, sent, mirrored=look.mirrored)
    for answer in sorted(outcome.parts.values() or [outcome], key=_layer):
        _draw(canvas, answer, look)
    return canvas.pixels


def _layer(answer: Outcome) -> int:
    """Return a key to sort by: what covers all the frame is drawn first, masks next."""
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
        schema = SCHEMAS.get(schema_of(answer))
        if schema is None:
            count = content.get("count")
            what = "an answer of an unknown kind" if count is None else f"{count} found"
            canvas.caption(what)
        elif not content.get("dropped"):
            _draw_fields(canvas, content, schema.fields, look)
    else:
        canvas.caption(f"{len(answer.body):,} bytes of {answer.mime or 'unknown type'}")


def _tint(canvas: Canvas, mask: Pixels) -> None:
    canvas.tint(mask, PURPLE)


def _draw_fields(
    canvas: Canvas, content: Content, fields: Sequence[FieldInfo], look: DrawingStyle
) -> None:
    """Draw what an object's fields tell, each by its kind."""
    for field in fields:
        match field.kind:
            case "items":
                _draw_items(canvas, content[field.name], field, look)
            case "item":
                if (one := content[field.name]) is not None:
                    _draw_figure(canvas, one, field, look, beside=content)
            case "runs":
                _tint(canvas, mask_of_runs(content))
            case "vector":
                canvas.caption(f"{len(content[field.name])} numbers")
            case "text":
                canvas.caption(str(content[field.name]))


def _draw_items(canvas: Canvas, things: Any, field: FieldInfo, look: DrawingStyle) -> None:
    """Draw things of one sort: figures, printed lines, boxes, or bars where they have no place."""
    names = {each.kind: each.name for each in reversed(field.fields)}
    if "corners" in names:
        lines = [(str(thing[names["text"]]), thing[names["corners"]]) for thing in things]
        canvas.inscribe(lines, YELLOW)
    elif field.figure:
        for thing in things:
            _draw_figure(canvas, thing, field, look)
    elif inner := [each for each in field.fields if each.figure]:
        for thing in things:
            _draw_fields(canvas, thing, inner, look)
    elif "box" in names:
        for thing in things:
            edges = box(thing, names["box"], canvas)
            canvas.box(edges, GREEN, 1.5)
            marks = names.get("points") or names["landmarks"]
            canvas.dots(points(thing, marks, canvas), PINK, 2)
            canvas.label(f"{100 * thing[names['score']]:.0f} %", edges[:2], GREEN)
    else:
        for thing in things[:MOST_LABELS]:
            share = float(thing[names["score"]])
            canvas.bar(f"{thing[names['text']]}  {100 * share:.1f} %", share, ORANGE)


def _draw_figure(
    canvas: Canvas, thing: Content, field: FieldInfo, look: DrawingStyle, beside: Content = NOTHING
) -> None:
    """Draw what a thing's points make up; ``beside`` are other things of the same person."""
    match field.figure:
        case "face":
            skeletons.mesh(canvas, thing)
        case "eye":
            skeletons.eye(canvas, thing, side=field.name)
        case "hand":
            skeletons.hand(canvas, thing)
        case "pose":
            without = skeletons.told_better(beside)
            skeletons.pose(canvas, thing, angles=look.angles, without=without)
