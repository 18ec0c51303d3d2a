"""Calmer points in a video: what trembles is held, what moves is let go.

The one-euro filter (Casiez, Roussel and Vogel, CHI 2012) and the low-pass filter as
MediaPipe 0.10.21's LandmarksSmoothingCalculator and VisibilitySmoothingCalculator use them.
Filters are never changed: each gives the one for the next frame, which is kept when all of a
frame has gone well.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.families.mediapipe.region import Points

LEAST_SCALE = 1e-6
"""Objects smaller than this aren't smoothed (min_allowed_object_scale)."""


class _Past(NamedTuple):
    """State that a OneEuro goes on from; arrays are (n, d)."""

    moment: float
    raw: NDArray[np.float64]
    smooth: NDArray[np.float64]
    speed: NDArray[np.float64]


class OneEuro(NamedTuple):
    """Smooths points by how fast each coordinate moves.

    With Δt the seconds since the values before, α(f) = 1 / (1 + 1 / (2π · f · Δt)):
    the speed is that of the raw values, times 1/scale, low-passed with α(derivate_cutoff);
    the values are low-passed with α(min_cutoff + beta · |speed|). The first values stay as
    they are, and their speed is 0.
    """

    min_cutoff: float
    beta: float
    derivate_cutoff: float = 1.0
    past: _Past | None = None

    def apply(
        self, values: NDArray[np.floating], moment: float, scale: float = 1.0
    ) -> "tuple[Points, OneEuro]":
        """Smooth values (n, d) of a frame taken at ``moment`` (seconds); float32.

        With them comes the filter for the next frame. ``scale`` is how large the object is, in
        the values' unit: MediaPipe takes the mean of width and height of the region that it
        was seen in (``Region.width`` before it is enlarged), or of the points' box
        (``Region.extent``), or 1 where the values are metres (disable_value_scaling). Values
        come back as they are where the object is next to nothing, or where the moment isn't
        later than the one before. Another number of points than before begins anew.
        """
        raw, past = values.astype(np.float64), self.past
        if scale < LEAST_SCALE or (past is not None and moment <= past.moment):
            return raw.astype(np.float32), self
        if past is None or past.raw.shape != raw.shape:
            now = _Past(moment, raw, raw, np.zeros_like(raw))
        else:
            seconds = moment - past.moment
            speed = (raw - past.raw) / (scale * seconds)
            speed = _mixed(speed, past.speed, _alpha(self.derivate_cutoff, seconds))
            cutoff = self.min_cutoff + self.beta * np.abs(speed)
            smooth = _mixed(raw, past.smooth, _alpha(cutoff, seconds))
            now = _Past(moment, raw, smooth, speed)
        return now.smooth.astype(np.float32), self._replace(past=now)


class LowPass(NamedTuple):
    """A share ``alpha`` of each new value, the rest of what was before."""

    alpha: float
    past: NDArray[np.float64] | None = None

    def apply(self, values: NDArray[np.floating]) -> "tuple[Points, LowPass]":
        """Smooth values of any shape; return them and the filter for the next frame; float32.

        Another shape than before begins anew.
        """
        raw = values.astype(np.float64)
        if self.past is not None and self.past.shape == raw.shape:
            raw = _mixed(raw, self.past, self.alpha)
        return raw.astype(np.float32), self._replace(past=raw)


class Filters(NamedTuple):
    """Filters that smooth the parts of a thing, as its last frame left them.

    As they are here, for a thing that is new; parameters are those of pose_landmark_cpu.
    """

    points: OneEuro = OneEuro(0.05, 80)
    """Filter of points in pixels."""
    metres: OneEuro = OneEuro(0.1, 40)
    """Filter of points in metres; their scale is 1."""
    visibility: LowPass = LowPass(0.1)


class Smoothing(NamedTuple):
    """Parameters of smoothing a thing in one frame."""

    filters: Filters
    moment: float
    """Time of the frame, in seconds."""


def smoothing(before: Filters | None, moment: float | None, smooth: bool) -> Smoothing | None:
    """Tell how a thing is smoothed that the frame before left ``before``; None where it is not."""
    return Smoothing(before or Filters(), moment) if smooth and moment is not None else None


def _alpha(cutoff: "float | NDArray[np.float64]", seconds: float) -> "NDArray[np.float64]":
    rate = 2 * math.pi * np.asarray(cutoff, np.float64) * seconds
    # 1 / (1 + 1 / rate), also where the cutoff is 0.
    alpha: NDArray[np.float64] = rate / (1 + rate)
    return alpha


def _mixed(
    new: NDArray[np.float64],
    old: NDArray[np.float64],
    alpha: "float | NDArray[np.float64]",
) -> NDArray[np.float64]:
    return alpha * new + (1 - alpha) * old
