"""Gain of shared batches, and what the way to them costs.

1. ``clip_image_embed`` with ViT-B-32 (random weights), fp32 and int8, at saturation: against a
   bare loop over the same session and the same preparation at its best batch size, on the
   same cores.
2. The same task with a model of 1 ms and 224-pixel JPEGs: against a loop with plain Pillow and
   float numpy at batch 8, what nodes of this kind use by default; the table shows the loop's
   best batch as well. Server and loop have one core each time, the client the other.
3. The same with JPEGs of 12 megapixels, which the loop decodes and resizes whole.
4. A model that gains from batches, 1, 4 and 16 requests in flight: hearth's policy against no
   wait at all and a fixed window of 3 ms.
"""

import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

import _kit as kit
from _clients import RequestOf, closed_loop
from _lab import POLICIES
from _models import MLP_INPUTS, convolutions, jpegs, photographs, vit_image
from hearth.contract import ml_service_pb2 as pb

Rows = list[list[object]]
Case = tuple[Rows, list[kit.Goal]]

EDGE = 16
"""Answers at both ends of a load that aren't counted: there the batches are small."""


def pictures_of(payloads: Sequence[bytes]) -> RequestOf:
    """Requests for the vectors of pictures, as raw numbers."""
    meta = {"accept": "application/octet-stream"}

    def request_of(number: int) -> pb.InferRequest:
        return pb.InferRequest(
            correlation_id=str(number),
            task="clip_image_embed",
            payload=payloads[number % len(payloads)],
            meta=meta,
        )

    return request_of


def best_batch(loop: Callable[[str], Any], batches: Iterable[int]) -> int:
    """Return the batch size at which the loop is fastest."""
    took = {batch: loop(str(batch))["wall"] for batch in batches}
    return min(took, key=took.__getitem__)


def saturate(
    serving: kit.Serving, payloads: Sequence[bytes], streams: int = 4, in_flight: int = 64
) -> tuple[float, float]:
    """Pictures a second, and the server's CPU in milliseconds for each."""
    before = serving.cpu_seconds()
    load = closed_loop(
        serving.port, pictures_of(payloads), count=len(payloads), streams=streams,
        in_flight=in_flight, right=lambda _, result: len(result) == 4 * 512,
    ).all_right()  # fmt: skip
    return load.rate(EDGE), (serving.cpu_seconds() - before) / len(payloads) * 1000


def vit(precision: str, rounds: int, count: int) -> Case:
    """Throughput against the bare loop, all cores for both."""
    model, payloads = str(vit_image(precision)), jpegs(count + 2 * EDGE)
    streams = (1, 4, 16)
    rates: dict[int, list[float]] = {number: [] for number in streams}
    costs: dict[int, list[float]] = {number: [] for number in streams}
    bare, bare_costs = [], []
    with (
        kit.server("_servers.py", "clip", *kit.flags({"clip.onnx_image": model})) as node,
        kit.worker("_loop.py", "own", model, "jpegs", str(count)) as loop,
    ):
        best = best_batch(loop, (1, 4, 8, 16))
        saturate(node, payloads[: 3 * EDGE])
        for _ in range(rounds):
            for number in streams:
                rate, cost = saturate(node, payloads, streams=number)
                rates[number].append(rate)
                costs[number].append(cost)
            took = loop(str(best))
            bare.append(1 / took["wall"])
            bare_costs.append(took["cpu"] * 1000)
        formed = largest_batch(node)
    name = f"ViT-B-32 {precision}"
    rows: Rows = [
        [f"{name}, bare loop", f"best {best}", *_medians(bare, bare_costs)],
        *(
            [f"{name}, {_streams(number)}", f"≤ {formed}", *_medians(rates[number], costs[number])]
            for number in streams
        ),
    ]
    return rows, [
        kit.Goal(f"{name}, {_streams(number)}, against the loop",
                 kit.median_ratio(rates[number], bare), least=0.95)
        for number in streams
    ]  # fmt: skip


def against_plain(
    what: str, pictures: str, payloads: Sequence[bytes], *, rounds: int, in_flight: int,
    loop_count: int, batches: Sequence[int], least: float,
) -> Case:  # fmt: skip
    """Throughput with the 1 ms model against the plain loop, each on one core."""
    model = str(convolutions())
    rates, costs = [], []
    with (
        kit.confined(kit.CLIENT_CORE),
        kit.server(
            "_servers.py", "clip", *kit.flags({"clip.onnx_image": model}), cores=kit.SERVER_CORE
        ) as node,
        kit.worker(
            "_loop.py", "plain", model, pictures, str(loop_count), cores=kit.SERVER_CORE
        ) as loop,
    ):
        best, reference = best_batch(loop, batches), max(batches)
        loops: dict[int, list[dict[str, float]]] = {reference: [], best: []}
        saturate(node, payloads[: 4 * EDGE], in_flight=in_flight)
        for _ in range(rounds):
            rate, cost = saturate(node, payloads, in_flight=in_flight)
            rates.append(rate)
            costs.append(cost)
            for batch, took in loops.items():
                took.append(loop(str(batch)))
        formed = largest_batch(node)
    rows: Rows = [
        *(
            [f"{what}, plain loop", "best " * (batch == best) + str(batch),
             *_medians([1 / one["wall"] for one in took], [1000 * one["cpu"] for one in took])]
            for batch, took in loops.items()
        ),
        [f"{what}, hearth", f"≤ {formed}", *_medians(rates, costs)],
    ]  # fmt: skip
    ratio = kit.median_ratio(rates, [1 / one["wall"] for one in loops[reference]])
    name = f"{what}, against the plain loop at batch {reference}"
    return rows, [kit.Goal(name, ratio, least=least)]


def policies(rounds: int, scale: float) -> Case:
    """Hearth's policy between the two naive ones, side by side."""
    random = np.random.default_rng(0)
    payloads = [random.random(MLP_INPUTS, np.float32).tobytes() for _ in range(512)]
    counts = {1: int(80 * scale), 4: int(200 * scale), 16: int(500 * scale)}
    cases = [(policy, number) for number in counts for policy in POLICIES]
    rates: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    costs: dict[tuple[str, int], list[float]] = {case: [] for case in cases}

    def request_of(number: int) -> pb.InferRequest:
        payload = payloads[number % len(payloads)]
        return pb.InferRequest(correlation_id=str(number), task="lab", payload=payload)

    with kit.confined(kit.CLIENT_CORE), ExitStack() as stack:
        nodes = {
            policy: stack.enter_context(
                kit.server("_servers.py", "perceptron", policy, cores=kit.SERVER_CORE)
            )
            for policy in POLICIES
        }
        for policy, number in cases * (rounds + 1):
            node, count = nodes[policy], counts[number] + 2 * EDGE
            before = node.cpu_seconds()
            load = closed_loop(
                node.port, request_of, count=count, streams=min(number, 4), in_flight=number
            ).all_right()
            rates[policy, number].append(load.rate(EDGE))
            costs[policy, number].append((node.cpu_seconds() - before) / count * 1000)
    for seen in rates.values():
        del seen[0]  # that one warmed up
    rows: Rows = [
        [f"weights-bound, {number} in flight, {policy}", "≤ 16",
         *_medians(rates[policy, number], costs[policy, number])]
        for policy, number in cases
    ]  # fmt: skip
    return rows, [
        kit.Goal(
            f"weights-bound, {number} in flight, against {naive}",
            kit.median_ratio(rates["hearth", number], rates[naive, number]),
            # At 4 there is something to win; elsewhere nothing may be lost but noise.
            least=1.0 if number == 4 else 0.97,
        )
        for number in counts
        for naive in POLICIES
        if naive != "hearth"
    ]


def largest_batch(node: kit.Serving) -> int:
    """Return the largest batch that the image tower's queue forms."""
    return max(int(queue["max_batch"]) for queue in node.queues().values())


def _streams(number: int) -> str:
    return f"{number} stream{'s' if number > 1 else ''}"


def _medians(rates: Sequence[float], costs: Sequence[float]) -> list[object]:
    return [statistics.median(rates), statistics.median(costs)]


def main() -> int:
    """Measure all cases and report."""
    chosen = kit.options(__doc__ or "")
    quick = chosen.quick
    rows: Rows = []
    goals: list[kit.Goal] = []
    for more_rows, more_goals in (
        vit("fp32", 2 if quick else 7, 48 if quick else 192),
        vit("int8", 2 if quick else 7, 96 if quick else 384),
        against_plain(
            "1 ms model, 224-pixel JPEGs", "jpegs", jpegs(500),
            rounds=7 if quick else 25, in_flight=64, loop_count=256, batches=(1, 4, 8), least=1.3,
        ),
        against_plain(
            "1 ms model, 12-megapixel JPEGs", "photographs", photographs(16) * (4 if quick else 12),
            rounds=2 if quick else 7, in_flight=16, loop_count=8, batches=(1,), least=3,
        ),
        policies(5 if quick else 15, 1 if quick else 2),
    ):  # fmt: skip
        rows += more_rows
        goals += more_goals
    columns = ["what", "batch", "a second", "CPU ms each"]
    return kit.report("batching", columns, rows, goals, check=chosen.check)


if __name__ == "__main__":
    sys.exit(main())
