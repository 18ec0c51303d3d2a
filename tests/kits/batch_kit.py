"""Batch queues for tests: models that stand still until they are told, and who waits."""

import asyncio
import threading
from collections.abc import Callable, Sequence

from hearth.batching import BatchQueue


class Panic(BaseException):
    """What native code raises where it fails in a way that its authors didn't foresee."""


def upper(batch: Sequence[bytes]) -> list[bytes]:
    """A model: it fails on ``poison``, and is otherwise right."""
    if b"poison" in batch:
        raise RuntimeError("poison")
    return [item.upper() for item in batch]


class Gate:
    """A model that stands still until it is let go, and says when it was entered."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._entered = threading.Event()
        self.batches: list[list[bytes]] = []

    def __call__(self, batch: Sequence[bytes]) -> list[bytes]:
        self.batches.append(list(batch))
        self._entered.set()
        if not self._open.wait(30):
            raise TimeoutError("the test never opened the gate")
        return upper(batch)

    def open(self) -> None:
        self._open.set()

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, 10), "no batch came"


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds; fails where it never does."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def until_waiting(queue: BatchQueue, count: int) -> None:
    """Return when so many wait in the queue, or more."""
    await until(lambda: queue.statistics().waiting >= count)


async def until_measured(*queues: BatchQueue) -> None:
    """Return when nothing of the queues is left to be measured."""
    await until(lambda: not any(queue.to_be_measured for queue in queues))


async def occupied(queue: BatchQueue, gate: Gate) -> asyncio.Task:
    """A batch that stands in the gate, so that what comes next has to wait."""
    running = asyncio.create_task(queue.submit(b"first"))
    await gate.entered()
    return running
