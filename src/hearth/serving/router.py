"""From a task's name to its answer: find the task, read the options, parse, call, render."""

import asyncio
import time
from collections.abc import Coroutine, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from hearth.batching import RequestContext, Timings
from hearth.errors import DeadlinePassed, InvalidInput, NotReady, UnknownTask
from hearth.media.formats import import_decoders
from hearth.serving.managed_model import ManagedModel
from hearth.serving.readiness import Readiness
from hearth.tasks.options import PAGE, PRIORITY, TIMEOUT, read_all
from hearth.tasks.prepared import PAGES, pages_of
from hearth.tasks.task import Call, Parts, Request, Result, Task

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


SHUTTING_DOWN = "this node is shutting down"


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
        self._draining = False
        if any(task.takes_pictures for task in self.tasks):
            import_decoders()  # or the first who asks what can be read waits for it, on the loop

    def answer(self, request: Request) -> Coroutine[Any, Any, Result | Parts]:
        """The answer to one request; waits for models that are about to be ready.

        Raises UnknownTask, InvalidInput, NotReady, Overloaded, DeadlinePassed, ModelFailed.
        """
        task = self.find(request.task)
        if self._draining:
            raise NotReady(SHUTTING_DOWN)
        return self._begin(task, request)

    def answer_part(self, request: Request) -> Coroutine[Any, Any, Result | Parts]:
        """As ``answer``, of a part of a request that was taken on already."""
        return self._begin(self.find(request.task), request)

    def _begin(self, task: Task, request: Request) -> Coroutine[Any, Any, Result | Parts]:
        # Here, and not on the way of requests that say nothing of it.
        if request.meta and TIMEOUT.name in request.meta:
            return self._perform_in_time(task, request)
        return self._perform(task, request)

    async def _perform_in_time(self, task: Task, request: Request) -> Result | Parts:
        """As ``_perform``; given up at the request's own deadline, or its stream's if earlier.

        The stream goes on, so nobody else ends what waits for a model that stands still.
        """
        now = time.monotonic()
        patience = TIMEOUT.read(request.meta)
        deadline = now + patience / 1000
        if request.deadline is not None:
            # A part of a composed request has the whole's deadline, whenever its turn comes.
            deadline = min(deadline, request.deadline)
        try:
            async with asyncio.timeout(deadline - now) as limit:
                return await self._perform(task, request._replace(deadline=deadline))
        except TimeoutError:
            if not limit.expired():
                raise  # somebody else's
            raise DeadlinePassed(f"the deadline passed: {TIMEOUT.name} = {patience}") from None

    async def _perform(self, task: Task, request: Request) -> Result | Parts:
        started = time.perf_counter()
        if self._lacks_models(task):
            await self.readiness.wait_for_all((task.service, *task.uses), request.ready_by)
            if self._draining and self._lacks_models(task):
                raise NotReady(SHUTTING_DOWN)
        manager = self.models[task.service].require()
        others = {name: self.models[name].require() for name in task.uses}
        options = read_all(task.options, request.meta)
        if (reason := self.missing(task, options)) is not None:
            raise NotReady(reason)
        timings = request.timings or Timings()
        context = RequestContext(
            request.deadline, request.source, _is_interactive(task, request), timings
        )
        call = Call(request, options, context, others, self)
        answer = await task.call(manager, task.parse(manager, call), call)
        answered = time.perf_counter()
        rendered = task.render(manager, answer, call)
        if isinstance(rendered, Parts):
            return rendered
        body, mime, schema, meta = rendered
        if task.takes_pictures and (pages := await pages_of(request)) > 1:
            meta = {**meta, PAGES: str(pages), PAGE.name: str(PAGE.read(request.meta))}
        ended = time.perf_counter()
        timings.encode = ended - answered
        return Result(body, mime, schema, _with_times(meta, ended - started, timings))

    def _lacks_models(self, task: Task) -> bool:
        if self.models[task.service].model is None:
            return True
        # Few tasks use others: the usual one pays for no loop.
        return bool(task.uses) and any(self.models[name].model is None for name in task.uses)

    def missing(self, task: Task, options: Mapping[str, Any] = NO_OPTIONS) -> str | None:
        """Why a task of models that are ready, or not, can't be done yet; None: it can."""
        for service, lacking in task.uses.items():
            managed = self.models[service]
            other = managed.model
            if other is None:
                return f"{service} is {managed.state}" + (
                    f": {managed.reason}" if managed.reason else ""
                )
            if (reason := lacking(other)) is not None:
                return f"{service}: {reason}"
        manager = self.models[task.service].model
        return None if manager is None else task.missing(manager, options)

    def refuse(self) -> None:
        """Answer no request that comes from now on, nor one whose model is still loading."""
        self._draining = True
        self.readiness.end()

    def name_of(self, name: str) -> str:
        """The task's own name, of which ``name`` may be an alias; empty where there is none."""
        task = self._by_name.get(name)
        return "" if task is None else task.name

    def find(self, name: str) -> Task:
        """The task that has this name, or this alias.

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


def _is_interactive(task: Task, request: Request) -> bool:
    priority = PRIORITY.read(request.meta) if request.meta else None
    return task.interactive if priority is None else priority == "interactive"


def _with_times(meta: Mapping[str, str], took: float, timings: Timings) -> dict[str, str]:
    """The answer's meta, and of time: milliseconds, and who it shared a batch with."""
    told = dict(meta)
    told["lat_ms"] = f"{took * 1000:.2f}"
    if timings.batch:
        told["queue_ms"] = f"{timings.wait * 1000:.2f}"
        told["batch"] = str(timings.batch)
    return told
