"""Kit of all benchmarks: options, tables, the JSON line, processes with measured CPU.

Made for Linux: elsewhere no process can be tied to a core.
"""

import argparse
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from _models import FOLDER

HERE = Path(__file__).parent

_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = _CORES[:1], _CORES[1:2] or _CORES[:1]
"""For where the measured and what measures it must not share a core."""


QUICK_SECONDS, FULL_SECONDS = 15 * 60, 2 * 3600
"""After which a benchmark is ended, whatever it waits for: some fifteen times what it takes."""


def end_after(seconds: float) -> None:
    """Raise SystemExit in so many seconds from now, so that what was started is ended as well."""

    def end(*_: object) -> None:
        raise SystemExit(f"it didn't come to an end within {seconds:.0f} s")

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)


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


def goals_of(benchmark: str, figures: Mapping[str, float]) -> list[Goal]:
    """Goals of a benchmark as ``goals.toml`` sets them; what wasn't measured is missed."""
    rows = tomllib.loads((HERE / "goals.toml").read_text())["goal"]
    return [
        Goal(row["figure"], figures.get(row["figure"], math.nan), least=row.get("least"),
             most=row.get("most"))
        for row in rows if row["benchmark"] == benchmark
    ]  # fmt: skip


def options(description: str, *more: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """``--quick`` bounds a run to a minute; ``--check`` exits 1 where a goal is missed.

    From now on the time of the whole run is bounded.
    ``more`` are further flags, each with argparse's arguments.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag, arguments in more:
        parser.add_argument(flag, **arguments)
    parser.add_argument("--quick", action="store_true", help="about a minute on two cores")
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    chosen = parser.parse_args()
    end_after(QUICK_SECONDS if chosen.quick else FULL_SECONDS)
    # Curves are measured anew: those of another day, or of a busier machine, would decide.
    (FOLDER / "tuning.json").unlink(missing_ok=True)
    return chosen


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
        table.add_row(*map(_shown, row))
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


def _shown(cell: object) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"


def flags(settings: Mapping[str, object]) -> list[str]:
    """Return the flags of ``_servers.py`` for settings."""
    return [flag for path, value in settings.items() for flag in ("--set", f"{path}={value}")]


@contextmanager
def server(script: str, *arguments: str, cores: Sequence[int] | None = None) -> Iterator["Serving"]:
    """Start a server process that prints its port on its first line; on ``cores`` alone, if
    given.
    """
    with _process(script, arguments, cores) as process:
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise SystemExit(f"{script} {' '.join(arguments)} did not start: {line!r}")
        yield Serving(process, int(line))


@contextmanager
def worker(
    script: str, *arguments: str, cores: Sequence[int] | None = None
) -> Iterator[Callable[[str], Any]]:
    """Start a process that answers each line with a line of JSON; gives a function that asks it."""
    with _process(script, arguments, cores) as process:

        def ask(line: str) -> Any:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                raise SystemExit(f"{script} {' '.join(arguments)} has ended")
            return json.loads(answer)

        yield ask


@contextmanager
def _process(script: str, arguments: Sequence[str], cores: Sequence[int] | None) -> Iterator[Any]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if cores is not None:
        # Long before it has imported an engine, which would count the cores.
        os.sched_setaffinity(process.pid, cores)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


class Serving:
    """A running server: its port, and what it costs.

    ``measured`` is the process that serves, where it isn't the one that was started.
    """

    def __init__(
        self, process: "subprocess.Popen[str]", port: int, measured: int | None = None
    ) -> None:
        self.port = port
        self._process = process
        self._seen = psutil.Process(measured or process.pid)

    def cpu_seconds(self) -> float:
        """User and system time since the process started, all threads."""
        # The process's own clock, as clock_getcpuclockid(3) names it: /proc counts in
        # ticks of 10 ms, too coarse for an idle node.
        return time.clock_gettime((~self._seen.pid << 3) | 2)

    def waited(self) -> float:
        """Milliseconds that its threads have waited for a core."""
        return waited(self._seen.pid)

    def resident_mb(self) -> float:
        """Resident memory now."""
        return float(self._seen.memory_info().rss) / 1e6

    def queues(self) -> dict[str, dict[str, Any]]:
        """Return the statistics of a node's queues now, by their names."""
        self._process.send_signal(signal.SIGUSR1)
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))

    def idle_percent(self, seconds: float) -> float:
        """CPU over some seconds in which nobody asks, in per cent of a core."""
        before = self.cpu_seconds()
        time.sleep(seconds)
        return 100 * (self.cpu_seconds() - before) / seconds

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.kill()

    def stop(self) -> None:
        """Tell it to end, and wait."""
        self._process.terminate()
        self._process.wait(timeout=20)


def waited(process: int | str = "self") -> float:
    """Milliseconds that the threads of a process have waited for a core."""
    tasks = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[1]) for task in tasks) / 1e6


@contextmanager
def confined(cores: Sequence[int] | None) -> Iterator[None]:
    """Run this process, all its threads, on ``cores`` alone."""
    before = os.sched_getaffinity(0)
    _confine(before if cores is None else cores)
    try:
        yield
    finally:
        _confine(before)


def _confine(cores: Sequence[int] | set[int]) -> None:
    for thread in psutil.Process().threads():
        try:
            os.sched_setaffinity(thread.id, cores)
        except ProcessLookupError:  # it ended meanwhile
            continue


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Compute the median of pairwise ratios: measured in turns, so that drift cancels out."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of all don't pass."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def now() -> float:
    """Read a wall clock in seconds."""
    return time.perf_counter()
