"""Gestures are told by a hand's shape alone, however it is held."""

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from gesture_kit import BONES, GESTURES, METACARPALS, OTHERS, VARIANTS, Pose, points, posed
from hearth.families.mediapipe import gestures
from hearth.families.mediapipe.gestures import LEAST_SCORE, NONE, Gesture, gesture_of

ALL = {
    **GESTURES,
    **{name: pose for name, (_, pose) in VARIANTS.items()},
    **OTHERS,
}


def shares(count: int) -> st.SearchStrategy[NDArray[np.float64]]:
    """As many numbers of -1 to 1."""
    return arrays.arrays(np.float64, count, elements=st.floats(-1, 1))


def turned(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3): the rotation of any four numbers that aren't all next to nothing."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def between(one: Pose, other: Pose, steps: int) -> Iterable[Gesture]:
    for share in np.linspace(0, 1, steps):
        yield gesture_of(points(posed(one.angles * (1 - share) + other.angles * share)))


# --- what is told apart -----------------------------------------------------------------------


def test_every_gesture_of_the_issue_is_there() -> None:
    assert set(GESTURES) == set(gestures.GESTURES)


@pytest.mark.parametrize("name", GESTURES)
def test_a_plain_gesture_is_certain(name: str) -> None:
    assert gesture_of(points(GESTURES[name])) == Gesture(name, 1.0)


@pytest.mark.parametrize("manner", VARIANTS)
def test_a_gesture_may_be_made_in_several_ways(manner: str) -> None:
    name, pose = VARIANTS[manner]
    found = gesture_of(points(pose))
    assert found.name == name and found.score > 0.8


@pytest.mark.parametrize("sign", OTHERS)
def test_another_sign_is_none_of_them(sign: str) -> None:
    found = gesture_of(points(OTHERS[sign]))
    assert found.name == NONE and found.score >= 1 - LEAST_SCORE


# --- what makes no difference -----------------------------------------------------------------


@given(
    pose=st.sampled_from(sorted(ALL)),
    way=shares(4).filter(lambda way: float(np.linalg.norm(way)) > 0.01),
    size=st.floats(1e-3, 1e3),
    place=shares(3),
    mirrored=st.booleans(),
    noise=shares(22),
)
def test_turned_moved_enlarged_or_mirrored_a_hand_signs_the_same(
    pose: str,
    way: NDArray[np.float64],
    size: float,
    place: NDArray[np.float64],
    mirrored: bool,
    noise: NDArray[np.float64],
) -> None:
    hand = points(posed(ALL[pose].angles + 10 * noise))
    elsewhere = (hand * [-1 if mirrored else 1, 1, 1]) @ turned(way).T * size + 100 * size * place
    plain, other = gesture_of(hand), gesture_of(elsewhere)
    assert other.score == pytest.approx(plain.score, abs=1e-6) or crosses(plain, other)
    assert other.name == plain.name or crosses(plain, other)


def crosses(one: Gesture, other: Gesture) -> bool:
    """Whether the two are one score, at the very edge of being told at all."""
    known, none = (one, other) if other.name == NONE else (other, one)
    return none.name == NONE and known.score == pytest.approx(1 - none.score, abs=1e-6)


@given(
    name=st.sampled_from(sorted(GESTURES)),
    noise=shares(22),
    longer=shares(15),
    broader=shares(4),
)
@settings(max_examples=200)
def test_other_hands_and_inexact_joints_sign_the_same(
    name: str,
    noise: NDArray[np.float64],
    longer: NDArray[np.float64],
    broader: NDArray[np.float64],
) -> None:
    """Joints up to 5° off, spreads half as much; every bone up to 5 % longer or shorter."""
    degrees = 5 * noise
    degrees[12:16] /= 2
    hand = points(
        posed(GESTURES[name].angles + degrees),
        BONES * (1 + longer.reshape(BONES.shape) / 20),
        METACARPALS * (1 + broader / 20),
    )
    assert gesture_of(hand).name == name


# --- in between -------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", list(itertools.combinations(GESTURES, 2)), ids="-".join)
def test_on_the_way_to_another_gesture_the_score_falls_until_it_is_none(
    pair: tuple[str, str],
) -> None:
    way = list(between(GESTURES[pair[0]], GESTURES[pair[1]], 41))
    names = [found.name for found in way]
    assert (names[0], names[-1]) == pair and NONE in names
    # A hand that opens from a fist points before it shows its horns.
    assert {*names} - {NONE} <= {*pair, "Fist", "Pointing"}
    # How well the best of all fits: that of none is the rest to 1. Nothing jumps.
    fits = [found.score if found.name != NONE else 1 - found.score for found in way]
    assert fits[0] == fits[-1] == 1 and min(fits) < LEAST_SCORE
    assert np.abs(np.diff(fits)).max() < 0.25


# --- whatever comes ---------------------------------------------------------------------------


@given(arrays.arrays(np.float32, (21, 3), elements=st.floats(-1e6, 1e6, width=32)))
@settings(max_examples=300)
def test_any_points_have_an_answer(hand: NDArray[np.float32]) -> None:
    before = hand.copy()
    found = gesture_of(hand)
    assert found.name in (*gestures.GESTURES, NONE)
    assert 0 <= found.score <= 1
    np.testing.assert_array_equal(hand, before)


def test_a_hand_without_size_signs_nothing() -> None:
    assert gesture_of(np.zeros((21, 3))) == Gesture(NONE, 1.0)
    assert gesture_of(np.full((21, 3), 7.5)) == Gesture(NONE, 1.0)
