"""From a request's bytes to what a model takes: what several tasks have in common."""

from hearth.errors import InvalidInput
from hearth.tasks.task import Call

_WIDEST = 4
"""Bytes of a character in UTF-8, at most."""


def text_of(call: Call, longest: int) -> str:
    """The text of a request, at most ``longest`` characters; the empty one counts.

    Raises InvalidInput, before anything is made of a payload that is too large.
    """
    size = len(call.request.payload)
    if size > _WIDEST * longest:
        raise InvalidInput(f"the text has {size} bytes; at most {longest} characters are taken")
    mime = call.request.mime.partition(";")[0].strip().lower()
    if mime and not mime.startswith("text/"):
        raise InvalidInput(f"{call.request.task} takes text/plain, not {mime}")
    try:
        text = call.request.payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"the text isn't UTF-8: byte {error.start} is 0x{call.request.payload[error.start]:02x}"
        ) from None
    if len(text) > longest:
        raise InvalidInput(f"the text has {len(text)} characters; at most {longest} are taken")
    return text
