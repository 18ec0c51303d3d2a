"""Models of known cost for the benchmarks' nodes, each with its task.

``Paced`` takes a fixed time for a batch and for each item, and no CPU. ``Perceptron`` is
bound by its weights, so it gains from batches. Both go through the node's own batch queue.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _models import MLP_INPUTS, weights_bound
from hearth.backends import SessionOptions
from hearth.backends.registry import open_session
from hearth.batching import BatchQueue, BatchWindow, WindowState, adaptive_window
from hearth.tasks.answer import AnswerStream, Part, Result
from hearth.tasks.task import Call, Task

POISON = b"poison"

WINDOW = 0.003
"""Seconds of the fixed window: what Triton's and MLServer's users are told to start with."""


def no_wait(_: WindowState) -> float:
    """Wait by a naive policy: go at once."""
    return 0.0


def window(moment: WindowState) -> float:
    """Wait by the other naive policy: 3 ms for a full batch, whoever is about."""
    return 0.0 if moment.waiting >= moment.limit else moment.eldest() + WINDOW


POLICIES: Mapping[str, BatchWindow] = {
    "no wait": no_wait,
    "3 ms window": window,
    "hearth": adaptive_window,
}


class Model:
    """A model, and the loader that it comes from, without any files."""

    service = "lab"
    model_id, runtime, device, precisions = "lab", "none", "cpu", ("fp32",)
    queues: tuple[BatchQueue[Any, Any], ...] = ()

    def load(self) -> "Model":
        return self

    async def warm_up(self) -> None: ...

    def close(self) -> None:
        for queue in self.queues:
            queue.close()


class Paced(Model):
    """Turns a payload round, after ``base + each · n`` milliseconds for a batch of n.

    A batch with a poisoned payload takes its time as well, and fails as a whole.
    """

    def __init__(self, base: float, each: float, max_batch: int = 8, capacity: int = 1024) -> None:
        self._base, self._each = base / 1000, each / 1000
        self._largest, self._capacity = max_batch, capacity

    def load(self) -> "Paced":
        self.queues = (
            BatchQueue(self._run, name="lab", max_batch=self._largest, capacity=self._capacity),
        )
        return self

    async def warm_up(self) -> None:
        await _tune(self.queues[0], b"x", self._largest)

    def _run(self, items: Sequence[bytes]) -> list[bytes]:
        time.sleep(self._base + self._each * len(items))
        if any(item.startswith(POISON) for item in items):
            raise RuntimeError("poison")
        return [item[::-1] for item in items]


class Perceptron(Model):
    """``_models.weights_bound`` behind a queue with one of the ``POLICIES``."""

    def __init__(self, policy: str, max_batch: int = 16) -> None:
        self._policy, self._largest = POLICIES[policy], max_batch

    def load(self) -> "Perceptron":
        self._session = open_session(weights_bound(), SessionOptions(threads=1))
        self.queues = (
            BatchQueue(self._run, name="lab", max_batch=self._largest, window=self._policy),
        )
        return self

    async def warm_up(self) -> None:
        await _tune(self.queues[0], bytes(4 * MLP_INPUTS), self._largest)

    def close(self) -> None:
        super().close()
        self._session.close()

    def _run(self, items: Sequence[bytes]) -> list[bytes]:
        stacked: NDArray[np.float32] = np.frombuffer(b"".join(items), "<f4")
        scores = self._session.run({"features": stacked.reshape(len(items), -1)})["scores"]
        return [row.tobytes() for row in scores]


async def _tune(queue: BatchQueue[bytes, bytes], item: bytes, largest: int) -> None:
    queue.tune(await queue.measure(item, largest=largest), largest)


async def _ask(model: Model, payload: bytes, call: Call) -> bytes:
    answer: bytes = await model.queues[0].submit(payload, context=call.context)
    return answer


async def _echo(_: Model, payload: bytes, call: Call) -> bytes:
    return payload


def _task(name: str, call: Callable[..., Any]) -> Task:
    return Task(
        name, "lab", "for benchmarks", ("application/octet-stream",), None,
        lambda _, call: call.request.data, call,
        lambda _, answer, call: Result(answer, "application/octet-stream;schema=lab_v1", "lab_v1"),
    )  # fmt: skip


async def _numbers(call: Call) -> AsyncGenerator[Part, None]:
    """Yield as many small parts as the request's meta says, as fast as they are taken."""
    for number in range(int(call.request.meta["n"])):
        await asyncio.sleep(float(call.request.meta.get("pace", "0")))
        yield Part(Result(b"%0100d" % number, "text/plain", ""))
    yield Part(Result(b"", "text/plain", ""), is_last=True)


async def _count(_: Model, __: bytes, call: Call) -> AnswerStream:
    return AnswerStream(_numbers(call))


NOOP = _task("noop", _echo)
LAB = _task("lab", _ask)
NUMBERS = replace(NOOP, name="numbers", call=_count, render=lambda _, answer, __: answer)
