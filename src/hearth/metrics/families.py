"""Statistics as families of metrics, named as Prometheus wants names.

Base units (seconds, bytes), ``_total`` behind counters, and labels whose values are few:
services, queues, tasks and codes, never anything that a client can make up.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from hearth.batching import HistogramSnapshot, QueueStatistics
from hearth.models.single_flight import SharedStatistics
from hearth.serving.admission import AdmissionStatistics
from hearth.serving.request_metrics import RequestStatistics

Labels = tuple[str, ...]
"""The values of a sample's labels, in the order of the family's names."""

_QUEUE = ("service", "queue")
_CACHE = ("service", "cache")

_QUEUE_GAUGES = {
    "waiting": "Items that wait, to be prepared or for the model",
    "ready": "Waiting items that are prepared already",
    "running": "Items in the batch that runs now",
    "capacity": "Items that may wait before more are refused",
    "max_batch": "The largest batch that is formed now",
}
_QUEUE_COUNTERS = {
    "items": "Items that ran",
    "batches": "Calls of the model, parts of failed batches included",
    "failed": "Items that the model failed on",
    "shrunk": "Times that memory was short and the largest batch was made smaller",
}
_DROPS = ("unprepared", "expired", "cancelled", "refused")
"""Reasons why items never ran; counters of a queue. All but the refused were let in: with those
that ran, run and wait, they are all that ever were."""
_QUEUE_HISTOGRAMS = {
    "batch_sizes": ("batch_size", "Items in a batch"),
    "preparations": ("decode_seconds", "Time to prepare one item, decoding it for one"),
    "waits": ("wait_seconds", "Time that an item waited, to be prepared and for the model"),
    "runs": ("run_seconds", "Time that a batch ran"),
}
_UNKNOWN = "unknown"
_OUTCOMES = {"hits": "hit", "misses": "miss", "joined": "joined"}


def requests(metrics: RequestStatistics) -> Iterator[Metric]:
    """Give the families of requests, labelled by task; what names no task here is ``unknown``."""
    yield counter(
        "hearth_requests",
        "Requests that came to an end, by gRPC status",
        ("task", "code"),
        {(task or _UNKNOWN, code): count for (task, code), count in metrics.requests.items()},
    )
    yield histogram(
        "hearth_request_seconds",
        "Time from a request's last byte to its answer",
        ("task",),
        {(task or _UNKNOWN,): snapshot for task, snapshot in metrics.seconds.items()},
    )
    yield histogram(
        "hearth_request_stage_seconds",
        "Time of a request's stages: decode, wait, run and encode, where it has them",
        ("task", "stage"),
        {(task or _UNKNOWN, stage): snapshot for (task, stage), snapshot in metrics.stages.items()},
    )
    yield histogram(
        "hearth_first_part_seconds",
        "Time from a request's last byte to the first part of a streamed answer",
        ("task",),
        {(task,): snapshot for task, snapshot in metrics.first_parts.items()},
    )
    yield histogram(
        "hearth_part_interval_seconds",
        "Time between two parts of a streamed answer",
        ("task",),
        {(task,): snapshot for task, snapshot in metrics.parts.items()},
    )


def admission(held: AdmissionStatistics) -> Iterator[Metric]:
    """Give the families of what is under way."""
    yield _single("hearth_requests_in_flight", "Requests that aren't answered yet", held.in_flight)
    yield _single("hearth_held_bytes", "Bytes of payloads that are held", held.held_bytes)
    yield _single("hearth_streams", "Streams with requests in flight", held.streams)
    yield _single("hearth_streams_paused", "Streams that aren't read on for now", held.waiting)
    yield CounterMetricFamily(
        "hearth_requests_refused", "Requests refused because the node was full", held.refused
    )


def queues(readings: Mapping[Labels, QueueStatistics]) -> Iterator[Metric]:
    """Give the families of batch queues, labelled by service and queue."""
    for name, meaning in _QUEUE_GAUGES.items():
        values = {labels: getattr(queue, name) for labels, queue in readings.items()}
        yield gauge(f"hearth_queue_{name}", meaning, _QUEUE, values)
    for name, meaning in _QUEUE_COUNTERS.items():
        values = {labels: getattr(queue, name) for labels, queue in readings.items()}
        yield counter(f"hearth_queue_{name}", meaning, _QUEUE, values)
    yield counter(
        "hearth_queue_dropped",
        "Items that never ran: no pictures, too late, no longer wanted, or refused as too many",
        (*_QUEUE, "reason"),
        {
            (*labels, reason): getattr(queue, reason)
            for labels, queue in readings.items()
            for reason in _DROPS
        },
    )
    for attribute, (name, meaning) in _QUEUE_HISTOGRAMS.items():
        snapshots = {labels: getattr(queue, attribute) for labels, queue in readings.items()}
        yield histogram(f"hearth_queue_{name}", meaning, _QUEUE, snapshots)


def caches(readings: Mapping[Labels, SharedStatistics]) -> Iterator[Metric]:
    """Give the families of shared work, labelled by service and cache."""
    yield counter(
        "hearth_cache_lookups",
        "Work asked for: answered from the cache (hit), done (miss), or joined in flight",
        (*_CACHE, "outcome"),
        {
            (*labels, outcome): getattr(cache, attribute)
            for labels, cache in readings.items()
            for attribute, outcome in _OUTCOMES.items()
        },
    )
    kept = {labels: cache.entries for labels, cache in readings.items()}
    yield gauge("hearth_cache_entries", "Results in the cache", _CACHE, kept)
    most = {labels: cache.capacity for labels, cache in readings.items()}
    yield gauge("hearth_cache_capacity", "Results that the cache keeps at most", _CACHE, most)


def _single(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value)


def gauge(name: str, meaning: str, labels: Sequence[str], values: Mapping[Labels, float]) -> Metric:
    """Make a family of values that rise and fall."""
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for at, value in values.items():
        family.add_metric(at, value)
    return family


def counter(
    name: str, meaning: str, labels: Sequence[str], values: Mapping[Labels, float]
) -> Metric:
    """Make a family of values that only rise; ``_total`` is put behind the name."""
    family = CounterMetricFamily(name, meaning, labels=labels)
    for at, value in values.items():
        family.add_metric(at, value)
    return family


def histogram(
    name: str, meaning: str, labels: Sequence[str], values: Mapping[Labels, HistogramSnapshot]
) -> Metric:
    """Make a family of histograms."""
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for at, snapshot in values.items():
        family.add_metric(at, _cumulative(snapshot), snapshot.sum)
    return family


def _cumulative(snapshot: HistogramSnapshot) -> list[tuple[str, float]]:
    """Add buckets up as Prometheus has them: each counts all values up to its bound."""
    bounds = [*map(str, snapshot.bounds), "+Inf"]
    return list(zip(bounds, accumulate(snapshot.counts), strict=True))
