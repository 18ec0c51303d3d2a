"""Queues and their owner threads: items and a callable, nothing of models or gRPC."""

from hearth.batching.curve import Curve
from hearth.batching.entry import Claim
from hearth.batching.histogram import SECONDS, Histogram, HistogramSnapshot
from hearth.batching.linger import Linger, Moment, adaptive
from hearth.batching.preparation import Alone
from hearth.batching.queue import BatchQueue
from hearth.batching.statistics import QueueStatistics
from hearth.batching.ticket import NO_HURRY, Spent, Ticket
from hearth.batching.workers import Workers

__all__ = [
    "NO_HURRY",
    "SECONDS",
    "Alone",
    "BatchQueue",
    "Claim",
    "Curve",
    "Histogram",
    "HistogramSnapshot",
    "Linger",
    "Moment",
    "QueueStatistics",
    "Spent",
    "Ticket",
    "Workers",
    "adaptive",
]
