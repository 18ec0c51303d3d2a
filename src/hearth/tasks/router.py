"""From a task's name to its answer: find the task, read the options, parse, call, render."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import replace

from hearth.batching import Ticket
from hearth.errors import DeadlinePassed, InvalidInput, NotReady, Overloaded, UnknownTask
from hearth.lifecycle.slot import ModelSlot
from hearth.tasks.options import read_all
from hearth.tasks.task import Call, Request, Result, Task


class Router:
    """Answers requests with the models of the node.

    ``decoding`` are the threads that images are decoded in; at most ``decoding_capacity``
    requests wait for them or are in them.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        slots: Mapping[str, ModelSlot],
        decoding: Executor,
        decoding_capacity: int = 1024,
    ) -> None:
        self.tasks = tuple(task for task in tasks if task.service in slots)
        self.slots = slots
        self._decoding = decoding
        self._decoding_capacity = decoding_capacity
        self._being_decoded = 0
        self._by_name = {name: task for task in self.tasks for name in task.names}
        self._active = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def answer(self, request: Request) -> Result:
        """The answer to one request.

        Raises UnknownTask, InvalidInput, NotReady, Overloaded, DeadlinePassed, ModelFailed.
        """
        started = time.perf_counter()
        task = self._find(request.task)
        if self._draining:
            raise NotReady("this node is shutting down")
        manager = self.slots[task.service].require()
        if (reason := task.missing(manager)) is not None:
            raise NotReady(reason)
        call = Call(request, read_all(task.options, request.meta), Ticket(request.deadline))
        if task.decodes:
            parsed = await self._parse_aside(task, manager, call)
        else:
            parsed = task.parse(manager, call)
        result = task.render(manager, await task.call(manager, parsed, call), call)
        took = (time.perf_counter() - started) * 1000
        return replace(result, meta={**result.meta, "lat_ms": f"{took:.2f}"})

    async def drain(self) -> None:
        """Refuse new requests; return when those that were ``counted`` are done."""
        self._draining = True
        await self._idle.wait()

    def _find(self, name: str) -> Task:
        if (task := self._by_name.get(name)) is not None:
            return task
        if not name:
            raise InvalidInput("the request names no task")
        raise UnknownTask(f"no task {name!r} here; GetCapabilities lists those that are")

    async def _parse_aside(self, task: Task, manager: object, call: Call) -> object:
        def parse() -> object:
            deadline = call.request.deadline
            if deadline is not None and deadline <= time.monotonic():
                raise DeadlinePassed("the deadline passed before the image was decoded")
            return task.parse(manager, call)

        if self._being_decoded >= self._decoding_capacity:
            raise Overloaded(f"{self._being_decoded} images wait to be decoded")
        self._being_decoded += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoding, parse)
        finally:
            self._being_decoded -= 1

    @contextmanager
    def counted(self) -> Iterator[None]:
        """While a request is in flight: until its answer has left."""
        self._active += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()
