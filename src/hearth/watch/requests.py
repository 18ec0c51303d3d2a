"""Requests for frames: how a frame is encoded, and the options that say which frame it is."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from hearth.client import Capabilities, Node
from hearth.client.options import COMPOSE, ENTRIES, read_entries
from hearth.client.sources import guess_mime
from hearth.errors import InvalidInput
from hearth.media import encode
from hearth.media.raw import MIME as RAW_FRAME
from hearth.media.raw import Pixels
from hearth.watch.frames import FrameSource, SourceFrame, resized

LIVE_IN_FLIGHT = 3
"""Frames of a live source that are sent at once, where the node drops the older: one that is
worked on, one that waits, and the newer one that takes its place."""

VIDEO_IN_FLIGHT, PICTURES_IN_FLIGHT = 4, 8
"""A video's frames are done one after another; pictures side by side."""


JPEG = "image/jpeg"


class FrameEncoding(NamedTuple):
    """Form in which frames are sent."""

    longest: int | None = None
    """Pixels of the longer side; None: unchanged."""
    raw: bool = False
    mimes: Sequence[str] = ()
    """Mimes that the task takes."""


class EncodedFrame(NamedTuple):
    """A frame as it is sent."""

    payload: bytes
    mime: str
    width: int
    height: int


def encode_frame(frame: SourceFrame, how: FrameEncoding) -> EncodedFrame:
    """Make the request's payload: a picture's own file, a JPEG, or raw RGB. Blocking."""
    pixels = _smaller(frame.pixels, how.longest)
    height, width = pixels.shape[:2]
    if how.raw:
        mime = f"{RAW_FRAME};format=rgb;width={width};height={height}"
        return EncodedFrame(pixels.tobytes(), mime, width, height)
    if frame.file and pixels is frame.pixels and (mime := guess_mime(frame.file)) in how.mimes:
        return EncodedFrame(frame.file, mime, width, height)
    return EncodedFrame(encode.jpeg(pixels), JPEG, width, height)


def _smaller(pixels: Pixels, longest: int | None) -> Pixels:
    height, width = pixels.shape[:2]
    if longest is None or max(height, width) <= longest:
        return pixels
    return resized(pixels, longest / max(height, width))


class FrameRequests:
    """Options that go with each frame; those that the user gave go first."""

    def __init__(
        self, task: str, node: Node, source: FrameSource, options: Mapping[str, str], *, raw: bool
    ) -> None:
        """Look up the task; raises InvalidInput for one that looks at no pictures."""
        info = node.capabilities.tasks[task]
        self.task, self.mimes, self.target = task, info.inputs, node.target
        if info.takes_text:
            raise InvalidInput(f"{task} takes texts, and no pictures: use `hearth infer {task}`")
        if raw and RAW_FRAME not in info.inputs:
            raise InvalidInput(f"{task} at {node.target} takes no raw frames: leave --raw out")
        self._options = options
        self._knows = info.limits
        self._live = source.live
        self._stream = None if source.stills else f"watch-{secrets.token_hex(6)}"
        self._entries = read_entries(options.get(ENTRIES, "")) if task == COMPOSE else None
        self._capabilities = node.capabilities
        self.in_flight = self._most(source)

    def meta(self, number: int, moment: float) -> dict[str, str]:
        """Return the options of one frame."""
        if self._stream is None:
            return dict(self._options)
        if self._entries is None:
            return {**self._of_video(self._knows, number, moment), **self._options}
        entries = [self._entry(entry, number, moment) for entry in self._entries]
        return {**self._options, ENTRIES: orjson.dumps(entries).decode()}

    def _most(self, source: FrameSource) -> int:
        if source.stills:
            return PICTURES_IN_FLIGHT
        if not source.live:
            return VIDEO_IN_FLIGHT
        # Where nothing is dropped over there, a frame that waits only gets old.
        return LIVE_IN_FLIGHT if "drop" in self._knows else 1

    def _entry(self, entry: Any, number: int, moment: float) -> Any:
        """Add options to a composed task; what isn't one is left for the node to refuse."""
        if isinstance(entry, str):
            entry = {"task": entry}
        options = entry.get("options", {}) if isinstance(entry, dict) else None
        if not isinstance(options, dict):
            return entry
        knows = _limits(self._capabilities, entry.get("task"))
        video = self._of_video(knows, number, moment)
        # One entry's older frame isn't dropped while another's is answered.
        video.pop("drop", None)
        return {**entry, "options": {**video, **options}}

    def _of_video(self, knows: Mapping[str, str], number: int, moment: float) -> dict[str, str]:
        facts = {
            "stream_id": self._stream or "",
            "frame_number": str(number),
            "timestamp_ms": f"{1000 * moment:.3f}",
        }
        if self._live:
            facts |= {"drop": "oldest", "priority": "interactive"}
        return {name: value for name, value in facts.items() if name in knows}


def _limits(capabilities: Capabilities, task: Any) -> Mapping[str, str]:
    info = capabilities.tasks.get(task) if isinstance(task, str) else None
    return info.limits if info else {}
