"""Golden vectors: small inputs, and what reference implementations answer to them.

    for case in golden("ocr").cases: ...         # tests/golden/ocr.json
    payload_of(case.input)                       # the bytes that are sent, and their mime
    differences(schema, case.answer, answer, golden.tolerances)

One file for each task; ``tools/make_golden.py`` writes them. An answer has the form of the task's
schema, but tells only what the reference knows. ``tolerances`` are by a field's name, else by its
kind: of a vector the least cosine, of masks the least overlap (intersection over union), of
places pixels (the mean distance of points), of numbers the largest difference.
"""

import base64
import functools
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import face_kit
import reference_kit
from checkout import TESTS
from hearth.catalog import FieldInfo, FieldKind, SchemaInfo

GOLDEN = TESTS / "golden"

LABELS = ("cat", "astronaut in a suit", "cup of coffee", "rocket", "sandy beach")
"""What the toys' own label files hold."""

MARKS = (face_kit.Mark(3, 3, 2), face_kit.Mark(12, 5, 3), face_kit.Mark(6, 10, 2.5))
MARKED = (800, 600)

INPUTS: Mapping[str, Callable[[], Image.Image]] = {
    # The upper lines of a photographed page, and the beginnings of two of them.
    "page": lambda: _page().crop((0, 0, 384, 100)),
    "page_corner": lambda: _page().crop((0, 0, 160, 70)),
    "marks": lambda: face_kit.drawn(MARKED, MARKS, noise=1),
    "no_marks": lambda: face_kit.drawn(MARKED, (), noise=2),
}
"""Pictures beside those of reference_kit."""


class Case(NamedTuple):
    """One input, and the answer to it."""

    name: str
    input: Mapping[str, Any]
    """``text``, or ``picture`` with the ``crc32`` of its pixels."""
    options: Mapping[str, str]
    answer: Any


class Golden(NamedTuple):
    """The content of a file."""

    task: str
    made_by: str
    tolerances: Mapping[str, float]
    cases: tuple[Case, ...]


def _page() -> Image.Image:
    import skimage.data

    return Image.fromarray(skimage.data.page()).convert("RGB")


@functools.cache
def image(name: str) -> Image.Image:
    """A picture by its name; not to be written to."""
    return INPUTS[name]() if name in INPUTS else Image.fromarray(reference_kit.picture(name))


def input_of(picture: str) -> dict[str, Any]:
    """A picture as a file names it."""
    return {"picture": picture, "crc32": reference_kit.crc32(np.asarray(image(picture)))}


def payload_of(given: Mapping[str, Any]) -> tuple[bytes, str]:
    """What is sent, and its mime; fails where it is another picture than the reference saw."""
    if "text" in given:
        return given["text"].encode(), "text/plain"
    picture = image(given["picture"])
    assert reference_kit.crc32(np.asarray(picture)) == given["crc32"], f"another {given['picture']}"
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue(), "image/png"


def tasks() -> list[str]:
    """Names of the tasks that have a file."""
    return sorted(path.stem for path in GOLDEN.glob("*.json"))


@functools.cache
def golden(task: str) -> Golden:
    """The content of a task's file."""
    told = json.loads((GOLDEN / f"{task}.json").read_text(encoding="utf-8"))
    return Golden(**{**told, "cases": tuple(Case(**case) for case in told["cases"])})


def write(content: Golden) -> None:
    """Write a task's file: a line for each case."""
    told = content._asdict()
    cases = ",\n  ".join(
        json.dumps(case._asdict(), ensure_ascii=False) for case in told.pop("cases")
    )
    head = json.dumps(told, indent=1, ensure_ascii=False).removesuffix("\n}")
    text = f'{head},\n "cases": [\n  {cases}\n ]\n}}\n'
    (GOLDEN / f"{content.task}.json").write_text(text, encoding="utf-8")


# --- what is compared -----------------------------------------------------------------------


def differences(
    schema: SchemaInfo, expected: Any, answer: Any, tolerances: Mapping[str, float]
) -> list[str]:
    """Where an answer is further from the reference's than it may be; empty where nowhere."""
    return list(_different(schema.fields, expected, answer, tolerances, schema.name))


def _different(
    fields: tuple[FieldInfo, ...], expected: Any, answer: Any, tolerances: Any, place: str
) -> Iterator[str]:
    known = {field.name: field for field in fields}
    for name, value in expected.items():
        field, ours, where = known[name], answer.get(name), f"{place}.{name}"
        if field.kind == "items":
            if len(value) != len(ours):
                yield f"{where}: {len(ours)} instead of {len(value)}"
                continue
            for at, (one, other) in enumerate(zip(value, ours, strict=True)):
                yield from _different(field.fields, one, other, tolerances, f"{where}[{at}]")
        elif field.kind == "item" and value is not None and ours is not None:
            yield from _different(field.fields, value, ours, tolerances, where)
        elif value is None or ours is None or field.kind in {"text", "name", "count", "flag"}:
            if value != ours:
                yield f"{where}: {ours!r:.80} instead of {value!r:.80}"
        else:
            least, size = _least(field), tolerances.get(name, tolerances.get(field.kind))
            assert size is not None, f"no tolerance for {where} ({field.kind})"
            apart = _measure(field.kind, value, ours, answer)
            if (apart < size) if least else (apart > size):
                yield f"{where}: {apart:.5g}, {'at least' if least else 'at most'} {size} allowed"


def _least(field: FieldInfo) -> bool:
    """Whether a measure is of likeness, not of distance."""
    return field.kind in {"vector", "runs"}


def _measure(kind: FieldKind, expected: Any, ours: Any, answer: Any) -> float:
    if kind == "runs":
        size = (answer["height"], answer["width"])
        one, other = _mask(expected, size), _mask(ours, size)
        return float((one & other).sum() / max(1, (one | other).sum()))
    one, other = (np.asarray(_values(each), np.float64) for each in (expected, ours))
    if kind == "vector":
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    if one.shape != other.shape:
        return float("inf")
    if kind == "landmarks":
        one, other = one.reshape(-1, 2), other.reshape(-1, 2)
    if kind in {"points", "corners", "landmarks"}:
        # z is an estimate of another kind: whoever has it names it by itself.
        return float(np.linalg.norm((one - other)[:, :2], axis=1).mean())
    return float(np.abs(one - other).max())


def _values(value: Any) -> Any:
    return [value[key] for key in sorted(value)] if isinstance(value, Mapping) else value


def _mask(counts: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    kinds = np.arange(len(counts)) % 2 == 1
    return np.repeat(kinds, counts).reshape(size)


def runs_of(mask: NDArray[np.bool_]) -> list[int]:
    """Lengths of a mask's runs, beginning with background."""
    flat = mask.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    return [int(run) for run in np.diff(edges, prepend=0, append=flat.size)]


def packed(values: NDArray[np.uint8]) -> str:
    """A few hundred bytes of a picture, as text."""
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode()


def unpacked(text: str) -> NDArray[np.uint8]:
    """The bytes again."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
