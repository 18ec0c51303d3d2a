"""Behaviour of a node with ten times the load that it can serve.

Sixteen clients, in three shapes: long streams that are written as fast as the node reads, with
a model of known speed and with CLIP; and a stream for each request, with a deadline, at ten
times the rate. The capacity is measured just before and after. Each payload has its own right
answer. Then poison: one payload in eight makes a whole batch fail.
"""

import asyncio
import itertools
import statistics
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import uvloop

import _kit as kit
from _clients import Ledger, Load, RequestOf, Right, closed_loop, flood, one_by_one
from _lab import POISON
from _loop import own
from _models import convolutions, jpegs
from batching import pictures_of
from hearth.contract import ml_service_pb2 as pb

CLIENTS = 16
OVER = 10
DEADLINE = 2.0
"""Seconds of the requests that have one."""
PADDING = b"." * 16_000

Client = Callable[[float], Awaitable[Ledger]]
"""Loads the node until a time."""


class Seen(NamedTuple):
    """One overload."""

    load: Load
    goodput: float
    capacity: float
    settled_mb: float
    """Resident memory after the first seconds."""
    end_mb: float


def numbered(number: int) -> pb.InferRequest:
    """Make a request of the paced model, which turns payloads round."""
    return pb.InferRequest(correlation_id=str(number), task="lab", payload=b"%d" % number + PADDING)


def is_turned(number: int, result: bytes) -> bool:
    """Tell whether this is the answer to ``numbered``."""
    return result == (b"%d" % number + PADDING)[::-1]


async def besiege(serving: kit.Serving, clients: Sequence[Client], seconds: float) -> Seen:
    """Let the clients loose together, and watch."""
    settling = seconds / 4
    started = kit.now()
    until = started + seconds
    running = [asyncio.ensure_future(client(until)) for client in clients]
    await asyncio.sleep(settling)
    memory = []
    while kit.now() < until:
        memory.append(serving.resident_mb())
        await asyncio.sleep(0.2)
    load = Load.of(list(await asyncio.gather(*running)))
    goodput = load.rate_between(started + settling, until)
    quarter = len(memory) // 4
    return Seen(load, goodput, 0.0, max(memory[: quarter + 1]), max(memory[-quarter - 1 :]))


def overload(
    server: Sequence[str], client: Callable[..., Client], request_of: RequestOf, right: Right,
    *, seconds: float, count: int,
) -> Seen:  # fmt: skip
    """Measure a server, its capacity before and after, and all clients at once in between."""
    with kit.server("_servers.py", *server, cores=kit.SERVER_CORE) as node:

        def capacity() -> float:
            """Right answers a second with as many in flight as help."""
            load = closed_loop(node.port, request_of, count=count, streams=CLIENTS,
                               in_flight=8 * CLIENTS, right=right)  # fmt: skip
            return load.all_right().rate(32)

        before = capacity()
        besieging = client(node.port, request_of, right, itertools.count(), before)
        seen: Seen = uvloop.run(besiege(node, [besieging] * CLIENTS, seconds))
        return seen._replace(capacity=statistics.mean((before, capacity())))


def long_stream(
    port: int, request_of: RequestOf, right: Right, numbers: Iterator[int], _: float
) -> Client:
    """Run a client whose stream never ends."""
    return lambda until: flood(port, request_of, numbers, until=until, right=right)


def short_streams(
    port: int, request_of: RequestOf, right: Right, numbers: Iterator[int], capacity: float
) -> Client:
    """Run a client with a stream for each request, whatever becomes of it."""
    return lambda until: one_by_one(
        port, request_of, numbers, rate=OVER * capacity / CLIENTS, until=until,
        deadline=DEADLINE, right=right,
    )  # fmt: skip


def cases(quick: bool) -> Iterator[tuple[str, Seen]]:
    """Run the three shapes."""
    seconds = 8.0 if quick else 30.0
    paced = partial(overload, request_of=numbered, right=is_turned, seconds=seconds)
    # 500 and 160 a second: ten times as much must be within a Python client's reach.
    yield "long streams", paced(("paced", "4", "1.5"), long_stream, count=1000)
    yield "a stream for each", paced(("paced", "10", "5"), short_streams, count=480)
    pictures = jpegs(128)
    clip = ("clip", *kit.flags({"clip.onnx_image": convolutions()}))
    yield (
        "long streams, CLIP",
        overload(
            clip, long_stream, pictures_of(pictures), nearest(pictures), seconds=seconds, count=1500
        ),
    )


def nearest(pictures: Sequence[bytes]) -> Right:
    """Tells whether a vector is the one of its number's picture, by the bare model."""
    prepare, run = own(convolutions())
    vectors = np.concatenate([run([prepare(picture)])["embedding"] for picture in pictures])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def right(number: int, result: bytes) -> bool:
        likeness = vectors @ np.frombuffer(result, "<f4")
        return int(np.argmax(likeness)) == number % len(pictures)

    return right


def poison(rounds: int, count: int) -> tuple[list[list[object]], list[kit.Goal]]:
    """Send one payload in eight breaks its batch; good answers a second against a clean load."""
    bad = np.random.default_rng(0).random(count) < 1 / 8

    def poisoned(number: int) -> pb.InferRequest:
        request = numbered(number)
        return pb.InferRequest(
            correlation_id=str(number), task="lab",
            payload=POISON if bad[number] else request.payload,
        )  # fmt: skip

    clean, mixed, misjudged = [], [], 0
    # A batch of eight costs 42 ms, one alone 7: as with ViT-B-32 on a CPU.
    with (
        kit.server("_servers.py", "paced", "2", "5", cores=kit.SERVER_CORE) as ours,
        kit.server("_servers.py", "paced", "2", "5", cores=kit.SERVER_CORE) as other,
    ):
        for _ in range(rounds):
            load = closed_loop(other.port, numbered, count=count, streams=4, right=is_turned)
            clean.append(load.all_right().rate(32))
            load = closed_loop(ours.port, poisoned, count=count, streams=4, right=is_turned)
            mixed.append(load.rate(32))
            misjudged += load.strange + sum(
                load.fates.get(number) != ("failed" if bad[number] else "right")
                for number in range(count)
            )
    rows: list[list[object]] = [
        ["poison, a clean load", "", statistics.median(clean), "", "", ""],
        ["poison, one in eight", "", statistics.median(mixed), "", "", ""],
    ]
    return rows, [
        kit.Goal("poison: answers that are missing, wrong or double", misjudged, most=0),
        kit.Goal("poison: good answers, against a clean load",
                 kit.median_ratio(mixed, clean), least=0.5),
    ]  # fmt: skip


def main() -> int:
    """Measure all and report."""
    chosen = kit.options(__doc__ or "")
    rows: list[list[object]] = []
    goals: list[kit.Goal] = []
    with kit.confined(kit.CLIENT_CORE):
        for name, seen in cases(chosen.quick):
            told = ", ".join(f"{count} {fate}" for fate, count in seen.load.outcomes.most_common())
            rows.append([name, seen.capacity, seen.goodput, seen.settled_mb, seen.end_mb, told])
            goals += [
                kit.Goal(f"{name}: goodput, of capacity", seen.goodput / seen.capacity, least=0.9),
                kit.Goal(f"{name}: resident memory, end to first seconds",
                         seen.end_mb / seen.settled_mb, most=1.05),
                kit.Goal(f"{name}: neither right nor refused nor late",
                         seen.load.broken_promises, most=0),
            ]  # fmt: skip
        more_rows, more_goals = poison(2 if chosen.quick else 7, 400 if chosen.quick else 1500)
    columns = ["what", "capacity a second", "good a second", "MB at first", "MB at end", "came to"]
    return kit.report("overload", columns, rows + more_rows, goals + more_goals, check=chosen.check)


if __name__ == "__main__":
    sys.exit(main())
