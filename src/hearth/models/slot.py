"""The life of one model in the node: absent → downloading → loading → ready, or failed."""

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from functools import partial

from hearth.errors import ModelUnavailable, NotReady, SetupError
from hearth.models.aside import aside
from hearth.models.manager import Manager, ModelSource, Progress, no_progress

log = logging.getLogger(__name__)


class ModelState(StrEnum):
    """Where a model stands."""

    ABSENT = "absent"
    DOWNLOADING = "downloading"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class ModelSlot:
    """The place of one model: its state, why it stands so, and its manager once it is ready.

    ``changed`` is called on the loop after every change, ``progress`` during long work.
    """

    def __init__(
        self,
        source: ModelSource,
        *,
        changed: Callable[[], None],
        progress: Progress = no_progress,
    ) -> None:
        self.service = source.service
        self.state = ModelState.LOADING
        self.reason = ""
        self.settled = False
        """False while a model whose files are here may still become ready in a moment."""
        self.derived = False
        """True once all that is derived from the model (label vectors) is there as well."""
        self.manager: Manager | None = None
        self._source = source
        self._changed = changed
        self._progress = progress

    def require(self) -> Manager:
        """The manager, or NotReady with the reason."""
        if self.manager is None:
            why = f": {self.reason}" if self.reason else ""
            raise NotReady(f"{self.service} is {self.state}{why}")
        return self.manager

    async def run(self, *, retry_seconds: float) -> None:
        """Bring the model up. Downloads are tried again, other failures are final.

        Model files live outside the node: what they do to the loading code is reported,
        never raised.
        """
        try:
            if not await aside(self._source.is_local):
                await self._fetch(retry_seconds)
            self._move(ModelState.LOADING)
            manager = await aside(self._load)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._fail(error)
            return
        self.manager = manager
        self._move(ModelState.READY, settled=True)
        await self._derive(manager)

    def close(self) -> None:
        """End the model's queues and sessions; blocking."""
        manager, self.manager = self.manager, None
        if manager is not None:
            manager.close()

    def _load(self) -> Manager:
        manager = self._source.load()
        manager.load_derived()
        return manager

    async def _derive(self, manager: Manager) -> None:
        try:
            await manager.derive(self._relay())
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._report_failure(error)
        else:
            self.derived = True
            self._move(ModelState.READY)

    async def _fetch(self, retry_seconds: float) -> None:
        while True:
            self._move(ModelState.DOWNLOADING, settled=True)
            try:
                await aside(partial(self._source.download, self._relay()))
            except ModelUnavailable as error:
                self._move(ModelState.ABSENT, str(error))
                log.warning(
                    "%s is absent: %s (next try in %g s)", self.service, error, retry_seconds
                )
                await asyncio.sleep(retry_seconds)
            else:
                return

    def _relay(self) -> Progress:
        """A progress that may be called from any thread."""
        loop = asyncio.get_running_loop()

        def relay(what: str, done: int, total: int | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._report, what, done, total)

        return relay

    def _report(self, what: str, done: int, total: int | None) -> None:
        share = f" {100 * done // total} %" if total else ""
        self.reason = f"{what}{share}"
        self._progress(f"{self.service}: {what}", done, total)

    def _report_failure(self, error: Exception) -> None:
        self.reason = str(error)
        log.error("%s: %s", self.service, error, exc_info=not isinstance(error, SetupError))
        self._changed()

    def _fail(self, error: Exception) -> None:
        self.state, self.settled = ModelState.FAILED, True
        self._report_failure(error)

    def _move(self, state: ModelState, reason: str = "", *, settled: bool | None = None) -> None:
        if state != self.state:
            log.info("%s is %s", self.service, state)
        self.state, self.reason = state, reason
        if settled is not None:
            self.settled = settled
        self._changed()
