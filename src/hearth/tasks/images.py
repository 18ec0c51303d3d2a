"""Images in a request: files, their pages, and raw frames."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from hearth.errors import InvalidInput
from hearth.media import FilePage, ImagePayload, Picture, tiff
from hearth.media.formats import page_count
from hearth.media.raw import MIME as RAW_FRAME
from hearth.media.raw import is_raw
from hearth.tasks.options import PAGE
from hearth.tasks.task import Call, Request

KIND = "lumen.input.kind"
PAGES = "pages"
"""Key of an answer's meta: how many pages the file has, where there are several."""


def image_of(call: Call) -> ImagePayload:
    """Return an image file, whatever its label says (the reader looks at the bytes), or a frame.

    Raises InvalidInput for a page that is none, and for a raw frame whose mime doesn't tell its
    form.
    """
    request = call.request
    payload = request.payload
    page = PAGE.read(request.meta) if PAGE.name in request.meta else 1
    if not isinstance(payload, bytes):
        if isinstance(payload, Picture) and payload.page == page:
            return payload
        payload = payload.payload
    if RAW_FRAME in request.mime.lower() and is_raw(request.mime):
        if page != 1:
            raise InvalidInput(f"{PAGE.name} = {page}: a raw frame has 1 page")
        return Picture(payload, request.mime)
    return payload if page == 1 else FilePage(payload, page)


async def pages_of(request: Request) -> int:
    """Count the pages of a request's image file: 1 of tensors, raw frames and most files."""
    payload = request.payload
    data = payload if isinstance(payload, bytes) else payload.payload
    if data[:4] not in tiff.MAGIC or is_raw(request.mime) or _kind(request.meta) == "tensor":
        return 1
    # A walk through the file: not on the loop, and once for all who look at the picture.
    count = payload.page_count if isinstance(payload, Picture) else partial(page_count, data)
    return await asyncio.get_running_loop().run_in_executor(None, count)


def parse_image(_: Any, call: Call) -> ImagePayload:
    """Return an image as ``image_of`` does; raises InvalidInput for a tensor."""
    meta = call.request.meta
    if KIND in meta and is_tensor(meta):  # most say nothing of it, and pay for no look
        raise InvalidInput(f"{call.request.task} takes image files, no tensors")
    return image_of(call)


def shared_image(call: Call) -> Picture:
    """Return an image that several requests look at, decoded once; raises as ``parse_image``."""
    image = parse_image(None, call)
    return image if isinstance(image, Picture) else Picture(image)


def is_tensor(meta: Mapping[str, str]) -> bool:
    """Tell whether a request's image is a tensor; raises InvalidInput for unknown kinds."""
    kind = _kind(meta)
    if kind in ("", "image", "bytes", "raw"):
        return False
    if kind != "tensor":
        raise InvalidInput(f"{KIND} = {kind!r}: choose image or tensor")
    return True


def _kind(meta: Mapping[str, str]) -> str:
    return meta.get(KIND, "").strip().lower() if meta else ""
