"""Outcomes as JSON has them."""

import base64
from typing import Any

from hearth.client.messages import Outcome


def outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome's ``result``, ``error`` and ``meta`` for a JSON encoder.

    ``result`` is the answer's own JSON, or ``{"mime", "base64"}`` of its bytes, or None where
    there is an error; of a composed request ``entries`` has what became of each, by its id.
    """
    entries = {entry: outcome_as_json(part) for entry, part in outcome.parts.items()}
    error = outcome.error
    return {
        "result": None if error is not None or entries else _result(outcome),
        "error": None if error is None else {"code": error.code, "message": error.message},
        "meta": dict(outcome.meta),
        **({"entries": entries} if entries else {}),
    }


def _result(outcome: Outcome) -> Any:
    if outcome.is_json:
        try:
            return outcome.json()
        except ValueError:
            pass  # shown as what it is: bytes
    return {"mime": outcome.mime, "base64": base64.b64encode(outcome.body).decode()}
