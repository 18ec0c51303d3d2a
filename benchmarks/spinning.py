"""Gain and cost of a session's threads that stay awake for each other's work.

The text tower of ViT-B-32 runs one text at a time, as for somebody who waits alone, and beside the
image tower, as under load; with threads that sleep at once, that spin for some microseconds while a
run lasts, and as ONNX Runtime spins by itself. All take turns, run by run. A run that had to wait
for a core was disturbed by others: without enough that weren't, the wall times mean nothing.
"""

import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import _kit as kit
from _models import vit_b_32

SLEEPING = "0"
SPINS = (SLEEPING, "5", "10", "20", "50", "200", "engine")
"""Microseconds; ``engine`` is ONNX Runtime's own choice. Each is a process of 1 GB."""
QUICK = (SLEEPING, "20", "engine")
UNDISTURBED = 0.05
"""Part of a run that its threads may wait for a core, all together."""
FEW = 10
"""Undisturbed runs below which nothing is said of wall time."""

Run = tuple[float, float, float, float]


class Runs(NamedTuple):
    """Measurements of one way of waiting."""

    alone: list[Run]
    """Wall, CPU, waiting for a core and idle CPU afterwards of a text, in ms."""
    both: list[float]
    """CPU of a text and a picture side by side, in ms."""


def measure(spins: Sequence[str], rounds: int) -> dict[str, Runs]:
    """Run all sessions in turns."""
    measured = {spin: Runs([], []) for spin in spins}
    with ExitStack() as stack:
        workers = {spin: stack.enter_context(kit.worker("_spinning.py", spin)) for spin in spins}
        for number in range(rounds):
            for spin, ask in workers.items():
                measured[spin].alone.append(tuple(ask("text")))
                if number % 4 == 0:
                    measured[spin].both.append(ask("both"))
    return measured


def row(spin: str, runs: Runs) -> list[object]:
    """Medians of one way of waiting."""
    wall, cpu, _, idle = map(statistics.median, zip(*runs.alone, strict=True))
    good = [took for took, _, delay, _ in runs.alone if delay < UNDISTURBED * took]
    own = statistics.median(good) if len(good) >= FEW else "too few"
    return [spin, len(good), own, wall, cpu, statistics.median(runs.both), idle]


def main() -> int:
    """Run in turns and report."""
    options = kit.options(__doc__ or "")
    vit_b_32()
    spins, rounds = (QUICK, 40) if options.quick else (SPINS, 400)
    rows = [row(spin, runs) for spin, runs in measure(spins, rounds).items()]
    columns = ["spin µs", "undisturbed", "their p50 ms", "p50 ms", "CPU ms", "of both", "idle ms"]
    return kit.report("spinning", columns, rows, [], check=options.check)


if __name__ == "__main__":
    sys.exit(main())
