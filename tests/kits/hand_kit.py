"""Hands that are drawn: posed, shaded, and with joints whose places are known.

No photograph of a hand comes with any package that the tests have, so these stand in: 21
joints, bones as cones round them, light and shadow, skin. MediaPipe's models find them, tell
left from right, and put their points within half a centimetre of the joints on average. The
views were chosen so that they do: what is compared on them is the way through the models, and
not what the models know of real hands.

All in numpy with nothing but sums, products and roots of float64, in an order that is fixed:
the same pixels wherever they are drawn. Needs nothing of hearth.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Vector = tuple[float, float, float]

# The right hand, its palm to the viewer and its fingers up: x to the right, y up, z to the
# viewer, in centimetres from the wrist. Sizes of a grown-up's hand of about 19 cm.
_KNUCKLES: tuple[Vector, ...] = (
    (2.55, 9.0, 0.0), (0.5, 9.4, 0.1), (-1.45, 8.9, 0.0), (-3.2, 7.9, -0.2),
)  # fmt: skip
_FINGERS = ((4.3, 2.6, 2.2), (4.8, 3.0, 2.4), (4.4, 2.8, 2.4), (3.5, 2.1, 2.1))
_FINGER_RADII = (
    (1.0, 0.87, 0.77, 0.62), (1.02, 0.9, 0.8, 0.64),
    (0.97, 0.85, 0.75, 0.61), (0.86, 0.74, 0.66, 0.54),
)  # fmt: skip
_THUMB_ROOT: Vector = (2.1, 1.9, 0.7)
_THUMB = (4.4, 3.3, 2.7)
_THUMB_RADII = (1.45, 1.15, 1.0, 0.74)

_MIDDLE: Vector = (0.0, 5.5, 0.0)
"""Of the palm: hands are turned about it."""

PALM, THUMB, INDEX, SLEEVE = 0, 1, 2, 6
"""Parts; the other fingers are 3 to 5."""

LIGHT: Vector = (-0.45, 0.6, 0.66)
"""Where it comes from: the left, above, before."""

_NOTHING = -1e6


class Pose(NamedTuple):
    """How the fingers stand, in degrees."""

    bends: tuple[Vector, Vector, Vector, Vector]
    """Of the three joints of each finger: 0 is straight, positive towards the palm."""
    spread: tuple[float, float, float, float]
    """Of each finger within the palm's plane: positive to the little finger's side."""
    thumb: tuple[Vector, Vector, Vector]
    """The directions of its three bones."""


_OPEN = (5.0, 8.0, 5.0)
_SHUT = (85.0, 108.0, 55.0)
_TIGHT = (-2.0, 0.0, 2.0, 5.0)
_TUCKED: tuple[Vector, Vector, Vector] = ((0.45, 0.7, 0.5), (-0.3, 0.8, 0.6), (-0.9, 0.4, 0.0))

POSES: Mapping[str, Pose] = {
    "Open_Palm": Pose(
        (_OPEN,) * 4, (-8, -1, 6, 15), ((0.62, 0.7, 0.35), (0.5, 0.85, 0.15), (0.42, 0.9, 0.1))
    ),
    "Fist": Pose((_SHUT,) * 4, _TIGHT, _TUCKED),
    "Thumb_Up": Pose(
        (_SHUT,) * 4, _TIGHT, ((0.8, 0.5, 0.3), (0.97, 0.2, 0.05), (0.99, -0.05, -0.1))
    ),
    "Victory": Pose((_OPEN, _OPEN, _SHUT, _SHUT), (-14, 9, 2, 5), _TUCKED),
    "Pointing": Pose((_OPEN, _SHUT, _SHUT, _SHUT), (-3, 0, 2, 5), _TUCKED),
    "OK_Sign": Pose(
        ((52, 62, 32), _OPEN, _OPEN, _OPEN),
        (-8, 3, 10, 20),
        ((0.5, 0.6, 0.75), (0.2, 0.72, 0.62), (-0.45, 0.75, 0.4)),
    ),
    "Rock_Sign": Pose((_OPEN, _SHUT, _SHUT, _OPEN), (-8, 0, 2, 17), _TUCKED),
}
"""By the names of the gestures. ``Thumb_Up`` needs a view that has the thumb point up."""


class View(NamedTuple):
    """How a hand is held before the camera. Degrees."""

    at: tuple[float, float] = (150.0, 190.0)
    """Where the middle of the palm is, in pixels."""
    scale: float = 9.5
    """Pixels for a centimetre."""
    roll: float = 0.0
    """Clockwise in the picture."""
    yaw: float = 0.0
    """About the forearm: 180 shows the back."""
    pitch: float = 0.0
    """Fingertips towards the viewer."""
    left: bool = False
    """The left hand, which is the right one's mirror image."""


class Looks(NamedTuple):
    """Colours, 0 to 1."""

    skin: Vector = (0.78, 0.54, 0.42)
    sleeve: Vector | None = None
    """None: bare."""


def _turn(degrees: float) -> tuple[float, float]:
    # Six decimals: the same everywhere, whatever the library of mathematics.
    angle = math.radians(degrees)
    return round(math.cos(angle), 6), round(math.sin(angle), 6)


def _between(start: Vector, end: Vector, share: float) -> Vector:
    x, y, z = (a + share * (b - a) for a, b in zip(start, end, strict=True))
    return x, y, z


def joints(pose: Pose) -> list[Vector]:
    """The 21 joints in MediaPipe's order, in centimetres."""
    found: list[Vector] = [(0.0, 0.0, 0.0), _THUMB_ROOT]
    for length, (x, y, z) in zip(_THUMB, pose.thumb, strict=True):
        size = length / math.sqrt(x * x + y * y + z * z)
        at = found[-1]
        found.append((at[0] + x * size, at[1] + y * size, at[2] + z * size))
    for knuckle, lengths, bends, spread in zip(
        _KNUCKLES, _FINGERS, pose.bends, pose.spread, strict=True
    ):
        at, bent = knuckle, 0.0
        found.append(at)
        along, across = _turn(spread)
        for length, bend in zip(lengths, bends, strict=True):
            bent += bend
            up, out = _turn(bent)
            at = (at[0] - length * up * across, at[1] + length * up * along, at[2] + length * out)
            found.append(at)
    return found


def placed(points: Sequence[Vector], view: View) -> list[Vector]:
    """Centimetres of the hand as pixels of the picture, y down; z to the viewer."""
    (cy, sy), (cx, sx), (cz, sz) = _turn(view.yaw), _turn(view.pitch), _turn(view.roll)
    found = []
    for point in points:
        x, y, z = (a - b for a, b in zip(point, _MIDDLE, strict=True))
        x, z = x * cy + z * sy, z * cy - x * sy
        y, z = y * cx - z * sx, z * cx + y * sx
        x, y = x * cz + y * sz, y * cz - x * sz
        x = -x if view.left else x
        found.append((view.at[0] + x * view.scale, view.at[1] - y * view.scale, z * view.scale))
    return found


class _Bone(NamedTuple):
    """A cone with round ends."""

    start: Vector
    start_radius: float
    end: Vector
    end_radius: float
    part: int


def _bones(pose: Pose) -> Iterator[_Bone]:
    at = joints(pose)
    fingers = zip((1, 5, 9, 13, 17), (_THUMB_RADII, *_FINGER_RADII), strict=True)
    for part, (first, radii) in enumerate(fingers, THUMB):
        for step in range(3):
            joint = first + step
            yield _Bone(at[joint], radii[step], at[joint + 1], radii[step + 1], part)
    # The palm: bones fanned out from the wrist to the knuckles.
    wrist: tuple[Vector, ...] = (
        (1.9, 0.4, 0.0), (0.6, 0.2, 0.0), (-0.7, 0.2, 0.0), (-1.9, 0.5, 0.0),
    )  # fmt: skip
    knuckles = (at[5], at[9], at[13], at[17])
    for one in range(3):
        for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
            low = _between(wrist[one], wrist[one + 1], share)
            x, y, z = _between(knuckles[one], knuckles[one + 1], share)
            yield _Bone(low, 1.45, (x, y + 0.3, z), 1.02, PALM)
    # The ball of the thumb, the web beside it, the edge of the hand.
    yield _Bone((1.2, 1.2, 0.4), 1.5, at[2], 1.2, PALM)
    yield _Bone((1.4, 2.6, 0.5), 1.5, at[2], 1.1, PALM)
    for share in (0.25, 0.5, 0.75):
        yield _Bone((1.4, 3.6, 0.2), 1.2, _between(at[2], at[5], share), 0.55, PALM)
    yield _Bone((-1.9, 1.2, 0.3), 1.35, (-2.7, 5.2, 0.2), 1.2, PALM)
    # The forearm, flat.
    for x in (-1.6, -0.8, 0.0, 0.8, 1.6):
        yield _Bone((x, 0.6, 0.0), 1.35, (1.05 * x, -5.0, -0.1), 1.5, PALM)
        yield _Bone((1.05 * x, -5.0, -0.1), 1.6, (1.5 * x, -26.0, -0.3), 2.3, SLEEVE)


def _surface(pose: Pose, view: View, width: int, height: int) -> tuple[Floats, NDArray[np.int8]]:
    """Each pixel's nearest point of the hand (z to the viewer), and its part, or -1."""
    depth = np.full((height, width), _NOTHING)
    parts = np.full((height, width), -1, np.int8)
    for bone in _bones(pose):
        start, end = placed((bone.start, bone.end), view)
        far = [b - a for a, b in zip(start, end, strict=True)]
        length = math.sqrt(far[0] * far[0] + far[1] * far[1] + far[2] * far[2])
        # Balls, side by side, close enough to look like one.
        steps = max(2, int(length / (0.15 * view.scale)) + 1)
        for step in range(steps + 1):
            share = step / steps
            x, y, z = _between(start, end, share)
            radius = bone.start_radius + share * (bone.end_radius - bone.start_radius)
            _ball(depth, parts, (x, y, z), radius * view.scale, bone.part)
    return depth, parts


def _ball(depth: Floats, parts: NDArray[np.int8], at: Vector, radius: float, part: int) -> None:
    x, y, z = at
    left, right = max(0, int(x - radius)), min(depth.shape[1], int(x + radius) + 2)
    top, bottom = max(0, int(y - radius)), min(depth.shape[0], int(y + radius) + 2)
    if left >= right or top >= bottom:
        return
    across = np.arange(left, right) + 0.5 - x
    down = np.arange(top, bottom) + 0.5 - y
    within = radius * radius - (across * across)[None] - (down * down)[:, None]
    front = np.where(within > 0, z + np.sqrt(np.maximum(within, 0)), _NOTHING)
    here = (slice(top, bottom), slice(left, right))
    nearer = front > depth[here]
    depth[here][nearer] = front[nearer]
    parts[here][nearer] = part


def _blurred(values: Floats, radius: int) -> Floats:
    """The mean over squares, by running sums; edges repeat."""
    wide = 2 * radius + 1
    for _ in range(2):
        padded = np.pad(values, ((radius + 1, radius), (0, 0)), mode="edge")
        total = np.cumsum(padded, axis=0)
        values = ((total[wide:] - total[:-wide]) / wide).T
    return values


@functools.cache
def _speckles(height: int, width: int) -> Floats:
    """Smooth noise of about -1 to 1, always the same."""
    seeds = np.arange(height * width, dtype=np.uint64).reshape(height, width)
    mixed = seeds * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
    mixed = (mixed >> np.uint64(33)) * np.uint64(2246822519)
    mixed = ((mixed ^ (mixed >> np.uint64(13))) >> np.uint64(7)) & np.uint64(0xFFFF)
    return 6 * _blurred(_blurred(mixed.astype(np.float64) / 32768 - 1, 3), 3)


def _shaded(depth: Floats, parts: NDArray[np.int8], unit: float, looks: Looks) -> Floats:
    """The colours of a surface, 0 to 1, where there is one; ``unit`` is a centimetre."""
    inside = parts >= 0
    # Where there is none: a floor a little behind.
    height = np.where(inside, depth, -3.0 * unit)
    smooth = height
    for _ in range(2):
        smooth = np.where(inside, _blurred(smooth, max(1, round(unit / 12))), height)
    slope_x, slope_y = np.zeros_like(smooth), np.zeros_like(smooth)
    slope_x[:, 1:-1] = np.clip((smooth[:, 2:] - smooth[:, :-2]) / 2, -3, 3)
    slope_y[1:-1] = np.clip((smooth[2:] - smooth[:-2]) / 2, -3, 3)
    facing = 1 / np.sqrt(slope_x * slope_x + slope_y * slope_y + 1)
    x, y, z = LIGHT
    shade = (slope_y * y - slope_x * x + z) * facing
    diffuse = np.maximum(0, 0.35 + 0.65 * shade)
    gloss = np.maximum(0, shade)
    for _ in range(3):
        gloss = gloss * gloss
    # Darker in the folds: where the surroundings are higher.
    folds = np.clip((_blurred(height, round(0.5 * unit)) - height) / (1.6 * unit), 0, 0.5)
    grain = 0.03 * _speckles(*depth.shape)
    light = (0.3 + 0.75 * diffuse) * (1 - folds)
    colours = np.empty((*depth.shape, 3))
    for channel, (edge, grained) in enumerate(((0.1, 1.0), (-0.02, 0.9), (-0.04, 0.8))):
        skin = looks.skin[channel] + edge * (1 - facing) + grained * grain
        if looks.sleeve is not None:
            skin = np.where(parts == SLEEVE, looks.sleeve[channel] + grain, skin)
        colours[..., channel] = skin * light + 0.06 * gloss
    return colours


def drawn_on(pixels: Pixels, pose: Pose, view: View, looks: Looks = Looks()) -> Pixels:  # noqa: B008
    """A picture (h, w, 3) with a hand in front, and its shadow behind it."""
    height, width = pixels.shape[:2]
    # Twice as large: each pixel is the mean of four.
    fine = view._replace(at=(2 * view.at[0], 2 * view.at[1]), scale=2 * view.scale)
    depth, parts = _surface(pose, fine, 2 * width, 2 * height)
    inside = parts >= 0
    colours = _shaded(depth, parts, fine.scale, looks)
    dimmed = _blurred(_blurred(inside.astype(np.float64), round(0.9 * fine.scale)),
                      round(0.5 * fine.scale))  # fmt: skip
    behind = np.repeat(np.repeat(pixels, 2, axis=0), 2, axis=1) / 255
    behind = behind * (1 - 0.25 * dimmed)[..., None]
    mixed = np.where(inside[..., None], colours, behind)
    level = np.clip(np.rint(mixed * 1020), 0, 1020).astype(np.int64)
    four = level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2]
    return ((four + 8) // 16).astype(np.uint8)


def backdrop(width: int, height: int, colour: Vector = (0.42, 0.47, 0.52)) -> Pixels:
    """A wall, lighter above and to the right."""
    down = np.arange(height)[:, None] / height
    across = np.arange(width)[None] / width
    light = 1.1 - 0.25 * down + 0.12 * across + 0.02 * _speckles(height, width)
    return np.rint(np.clip(light[..., None] * np.array(colour), 0, 1) * 255).astype(np.uint8)


class Held(NamedTuple):
    """A hand in a picture."""

    gesture: str
    """Of POSES."""
    view: View
    looks: Looks = Looks()

    @property
    def side(self) -> str:
        """The subject's."""
        return "Left" if self.view.left else "Right"

    def points(self) -> Floats:
        """(21, 3): its joints, in pixels of the picture; z to the viewer."""
        return np.array(placed(joints(POSES[self.gesture]), self.view))


DARK = Looks(skin=(0.42, 0.28, 0.21))
PALE = Looks(skin=(0.95, 0.78, 0.68))
DRESSED = Looks(sleeve=(0.25, 0.3, 0.42))

_UP, _LEFT_UP = View(roll=-90, at=(130, 210)), View(roll=-90, at=(170, 210), left=True)

CASES: Mapping[str, tuple[Held, ...]] = {
    "open_right": (Held("Open_Palm", View()),),
    "open_left": (Held("Open_Palm", View(roll=-20, yaw=15, left=True), DARK),),
    "open_back": (Held("Open_Palm", View(yaw=180), DRESSED),),
    "open_turned_90": (Held("Open_Palm", View(roll=90, at=(130, 170))),),
    "open_turned_180": (Held("Open_Palm", View(roll=180, at=(150, 150), left=True), PALE),),
    "open_turned_minus_45": (Held("Open_Palm", View(roll=-45, at=(170, 200)), DRESSED),),
    "open_small": (Held("Open_Palm", View(scale=5.5, at=(90, 230)), DRESSED),),
    "open_large": (Held("Open_Palm", View(scale=15.5, at=(150, 215)), PALE),),
    "fist_right": (Held("Fist", View(yaw=20, pitch=20, roll=-5), PALE),),
    "fist_left": (Held("Fist", View(yaw=10, pitch=10, roll=15, left=True), PALE),),
    "thumb_up_right": (Held("Thumb_Up", _UP._replace(yaw=20)),),
    "thumb_up_left": (Held("Thumb_Up", _LEFT_UP._replace(yaw=50, pitch=10, roll=-80), DARK),),
    "victory_right": (Held("Victory", View(pitch=10, roll=10)),),
    "victory_left": (Held("Victory", View(yaw=-20, pitch=10, roll=15, left=True), DARK),),
    "victory_turned_60": (Held("Victory", View(roll=60, pitch=10, at=(130, 170)), DARK),),
    "pointing_right": (Held("Pointing", View(yaw=-10), DRESSED),),
    "pointing_left": (Held("Pointing", View(yaw=20, pitch=20, roll=-30, left=True), DARK),),
    "pointing_turned_100": (
        Held("Pointing", View(yaw=-10, pitch=-20, roll=100, at=(130, 170)), DARK),
    ),
    "ok_right": (Held("OK_Sign", View(yaw=25)),),
    "ok_left": (Held("OK_Sign", View(yaw=40, roll=20, left=True), PALE),),
    "rock_right": (Held("Rock_Sign", View(), DARK),),
    "rock_left": (Held("Rock_Sign", View(yaw=30, pitch=10, roll=-25, left=True), DARK),),
    "two_hands": (
        Held("Open_Palm", View(at=(80, 190), scale=7.5, roll=-10), DRESSED),
        Held("Victory", View(at=(220, 190), scale=7.5, yaw=10, pitch=20, roll=-5, left=True), DARK),
    ),
}
"""Pictures of 300 × 340 with what is to be seen on them."""


def drawn(hands: Sequence[Held], behind: Pixels | None = None) -> Pixels:
    """Hands before a wall, or before a picture."""
    pixels = backdrop(300, 340) if behind is None else behind
    for held in hands:
        pixels = drawn_on(pixels, POSES[held.gesture], held.view, held.looks)
    return pixels
