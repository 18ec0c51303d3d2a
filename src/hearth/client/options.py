"""Options of tasks, as Python's values and as the wire has them."""

from collections.abc import Mapping
from typing import Any

import orjson


def written(options: Mapping[str, Any]) -> dict[str, str]:
    """Texts as they are, numbers and truth as JSON writes them, lists and mappings as JSON.

    What is None isn't sent. Raises TypeError for what JSON has no word for.
    """
    return {name: _written(value) for name, value in options.items() if value is not None}


def _written(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, option=_NUMPY).decode()


_NUMPY = orjson.OPT_SERIALIZE_NUMPY
