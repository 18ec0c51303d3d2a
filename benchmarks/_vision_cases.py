"""Cases that ``vision.py`` has both sides look at; imported where mediapipe is, so without
hearth.
"""

from collections.abc import Mapping
from typing import NamedTuple

MODES = ("raw", "jpeg", "video")
"""A decoded frame by itself, a JPEG by itself, decoded frames of a video."""


class Case(NamedTuple):
    """A task's inputs, by their names in tests/kits/reference_kit.py."""

    picture: str
    video: str | None = None
    """None: the task follows nothing."""

    @property
    def modes(self) -> tuple[str, ...]:
        """List those of MODES that there are."""
        return MODES if self.video else MODES[:2]


CASES: Mapping[str, Case] = {
    "face_detection": Case("astronaut"),
    "face_detection full": Case("astronaut"),
    "face_mesh": Case("astronaut", "astronaut_drifting"),
    "iris_tracking": Case("astronaut", "astronaut_drifting"),
    "hand_tracking": Case("two_hands", "hands_passing"),
    "pose_tracking": Case("astronaut", "astronaut_drifting"),
    "holistic_tracking": Case("grace_waving", "grace_greeting"),
    "selfie_segmentation": Case("astronaut"),
    "selfie_segmentation landscape": Case("astronaut"),
}

FRAME_SECONDS = 0.033333
"""Between two frames of a video, as mp.solutions tells its graphs."""


def there_and_back(count: int, start: int, frames: int) -> list[int]:
    """Return the next ``count`` frames of a video of ``frames`` that runs forwards and
    backwards.
    """
    turn = 2 * frames - 2
    return [at if at < frames else turn - at for at in ((start + n) % turn for n in range(count))]
