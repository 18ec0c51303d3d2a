"""The engines: each opens sessions, and gives nothing but sessions.

``registry`` is the one place that names them all; ``backend`` is what each must be able to do,
``session`` what comes of it.
"""

from hearth.backends.backend import Backend, Device, Placement
from hearth.backends.session import Array, BatchSizes, Session, SessionOptions, TensorSpec
from hearth.environment import switch_off_telemetry

__all__ = [
    "Array",
    "Backend",
    "BatchSizes",
    "Device",
    "Placement",
    "Session",
    "SessionOptions",
    "TensorSpec",
]

switch_off_telemetry()  # here, as whatever imports an engine comes by
