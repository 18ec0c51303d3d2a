"""From a task's name to its answer: find the task, read the options, parse, call, render."""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from hearth.batching import RequestContext, Timings
from hearth.errors import DeadlinePassed, InvalidInput, NotReady, UnknownTask
from hearth.media import IMAGE
from hearth.serving.managed_model import ManagedModel
from hearth.serving.readiness import Readiness
from hearth.serving.stream_state import StreamStates
from hearth.tasks.answer import AnswerStream, Result
from hearth.tasks.images import PAGES, pages_of
from hearth.tasks.options import PAGE, PRIORITY, TIMEOUT, read_all
from hearth.tasks.task import Call, Request, Task, nothing_missing

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Router:
    """Answers requests with the models of the node; ``readiness`` is that of its ``models``."""

    def __init__(
        self, tasks: Iterable[Task], models: Mapping[str, ManagedModel], readiness: Readiness
    ) -> None:
        self.tasks = tuple(task for task in tasks if {task.service, *task.uses} <= models.keys())
        # What isn't served here for want of a service, so that it can be said which.
        self._elsewhere = {
            name: [service for service in (task.service, *task.uses) if service not in models]
            for task in tasks
            for name in task.names
        }
        self.models = models
        self.readiness = readiness
        self._by_name = {name: task for task in self.tasks for name in task.names}
        self.streams = StreamStates()
        for medium in {task.medium for task in self.tasks}:
            if medium is not None:
                # Or the first who asks what can be read waits for it, on the loop.
                medium.import_decoders()

    def answer(self, task: Task, request: Request) -> Coroutine[Any, Any, Result | AnswerStream]:
        """Answer one request to a task; wait for models that are about to be ready.

        The coroutine raises InvalidInput, NotReady, Overloaded, DeadlinePassed, ModelFailed.
        """
        # Here, and not on the way of requests that say nothing of it.
        if TIMEOUT.name in request.meta:
            return self._perform_in_time(task, request)
        return self._perform(task, request)

    async def _perform_in_time(self, task: Task, request: Request) -> Result | AnswerStream:
        """Give up at the request's own deadline, or its stream's if earlier.

        The stream goes on, so nobody else ends what waits for a model that stands still.
        """
        now = time.monotonic()
        timeout_ms = TIMEOUT.read(request.meta)
        deadline = now + timeout_ms / 1000
        if request.deadline is not None:
            # A part of a composed request has the whole's deadline, whenever its turn comes.
            deadline = min(deadline, request.deadline)
        request.deadline = deadline
        try:
            async with asyncio.timeout(deadline - now) as limit:
                return await self._perform(task, request)
        except TimeoutError:
            if not limit.expired():
                raise  # somebody else's
            raise DeadlinePassed(f"the deadline passed: {TIMEOUT.name} = {timeout_ms}") from None

    async def _perform(self, task: Task, request: Request) -> Result | AnswerStream:
        started = time.perf_counter()
        # Few tasks use other models: the usual one pays for none of what they need.
        model, others = self.models[task.service].model, NOTHING
        if model is None or task.uses:
            await self.readiness.wait_for_all((task.service, *task.uses), request.ready_by)
            model = self.models[task.service].require()
            others = {name: self.models[name].require() for name in task.uses}
        meta = request.meta
        options = read_all(task.options, meta)
        if task.missing is not nothing_missing or others:
            self._require(task, options)
        interactive = task.interactive
        if PRIORITY.name in meta:
            interactive = PRIORITY.read(meta) == "interactive"
        timings = request.timings
        context = RequestContext(request.deadline, request.source, interactive, timings)
        call = Call(request, options, context, others, self, self.streams)
        answer = await task.call(model, task.parse(model, call), call)
        answered = time.perf_counter()
        rendered = task.render(model, answer, call)
        if isinstance(rendered, AnswerStream):
            return rendered
        body, mime, schema, rendered_meta = rendered
        rendered_meta = {**rendered_meta}
        if task.medium is IMAGE and (pages := await pages_of(request)) > 1:
            rendered_meta |= {PAGES: str(pages), PAGE.name: str(PAGE.read(meta))}
        ended = time.perf_counter()
        timings.encode = ended - answered
        add_times(rendered_meta, ended - started, timings)
        return Result(body, mime, schema, rendered_meta)

    def _require(self, task: Task, options: Mapping[str, Any]) -> None:
        if (reason := self.missing(task, options)) is not None:
            raise NotReady(reason)

    def missing(self, task: Task, options: Mapping[str, Any] = NOTHING) -> str | None:
        """Tell why a task of models that are ready, or not, can't be done yet; None: it can."""
        for service, lacking in task.uses.items():
            managed = self.models[service]
            if managed.model is None:
                return managed.standing
            if (reason := lacking(managed.model)) is not None:
                return f"{service}: {reason}"
        model = self.models[task.service].model
        return None if model is None else task.missing(model, options)

    def find(self, name: str) -> Task:
        """Find the task that has this name, or this alias.

        Raises UnknownTask, and InvalidInput for no name at all.
        """
        if (task := self._by_name.get(name)) is not None:
            return task
        if not name:
            raise InvalidInput("the request names no task")
        if services := self._elsewhere.get(name):
            raise UnknownTask(
                f"no task {name!r} here: this node doesn't serve {' and '.join(services)} "
                "(its setting services)"
            )
        raise UnknownTask(f"no task {name!r} here; GetCapabilities lists those that are")

    def name_of(self, name: str) -> str:
        """Give the task's own name, of which ``name`` may be an alias; empty: there is none."""
        task = self._by_name.get(name)
        return "" if task is None else task.name


def add_times(meta: dict[str, str], seconds: float, timings: Timings) -> None:
    """Tell in an answer's meta how long it took (ms), and with how many it shared a batch."""
    meta["lat_ms"] = f"{seconds * 1000:.2f}"
    if timings.batch:
        meta["queue_ms"] = f"{timings.wait * 1000:.2f}"
        meta["batch"] = str(timings.batch)
