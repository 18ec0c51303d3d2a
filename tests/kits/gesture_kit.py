"""An articulated hand: bones of measured lengths, joints posed in degrees.

The lengths are the means of 66 adults' radiographs (Buryanov and Kotiuk, "Proportions of Hand
Segments", Int. J. Morphol. 28(3), 2010, table I: metacarpals and phalanges; a fingertip's flesh
belongs to its last bone). How the metacarpals fan out, and the poses, are our own. It is a
right hand: x to the thumb's side, y to the fingers, z out of the palm; millimetres from the
wrist, points in MediaPipe's order.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BONES = np.array([
    [46.22, 31.57, 21.67 + 5.67],
    [39.78, 22.38, 15.82 + 3.84],
    [44.63, 26.33, 17.40 + 3.95],
    [41.37, 25.65, 17.30 + 3.95],
    [32.74, 18.11, 15.96 + 3.73],
])  # fmt: skip
"""Thumb (metacarpal and two phalanges), index, middle, ring and little finger (three phalanges)."""

METACARPALS = np.array([68.12, 64.60, 58.00, 53.69])
_CARPUS = 25.0
"""From the wrist's point to the metacarpals."""
_FAN = np.array([14.0, 2.0, -10.0, -23.0])
_THUMB_ROOT = np.array([24.0, 20.0, 8.0])

Bend = tuple[float, float, float]


class Pose(NamedTuple):
    """Angles in degrees."""

    bends: tuple[Bend, Bend, Bend, Bend]
    """Of each finger's joints: 0 is straight, positive towards the palm."""
    spread: tuple[float, float, float, float]
    """Of each finger within the palm's plane, positive to the thumb's side."""
    thumb: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    """Where its bones point: from the fingers' direction to the outside, and out of the palm."""

    @property
    def angles(self) -> Floats:
        """All 22 in a row."""
        return np.concatenate([np.ravel(part) for part in self])


OPEN, SHUT = (6.0, 9.0, 6.0), (80.0, 100.0, 60.0)
_LEVEL = (1.0, 0.0, -1.0, -3.0)
_APART = (10.0, 2.0, -7.0, -17.0)
# Before the shut fingers: across index and middle, or as far as the ring finger.
_OVER, _FAR_OVER = (
    ((25.0, 33.0), (-7.0, 37.0), (-90.0, 0.0)),
    ((14.0, 36.0), (-28.0, 38.0), (-85.0, 3.0)),
)
_OUT = ((50.0, 20.0), (50.0, 8.0), (48.0, 0.0))
_ASIDE = ((48.0, 22.0), (38.0, 12.0), (32.0, 6.0))
_MEETING = ((32.0, 43.0), (4.0, 42.0), (-18.0, 16.0))
_PINCHING = (48.0, 57.0, 31.0)

GESTURES: Mapping[str, Pose] = {
    "Thumb_Up": Pose((SHUT,) * 4, _LEVEL, _OUT),
    "Victory": Pose((OPEN, OPEN, SHUT, SHUT), (11.0, -8.0, -1.0, -3.0), _FAR_OVER),
    "Open_Palm": Pose((OPEN,) * 4, _APART, _ASIDE),
    "Fist": Pose((SHUT,) * 4, _LEVEL, _OVER),
    "Pointing": Pose((OPEN, SHUT, SHUT, SHUT), _LEVEL, _OVER),
    "OK_Sign": Pose((_PINCHING, OPEN, OPEN, OPEN), _APART, _MEETING),
    "Rock_Sign": Pose((OPEN, SHUT, SHUT, OPEN), (6.0, 0.0, -1.0, -14.0), _OVER),
}

VARIANTS: Mapping[str, tuple[str, Pose]] = {
    "thumb along the forearm's line": (
        "Thumb_Up", Pose((SHUT,) * 4, _LEVEL, ((38.0, 20.0), (34.0, 5.0), (30.0, 0.0)))),
    "thumb at a right angle": (
        "Thumb_Up", Pose((SHUT,) * 4, _LEVEL, ((65.0, 15.0), (85.0, 0.0), (95.0, -5.0)))),
    "hitch-hiker's thumb": (
        "Thumb_Up", Pose((SHUT,) * 4, _LEVEL, ((50.0, 15.0), (60.0, 0.0), (100.0, -10.0)))),
    "flat hand": (
        "Open_Palm", Pose((OPEN,) * 4, _LEVEL, ((32.0, 25.0), (10.0, 12.0), (2.0, 5.0)))),
    "relaxed open hand": (
        "Open_Palm", Pose(((18.0, 22.0, 12.0),) * 4, _APART, _ASIDE)),
    "thumb inside the fist": (
        "Fist", Pose((SHUT,) * 4, _LEVEL, ((18.0, 35.0), (-35.0, 12.0), (-75.0, 0.0)))),
    "thumb beside the fist": (
        "Fist", Pose((SHUT,) * 4, _LEVEL, ((28.0, 24.0), (2.0, 34.0), (-25.0, 20.0)))),
    "loose fist": (
        "Fist", Pose(((65.0, 85.0, 40.0),) * 4, _LEVEL, _OVER)),
    "narrow victory": (
        "Victory", Pose((OPEN, OPEN, SHUT, SHUT), (7.0, -5.0, -1.0, -3.0), _FAR_OVER)),
}  # fmt: skip
"""The same gestures, as others make them."""

OTHERS: Mapping[str, Pose] = {
    "half shut": Pose(((40.0, 45.0, 25.0),) * 4, _LEVEL, _ASIDE),
    "two fingers together": Pose((OPEN, OPEN, SHUT, SHUT), (1.0, 1.0, -1.0, -3.0), _FAR_OVER),
    "three fingers": Pose((OPEN, OPEN, OPEN, SHUT), _APART, _FAR_OVER),
    "bent index finger": Pose(((55.0, 70.0, 35.0), OPEN, OPEN, OPEN), _APART, _ASIDE),
    "four fingers": Pose((OPEN,) * 4, _APART, ((5.0, 45.0), (-40.0, 20.0), (-75.0, 0.0))),
    "thumb and index finger": Pose((OPEN, SHUT, SHUT, SHUT), _LEVEL, _OUT),
    "thumb and two fingers": Pose((OPEN, OPEN, SHUT, SHUT), (11.0, -8.0, -1.0, -3.0), _OUT),
    "thumb and little finger": Pose((SHUT, SHUT, SHUT, OPEN), (1.0, 0.0, -1.0, -14.0), _OUT),
    "thumb, index and little finger": Pose((OPEN, SHUT, SHUT, OPEN), _APART, _OUT),
    "little finger": Pose((SHUT, SHUT, SHUT, OPEN), _LEVEL, _OVER),
    "middle finger": Pose((SHUT, OPEN, SHUT, SHUT), _LEVEL, _OVER),
}
"""Signs that are none of ours."""


def points(pose: Pose, bones: Floats = BONES, metacarpals: Floats = METACARPALS) -> Floats:
    """The 21 points (21, 3)."""
    found = [np.zeros(3)]
    found += _chain(_THUMB_ROOT, bones[0], [_way(*np.radians(ways)) for ways in pose.thumb])
    fan = np.radians(_FAN)
    for finger in range(4):
        reach = _CARPUS + metacarpals[finger]
        knuckle = reach * np.array([np.sin(fan[finger]), np.cos(fan[finger]), 0.0])
        aside = np.radians(pose.spread[finger])
        # Further than upright a finger points back to the wrist.
        ways = [_way(aside, bend) for bend in np.cumsum(np.radians(pose.bends[finger]))]
        found += _chain(knuckle, bones[finger + 1], ways)
    return np.array(found)


def posed(angles: NDArray[np.floating]) -> Pose:
    """The pose of 22 angles, as ``Pose.angles`` has them."""
    bends, spread, thumb = np.split(np.asarray(angles, float), [12, 16])
    return Pose(
        tuple(map(tuple, bends.reshape(4, 3).tolist())),
        tuple(spread.tolist()),
        tuple(map(tuple, thumb.reshape(3, 2).tolist())),
    )


def _way(aside: float, out: float) -> Floats:
    return np.array([np.cos(out) * np.sin(aside), np.cos(out) * np.cos(aside), np.sin(out)])


def _chain(start: Floats, lengths: Floats, ways: Sequence[Floats]) -> list[Floats]:
    found = [start]
    for length, way in zip(lengths, ways, strict=True):
        found.append(found[-1] + length * way)
    return found
