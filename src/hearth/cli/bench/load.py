"""The two ways of loading nodes: so many requests always in flight, or so many a second."""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hearth.cli.bench.figures import LevelMeasurement, Sample
from hearth.client import Answer, Client, Job
from hearth.client.retry import failed
from hearth.client.sources import Payload
from hearth.errors import HearthError


class Sender:
    """Does ``task`` to one of the payloads after the other, again and again."""

    def __init__(
        self, client: Client, task: str, payloads: Sequence[Payload], options: Mapping[str, Any]
    ) -> None:
        self._client = client
        self._task = task
        self._payloads = itertools.cycle(payloads)
        self._options = options
        self._loop = asyncio.get_running_loop()
        self.trouble = ""
        """Message of the last request that failed."""

    async def send(self, due: float) -> Sample:
        """Send a request that was due at ``due``, and return what became of it, failures too."""
        payload = next(self._payloads)
        try:
            answer = await self._client.infer(
                self._task, payload.content, mime=payload.mime, options=self._options
            )
        except HearthError as error:
            self.trouble = str(error)
            await asyncio.sleep(0)  # should it fail without a word to a node, others get their turn
            return Sample(due, self._loop.time(), self._code_of(error))
        return _sample(due, self._loop.time(), answer)

    def _code_of(self, error: HearthError) -> str:
        """Return the name of the gRPC code that tells an error."""
        # Where no node was asked, the client has none: a map would answer with this.
        failure = error.failure or failed(Job(self._task, b""), error).outcome.error
        return failure.code if failure is not None else ""


def _sample(due: float, done: float, answer: Answer) -> Sample:
    meta = answer.meta
    batch, queue = _number(meta.get("batch")), _number(meta.get("queue_ms"))
    return Sample(due, done, "", answer.node, batch, queue)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:  # a node of somebody else's
        return None


@dataclass(frozen=True, slots=True)
class Extent:
    """Length of a level: ``seconds``, or ``count`` requests; after ``warmup`` seconds."""

    seconds: float
    count: int | None
    warmup: float


class LoadLevel:
    """One level of load, as it is sent. ``advance`` is called with how far it is, 0 to 1."""

    def __init__(
        self,
        measured: LevelMeasurement,
        sender: Sender,
        extent: Extent,
        advance: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._measured = measured
        self._plan = measured.plan
        self._sender = sender
        self._extent = extent
        self._advance = advance
        self._loop = asyncio.get_running_loop()
        self._counted = 0

    async def run(self) -> None:
        """Send everything, and wait for the answers; cancelled, it ends the measured time now."""
        measured = self._measured
        measured.begin = self._loop.time() + self._extent.warmup
        if self._extent.count is None:
            measured.end = measured.begin + self._extent.seconds
        try:
            await (self._closed() if self._plan.rate is None else self._open(self._plan.rate))
        except BaseException:
            measured.cut = True
            measured.end = min(measured.end, self._loop.time())
            raise

    async def _closed(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._plan.in_flight):
                group.create_task(self._again_and_again())

    async def _again_and_again(self) -> None:
        while self._is_wanted(now := self._loop.time()):
            await self._send(now)

    async def _open(self, rate: float) -> None:
        """Send each request at its time, whatever became of those before."""
        under_way: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            for due in self._times(rate):
                # A loop that is late sends at once; the latency counts from the time planned.
                until = min(due, self._measured.end)  # the next one may be due long after
                await asyncio.sleep(max(0.0, until - self._loop.time()))
                if not self._is_wanted(due):
                    break
                if len(under_way) >= self._plan.in_flight:
                    self._measured.unsent += due >= self._measured.begin
                    continue
                task = group.create_task(self._send(due))
                under_way.add(task)
                task.add_done_callback(under_way.discard)

    def _times(self, rate: float) -> Iterator[float]:
        due = self._loop.time()
        number = 0
        while True:
            yield due if self._plan.poisson else due + number / rate
            number += 1
            due += random.expovariate(rate) if self._plan.poisson else 0.0

    def _is_wanted(self, due: float) -> bool:
        """Count a request that is due now, and tell whether it is to be sent."""
        if due < self._measured.begin:
            return True
        if self._extent.count is None:
            return due < self._measured.end
        self._counted += 1
        return self._counted <= self._extent.count

    async def _send(self, due: float) -> None:
        self._measured.samples.append(await self._sender.send(due))
        self._advance(self._share())

    def _share(self) -> float:
        extent = self._extent
        if extent.count is not None:
            return min(1.0, self._counted / extent.count)
        left = self._measured.end - self._loop.time()
        return 1.0 - max(0.0, left) / (extent.warmup + extent.seconds)
