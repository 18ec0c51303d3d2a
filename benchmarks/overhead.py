"""Cost of the node above the work itself.

1. A task that does nothing, one stream with 64 requests in flight, against a bare grpc.aio echo
   server on the same stream pattern: requests a second, and the server's CPU for each; then
   what of hearth's own takes the most of it, by a profile.
2. ``clip_image_embed`` of 224-pixel JPEGs with ViT-B-32 (random weights, ONNX): the server's CPU
   for each image against a bare loop that prepares and runs the same session on as many
   threads, in batches of the same size.
3. One request at a time with a model of 1 ms, against the bare call of preparation and session
   on the same core and as often: the median latency. Then the node's CPU once nobody asks.
4. One warm ``clip_image_embed`` through a socket: the calls of hearth's own Python functions, in
   all and for each package (``_calls.py``).
"""

import pstats
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import _kit as kit
from _clients import RequestOf, closed_loop
from _models import convolutions, jpegs, vit_image
from batching import largest_batch, pictures_of
from hearth.contract import ml_service_pb2 as pb

Rows = list[list[object]]
Figures = dict[str, float]
"""By the names of ``goals.toml``."""
Function = tuple[str, int, str]
"""Function's name at the profiler: file, line, name."""

PAYLOAD = b"x" * 1024

TURNAROUND = 0.0003
"""Seconds between an answer and a lone client's next request. A core that has rested for them is
slower at first, with or without a server: 0.1 ms and more were measured."""
REST_SECONDS = 1.0
"""Seconds after which what a load leaves behind (connections that close) is over."""


def nothing(number: int) -> pb.InferRequest:
    """Make a request of the no-op task."""
    return pb.InferRequest(correlation_id=str(number), task="noop", payload=PAYLOAD)


def measure(serving: kit.Serving, request_of: RequestOf, count: int) -> tuple[float, float]:
    """Requests a second, and the server's CPU in microseconds for each."""
    before = serving.cpu_seconds()
    load = closed_loop(serving.port, request_of, count=count).all_right()
    return load.rate(), (serving.cpu_seconds() - before) / count * 1e6


def noop(rounds: int, count: int) -> tuple[Rows, Figures]:
    """Measure the node against the bare echo server."""
    rates: dict[str, list[float]] = {"echo": [], "noop": []}
    costs: dict[str, list[float]] = {"echo": [], "noop": []}
    with (
        kit.confined(kit.CLIENT_CORE),
        kit.server("_servers.py", "echo", cores=kit.SERVER_CORE) as echo,
        kit.server("_servers.py", "noop", cores=kit.SERVER_CORE) as node,
    ):
        for serving in (echo, node):
            measure(serving, nothing, count // 4)
        for _ in range(rounds):
            for kind, serving in (("echo", echo), ("noop", node)):
                rate, cost = measure(serving, nothing, count)
                rates[kind].append(rate)
                costs[kind].append(cost)
    rows: Rows = [
        [name, statistics.median(rates[kind]), statistics.median(costs[kind]), ""]
        for kind, name in (("echo", "bare grpc.aio echo"), ("noop", "hearth, no-op task"))
    ]
    return rows, {
        "no-op requests a second, against the echo": kit.median_ratio(rates["noop"], rates["echo"]),
        "no-op server CPU, against the echo": kit.median_ratio(costs["noop"], costs["echo"]),
    }


def profiled(kind: str, count: int) -> dict[Function, float]:
    """Return the profiler's view of a server: microseconds of each function for each request.

    A function's time is its own and that of what it calls outside Python. The profiler makes
    all of it slower, so only the proportions count.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "profile")
        with kit.server("_servers.py", kind, "--profile", str(file)) as serving:
            measure(serving, nothing, count)
            serving.stop()
        stats = pstats.Stats(str(file)).stats  # type: ignore[attr-defined]
    outside: Counter[Function] = Counter()
    for function, (*_, callers) in stats.items():
        if function[0] == "~":
            outside.update({caller: spent for caller, (_, _, spent, _) in callers.items()})
    return {
        function: (itself + outside[function]) / count * 1e6
        for function, (_, _, itself, *_) in stats.items()
    }


def profile(count: int) -> Rows:
    """Name the three functions of hearth that take most of a no-op request; the echo's one
    beside.
    """
    echo = {name: took for name, took in profiled("echo", count).items() if name[2] == "Infer"}
    ours = {
        name: took
        for name, took in profiled("noop", count).items()
        if "/hearth/" in name[0] and "/contract/" not in name[0]
    }
    largest = sorted(ours.items(), key=lambda item: -item[1])[:3]
    return [
        [f"  profiled: {Path(file).parent.name}/{Path(file).name} {name}", "", took, ""]
        for (file, _, name), took in [*echo.items(), *largest]
    ]


def clip(rounds: int, count: int) -> tuple[Rows, Figures]:
    """Measure the node against the bare loop, CPU for each image."""
    model, pictures = str(vit_image("fp32")), jpegs(count)
    ours, rates, bare = [], [], []
    with (
        kit.server("_servers.py", "clip", *kit.flags({"clip.onnx_image": model})) as node,
        kit.worker("_loop.py", "own", model, "jpegs", str(count)) as loop,
    ):
        measure(node, pictures_of(pictures), count // 2)
        batch = largest_batch(node)
        for _ in range(rounds):
            rate, cost = measure(node, pictures_of(pictures), count)
            rates.append(rate)
            ours.append(cost)
            bare.append(loop(str(batch))["cpu"] * 1e6)
    rows: Rows = [
        [f"bare loop, clip_image_embed, batch {batch}", "", statistics.median(bare), ""],
        ["hearth, clip_image_embed", statistics.median(rates), statistics.median(ours), ""],
    ]
    ratio = kit.median_ratio(ours, bare)
    return rows, {"CPU for each image, against the loop": ratio}


def alone(rounds: int, count: int, idle_seconds: float) -> tuple[Rows, Figures]:
    """Measure one request at a time, and then none."""
    model, pictures = str(convolutions()), jpegs(count)
    ours, bare, straight, echoed = [], [], [], []
    with (
        kit.confined(kit.CLIENT_CORE),
        kit.server("_servers.py", "echo", cores=kit.SERVER_CORE) as echo,
        kit.server(
            "_servers.py", "clip", *kit.flags({"clip.onnx_image": model}), cores=kit.SERVER_CORE
        ) as node,
        kit.worker("_loop.py", "own", model, "jpegs", str(count), cores=kit.SERVER_CORE) as loop,
    ):
        for _ in range(rounds + 1):  # short ones: all see the same neighbours
            for serving, medians in ((echo, echoed), (node, ours)):
                load = closed_loop(serving.port, pictures_of(pictures), count=count, in_flight=1)
                medians.append(kit.percentile(load.all_right().latencies, 0.5) * 1000)
            straight.append(loop("1")["p50"] * 1000)
            bare.append(loop(f"1 {TURNAROUND}")["p50"] * 1000)
        time.sleep(REST_SECONDS)
        idle = node.idle_percent(idle_seconds)
    rows: Rows = [
        [name, "", "", statistics.median(medians[1:])]
        for name, medians in (
            ("bare echo of a picture, one at a time", echoed),
            ("1 ms model, bare call, one straight after the other", straight),
            ("1 ms model, bare call, as often as requests come", bare),
            ("1 ms model, hearth, one at a time", ours),
        )
    ]
    longer = [mine - call for mine, call in zip(ours[1:], bare[1:], strict=True)]
    return rows, {
        "one at a time, median beyond the bare call, ms": statistics.median(longer),
        "idle CPU after load, %": idle,
    }


def calls() -> tuple[Rows, Figures]:
    """Python calls of one request: a figure that no busy machine can change."""
    with kit.worker("_calls.py") as counted:
        by_function = counted("")
    by_package: Counter[str] = Counter()
    for function, count in by_function.items():
        by_package[function.partition("/")[0]] += count
    rows: Rows = [
        [f"Python calls of a request, {package}", "", "", count]
        for package, count in by_package.most_common()
    ]
    return rows, {"Python calls of a warm clip_image_embed": sum(by_function.values())}


def main() -> int:
    """Measure all and report."""
    chosen = kit.options(
        __doc__ or "",
        ("--calls", {"action": "store_true", "help": "count Python calls alone: some seconds"}),
    )
    if chosen.calls:
        rows, figures = calls()
        goals = kit.goals_of("overhead, calls", figures)
        columns = ["what", "a second", "server CPU µs each", "calls"]
        return kit.report("overhead", columns, rows, goals, check=chosen.check)
    quick = chosen.quick
    rounds, requests, images = (3, 10_000, 96) if quick else (7, 30_000, 256)
    rows, figures = noop(rounds, requests)
    rows += profile(requests)
    for more_rows, more_figures in (
        clip(rounds, images),
        alone(15 if quick else 60, 60, 4.0 if quick else 20.0),
        calls(),
    ):
        rows += more_rows
        figures |= more_figures
    goals = [*kit.goals_of("overhead", figures), *kit.goals_of("overhead, calls", figures)]
    columns = ["what", "a second", "server CPU µs each", "median ms"]
    return kit.report("overhead", columns, rows, goals, check=chosen.check)


if __name__ == "__main__":
    sys.exit(main())
