"""Points are smoothed as MediaPipe smooths them, and as the formulas say written out plainly."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hearth.families.mediapipe.smoothing import Filters, LowPass, OneEuro, smoothing

FRAME = 0.033333

MEDIAPIPE: tuple[tuple[Any, ...], ...] = (
    (887.7949, (277.5371, 338.1275, -325.7002), (277.5371, 338.1275, -325.7002),
     (0.137901, -0.246885, -0.194286), (0.137901, -0.246885, -0.194286), 0.366152, 0.366152),
    (921.2668, (276.9158, 444.6573, -123.8696), (277.4969, 435.0390, -133.9209),
     (0.124789, -0.092993, -0.135965), (0.133027, -0.112931, -0.152351), 0.063417, 0.335879),
    (936.3132, (292.9664, 326.0104, -503.0090), (286.6628, 355.3334, -484.9958),
     (0.146925, -0.306370, -0.289383), (0.137737, -0.265814, -0.264909), 0.704597, 0.372751),
    (921.1049, (286.6135, 360.5599, -322.9616), (286.6443, 357.9936, -407.4062),
     (0.146341, -0.229442, -0.225773), (0.140203, -0.258094, -0.244976), 0.387160, 0.374192),
    (940.5175, (283.0685, 360.5003, -463.1667), (286.1171, 359.1478, -458.9537),
     (0.133361, -0.236176, -0.259691), (0.138745, -0.255947, -0.255283), 0.487224, 0.385495),
    (943.8720, (302.7890, 347.4227, -516.2820), (297.1631, 355.1388, -512.7027),
     (0.172667, -0.257771, -0.274208), (0.159233, -0.256874, -0.268905), 0.546215, 0.401567),
    (929.7726, (313.7105, 311.2733, -560.1239), (309.1741, 320.3822, -557.4176),
     (0.189033, -0.297115, -0.298053), (0.179023, -0.285844, -0.291055), 0.712583, 0.432668),
    (949.8920, (281.4151, 408.5021, -600.3642), (296.9284, 395.4933, -598.0239),
     (0.119029, -0.153248, -0.292495), (0.143512, -0.178873, -0.292069), 0.151994, 0.404601),
)  # fmt: skip
"""A hidden wrist that jumps about, in eight frames of the video astronaut_drifting.

What mediapipe 0.10.21's graph pose_landmark_cpu has in its streams, the first always as it goes
into a filter and the second as it comes out: the object's size in pixels, the point in pixels,
the point in metres, and its visibility.
"""


class PlainOneEuro:
    """The filter of one number, as its authors write it, in float64."""

    def __init__(self, min_cutoff: float, beta: float, derivate_cutoff: float) -> None:
        self.min_cutoff, self.beta, self.derivate_cutoff = min_cutoff, beta, derivate_cutoff
        self.before: tuple[float, float, float, float] | None = None
        """Moment, raw value, smooth value and smooth speed."""

    def apply(self, value: float, moment: float, scale: float) -> float:
        if self.before is None:
            self.before = moment, value, value, 0.0
            return value
        then, raw, smooth, speed = self.before
        seconds = moment - then
        part = self.alpha(self.derivate_cutoff, seconds)
        speed = part * ((value - raw) / seconds / scale) + (1 - part) * speed
        part = self.alpha(self.min_cutoff + self.beta * abs(speed), seconds)
        smooth = part * value + (1 - part) * smooth
        self.before = moment, value, smooth, speed
        return smooth

    @staticmethod
    def alpha(cutoff: float, seconds: float) -> float:
        tau = 1 / (2 * math.pi * cutoff)
        return 1 / (1 + tau / seconds)


@pytest.mark.parametrize(
    "parameters", [(0.05, 80, 1), (0.1, 40, 1), (0.01, 10, 1), (1.0, 0.007, 3)]
)
def test_it_is_the_formula_for_every_coordinate(parameters: tuple[float, float, float]) -> None:
    random = np.random.default_rng(1)
    walk = 300 + np.cumsum(random.normal(0, 4, (60, 5, 3)), axis=0)
    moments = np.cumsum(random.uniform(0.01, 0.2, 60))
    scales = random.uniform(50, 900, 60)
    smoother = OneEuro(*parameters)
    plain = [[PlainOneEuro(*parameters) for _ in range(3)] for _ in range(5)]
    for values, moment, scale in zip(walk, moments, scales, strict=True):
        smooth, smoother = smoother.apply(values, moment, scale)
        wanted = [
            [one.apply(value, moment, scale) for one, value in zip(row, point, strict=True)]
            for row, point in zip(plain, values.tolist(), strict=True)
        ]
        assert smooth.dtype == np.float32
        np.testing.assert_allclose(smooth, wanted, rtol=1e-6)


def test_it_gives_what_mediapipe_gives() -> None:
    points, metres, visibility = Filters()
    for at, (scale, raw, smooth, world, smooth_world, seen, smooth_seen) in enumerate(MEDIAPIPE):
        moment = (at + 1) * FRAME
        one, points = points.apply(np.array([raw]), moment, scale)
        np.testing.assert_allclose(one, [smooth], atol=0.001)
        other, metres = metres.apply(np.array([world]), moment)
        np.testing.assert_allclose(other, [smooth_world], atol=0.000003)
        shown, visibility = visibility.apply(np.array([seen]))
        np.testing.assert_allclose(shown, [smooth_seen], atol=0.000002)


def test_the_first_values_stay_as_they_are() -> None:
    values = np.array([[1.5, -2.0], [300.0, 4.0]])
    np.testing.assert_array_equal(OneEuro(0.05, 80).apply(values, 12.0, 100)[0], values)
    np.testing.assert_array_equal(LowPass(0.1).apply(values)[0], values)


def smoothed(values: list[NDArray[np.float64]], scale: float = 100.0) -> list[Any]:
    """Values, a frame apart, as a body's points in pixels."""
    smoother, answers = Filters().points, []
    for at, each in enumerate(values):
        smooth, smoother = smoother.apply(each, at * FRAME, scale)
        answers.append(smooth)
    return answers


def test_what_trembles_is_held_and_what_moves_is_let_go() -> None:
    random = np.random.default_rng(2)
    still = [200 + random.normal(0, 1, (1, 2)) for _ in range(60)]
    away = [np.full((1, 2), 200.0 + 10 * at) for at in range(30)]
    answers = smoothed(still + away, 500)
    assert np.std(answers[20:60]) < 0.45
    assert np.all(200 + 10 * 29 - answers[-1] < 6)


def test_smaller_objects_move_faster() -> None:
    """The same pixels are more of it."""
    answers = {}
    for scale in (50.0, 5000.0):
        _, last = smoothed([np.array([[100.0, 100.0]]), np.array([[110.0, 100.0]])], scale)
        [answers[scale]] = last.tolist()
    assert answers[50.0][0] > answers[5000.0][0] > 100
    assert answers[50.0][1] == answers[5000.0][1] == 100


BEGUN = OneEuro(0.05, 80).apply(np.array([[100.0]]), 1.0, 100)[1]


def test_an_object_of_no_size_is_not_smoothed() -> None:
    jump, later = BEGUN.apply(np.array([[500.0]]), 1.1, 0.0)
    assert jump == 500
    # And nothing is remembered of it.
    assert later.apply(np.array([[100.0]]), 1.2, 100)[0] == 100


def test_a_moment_that_is_not_later_changes_nothing() -> None:
    for moment in (1.0, 0.5):
        jump, later = BEGUN.apply(np.array([[500.0]]), moment, 100)
        assert jump == 500
        assert later.apply(np.array([[100.0]]), 1.2, 100)[0] == 100


def test_another_number_of_points_begins_anew() -> None:
    _, low = LowPass(0.1).apply(np.zeros(3))
    for smooth, _ in (BEGUN.apply(np.ones((4, 1)), 1.1, 100), low.apply(np.ones(4))):
        assert (smooth == 1).all()


def test_a_filter_is_never_changed() -> None:
    """So a frame that fails has changed nothing."""
    _, low = LowPass(0.5).apply(np.array([0.0]))
    twice = [BEGUN.apply(np.array([[110.0]]), 1.1, 100)[0] for _ in range(2)]
    assert twice[0] == twice[1] < 110
    assert [low.apply(np.array([1.0]))[0] for _ in range(2)] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("moment", "smooth", "is_smoothed"),
    [(None, True, False), (1.0, False, False), (1.0, True, True)],
)
def test_only_videos_are_smoothed_and_only_where_it_is_wanted(
    moment: float | None, smooth: bool, is_smoothed: bool
) -> None:
    assert (smoothing(None, moment, smooth) is not None) is is_smoothed
