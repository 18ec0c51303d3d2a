"""The life of one model in the node: absent → downloading → loading → ready, or failed."""

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from functools import partial

from hearth.blocking import run_blocking
from hearth.errors import ModelUnavailable, NotReady, SetupError
from hearth.hub.progress import Progress, Unit, no_progress
from hearth.models.loader import ModelLoader, ReloadsModel, download, is_local
from hearth.models.model import DerivesArtifacts, FallsBack, Model

log = logging.getLogger(__name__)


class ModelState(StrEnum):
    """Stage of a model's life."""

    ABSENT = "absent"
    DOWNLOADING = "downloading"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class ManagedModel:
    """Life of one model: its state, why it stands so, and the model itself once it is ready.

    ``changed`` is called on the loop after every change, ``progress`` during long work.
    """

    def __init__(
        self,
        loader: ModelLoader,
        *,
        changed: Callable[[], None],
        progress: Progress = no_progress,
    ) -> None:
        self.service = loader.service
        self.state = ModelState.LOADING
        self.reason = ""
        self.startup_done = False
        """Whether it is loaded, has failed, or turned out to be one that must be downloaded."""
        self.artifacts_ready = False
        """True once all that is derived from the model (label vectors) is there as well."""
        self.model: Model | None = None
        self._loader = loader
        self._changed = changed
        self._progress = progress
        self._work: object = None
        self._fallback = ""
        self._closed = False

    @property
    def is_loading(self) -> bool:
        """Whether it is about to be ready: its files are here, or nobody knows otherwise yet."""
        return self.model is None and self.state == ModelState.LOADING

    @property
    def standing(self) -> str:
        """One line on how it stands, with the reason where there is one."""
        return f"{self.service} is {self.state}" + (f": {self.reason}" if self.reason else "")

    def require(self) -> Model:
        """Return the model; raises NotReady, with the reason."""
        if self.model is None:
            raise NotReady(self.standing)
        return self.model

    async def run(self, *, retry_seconds: float) -> None:
        """Bring the model up. Downloads are tried again, other failures are final.

        Model files live outside the node: what they do to the loading code is reported,
        never raised.
        """
        loader = self._loader
        try:
            model = await self._bring_up(retry_seconds)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # also a panic in a native library
            self.state = ModelState.FAILED
            self.startup_done = True
            self._report_failure(error)
            return
        if loader is not self._loader and isinstance(self._loader, ReloadsModel):
            self._loader.reload(model)
        self.model, self.startup_done = model, True
        self.artifacts_ready = not isinstance(model, DerivesArtifacts)
        self._fallback = model.fallback if isinstance(model, FallsBack) else ""
        self._move(ModelState.READY, self._fallback)
        if isinstance(model, DerivesArtifacts):
            await self._derive(model, retry_seconds)

    async def reload(self, loader: ModelLoader, *, retry_seconds: float) -> None:
        """Take over what ``loader``'s settings say anew of a model that runs, or is about to.

        What is derived anew is made while the model answers as before.
        """
        self._loader, model = loader, self.model
        if model is None or not isinstance(loader, ReloadsModel) or not loader.reload(model):
            return
        if isinstance(model, DerivesArtifacts):
            log.info("%s has other labels: their vectors are made", self.service)
            self.artifacts_ready = False
            await run_blocking(model.load_artifacts)
            await self._derive(model, retry_seconds)

    def close(self) -> None:
        """End the model's queues and sessions; blocking, and safe while it still loads."""
        self._closed = True
        model, self.model = self.model, None
        if model is not None:
            model.close()

    def _load(self) -> Model:
        model = self._loader.load()
        if self._closed:
            # The node has stopped meanwhile, and nobody else knows of the model.
            model.close()
            raise NotReady("the node has stopped")
        return model

    async def _bring_up(self, retry_seconds: float) -> Model:
        """Load the model, and give it once it has shown that it works."""
        if not await run_blocking(partial(is_local, self._loader)):
            await self._fetch(retry_seconds)
        try:
            return await self._load_and_test()
        except (ModelUnavailable, OSError):
            # Somebody may have taken files away at this very moment: once more, from the start.
            if await run_blocking(partial(is_local, self._loader)):
                raise
            await self._fetch(retry_seconds)
            return await self._load_and_test()

    async def _load_and_test(self) -> Model:
        self._move(ModelState.LOADING)
        model = await run_blocking(self._load)
        await self._smoke_test(model)
        return model

    async def _smoke_test(self, model: Model) -> None:
        """See that the model works before it is called ready."""
        try:
            await model.warm_up()
            if isinstance(model, DerivesArtifacts):
                await run_blocking(model.load_artifacts)
        except BaseException:
            await run_blocking(model.close)
            raise

    async def _derive(self, model: DerivesArtifacts, retry_seconds: float) -> None:
        """Have what is derived made. What stands in the way may go away: it is tried again."""
        reported = ""
        while not self.artifacts_ready:
            try:
                await model.derive_artifacts(self._relay())
            except Exception as error:
                self._report_failure(error, quiet=str(error) == reported)
                reported = self.reason
                await asyncio.sleep(retry_seconds)
            else:
                self.artifacts_ready = True
        self._move(ModelState.READY, self._fallback)

    async def _fetch(self, retry_seconds: float) -> None:
        reported = ""
        while True:
            self.startup_done = True
            self._move(ModelState.DOWNLOADING, quiet=bool(reported))
            try:
                await run_blocking(partial(download, self._loader, self._relay()))
            except ModelUnavailable as error:
                self._move(ModelState.ABSENT, str(error), quiet=True)
                if self.reason != reported:
                    log.warning(
                        "%s is absent: %s (tried again every %g s)",
                        self.service,
                        error,
                        retry_seconds,
                    )
                reported = self.reason
                await asyncio.sleep(retry_seconds)
            else:
                return

    def _relay(self) -> Progress:
        """Make a progress that may be called from any thread; late calls change nothing."""
        loop = asyncio.get_running_loop()
        work = self._work = object()

        def relay(what: str, done: int, total: int | None, unit: Unit = "steps") -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._report, work, what, done, total, unit)

        return relay

    def _report(self, work: object, what: str, done: int, total: int | None, unit: Unit) -> None:
        if work is not self._work:
            return
        share = f" {100 * done // total} %" if total else ""
        self.reason = f"{what}{share}"
        self._progress(f"{self.service}: {what}", done, total, unit)

    def _report_failure(self, error: BaseException, *, quiet: bool = False) -> None:
        self._work = None
        self.reason = str(error)
        if not quiet:
            log.error("%s: %s", self.service, error, exc_info=not isinstance(error, SetupError))
        self._changed()

    def _move(self, state: ModelState, reason: str = "", *, quiet: bool = False) -> None:
        if state != self.state and not quiet:
            log.info("%s is %s", self.service, state)
        self._work = None
        self.state, self.reason = state, reason
        self._changed()
