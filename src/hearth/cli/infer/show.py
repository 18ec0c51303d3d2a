"""Answers for people: one renderable for each schema of the contract."""

from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from hearth.cli.console import Text
from hearth.client import Outcome

FIRST_VALUES = 4
"""How many numbers of a vector are shown."""
LONGEST_JSON = 2000
"""Characters of an unknown answer that are shown."""


def answer(outcome: Outcome) -> RenderableType:
    """What the node answered, or why it didn't."""
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
    """What else there is to be had."""
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
        return _SHOWN.get(outcome.schema, _anything)(content)
    except (ValueError, KeyError, TypeError, IndexError):
        # The node's answer isn't what its schema promises: show what came.
        return Text(outcome.body.decode("utf-8", "replace")[:LONGEST_JSON])


def _labels(content: Any) -> RenderableType:
    grid = _grid()
    for label in content["labels"]:
        grid.add_row(f"{100 * label['score']:5.1f} %", Text(label["label"]))
    return grid if content["labels"] else Text("no label", style="dim")


def _embedding(content: Any) -> RenderableType:
    values = " ".join(f"{value:+.4f}" for value in content["vector"][:FIRST_VALUES])
    more = " …" if len(content["vector"]) > FIRST_VALUES else ""
    return Text(f"{content['dim']} numbers: {values}{more}")


def _ocr(content: Any) -> RenderableType:
    grid = _grid()
    for item in content["items"]:
        grid.add_row(f"{100 * item['confidence']:5.1f} %", Text(item["text"]))
    return grid if content["items"] else Text("no text", style="dim")


def _faces(content: Any) -> RenderableType:
    grid = _grid()
    for face in content["faces"]:
        left, top, right, bottom = (round(edge) for edge in face["bbox"])
        words = f"{right - left}×{bottom - top} pixels at {left}, {top}"
        if vector := face.get("embedding"):
            words += f", {len(vector)} numbers"
        grid.add_row(f"{100 * face['confidence']:5.1f} %", words)
    return grid if content["faces"] else Text("no face", style="dim")


def _people(content: Any) -> RenderableType:
    """Faces, hands or bodies, of tasks on pictures of people."""
    if content.get("dropped"):
        return Text("dropped", style="dim")
    grid = _grid()
    for kind in ("faces", "hands", "poses"):
        for one in content.get(kind, ()):
            grid.add_row(_certainty(one), _one(kind, one))
    return grid if grid.row_count else Text("nobody", style="dim")


def _holistic(content: Any) -> RenderableType:
    if content.get("dropped"):
        return Text("dropped", style="dim")
    grid = _grid()
    for part, kind in (("pose", "poses"), ("face", "faces"), ("left_hand", "hands"),
                       ("right_hand", "hands")):  # fmt: skip
        if (one := content.get(part)) is not None:
            grid.add_row(_certainty(one), f"{part.replace('_', ' ')}: {_one(kind, one)}")
    return grid if grid.row_count else Text("nobody", style="dim")


def _certainty(one: Any) -> str:
    score = one.get("confidence", one.get("presence"))
    return f"{100 * score:5.1f} %" if isinstance(score, int | float) else ""


def _one(kind: str, one: Any) -> str:
    """A face, hand or body in a few words."""
    words = [one[name] for name in ("handedness", "gesture") if name in one]
    for side in ("right", "left"):
        if "gaze" in (one.get(side) or ()):
            gaze = one[side]["gaze"]
            words.append(f"{side} eye {gaze['yaw_degrees']:+.0f}°, {gaze['pitch_degrees']:+.0f}°")
    if "box" in one:
        left, top, right, bottom = (round(edge) for edge in one["box"])
        words.append(f"{right - left}×{bottom - top} pixels at {left}, {top}")
    if "points" in one:
        words.append(f"{len(one['points'])} points")
    return " ".join(words) or kind.removesuffix("s")


def _mask(content: Any) -> RenderableType:
    if content.get("dropped"):
        return Text("dropped", style="dim")
    size = f"{content['width']}×{content['height']} pixels"
    runs = f"{len(content['counts']):,} runs"
    return Text(f"a mask of {size}: {100 * content['coverage']:.1f} % are of people, {runs}")


def _generated(content: Any) -> RenderableType:
    return Text(content["text"])


def _anything(content: Any) -> RenderableType:
    import orjson

    text = orjson.dumps(content).decode()
    return Text(text if len(text) <= LONGEST_JSON else text[:LONGEST_JSON] + " …")


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


_SHOWN: dict[str, Callable[[Any], RenderableType]] = {
    "labels_v1": _labels,
    "embedding_v1": _embedding,
    "ocr_v1": _ocr,
    "face_v1": _faces,
    "text_generation_v1": _generated,
    **dict.fromkeys(
        (
            "face_detection_v1",
            "face_mesh_v1",
            "iris_tracking_v1",
            "hand_tracking_v1",
            "pose_tracking_v1",
        ),
        _people,
    ),
    "holistic_tracking_v1": _holistic,
    "selfie_segmentation_v1": _mask,
}
