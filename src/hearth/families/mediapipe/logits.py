"""From what models give to probabilities."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def sigmoid(logits: Floats) -> Floats:
    """Squash to 0 to 1, of the same shape."""
    # exp of no more than 80 stays within float32.
    odds: Floats = np.reciprocal(1 + np.exp(np.minimum(-logits, 80)))
    return odds
