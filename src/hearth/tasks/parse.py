"""From a request's bytes to what a model takes: what several tasks have in common."""

from hearth.errors import InvalidInput
from hearth.tasks.charset import charset_of, decode
from hearth.tasks.task import Call

_WIDEST = 4
"""Largest number of bytes of a character in UTF-8, UTF-16 and UTF-32; a byte order mark is one."""


def text_of(call: Call, longest: int) -> str:
    """Return the text of a request, at most ``longest`` characters; the empty one counts.

    It is in the ``charset`` of its mime, else in UTF-8; a byte order mark is no part of it.
    Raises InvalidInput, before anything is made of a payload that is too large.
    """
    data = call.request.data
    size = len(data)
    if size > _WIDEST * (longest + 1):
        raise InvalidInput(f"the text has {size} bytes; at most {longest} characters are taken")
    mime = call.request.mime.partition(";")[0].strip().lower()
    if mime and not mime.startswith("text/"):
        raise InvalidInput(f"{call.request.task} takes text/plain, not {mime}")
    text = decode(data, charset_of(call.request.mime))
    if len(text) > longest:
        raise InvalidInput(f"the text has {len(text)} characters; at most {longest} are taken")
    return text
