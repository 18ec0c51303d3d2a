"""The node: puts the house together and owns its life cycle."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from hearth._version import __version__
from hearth.blocking import run_blocking
from hearth.errors import SettingsError
from hearth.families.tasks import TASKS
from hearth.hub.progress import Progress, no_progress
from hearth.models.loader import ModelLoader
from hearth.reload import Reload, reload
from hearth.rpc.server import Server
from hearth.rpc.servicer import InferenceServicer
from hearth.rpc.stream import MIB
from hearth.serving.admission import Admission
from hearth.serving.description import one_runtime
from hearth.serving.in_process import InProcessDoor
from hearth.serving.managed_model import ManagedModel
from hearth.serving.readiness import WAIT_SECONDS, Changes, Readiness
from hearth.serving.request_metrics import RequestMetrics
from hearth.serving.router import Router
from hearth.serving.service import InferenceService
from hearth.settings import Settings
from hearth.tasks.answer import Delta, Part, Result
from hearth.tasks.options import STREAM
from hearth.tasks.task import Task
from hearth.wiring import (
    Identity,
    Presence,
    announcer_of,
    common_loaders_of,
    identity_of,
    loaders_of,
    queue_options_of,
    workers_of,
)

if TYPE_CHECKING:
    from hearth.metrics import MetricsServer

log = logging.getLogger(__name__)

# Once nothing is in flight, idle streams get this long to see their end.
FAREWELL_SECONDS = 0.5


class InferenceNode:
    """One inference node.

    ``loaders`` and ``tasks`` are what it serves (by default what the settings name);
    ``wait_seconds`` is how long a request waits for a model that is about to be ready.
    Use it as ``async with InferenceNode(settings) as node``, or with ``start`` and ``stop``.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        loaders: Sequence[ModelLoader] | None = None,
        tasks: Sequence[Task] = TASKS,
        progress: Progress = no_progress,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.settings = settings
        self.port = 0
        """The port that was bound; 0 before."""
        self.metrics_port = 0
        """The port of the metrics; 0 without them."""
        self.status = "starting"
        self._workers = workers_of(settings)
        self._options = queue_options_of(settings, self._workers)
        self._makes_loaders = loaders is None
        if loaders is None:
            loaders = loaders_of(settings, self._options)
        self._changes = Changes()
        self.models = {
            loader.service: ManagedModel(loader, changed=self._changes.notify, progress=progress)
            for loader in (*loaders, *common_loaders_of(settings, self._options))
        }
        readiness = Readiness(self.models, self._changes, wait_seconds=wait_seconds)
        router = Router(tasks, self.models, readiness)
        largest = settings.max_payload_mb * MIB
        admission = Admission(
            settings.queue_capacity, _most_bytes(settings), largest_request=largest
        )
        self.service = InferenceService(router, admission, RequestMetrics())
        self._door = InProcessDoor(self.service)
        servicer = InferenceServicer(
            self.service,
            largest_request=largest,
            version=__version__,
            about=self._about,
        )
        # Made in `start`: gRPC ties a server to the loop that runs then.
        self._new_server = partial(Server, servicer, largest_request=largest)
        self._server: Server | None = None
        self._identity: Identity | None = None
        self._presence: Presence | None = None
        self._metrics: MetricsServer | None = None
        self._background: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Bind the port, then announce the node and load the models in the background.

        Raises SettingsError where a port can't be had.
        """
        self._server = self._new_server()
        await self._report()
        self.port = await self._server.start(self.settings.host, self.settings.port)
        log.info("listening on %s:%d", self.settings.host, self.port)
        self._identity = identity_of(self.settings)
        try:
            if self.settings.metrics_port is not None:
                await self._start_metrics(self.settings.metrics_port)
            if self.settings.mdns.enabled:
                self._presence = announcer_of(self.settings, self.port)
        except SettingsError:
            await self._stop_serving(0)
            raise
        if self._presence is not None:
            self._run(self._presence.start())
        self._run(self._report_changes())
        for managed in self.models.values():
            self._run(managed.run(retry_seconds=self.settings.hub.retry_seconds))

    async def stop(self, grace: float | None = None) -> None:
        """Drain and end: requests in flight are answered for at most ``grace`` seconds."""
        self.status = "draining"
        await self._report()
        await self._drain(self.settings.grace_seconds if grace is None else grace)
        if self._presence is not None:
            await self._presence.close()
        await self._stop_serving(FAREWELL_SECONDS)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._close_models()
        self._workers.close()
        log.info("stopped")

    async def reload(self, fresh: Settings) -> Reload:
        """Take over what may change of settings that were read anew; tells what was changed.

        Raises SettingsError, and changes nothing, where a file that they name can't be read.
        """
        change = reload(self.settings, fresh)
        loaders: Sequence[ModelLoader] = ()
        if self._makes_loaders:
            loaders = await run_blocking(partial(loaders_of, change.settings, self._options))
        self.settings = settings = change.settings
        self._options.capacity.value = settings.queue_capacity
        self._options.cache_entries.value = settings.cache_entries
        self.service.admission.resize(settings.queue_capacity, _most_bytes(settings))
        for loader in loaders:
            managed = self.models[loader.service]
            self._run(managed.reload(loader, retry_seconds=settings.hub.retry_seconds))
        return change

    async def infer(
        self, task: str, payload: bytes | str, *, mime: str = "", **options: Any
    ) -> Result:
        """Ask the node in its own process, on the loop where it runs; no port has to be open.

        ``options`` are those of the task: ``await node.infer("clip_classify", jpeg, topk=3)``.
        Raises the exceptions of ``hearth.errors``.
        """
        return await self._door.infer(task, payload, mime, options)

    def stream(
        self, task: str, payload: bytes | str, *, mime: str = "", **options: Any
    ) -> AsyncGenerator[Part | Delta, None]:
        """Ask the node likewise for an answer in parts, as they are ready, the last one whole.

        Leaving it early (``contextlib.aclosing``) calls the request off.
        """
        return self._door.stream(task, payload, mime, {STREAM.name: True, **options})

    async def _start_metrics(self, port: int) -> None:
        from hearth.metrics import MetricsServer, MetricsSnapshot

        def read() -> MetricsSnapshot:
            return MetricsSnapshot(
                status=self.status,
                models=self.models.values(),
                requests=self.service.metrics.statistics(),
                admission=self.service.admission.statistics(),
            )

        self._metrics = MetricsServer(read)
        self.metrics_port = await self._metrics.start(self.settings.host, port)
        log.info("metrics on %s:%d", self.settings.host, self.metrics_port)

    async def _stop_serving(self, grace: float) -> None:
        if self._server is not None:
            await self._server.stop(grace)
        if self._metrics is not None:
            await self._metrics.stop()

    async def _drain(self, grace: float) -> None:
        self.service.drain()
        try:
            async with asyncio.timeout(grace):
                await self.service.admission.idle()
        except TimeoutError:
            log.warning("requests were still in flight after %g s; they are cut off", grace)

    async def _close_models(self) -> None:
        """Free what can be freed now; a batch that still runs ends with the process."""
        closing = [run_blocking(managed.close) for managed in self.models.values()]
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                await asyncio.gather(*closing)
        except TimeoutError:
            log.warning("a model was still busy")

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds; it is looked at after every change of a model."""
        await self._changes.wait_until(condition)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(_tell_failure)
        self._background.append(task)

    async def _report_changes(self) -> None:
        reported: tuple[object, ...] = ()

        def news() -> bool:
            return self._condition() != reported

        while True:
            await self.wait_until(news)
            reported = self._condition()
            if self.status == "starting" and self.service.router.readiness.is_startup_done:
                self.status = "ready"
                log.info("ready: %s", self._summary())
                self._changes.notify()
            await self._report()

    def _about(self) -> Mapping[str, str]:
        """Tell of the node what the capabilities say: whoever knows it by an address and by mDNS
        sees that it is one."""
        fields = {"node.status": self.status}
        if self._identity is not None:
            name = self._identity.name if self._presence is None else self._presence.name
            fields |= {"node.uuid": self._identity.uuid, "node.name": name}
        return fields

    def _condition(self) -> tuple[object, ...]:
        return tuple((managed.state, managed.startup_done) for managed in self.models.values())

    def _summary(self) -> str:
        return ", ".join(
            f"{managed.service} {managed.state}"
            + (f" ({managed.reason})" if managed.reason else "")
            for managed in self.models.values()
        )

    async def _report(self) -> None:
        """Show the state where it is looked for; it lives here and in the models alone."""
        if self._server is not None:
            stays = self.status != "draining"
            up = {each.service: stays and each.model is not None for each in self.models.values()}
            await self._server.report(self.status == "ready", up)
        if self._presence is not None:
            loaded = [each.model for each in self.models.values() if each.model is not None]
            await self._presence.set_runtime(one_runtime(model.runtime for model in loaded))
            await self._presence.set_status(self.status)


def _most_bytes(settings: Settings) -> int:
    """Bound the bytes that are held: a request of the allowed size has room on an idle node."""
    return max(settings.max_held_mb, settings.max_payload_mb + 1) * MIB


def _tell_failure(task: asyncio.Task[None]) -> None:
    """Log the end of work beside the requests, which must not end unheard."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("background work of the node ended", exc_info=error)
