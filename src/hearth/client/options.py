"""Options of tasks, as Python's values and as the wire has them."""

from collections.abc import Mapping
from typing import Any

import orjson


def written(options: Mapping[str, Any]) -> dict[str, str]:
    """Texts as they are, numbers and truth as JSON writes them, lists and mappings as JSON.

    What is None isn't sent. Raises TypeError for what JSON has no word for, and ValueError for
    what isn't a text or a number: half a character, NaN.
    """
    return {name: _written(name, value) for name, value in options.items() if value is not None}


def _written(name: str, value: Any) -> str:
    if isinstance(value, str):
        text = str.__str__(value)  # of an Enum the value, and not the name
    elif isinstance(value, bytes | bytearray):
        raise TypeError(f"the option {name} can't be bytes")
    else:
        try:
            text = orjson.dumps(value, option=_NUMPY).decode()
        except TypeError as error:
            raise TypeError(f"the option {name} can't be sent: {error}") from None
        if text == "null":  # as JSON has NaN and the infinities
            raise ValueError(f"the option {name} is {value}, which is no number")
    try:
        f"{name}{text}".encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the option {name} can't be sent: {error}") from None
    return text


_NUMPY = orjson.OPT_SERIALIZE_NUMPY
