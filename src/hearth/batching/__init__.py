"""Queues and their owner threads: items and a callable, nothing of models or gRPC."""

from hearth.batching.queue import NO_HURRY, BatchQueue, QueueStatistics, Ticket

__all__ = ["NO_HURRY", "BatchQueue", "QueueStatistics", "Ticket"]
