"""Costs of the client, and what it makes of several nodes.

1. ``map`` over one local node against a client written by hand (one stream, as many in flight):
   payloads of 1 kB in memory to a task that does nothing, files of 200 kB to one that counts
   their bytes, and pictures to CLIP with a model of 1 ms. Requests a second, and the client's
   CPU for each. Client and node have a core each, both clients asyncio's own loop. Then one
   ``infer`` at a time on the idle node.
2. ``map`` over two nodes of unequal speed (models of 10 and 30 ms for a batch of 8) against the
   sum of what it makes of each alone.
3. A node killed with SIGKILL in the middle of a map over two: the time until all that was in
   flight then is answered.
4. The time from opening a Client until the first node that it has found answers, by mDNS: in
   network namespaces with root, else on this machine's network.
"""

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import _kit as kit
from _client_found import found
from _client_plain import by_hand, latencies_by_hand
from _models import convolutions, jpegs
from hearth.client import Client

Rows = list[list[object]]
Figures = dict[str, float]
"""By the names of ``goals.toml``."""
Results = AsyncIterator[tuple[int, bytes]]
Side = Callable[[int, str, Sequence[bytes | Path]], Results]

IN_FLIGHT = 64
PAYLOAD = b"x" * 1024
FILE_BYTES = 200_000
SPEEDS = ("10", "30")
"""Milliseconds of a batch of 8, at each of the two nodes."""
KILLED_AFTER = 150
"""Answers."""


async def by_client(port: int, task: str, sources: Sequence[bytes | Path]) -> Results:
    """Run ``Client.map`` over the sources, with as many in flight."""
    async with Client(f"127.0.0.1:{port}") as client:
        await client.ready(task)
        async for answer in client.map(task, sources, in_flight=IN_FLIGHT):
            answer.check()
            yield answer.index, answer.body


async def by_plain(port: int, task: str, sources: Sequence[bytes | Path]) -> Results:
    """Run the client written by hand over them."""
    mime = "" if task == "noop" else "image/jpeg"
    async for each in by_hand(port, task, mime, sources, IN_FLIGHT):
        yield each


def is_right(task: str, source: bytes | Path, result: bytes) -> bool:
    """Tell whether it may be the source's answer; of a vector only its beginning is looked at."""
    if task == "noop":
        return result == source
    return result == b"%d" % FILE_BYTES if task == "size" else result.startswith(b'{"vector":')


class Cost(NamedTuple):
    """Cost of one run."""

    rate: float
    """Requests a second, from the first answer to the last."""
    cpu: float
    """Microseconds of this process for each request, connecting included."""


def measure(side: Side, port: int, task: str, sources: Sequence[bytes | Path]) -> Cost:
    """Ask for all of them, and see that each is answered right, once."""

    async def run() -> list[float]:
        times, seen = [], set()
        async for number, result in side(port, task, sources):
            times.append(kit.now())
            seen.add(number)
            if not is_right(task, sources[number], result):
                raise SystemExit(f"not the answer to {number}: {result[:80]!r}")
        if not len(times) == len(seen) == len(sources):
            raise SystemExit(f"{len(times)} answers, {len(seen)} different ones")
        return times

    before = time.process_time()
    times = asyncio.run(run())
    cpu = (time.process_time() - before) / len(sources) * 1e6
    return Cost((len(times) - 1) / (times[-1] - times[0]), cpu)


def against_hand(
    node: kit.Serving, rounds: int, title: str, task: str, sources: Sequence[bytes | Path]
) -> tuple[Rows, Figures]:
    """Run the client and the one written by hand, in turns."""
    costs: dict[Side, list[Cost]] = {by_plain: [], by_client: []}
    for side in costs:
        measure(side, node.port, task, sources[: len(sources) // 4])
    for _ in range(rounds):
        for side, measured in costs.items():
            measured.append(measure(side, node.port, task, sources))
    rows: Rows = [
        [f"{title}, {name}", statistics.median(cost.rate for cost in costs[side]),
         statistics.median(cost.cpu for cost in costs[side]), ""]
        for side, name in ((by_plain, "by hand"), (by_client, "map"))
    ]  # fmt: skip
    ratio = kit.median_ratio(
        [cost.rate for cost in costs[by_client]], [cost.rate for cost in costs[by_plain]]
    )
    return rows, {f"{title}: map, against the client by hand": ratio}


def alone(node: kit.Serving, rounds: int, count: int) -> tuple[Rows, Figures]:
    """Send one request at a time."""

    async def by_infer() -> list[float]:
        took = []
        async with Client(f"127.0.0.1:{node.port}") as client:
            for _ in range(count):
                started = kit.now()
                answer = await client.infer("noop", PAYLOAD)
                took.append(kit.now() - started)
                answer.check()
        return took[1:]  # the first one has found and asked the node

    ours, theirs = [], []
    for _ in range(rounds):
        took = asyncio.run(latencies_by_hand(node.port, "noop", PAYLOAD, count))
        theirs.append(kit.percentile(took, 0.5) * 1000)
        ours.append(kit.percentile(asyncio.run(by_infer()), 0.5) * 1000)
    rows: Rows = [
        ["one at a time, by hand", "", "", statistics.median(theirs)],
        ["one at a time, infer", "", "", statistics.median(ours)],
    ]
    longer = [mine - hand for mine, hand in zip(ours, theirs, strict=True)]
    return rows, {"infer: median beyond the client by hand, ms": statistics.median(longer)}


def one_node(rounds: int, count: int, files: int) -> tuple[Rows, Figures]:
    """Measure all that is measured against a client written by hand."""
    rows: Rows = []
    figures: Figures = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        kit.confined(kit.CLIENT_CORE),
        kit.server("_client_nodes.py", "size", cores=kit.SERVER_CORE) as node,
        kit.server(
            "_servers.py", "clip", *kit.flags({"clip.onnx_image": convolutions()}),
            cores=kit.SERVER_CORE,
        ) as clip,
    ):  # fmt: skip
        large = pictures(Path(folder), files, FILE_BYTES)
        small = pictures(Path(folder, "small"), files, 0)
        for more_rows, more_figures in (
            against_hand(node, rounds, "1 kB in memory", "noop", [PAYLOAD] * count),
            against_hand(node, rounds, "files of 200 kB", "size", large),
            against_hand(clip, rounds, "pictures for CLIP", "clip_image_embed", small),
            alone(node, rounds, 300),
        ):
            rows += more_rows
            figures |= more_figures
    return rows, figures


def pictures(folder: Path, count: int, size: int) -> list[Path]:
    """Files of JPEGs, filled up to so many bytes."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for path, picture in zip(paths, itertools.cycle(jpegs(16)), strict=False):
        path.write_bytes(picture.ljust(size, b"\0"))
    return paths


def paced(stack: ExitStack, milliseconds: str) -> kit.Serving:
    """Start a node of this speed."""
    return stack.enter_context(
        kit.server("_client_nodes.py", "paced", milliseconds, "0", cores=kit.SERVER_CORE)
    )


def unequal(rounds: int, count: int) -> tuple[Rows, Figures]:
    """Measure two nodes, one three times as fast as the other, alone and together."""

    async def rate(*nodes: kit.Serving) -> float:
        async with Client([f"127.0.0.1:{node.port}" for node in nodes]) as client:
            while sum(node.state == "up" for node in client.nodes) < len(nodes):
                await asyncio.sleep(0.01)
            started = kit.now()
            answers = [answer async for answer in client.map("lab", [b"abc"] * count)]
            took = kit.now() - started
        if any(answer.body != b"cba" for answer in answers) or len(answers) != count:
            raise SystemExit("not every request was answered right")
        return count / took

    with kit.confined(kit.CLIENT_CORE), ExitStack() as stack:
        fast, slow = (paced(stack, speed) for speed in SPEEDS)
        kinds = {"the faster": (fast,), "the slower": (slow,), "both": (fast, slow)}
        rates: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(rounds):
            for name, nodes in kinds.items():
                rates[name].append(asyncio.run(rate(*nodes)))
    rows: Rows = [
        [f"two nodes of unequal speed: {name}", statistics.median(measured), "", ""]
        for name, measured in rates.items()
    ]
    sums = [one + other for one, other in zip(*list(rates.values())[:2], strict=True)]
    ratio = kit.median_ratio(rates["both"], sums)
    return rows, {"both, against the sum of each alone": ratio}


def killed(rounds: int) -> tuple[Rows, Figures]:
    """Measure what a node's sudden end costs those that it had not answered."""
    with kit.confined(kit.CLIENT_CORE), ExitStack() as stack:
        survivor = paced(stack, "10")
        took = []
        for _ in range(rounds):
            with kit.server(
                "_client_nodes.py", "paced", "10", "0", cores=kit.SERVER_CORE
            ) as victim:
                took.append(asyncio.run(_after_a_kill(survivor, victim)) * 1000)
    return (
        [["all in flight at a kill answered after, median", "", "", statistics.median(took)]],
        {"all in flight at a kill answered, p95, ms": kit.percentile(took, 0.95)},
    )


async def _after_a_kill(survivor: kit.Serving, victim: kit.Serving) -> float:
    """Seconds from the kill until the last of those in flight then is answered."""
    drawn, at = 0, dict[int, float]()

    def sources() -> Iterable[bytes]:
        nonlocal drawn
        for number in range(4 * KILLED_AFTER):
            drawn = number + 1
            yield str(number).encode()

    async with Client([f"127.0.0.1:{node.port}" for node in (survivor, victim)]) as client:
        while sum(node.state == "up" for node in client.nodes) < 2:
            await asyncio.sleep(0.01)
        in_flight: set[int] = set()
        async for answer in client.map("lab", sources(), ordered=False):
            answer.check()
            at[answer.index] = kit.now()
            if len(at) == KILLED_AFTER:
                in_flight = set(range(drawn)) - at.keys()
                victim.kill()
                started = kit.now()
    if at.keys() != set(range(4 * KILLED_AFTER)):
        raise SystemExit("not every request was answered")
    return max(at[number] for number in in_flight) - started


def discovered(rounds: int) -> tuple[Rows, Figures]:
    """Measure how long a new client needs to find a node."""
    where, seconds = found(rounds)
    took = [each * 1000 for each in seconds]
    return (
        [[f"first node found and asked, by mDNS ({where})", "", "", statistics.median(took)]],
        {"first node found and asked, p95, ms": kit.percentile(took, 0.95)},
    )


def main() -> int:
    """Measure all and report."""
    chosen = kit.options(__doc__ or "")
    rows: Rows = []
    figures: Figures = {}
    for part, arguments in _parts(chosen.quick):
        more_rows, more_figures = part(*arguments)
        rows += more_rows
        figures |= more_figures
    columns = ["what", "a second", "client CPU µs each", "median ms"]
    return kit.report("client", columns, rows, kit.goals_of("client", figures), check=chosen.check)


def _parts(quick: bool) -> list[tuple[Callable[..., Any], tuple[int, ...]]]:
    if quick:
        return [
            (one_node, (3, 4000, 400)),
            (unequal, (3, 1000)),
            (killed, (5,)),
            (discovered, (5,)),
        ]
    return [
        (one_node, (9, 15_000, 1500)), (unequal, (7, 3000)), (killed, (30,)), (discovered, (20,)),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
