"""Queues and their owner threads: items and a callable, nothing of models or gRPC."""

from hearth.batching.batch_policy import BatchWindow, WindowState, adaptive_window
from hearth.batching.context import NO_CONTEXT, QueueHandle, RequestContext, Timings
from hearth.batching.latency_profile import LatencyProfile
from hearth.batching.limit import Limit
from hearth.batching.preprocess import Exclusive
from hearth.batching.queue import BatchQueue
from hearth.batching.statistics import SECONDS, Histogram, HistogramSnapshot, QueueStatistics
from hearth.batching.workers import Workers

__all__ = [
    "NO_CONTEXT",
    "SECONDS",
    "BatchQueue",
    "BatchWindow",
    "Exclusive",
    "Histogram",
    "HistogramSnapshot",
    "LatencyProfile",
    "Limit",
    "QueueHandle",
    "QueueStatistics",
    "RequestContext",
    "Timings",
    "WindowState",
    "Workers",
    "adaptive_window",
]
