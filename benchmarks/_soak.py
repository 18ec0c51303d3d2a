"""A client that soak.py lets loose: many streams of every kind, each answer accounted for.

``_soak.py PORT SEED SECONDS FILE`` asks the questions of FILE and prints what they came to.
"""

import asyncio
import itertools
import json
import pickle
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import uvloop

import _kit as kit
from _clients import Ledger, connected, fate_by_status
from hearth.contract import ml_service_pb2 as pb

AT_ONCE = 6
"""Streams of one process."""

EXPECTED = {"right", "invalid", "refused", "expired", "abandoned", "unsent"}
"""Outcomes of a request here: its own answer, or the queue was full, or it was late, or the client
left before the answer or before all was sent."""


class Question(NamedTuple):
    """A request and its right answer; without one it is to be refused as invalid."""

    task: str
    payload: bytes
    meta: dict[str, str]
    answer: bytes | None
    share: float
    """How often it is asked, against the others."""


def is_right(question: Question, result: bytes) -> bool:
    """Tell whether the result is the question's answer, and no other's."""
    if question.answer is None:
        return False
    if question.task in ("lab", "noop"):
        return result == question.answer
    if question.task == "ocr":
        return _texts(result) == _texts(question.answer)
    if question.task == "clip_classify":
        return np.allclose(_scores(result), _scores(question.answer), atol=1e-3)
    # Vectors of different pictures are further apart than those of one in different batches.
    return bool(np.linalg.norm(_vector(result) - _vector(question.answer)) < 0.01)


def _texts(result: bytes) -> list[str]:
    return [item["text"] for item in json.loads(result)["items"]]


def _scores(result: bytes) -> list[float]:
    return [label["score"] for label in json.loads(result)["labels"]]


def _vector(result: bytes) -> Any:
    return np.frombuffer(result, "<f4")


def messages_of(number: int, question: Question, chance: random.Random) -> list[pb.InferRequest]:
    """Return the request, whole or in a few chunks, urgent or not."""
    meta = dict(question.meta)
    if (priority := chance.choice(("", "", "interactive", "bulk"))) != "":
        meta["priority"] = priority
    size = len(question.payload)
    total = chance.randint(2, min(5, size)) if size > 1 and chance.random() < 0.2 else 1
    ends = [0, *sorted(chance.sample(range(1, size), total - 1)), size]
    return [
        pb.InferRequest(
            correlation_id=str(number), task=question.task, meta=meta,
            payload=question.payload[start:end], seq=seq,
            total=total if total > 1 else 0, offset=start,
        )
        for seq, (start, end) in enumerate(itertools.pairwise(ends))
    ]  # fmt: skip


def shuffled(parts: list[list[pb.InferRequest]], chance: random.Random) -> list[pb.InferRequest]:
    """Mix the chunks of different requests between each other, each request's in order."""
    turns = [index for index, chunks in enumerate(parts) for _ in chunks]
    chance.shuffle(turns)
    queues = [iter(chunks) for chunks in parts]
    return [next(queues[index]) for index in turns]


class Visitor:
    """Opens streams, one after the other, until its time is over."""

    def __init__(self, port: int, questions: list[Question], chance: random.Random) -> None:
        self._port, self._questions, self._chance = port, questions, chance
        self._shares = [question.share for question in questions]
        self.counts: Counter[str] = Counter()
        self.complaints: Counter[str] = Counter()

    async def stay(self, until: float, numbers: Iterator[int]) -> None:
        """Open some streams over a connection, then a new connection."""
        while kit.now() < until:
            async with connected(self._port) as stub:
                for _ in range(self._chance.randint(1, 20)):
                    if kit.now() < until:
                        await self._visit(stub, numbers)

    async def _visit(self, stub: Any, numbers: Iterator[int]) -> None:
        chance = self._chance
        length = 1 if chance.random() < 0.3 else chance.randint(2, 40)
        asked = dict(
            zip(itertools.islice(numbers, length),
                chance.choices(self._questions, self._shares, k=length), strict=True)
        )  # fmt: skip
        hurried = chance.uniform(0.005, 0.5) if chance.random() < 0.25 else None
        leaving = chance.uniform(0, 0.3) if chance.random() < 0.2 else None
        ledger = Ledger(lambda number, result: is_right(asked[number], result))
        call: Any = stub.Infer(timeout=hurried)
        messages = shuffled([messages_of(n, q, chance) for n, q in asked.items()], chance)
        try:
            async with asyncio.timeout(leaving):
                await self._converse(call, messages, ledger)
        except TimeoutError:
            call.cancel()
            ledger.ended("abandoned")
        else:
            ledger.ended(await fate_by_status(call, ledger, hurried))
        self._count(asked, ledger)

    @staticmethod
    async def _converse(call: Any, messages: list[pb.InferRequest], ledger: Ledger) -> None:
        async def send() -> None:
            for message in messages:
                if message.offset == 0:
                    ledger.sent(int(message.correlation_id))
                await call.write(message)
            await call.done_writing()

        sending = asyncio.create_task(send())
        try:
            async for response in call:
                ledger.received(response)
        except grpc.RpcError:
            pass  # the status says it
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    def _count(self, asked: dict[int, Question], ledger: Ledger) -> None:
        self.counts["strange"] += ledger.strange
        self.complaints += ledger.complaints
        for number, question in asked.items():
            fate = ledger.fates.get(number, "unsent")
            due = "invalid" if question.answer is None else "right"
            self.counts["wrong" if fate in {"right", "invalid"} - {due} else fate] += 1
            self.counts["asked"] += 1


async def visit(port: int, seed: int, seconds: float, questions: list[Question]) -> Counter[str]:
    """Run all visitors of this process together."""
    until, numbers = kit.now() + seconds, itertools.count()
    visitors = [
        Visitor(port, questions, random.Random(1000 * seed + index)) for index in range(AT_ONCE)
    ]
    await asyncio.gather(*(visitor.stay(until, numbers) for visitor in visitors))
    for complaint, count in sum((visitor.complaints for visitor in visitors), Counter()).items():
        print(f"{count} times: {complaint}", file=sys.stderr)
    return sum((visitor.counts for visitor in visitors), Counter())


def main() -> None:
    """Ask until the time is over."""
    port, seed, seconds, file = sys.argv[1:]
    questions = pickle.loads(Path(file).read_bytes())
    counts = uvloop.run(visit(int(port), int(seed), float(seconds), questions))
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
