"""The angles at a body's joints."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

JOINTS: Mapping[str, tuple[int, int, int]] = {
    "left_elbow": (11, 13, 15),
    "right_elbow": (12, 14, 16),
    "left_shoulder": (13, 11, 23),
    "right_shoulder": (14, 12, 24),
    "left_hip": (11, 23, 25),
    "right_hip": (12, 24, 26),
    "left_knee": (23, 25, 27),
    "right_knee": (24, 26, 28),
}
"""Points of a pose's 33 that span each angle, the joint in the middle: shoulder, elbow,
wrist · elbow, shoulder, hip · shoulder, hip, knee · hip, knee, ankle."""

VISIBLE = 0.5
"""The visibility from which MediaPipe draws a point (drawing_utils)."""

_CORNERS = np.array(list(JOINTS.values()))


def angles(
    points: NDArray[np.floating], visibility: NDArray[np.floating], least: float = VISIBLE
) -> dict[str, float | None]:
    """Measure the angles at ``JOINTS`` in space, in degrees: 180 is straight, 0 is folded.

    ``points`` (33, 3) in metres and ``visibility`` (33,), 0 to 1. None where one of an angle's
    three points is less visible than ``least``, or where two of them coincide.
    """
    first, joint, last = points.astype(np.float64)[_CORNERS].transpose(1, 0, 2)
    one, other = first - joint, last - joint
    # atan2 stays exact near 0 and 180, where the cosine is flat.
    across = np.linalg.norm(np.cross(one, other), axis=1)
    along = (one * other).sum(axis=1)
    degrees = np.degrees(np.arctan2(across, along))
    known = (visibility[_CORNERS] >= least).all(axis=1)
    known &= one.any(axis=1) & other.any(axis=1)
    return {
        name: float(angle) if is_known else None
        for name, angle, is_known in zip(JOINTS, degrees, known, strict=True)
    }
