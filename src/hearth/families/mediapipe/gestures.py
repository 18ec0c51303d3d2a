"""Signs of a hand, told from the angles and distances between its 21 points.

Only what stays the same when a hand is turned, moved, enlarged or mirrored is looked at: so a
Thumb_Up is a fist with its thumb stretched out, wherever the thumb points, and a left hand
signs as a right one does. Thresholds are our own, set between the poses of an articulated
hand (tests/kits/gesture_kit.py) and checked on what MediaPipe's model sees in drawn hands
(tests/kits/hand_kit.py).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NONE = "None"
GESTURES = (
    "Thumb_Up",
    "Victory",
    "Open_Palm",
    "Fist",
    "Pointing",
    "OK_Sign",
    "Rock_Sign",
)

LEAST_SCORE = 0.6
"""A hand that fits no gesture better than this signs none of them."""

_WRIST, _THUMB_TIP, _INDEX_KNUCKLE, _INDEX_TIP = 0, 4, 5, 8
_MIDDLE_KNUCKLE, _MIDDLE_TIP, _LITTLE_KNUCKLE = 9, 12, 17

_CHAINS = np.array([[0, *range(first, first + 4)] for first in (1, 5, 9, 13, 17)])
"""(5, 5): from the wrist to the tip, of thumb, index, middle, ring and little finger."""

_LEAST = 1e-12
"""Shorter bones have no direction."""


class Gesture(NamedTuple):
    """Sign that a hand makes."""

    name: str
    """One of GESTURES, or NONE."""
    score: float
    """0 to 1: how well the gesture's worst condition is met. Of NONE: how far from all of them."""


class _Features(NamedTuple):
    """Features that gestures are made of; each is 0 to 1."""

    straight: tuple[float, float, float, float]
    """Index to little finger; a bent one is the rest to 1."""
    spread: float
    """Index and middle finger stand apart."""
    pinch: float
    """The tips of thumb and index finger touch."""
    index_bent: float
    """The index finger is bent more than the others."""
    thumb_straight: float
    thumb_away: float
    """The thumb's tip is clear of all fingers."""
    thumb_far: float
    """Thumb that is away as ``thumb_out`` says, but by more."""
    thumb_beside: float
    """The thumb's tip isn't across the palm."""


def gesture_of(points: NDArray[np.floating]) -> Gesture:
    """Tell the gesture of a hand's points (21, 3) in MediaPipe's order.

    World points are best; any unit and any direction will do, as long as it is the same for
    x, y and z. Between two gestures the score falls until, at LEAST_SCORE, it is none of them.
    """
    features = _features(points.astype(np.float64))
    if features is None:
        return Gesture(NONE, 1.0)
    scores = _scores(features)
    best = max(scores, key=lambda name: scores[name])
    score = scores[best]
    return Gesture(best, score) if score > LEAST_SCORE else Gesture(NONE, 1 - score)


def _scores(of: _Features) -> dict[str, float]:
    """Tell how well each gesture fits: as well as the worst of its conditions."""
    index, middle, ring, little = of.straight
    thumb_in = 1 - of.thumb_far
    return {
        "Thumb_Up": min(1 - max(of.straight), of.thumb_away, of.thumb_straight),
        "Victory": min(index, middle, 1 - ring, 1 - little, of.spread, thumb_in),
        "Open_Palm": min(*of.straight, of.thumb_straight, of.thumb_beside, 1 - of.pinch),
        "Fist": min(1 - max(of.straight), 1 - of.thumb_away),
        "Pointing": min(index, 1 - middle, 1 - ring, 1 - little, thumb_in),
        "OK_Sign": min(middle, ring, little, of.pinch, of.index_bent),
        "Rock_Sign": min(index, 1 - middle, 1 - ring, little, thumb_in),
    }


def _features(points: Floats) -> _Features | None:
    """Compute the features; None where the hand has no size."""
    palm = _length(points[_MIDDLE_KNUCKLE] - points[_WRIST])
    if palm < _LEAST:
        return None
    bends = _bends(points)
    curls = bends[1:].sum(axis=1).tolist()
    away = _thumb_distance(points) / palm
    pinch = _length(points[_THUMB_TIP] - points[_INDEX_TIP]) / palm
    index, middle, ring, little = (_ramp(curl, 150, 70) for curl in curls)
    return _Features(
        straight=(index, middle, ring, little),
        spread=_ramp(_spread(points), 0.04, 0.14),
        # The model sees tips that touch as much as half a palm apart.
        pinch=_ramp(pinch, 0.75, 0.3),
        index_bent=_ramp(curls[0] - sum(curls[1:]) / 3, 0, 40),
        # Its first joint is in the palm, and bends little.
        thumb_straight=_ramp(float(bends[0, 1] + bends[0, 2]), 130, 70),
        thumb_away=_ramp(away, 0.3, 0.6),
        thumb_far=_ramp(away, 0.45, 0.85),
        thumb_beside=_ramp(_thumb_side(points) / palm, -0.3, -0.05),
    )


def _bends(points: Floats) -> Floats:
    """Measure the bends, (5, 3) degrees: how far each joint's bones are from one line; 0 is
    straight.
    """
    bones = np.diff(points[_CHAINS], axis=1)
    lengths = np.linalg.norm(bones, axis=2, keepdims=True)
    ways = bones / np.maximum(lengths, _LEAST)
    cosines = (ways[:, 1:] * ways[:, :-1]).sum(axis=2)
    bends: Floats = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    return bends


def _spread(points: Floats) -> float:
    """Tell how far index and middle finger point apart, sideways; negative where they cross.

    About the angle between them, in radians; how far they are bent makes no difference.
    """
    ways = points[[_INDEX_TIP, _MIDDLE_TIP]] - points[[_INDEX_KNUCKLE, _MIDDLE_KNUCKLE]]
    ways /= np.maximum(np.linalg.norm(ways, axis=1, keepdims=True), _LEAST)
    return float((ways[0] - ways[1]) @ _outward(points))


def _thumb_distance(points: Floats) -> float:
    """Measure from the thumb's tip to the nearest bone of the fingers, knuckle to tip."""
    starts = points[_CHAINS[1:, 1:-1]].reshape(-1, 3)
    bones = points[_CHAINS[1:, 2:]].reshape(-1, 3) - starts
    to_tip = points[_THUMB_TIP] - starts
    squares = np.maximum((bones * bones).sum(axis=1), _LEAST)
    along = np.clip((to_tip * bones).sum(axis=1) / squares, 0, 1)
    return float(np.linalg.norm(to_tip - along[:, None] * bones, axis=1).min())


def _thumb_side(points: Floats) -> float:
    """Tell how far the thumb's tip is beside the palm, from the index finger's knuckle outwards.

    Negative: across the palm.
    """
    return float((points[_THUMB_TIP] - points[_INDEX_KNUCKLE]) @ _outward(points))


def _outward(points: Floats) -> Floats:
    """Return the direction from the little finger's side of the palm to the index finger's, of
    length 1.
    """
    forward = points[_MIDDLE_KNUCKLE] - points[_WRIST]
    across = points[_INDEX_KNUCKLE] - points[_LITTLE_KNUCKLE]
    across = across - forward * (across @ forward) / (forward @ forward)
    way: Floats = across / max(_length(across), _LEAST)
    return way


def _length(vector: Floats) -> float:
    return float(np.linalg.norm(vector))


def _ramp(value: float, none: float, full: float) -> float:
    """Rise evenly from 0 at ``none`` to 1 at ``full``."""
    return min(max((value - none) / (full - none), 0.0), 1.0)
