"""What the benchmarks share: options, servers with measured CPU, tables, the JSON line."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent


class Goal:
    """A figure and the bound that an issue sets for it."""

    def __init__(self, name: str, value: float, *, least: float | None = None,
                 most: float | None = None) -> None:  # fmt: skip
        self.name, self.value, self.least, self.most = name, value, least, most

    @property
    def met(self) -> bool:
        """Whether the figure is within its bound."""
        return (self.least is None or self.value >= self.least) and (
            self.most is None or self.value <= self.most
        )

    @property
    def bound(self) -> str:
        """The bound in words."""
        return f"≥ {self.least:g}" if self.least is not None else f"≤ {self.most:g}"


def options(description: str) -> argparse.Namespace:
    """``--quick`` bounds a run to a minute; ``--check`` exits 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="about a minute on two cores")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    return parser.parse_args()


def report(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    goals: Sequence[Goal],
    *,
    check: bool,
    **facts: Any,
) -> int:
    """Print the tables and the JSON line; the exit code."""
    console = Console(width=110)
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    console.print(table)
    verdicts = Table("goal", "bound", "measured", "met")
    for goal in goals:
        verdicts.add_row(goal.name, goal.bound, f"{goal.value:.3g}", "yes" if goal.met else "NO")
    console.print(verdicts)
    print(json.dumps({
        "benchmark": title,
        "cores": os.cpu_count(),
        "goals": {g.name: {"value": g.value, "bound": g.bound, "met": g.met} for g in goals},
        "rows": [dict(zip(columns, row, strict=True)) for row in rows],
        **facts,
    }))  # fmt: skip
    return 1 if check and not all(goal.met for goal in goals) else 0


@contextmanager
def server(script: str, *arguments: str) -> Iterator["Serving"]:
    """A server process that prints its port on its first line."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise SystemExit(f"{script} {' '.join(arguments)} did not start: {line!r}")
        yield Serving(process.pid, int(line))
    finally:
        process.terminate()
        process.wait(timeout=20)


class Serving:
    """A running server: its port, and the CPU it has used."""

    def __init__(self, pid: int, port: int) -> None:
        self.port = port
        self._process = psutil.Process(pid)

    def cpu_seconds(self) -> float:
        """User and system time since the process started, all threads."""
        times = self._process.cpu_times()
        return float(times.user + times.system)


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of pairwise ratios: measured in turns, so that drift cancels out."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def now() -> float:
    """A wall clock in seconds."""
    return time.perf_counter()
