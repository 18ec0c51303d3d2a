"""Queues and their owner threads: items and a callable, nothing of models or gRPC."""

from hearth.batching.queue import BatchQueue, QueueStatistics, Ticket

__all__ = ["BatchQueue", "QueueStatistics", "Ticket"]
