"""Calmer points in a video: what trembles is held, what moves is let go.

The one-euro filter (Casiez, Roussel and Vogel, CHI 2012) and the low-pass filter as
MediaPipe 0.10.21's LandmarksSmoothingCalculator and VisibilitySmoothingCalculator use them.
No array that a filter keeps or gives is ever changed, so ``copy`` costs next to nothing:
smooth with a copy, and keep that one when all of a frame has gone well.
"""

import copy
import math
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hearth.models.mediapipe.region import Points

LEAST_SCALE = 1e-6
"""Objects smaller than this aren't smoothed (min_allowed_object_scale)."""


class OneEuro:
    """Smooths points by how fast each coordinate moves.

    With Δt the seconds since the values before, α(f) = 1 / (1 + 1 / (2π · f · Δt)):
    the speed is that of the raw values, times 1/scale, low-passed with α(derivate_cutoff);
    the values are low-passed with α(min_cutoff + beta · |speed|). The first values stay as
    they are, and their speed is 0.
    """

    def __init__(self, min_cutoff: float, beta: float, derivate_cutoff: float = 1.0) -> None:
        self._min_cutoff = min_cutoff
        self._beta = beta
        self._derivate_cutoff = derivate_cutoff
        self._moment = -math.inf
        self._raw: NDArray[np.float64] | None = None
        self._smooth: NDArray[np.float64] | None = None
        self._speed: NDArray[np.float64] | None = None

    def copy(self) -> Self:
        """Another one that goes on from here by itself."""
        return copy.copy(self)

    def apply(self, values: NDArray[np.floating], moment: float, scale: float = 1.0) -> Points:
        """Values (n, d) of a frame taken at ``moment`` (seconds), smoothed; float32.

        ``scale`` is how large the object is, in the values' unit: MediaPipe takes the mean of
        width and height of the region that it was seen in (``Region.width`` before it is
        enlarged), or of the points' box (``extent``), or 1 where the values are metres
        (disable_value_scaling). Values come back as they are where the object is next to
        nothing, or where the moment isn't later than the one before. Another number of points
        than before begins anew.
        """
        raw = values.astype(np.float64)
        if scale < LEAST_SCALE or moment <= self._moment:
            return raw.astype(np.float32)
        if self._raw is None or self._smooth is None or self._raw.shape != raw.shape:
            self._speed, self._smooth = np.zeros_like(raw), raw
        else:
            seconds = moment - self._moment
            speed = (raw - self._raw) / (scale * seconds)
            self._speed = _mixed(speed, self._speed, _alpha(self._derivate_cutoff, seconds))
            cutoff = self._min_cutoff + self._beta * np.abs(self._speed)
            self._smooth = _mixed(raw, self._smooth, _alpha(cutoff, seconds))
        self._moment, self._raw = moment, raw
        return self._smooth.astype(np.float32)


class LowPass:
    """A share ``alpha`` of each new value, the rest of what was before."""

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._smooth: NDArray[np.float64] | None = None

    def copy(self) -> Self:
        """Another one that goes on from here by itself."""
        return copy.copy(self)

    def apply(self, values: NDArray[np.floating]) -> Points:
        """Values of any shape, smoothed; float32. Another shape than before begins anew."""
        raw = values.astype(np.float64)
        if self._smooth is not None and self._smooth.shape == raw.shape:
            raw = _mixed(raw, self._smooth, self._alpha)
        self._smooth = raw
        return raw.astype(np.float32)


def for_points() -> OneEuro:
    """For points in pixels, as pose_landmark_cpu smooths a body's."""
    return OneEuro(0.05, 80)


def for_metres() -> OneEuro:
    """For points in metres, as pose_landmark_cpu smooths a body's; their scale is 1."""
    return OneEuro(0.1, 40)


def extent(points: NDArray[np.floating]) -> float:
    """How large points are: the mean of their upright box's width and height."""
    size = points[:, :2].max(axis=0) - points[:, :2].min(axis=0)
    return float(size[0] + size[1]) / 2


def _alpha(cutoff: "float | NDArray[np.float64]", seconds: float) -> "NDArray[np.float64]":
    rate = 2 * math.pi * np.asarray(cutoff, np.float64) * seconds
    # 1 / (1 + 1 / rate), also where the cutoff is 0.
    alpha: NDArray[np.float64] = rate / (1 + rate)
    return alpha


def _mixed(
    new: NDArray[np.float64],
    old: NDArray[np.float64] | None,
    alpha: "float | NDArray[np.float64]",
) -> NDArray[np.float64]:
    return new if old is None else alpha * new + (1 - alpha) * old
