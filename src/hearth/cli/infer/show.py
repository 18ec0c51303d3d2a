"""Answers for people, by what the catalog says of their fields."""

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from hearth.catalog import FieldInfo, SchemaInfo
from hearth.cli.console import Text
from hearth.client import Outcome
from hearth.known import SCHEMAS

FIRST_VALUES = 4
"""Number of a vector's first values that are shown."""
LONGEST_JSON = 2000
"""Characters of an unknown answer that are shown."""


def answer(outcome: Outcome) -> RenderableType:
    """Show what the node answered, or why it didn't."""
    if outcome.error is not None:
        return Text(f"✗ {outcome.error}", style="red")
    if outcome.parts:
        grid = _grid()
        for entry, part in outcome.parts.items():
            grid.add_row(Text(entry), answer(part))
        return grid
    shown = _answer(outcome)
    notes = [Text(note, style="dim") for note in _notes(outcome)]
    return Group(shown, *notes) if notes else shown


def _notes(outcome: Outcome) -> Iterator[str]:
    """Tell what else there is to be had."""
    if pages := outcome.meta.get("pages"):
        page = outcome.meta.get("page", "1")
        more = ": -o page=2 asks for the second" if page == "1" else ""
        yield f"page {page} of {pages}{more}"
    if unread := outcome.meta.get("unread"):
        yield f"{unread} more found, too uncertain to tell: -o min_confidence=0 shows what was read"


def _answer(outcome: Outcome) -> RenderableType:
    if not outcome.is_json:
        return Text(f"{len(outcome.body):,} bytes of {outcome.mime or 'unknown type'}")
    try:
        content = outcome.json()
        schema = SCHEMAS.get(outcome.schema)
        return _known(content, schema) if schema else _anything(content)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        # The node's answer isn't what its schema promises: show what came.
        return Text(outcome.body.decode("utf-8", "replace")[:LONGEST_JSON])


def _known(content: Any, schema: SchemaInfo) -> RenderableType:
    """Show an answer by the kinds of its fields: one row for each thing that was found."""
    if content.get("dropped"):
        return Text("dropped", style="dim")
    grid = _grid()
    for field in schema.fields:
        match field.kind:
            case "items":
                for each in content[field.name]:
                    words = _words(each, field)
                    grid.add_row(_certainty(each, field), Text(words))
            case "item":
                if (one := content.get(field.name)) is not None:
                    words = f"{field.name.replace('_', ' ')}: {_words(one, field)}"
                    grid.add_row(_certainty(one, field), Text(words))
            case "vector":
                return _vector(content[field.name])
            case "runs":
                return _mask(content, content[field.name])
            case "text":
                return Text(content[field.name])
    return grid if grid.row_count else Text(schema.nothing, style="dim")


def _certainty(thing: Any, field: FieldInfo) -> str:
    scores = [thing[each.name] for each in field.fields if each.kind == "score"]
    return f"{100 * scores[0]:5.1f} %" if scores else ""


def _words(thing: Any, field: FieldInfo) -> str:
    """Tell of a thing in a few words: what it is called, where it is, how much is known of it."""
    there = [each for each in field.fields if each.name in thing]
    words = [str(thing[each.name]) for each in there if each.kind == "text"]
    for each in there:
        if each.figure == "eye":
            gaze = thing[each.name]["gaze"]
            angles = f"{gaze['yaw_degrees']:+.0f}°, {gaze['pitch_degrees']:+.0f}°"
            words.append(f"{each.name} eye {angles}")
    for each in there:
        if each.kind == "box" and not each.name.endswith("_normalized"):
            left, top, right, bottom = (round(edge) for edge in thing[each.name])
            words.append(f"{right - left}×{bottom - top} pixels at {left}, {top}")
    words += [f"{len(thing[each.name])} points" for each in there if each.name == "points"]
    numbers = [len(thing[each.name]) for each in there if each.kind == "vector"]
    summary = ", ".join([" ".join(words), *(f"{count} numbers" for count in numbers)])
    return summary or field.figure or field.name.removesuffix("s")


def _vector(numbers: Any) -> RenderableType:
    values = " ".join(f"{value:+.4f}" for value in numbers[:FIRST_VALUES])
    more = " …" if len(numbers) > FIRST_VALUES else ""
    return Text(f"{len(numbers)} numbers: {values}{more}")


def _mask(content: Any, counts: Any) -> RenderableType:
    size = f"{content['width']}×{content['height']} pixels"
    runs = f"{len(counts):,} runs"
    return Text(f"a mask of {size}: {100 * content['coverage']:.1f} % are of people, {runs}")


def _anything(content: Any) -> RenderableType:
    import orjson

    text = orjson.dumps(content).decode()
    return Text(text if len(text) <= LONGEST_JSON else text[:LONGEST_JSON] + " …")


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid
