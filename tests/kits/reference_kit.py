"""Pictures whose answers by ``mp.solutions`` (mediapipe 0.10.21) are kept, and those answers.

``tools/mediapipe_reference.py`` makes the same pictures in an environment of its own and writes
``references/mediapipe/*.json``; so nothing here may import hearth. All the pictures come from
scikit-image's photographs, but for one (below), through whole numbers alone: they are the same,
bit for bit, wherever they are made, and a CRC-32 kept beside each answer proves it.

Hands are drawn (hand_kit.py), which takes its time, so ``references/hands`` keeps what drawing
adds to the wall or the person behind; run this file to draw them anew.

``grace_hopper.png`` is the United States Navy's portrait of 1984, in the public domain, as
matplotlib carries it among its sample data, halved.

REAL are photographs that no package of the tests' has: media_kit.py fetches them.
"""

import base64
import functools
import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import hand_kit
import media_kit
from checkout import REFERENCES

Pixels = NDArray[np.uint8]

ANSWERS = REFERENCES / "mediapipe"
HANDS_KEPT = REFERENCES / "hands"

ONE = 1 << 16
"""One pixel, as ``seen`` counts."""

FRAME_MS = 33.333
"""Between two frames of a video: what mp.solutions tells its graphs (33333 µs)."""


@functools.cache
def photograph(name: str) -> Pixels:
    """RGB uint8 (h, w, 3): a photograph of scikit-image's wheel, or Grace Hopper."""
    if name == "grace":
        from PIL import Image

        with Image.open(REFERENCES / "grace_hopper.png") as image:
            pixels = np.asarray(image.convert("RGB"))
    else:
        import skimage.data

        pixels = getattr(skimage.data, name)()
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    pixels = np.ascontiguousarray(pixels)
    pixels.flags.writeable = False
    return pixels


def seen(
    pixels: Pixels,
    size: tuple[int, int] | None = None,
    *,
    at: tuple[float, float] | None = None,
    scale: float = 1.0,
    degrees: float = 0.0,
) -> Pixels:
    """What a camera of ``size`` (width, height) sees of a picture; black beyond it.

    It looks at the point ``at`` (x, y; the middle), where the picture appears ``scale`` times
    as large and turned clockwise by ``degrees``. Bilinear, in whole numbers; enlarge
    at will, but halve first what is to be less than half as large.
    """
    height, width = pixels.shape[:2]
    wide, high = size or (width, height)
    x0, y0 = at or (width / 2, height / 2)
    cos = round(math.cos(math.radians(degrees)) / scale * ONE)
    sin = round(math.sin(math.radians(degrees)) / scale * ONE)
    # From the middle of the view, in half pixels: the pixels' own middles are whole ones.
    across = 2 * np.arange(wide, dtype=np.int64)[None, :] + 1 - wide
    down = 2 * np.arange(high, dtype=np.int64)[:, None] + 1 - high
    x = (cos * across + sin * down) // 2 + round((x0 - 0.5) * ONE)
    y = (cos * down - sin * across) // 2 + round((y0 - 0.5) * ONE)
    # Of the pixel above to the left, as far as one black one around the picture, which stands
    # for all beyond; and weights of 8 bits, so that all comes to 255 · 2¹⁶ at most.
    left, top = x >> 16, y >> 16
    right_share, low_share = (((at & (ONE - 1)) >> 8).astype(np.int32) for at in (x, y))
    columns = [np.clip(left + one, -1, width) + 1 for one in (0, 1)]
    rows = [(np.clip(top + one, -1, height) + 1) * (width + 2) for one in (0, 1)]
    corners = [[row + column for column in columns] for row in rows]
    view = np.empty((high, wide, 3), np.uint8)
    for channel in range(3):
        plane = np.pad(pixels[..., channel], 1).astype(np.int32).ravel()
        upper, lower = (
            plane.take(one) * (256 - right_share) + plane.take(other) * right_share
            for one, other in corners
        )
        mixed = upper * (256 - low_share) + lower * low_share
        view[..., channel] = (mixed + (1 << 15)) >> 16
    return view


def halved(pixels: Pixels) -> Pixels:
    """Half as wide and high: each pixel the mean of four."""
    even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2].astype(np.int64)
    total = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)


def mirrored(pixels: Pixels) -> Pixels:
    """Left and right exchanged."""
    return np.ascontiguousarray(pixels[:, ::-1])


def padded(pixels: Pixels, left: int, top: int, right: int, bottom: int) -> Pixels:
    """With black around it."""
    return np.pad(pixels, ((top, bottom), (left, right), (0, 0)))


def beside(*pictures: Pixels) -> Pixels:
    """Side by side, tops level; black below the shorter ones."""
    high = max(picture.shape[0] for picture in pictures)
    return np.concatenate(
        [padded(picture, 0, 0, 0, high - picture.shape[0]) for picture in pictures], axis=1
    )


def _astronaut() -> Pixels:
    return photograph("astronaut")


def _grace() -> Pixels:
    return photograph("grace")


def _camera() -> Pixels:
    return photograph("camera")


def _head() -> Pixels:
    """240 × 240: the astronaut's head and shoulders."""
    return np.ascontiguousarray(_astronaut()[:240, 105:345])


def _captain() -> Pixels:
    """240 × 240: Grace Hopper's."""
    return np.ascontiguousarray(_grace()[:240, 8:248])


PEOPLE: Mapping[str, Callable[[], Pixels]] = {
    "astronaut": _astronaut,
    "astronaut_mirrored": lambda: mirrored(_astronaut()),
    "astronaut_half": lambda: halved(_astronaut()),
    "astronaut_one_and_a_half": lambda: seen(_astronaut(), (768, 768), scale=1.5),
    "astronaut_double": lambda: seen(_astronaut(), (1024, 1024), scale=2),
    "astronaut_turned_15": lambda: seen(_astronaut(), degrees=15),
    "astronaut_turned_minus_15": lambda: seen(_astronaut(), degrees=-15),
    "astronaut_turned_30": lambda: seen(_astronaut(), degrees=30),
    "astronaut_turned_minus_30": lambda: seen(_astronaut(), degrees=-30),
    "astronaut_turned_90": lambda: np.ascontiguousarray(np.rot90(_astronaut(), -1)),
    "astronaut_turned_180": lambda: np.ascontiguousarray(_astronaut()[::-1, ::-1]),
    "astronaut_head": lambda: np.ascontiguousarray(_astronaut()[:260, 100:350]),
    "astronaut_bust": lambda: np.ascontiguousarray(_astronaut()[:400, 30:400]),
    # The left edge goes through the face.
    "astronaut_half_a_face": lambda: np.ascontiguousarray(_astronaut()[:, 215:]),
    "astronaut_wide": lambda: padded(_astronaut(), 300, 0, 188, 0),
    "astronaut_tall": lambda: padded(_astronaut(), 0, 100, 0, 388),
    # Odd sizes, and a face of a twelfth of the width.
    "astronaut_far": lambda: padded(halved(_astronaut()), 211, 100, 250, 147),
    "grace": _grace,
    "grace_mirrored": lambda: mirrored(_grace()),
    "grace_double": lambda: seen(_grace(), (512, 600), scale=2),
    "grace_turned_20": lambda: seen(_grace(), degrees=20),
    "grace_head": lambda: np.ascontiguousarray(_grace()[20:180, 50:210]),
    "camera": _camera,
    "camera_mirrored": lambda: mirrored(_camera()),
    "camera_turned_10": lambda: seen(_camera(), degrees=10),
}
"""One person in each."""

SEVERAL: Mapping[str, Callable[[], Pixels]] = {
    "two_heads": lambda: beside(_head(), _captain()),
    "same_head_twice": lambda: beside(_head(), mirrored(_head())),
    "three_heads": lambda: beside(mirrored(_captain()), _head(), _captain()),
    "astronaut_twice": lambda: beside(_astronaut(), mirrored(_astronaut())),
    "astronaut_and_grace": lambda: beside(_astronaut(), seen(_grace(), (512, 600), scale=2)),
    # What only the full-range detector finds.
    "all_three": lambda: beside(_grace(), halved(_astronaut()), halved(_camera())),
}

NOBODY: Mapping[str, Callable[[], Pixels]] = {
    "coffee": lambda: photograph("coffee"),
    "chelsea": lambda: photograph("chelsea"),
    "rocket": lambda: photograph("rocket"),
    "black": lambda: np.zeros((240, 320, 3), np.uint8),
}
"""A cup, a cat, a rocket, and nothing."""

PICTURES: Mapping[str, Callable[[], Pixels]] = {**PEOPLE, **SEVERAL, **NOBODY}

WAVING = tuple(
    hand_kit.Held(
        "Open_Palm",
        hand_kit.View(at=(250 + side * 195, 340), scale=5.6, roll=-10, left=side > 0),
        hand_kit.Looks(skin=(0.95, 0.78, 0.68), sleeve=(0.06, 0.06, 0.1)),
    )
    for side in (-1, 1)
)
"""The hands drawn beside Grace Hopper: a whole body, as far as a pose's wrists lead to them."""


HELD: Mapping[str, tuple[hand_kit.Held, ...]] = {**hand_kit.CASES, "grace_waving": WAVING}
"""The hands in each picture that is drawn: where they are and what they show."""


@functools.cache
def _behind_hands(name: str) -> Pixels:
    """What hands are drawn before."""
    if name == "grace_waving":
        return seen(_grace(), (500, 420), at=(128, 165), scale=1.2)
    return hand_kit.backdrop(300, 340)


def drawn_hands(name: str) -> Pixels:
    """One of HANDS, drawn now."""
    return hand_kit.drawn(HELD[name], _behind_hands(name))


def _kept_hands(name: str) -> Pixels:
    """The same as it was kept: next to nothing where no hand is, since walls aren't plain."""
    from PIL import Image

    with Image.open(HANDS_KEPT / f"{name}.png") as image:
        added = np.asarray(image)
    return _behind_hands(name) + added  # modulo 256


def keep_hands() -> None:
    """Draw them all into their folder."""
    from PIL import Image

    HANDS_KEPT.mkdir(exist_ok=True)
    for name in HANDS:
        added = drawn_hands(name) - _behind_hands(name)  # modulo 256
        Image.fromarray(added).save(HANDS_KEPT / f"{name}.png", optimize=True)


HANDS: Mapping[str, Callable[[], Pixels]] = {
    name: functools.partial(_kept_hands, name) for name in HELD
}
"""Drawn hands."""


@functools.cache
def _real(name: str) -> Pixels:
    """One of media_kit's photographs; raises media_kit.Unavailable."""
    from PIL import Image

    with Image.open(media_kit.fetched(name)) as image:
        return np.asarray(image.convert("RGB"))


def _palm() -> Pixels:
    return _real("hand.jpg")


GROUPS: Mapping[str, Callable[[], Pixels]] = {
    name.removesuffix(".jpg"): functools.partial(_real, name)
    for name in media_kit.MEDIA
    if name.startswith("group_")
}
"""Parties of three to five people, 1920 pixels wide."""

PALMS: Mapping[str, Callable[[], Pixels]] = {
    "palm": _palm,
    "palm_mirrored": lambda: mirrored(_palm()),
    "palm_up": lambda: np.ascontiguousarray(np.rot90(_palm())),
    "palm_down": lambda: np.ascontiguousarray(np.rot90(_palm(), -1)),
    "palm_turned_180": lambda: np.ascontiguousarray(_palm()[::-1, ::-1]),
    "palm_turned_30": lambda: seen(_palm(), degrees=30),
    "palm_turned_minus_60": lambda: seen(_palm(), (640, 640), degrees=-60),
    "palm_half": lambda: halved(_palm()),
    "palm_far": lambda: padded(halved(_palm()), 320, 240, 160, 400),
    "palms": lambda: beside(halved(_palm()), mirrored(halved(_palm()))),
}
"""An open hand, its palm to the camera, its fingers to the right: and turned as it may come."""

REAL: Mapping[str, Callable[[], Pixels]] = {**PALMS, **GROUPS}


@functools.cache
def picture(name: str) -> Pixels:
    """One of PICTURES, HANDS or REAL, read-only."""
    pixels = (PICTURES | HANDS | REAL)[name]()
    pixels.flags.writeable = False
    return pixels


def crc32(pixels: Pixels) -> int:
    """Of the pixels."""
    return zlib.crc32(np.ascontiguousarray(pixels))


class Video:
    """Frames made one by one, and which of them have their answers kept."""

    def __init__(
        self,
        frame: Callable[[int], Pixels],
        count: int,
        kept: tuple[int, ...],
        *,
        exact: bool = True,
    ) -> None:
        self._frame, self.count, self.kept = frame, count, kept
        self.exact = exact
        """Whether it is the same, bit for bit, wherever it is made."""
        self._made: Pixels | None = None

    def frames(self) -> Pixels:
        """(count, h, w, 3), read-only; made once."""
        if self._made is None:
            self._made = np.stack([self._frame(at) for at in range(self.count)])
            self._made.flags.writeable = False
        return self._made


def _drifting(at: int) -> Pixels:
    """The astronaut, coming nearer and leaning over."""
    return seen(
        _astronaut(),
        (480, 480),
        at=(225 + 3 * at, 240 - 2 * at),
        scale=1 + at / 64,
        degrees=at / 2 - 4,
    )


def _leaving(at: int) -> Pixels:
    """Grace Hopper; the light is out from frame 8 to 11, and she is elsewhere then."""
    if 8 <= at < 12:
        return np.zeros((400, 400, 3), np.uint8)
    place = (128 + 2 * at, 150) if at < 8 else (100 + at, 160)
    return seen(_grace(), (400, 400), at=place, scale=1.3)


def _passing(at: int) -> Pixels:
    """Two heads; the camera passes by."""
    return seen(
        picture("two_heads"), (560, 315), at=(225 + 2 * at, 125), scale=1.15, degrees=at / 4
    )


def _hands_passing(at: int) -> Pixels:
    """Two hands; the camera passes by, comes nearer and leans over."""
    return seen(
        picture("two_hands"),
        (320, 320),
        at=(140 + at, 185 - at / 2),
        scale=1 + at / 80,
        degrees=at - 8,
    )


def _greeting(at: int) -> Pixels:
    """Grace Hopper with her hands up; the camera comes nearer."""
    return seen(
        picture("grace_waving"), (500, 420), at=(250 + at / 2, 210 + at / 4), scale=0.9 + at / 200
    )


@functools.cache
def _film(name: str, first: int, count: int) -> list[Pixels]:
    """Frames of one of media_kit's films."""
    import cv2

    capture = cv2.VideoCapture(str(media_kit.fetched(name)))
    for _ in range(first):
        capture.grab()
    frames = [cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB) for _ in range(count)]
    capture.release()
    return frames


def _walking(at: int) -> Pixels:
    """Somebody who passes near the camera, seen from above; others are farther away."""
    return _film("pedestrians.avi", 516, 20)[at]


VIDEOS: Mapping[str, Video] = {
    "astronaut_drifting": Video(_drifting, 20, (0, 1, 5, 19)),
    "grace_leaving": Video(_leaving, 20, (0, 7, 9, 12, 19)),
    "two_passing": Video(_passing, 20, (0, 5, 19)),
    "hands_passing": Video(_hands_passing, 20, (0, 1, 5, 19)),
    "grace_greeting": Video(_greeting, 20, (0, 5, 19)),
    # Decoders of films differ: by 2 of 255 at most, in a value of 14,000.
    "pedestrian_walking": Video(_walking, 20, (0, 1, 5, 19), exact=False),
}
"""Frames follow each other by FRAME_MS."""


def packed_mask(mask: NDArray[np.floating]) -> dict[str, Any]:
    """A mask of 0 to 1: who is in front (above 0.5) exactly, and every eighth value roughly."""
    front = np.packbits(mask > 0.5)
    soft = np.rint(mask[::8, ::8] * 255).astype(np.uint8)
    return {"front": _text(front), "every_eighth": _text(soft)}


def _text(values: NDArray[np.uint8]) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode()


def front_of(case: Mapping[str, Any]) -> NDArray[np.bool_]:
    """(h, w) of a kept mask: where somebody is in front."""
    height, width = case["height"], case["width"]
    packed = np.frombuffer(zlib.decompress(base64.b64decode(case["front"])), np.uint8)
    return np.unpackbits(packed, count=height * width).reshape(height, width).astype(bool)


def every_eighth_of(case: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Of a kept mask: its values at [::8, ::8], as 0 to 255."""
    values = np.frombuffer(zlib.decompress(base64.b64decode(case["every_eighth"])), np.uint8)
    return values.reshape(-(-case["height"] // 8), -(-case["width"] // 8))


class Answers(NamedTuple):
    """The content of a file."""

    made_by: str
    repeats_within: float
    """By how much mediapipe's own answers differ if it is asked again; same unit as they."""
    cases: Mapping[str, Any]
    """By picture or video."""
    carried_over: float = 0.0
    """By how much a picture's answer may depend on the picture before, in mediapipe."""


@functools.cache
def answers(name: str) -> Answers:
    """mediapipe's, by the name of their file: ``face_mesh``, ``video_pose``, …"""
    return Answers(**json.loads((ANSWERS / f"{name}.json").read_text()))


def compared(name: str) -> Iterator[tuple[str, Pixels, Mapping[str, Any]]]:
    """Each picture of a file: its name, its pixels and mediapipe's answer."""
    for case, answer in answers(name).cases.items():
        pixels = picture(case)
        assert crc32(pixels) == answer["crc32"], f"{case} is not the picture mediapipe saw"
        yield case, pixels, answer


def video(name: str, case: str) -> tuple[Pixels, Mapping[str, Any]]:
    """The frames (n, h, w, 3) of one video of a file, and mediapipe's answer."""
    answer = answers(name).cases[case]
    frames = VIDEOS[case].frames()
    same = crc32(frames) == answer["crc32"] or not VIDEOS[case].exact
    assert same, f"{case} is not the video mediapipe saw"
    return frames, answer


if __name__ == "__main__":
    keep_hands()
