"""Whether the JSON of an answer is what the catalog says of its schema.

assert not faults_of(SCHEMAS["ocr_v1"], answer)
"""

from collections.abc import Iterator, Mapping
from typing import Any

from hearth.catalog import FieldInfo, FieldKind, SchemaInfo


def faults_of(schema: SchemaInfo, content: Any) -> list[str]:
    """How an answer differs from its schema's fields; empty where it doesn't."""
    return list(_faults(content, schema.fields, schema.name))


def _faults(content: Any, fields: tuple[FieldInfo, ...], place: str) -> Iterator[str]:
    if not isinstance(content, Mapping):
        yield f"{place} is no object"
        return
    known = {each.name: each for each in fields}
    yield from (f"{place} has no {name}" for name, each in known.items()
                if name not in content and not each.optional)  # fmt: skip
    for name, value in content.items():
        where = f"{place}.{name}"
        if name not in known:
            yield f"{where} isn't declared"
        elif known[name].kind == "items":
            if not isinstance(value, list):
                yield f"{where} is no list"
                continue
            for at, each in enumerate(value):
                yield from _faults(each, known[name].fields, f"{where}[{at}]")
        elif known[name].kind == "item":
            if value is not None:
                yield from _faults(value, known[name].fields, where)
        elif not _fits(value, known[name].kind):
            yield f"{where} is no {known[name].kind}: {value!r:.60}"


def _fits(value: Any, kind: FieldKind) -> bool:
    """Whether a JSON value without fields of its own is of a kind."""
    match kind:
        case "text" | "name":
            return isinstance(value, str)
        case "flag":
            return isinstance(value, bool)
        case "number":
            return value is None or _is_number(value)
        case "count":
            return isinstance(value, int) and not isinstance(value, bool)
        case "score":
            return _is_number(value) and 0 <= value <= 1
        case "gaze":
            return isinstance(value, Mapping) and value.keys() == {
                "direction", "yaw_degrees", "pitch_degrees",
            }  # fmt: skip
        case "points" | "corners":
            points = value.values() if isinstance(value, Mapping) else value
            return isinstance(value, list | Mapping) and all(map(_is_vector, points))
        case "numbers":
            numbers = value.values() if isinstance(value, Mapping) else value
            return all(each is None or _is_number(each) for each in numbers)
        case "box":
            return _is_vector(value) and len(value) == 4
        case _:  # vector, landmarks, runs
            return _is_vector(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))
