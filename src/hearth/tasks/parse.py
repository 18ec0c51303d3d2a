"""From a request's bytes to what a model takes: what several tasks have in common."""

from hearth.errors import InvalidInput
from hearth.tasks.task import Call


def text_of(call: Call) -> str:
    """The text of a request; the empty one counts. Raises InvalidInput."""
    mime = call.request.mime.partition(";")[0].strip().lower()
    if mime and not mime.startswith("text/"):
        raise InvalidInput(f"{call.request.task} takes text/plain, not {mime}")
    try:
        return call.request.payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"the text isn't UTF-8: byte {error.start} is 0x{call.request.payload[error.start]:02x}"
        ) from None
