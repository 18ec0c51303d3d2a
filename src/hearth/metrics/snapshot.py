"""Metrics of the node: everything that it tells in numbers, read at one moment."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.metrics_core import InfoMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from hearth._version import __version__
from hearth.batching import QueueStatistics
from hearth.metrics import families
from hearth.models.model import CachesResults, Model
from hearth.models.single_flight import SharedStatistics
from hearth.serving.admission import AdmissionStatistics
from hearth.serving.managed_model import ManagedModel, ModelState
from hearth.serving.request_metrics import RequestStatistics

STATUSES = ("starting", "ready", "draining")
"""Values of a node's status."""


class MetricsSnapshot(Collector):
    """A node at one moment. Made on the node's loop; asked for its metrics in any thread."""

    def __init__(
        self,
        *,
        status: str,
        models: Iterable[ManagedModel],
        requests: RequestStatistics,
        admission: AdmissionStatistics,
    ) -> None:
        self._status = status
        self._requests = requests
        self._admission = admission
        self._states: dict[str, str] = {}
        self._models: list[dict[str, str]] = []
        self._queues: dict[families.Labels, QueueStatistics] = {}
        self._caches: dict[families.Labels, SharedStatistics] = {}
        for managed in models:
            self._states[managed.service] = str(managed.state)
            if managed.model is not None:
                self._read(managed.service, managed.model)

    def collect(self) -> Iterator[Metric]:
        """Give the families of metrics."""
        yield InfoMetricFamily("hearth_node", "The node", {"version": __version__})
        yield _standing("hearth_node_status", "1 at the node's status", (), STATUSES,
                        {(): self._status})  # fmt: skip
        yield from self._of_models()
        yield from families.requests(self._requests)
        yield from families.admission(self._admission)
        yield from families.queues(self._queues)
        yield from families.caches(self._caches)
        yield from ProcessCollector(registry=None).collect()

    def _of_models(self) -> Iterator[Metric]:
        info = InfoMetricFamily("hearth_model", "A model that is ready", labels=())
        for about in self._models:
            info.add_metric((), about)
        yield info
        yield _standing(
            "hearth_model_state",
            "1 at the state of a service's model",
            ("service",),
            [str(state) for state in ModelState],
            {(service,): state for service, state in self._states.items()},
        )

    def _read(self, service: str, model: Model) -> None:
        if model.model_id:  # what composes requests has none
            self._models.append(
                {
                    "service": service,
                    "model": model.model_id,
                    "runtime": model.runtime,
                    "device": model.device,
                    "precision": " ".join(model.precisions),
                }
            )
        for queue in model.queues:
            self._queues[service, queue.name] = queue.statistics()
        if isinstance(model, CachesResults):
            for name, statistics in model.cache_statistics.items():
                self._caches[service, name] = statistics


def _standing(
    name: str,
    meaning: str,
    labels: tuple[str, ...],
    possible: Sequence[str],
    now: Mapping[families.Labels, str],
) -> Metric:
    """Make a sample of each state that is possible: 1 for the one that is, 0 for the others."""
    values = {
        (*at, state): float(state == standing) for at, standing in now.items() for state in possible
    }
    return families.gauge(name, meaning, (*labels, name.rpartition("_")[2]), values)
