"""Who stands in front, by MediaPipe's selfie segmentation."""

from typing import Literal

import numpy as np

from hearth.batching import NO_CONTEXT, RequestContext
from hearth.families.mediapipe.frame import Frame
from hearth.families.mediapipe.region import whole
from hearth.families.mediapipe.stage import Input, Outputs, RegionView, StageOf
from hearth.media.mask import SoftMask

Model = Literal["general", "landscape"]

_FILES: dict[Model, tuple[str, Input]] = {
    "general": ("selfie_segmentation", Input(256, 256, zero_border=True)),
    "landscape": ("selfie_segmentation_landscape", Input(256, 144, zero_border=True)),
}
"""MediaPipe 0.10.21, graph SelfieSegmentationCpu: the picture is squeezed into the model's shape
(keep_aspect_ratio: false), and what the model gives is the mask (activation: NONE)."""


class Selfie:
    """Tells people in front of a camera, within some 2 metres, from what is behind them.

    ``general`` sees 256 × 256 pixels, ``landscape`` 256 × 144 in half the time.
    """

    def __init__(self, stage_of: StageOf) -> None:
        self._stages = {
            model: stage_of(name, wants, _read) for model, (name, wants) in _FILES.items()
        }

    async def find(
        self, frame: Frame, *, model: Model = "general", context: RequestContext = NO_CONTEXT
    ) -> SoftMask:
        """Find the mask of a frame; every frame by itself, as MediaPipe has it.

        Raises ModelFailed, and what a batch queue raises.
        """
        region = whole(frame.width, frame.height)
        return await self._stages[model].look(frame, region, None, context)


def _read(outputs: Outputs, view: RegionView[None]) -> SoftMask:
    """Read one output (h, w, 1), 0 to 1."""
    small = np.clip(outputs[0][..., 0], 0, 1)  # a copy: what else was in the batch may go
    return SoftMask(small, view.frame.width, view.frame.height)
