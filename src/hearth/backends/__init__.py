"""The engines: each opens sessions, and gives nothing but sessions.

``registry`` is the one place that names them all; ``backend`` is what each must be able to do,
``session`` what comes of it.
"""

from hearth.backends.backend import Backend, Device, Placement
from hearth.backends.session import (
    Array,
    BatchSizes,
    KeepsMemory,
    Session,
    SessionOptions,
    TensorSpec,
    release_memory,
)
from hearth.environment import switch_off_telemetry

__all__ = [
    "Array",
    "Backend",
    "BatchSizes",
    "Device",
    "KeepsMemory",
    "Placement",
    "Session",
    "SessionOptions",
    "TensorSpec",
    "release_memory",
]

switch_off_telemetry()  # here, as whatever imports an engine comes by
