"""The node in numbers, for Prometheus: nothing is counted here, all is read when it is asked for.

Imported only where metrics are switched on.
"""

from hearth.metrics.server import MetricsServer
from hearth.metrics.snapshot import MetricsSnapshot

__all__ = ["MetricsServer", "MetricsSnapshot"]
