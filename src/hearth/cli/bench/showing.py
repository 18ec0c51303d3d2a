"""The figures of ``hearth bench``, as a table for people or as lines of JSON."""

from collections.abc import Sequence

from rich.table import Table

from hearth.cli.bench.figures import Figures, LevelMeasurement, LoadPlan
from hearth.cli.console import Text

UNKNOWN = "–"


def facts(task: str, measured: LevelMeasurement) -> dict[str, object]:
    """Return everything of a level, for scripts."""
    plan, figures = measured.plan, measured.figures()
    return {
        "task": task,
        "loop": "closed" if plan.rate is None else "open",
        "in_flight": plan.in_flight,
        "rate": plan.rate,
        "seconds": round(figures.seconds, 3),
        "requests": figures.requests,
        "answers": figures.answers,
        "throughput": round(figures.throughput, 2),
        "latency_ms": {name: _rounded(value) for name, value in figures.latency_ms.items()},
        "errors": figures.errors,
        "unsent": measured.unsent,
        "nodes": figures.nodes,
        "batch": _rounded(figures.batch),
        "unbatched": figures.unbatched,
        "queue_ms": _rounded(figures.queue_ms),
        "interrupted": measured.cut,
    }


def table(levels: Sequence[LevelMeasurement]) -> Table:
    """Make a table with a line for each level, without columns that say nothing."""
    rows = [(each, each.figures()) for each in levels]
    is_open = any(each.plan.rate is not None for each in levels)
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    grid.add_column("RATE" if is_open else "IN FLIGHT", justify="right")
    for head in ("REQUESTS/S", "P50 MS", "P95 MS", "P99 MS", "BATCH", "QUEUE MS"):
        grid.add_column(head, justify="right")
    if is_open:
        grid.add_column("UNSENT", justify="right")
    grid.add_column("ERRORS", overflow="fold")
    shares = len({node for _, figures in rows for node in figures.nodes}) > 1
    if shares:
        grid.add_column("NODES", overflow="fold")
    for measured, figures in rows:
        cells: list[str | Text] = [
            _level(measured.plan),
            _number(figures.throughput),
            *map(_number, figures.latency_ms.values()),
            _number(figures.batch),
            _number(figures.queue_ms),
        ]
        if is_open:
            cells.append(Text(f"{measured.unsent:,}", style="red" if measured.unsent else ""))
        cells.append(Text(_counts(figures.errors), style="red"))
        if shares:
            cells.append(Text(_shares(figures)))
        grid.add_row(*cells)
    return grid


def _level(plan: LoadPlan) -> str:
    return f"{plan.in_flight:,}" if plan.rate is None else f"{plan.rate:g}/s"


def _number(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _counts(errors: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {code}" for code, count in sorted(errors.items()))


def _shares(figures: Figures) -> str:
    most = sorted(figures.nodes.items(), key=lambda each: -each[1])
    return "\n".join(f"{100 * count / figures.answers:.0f} %  {node}" for node, count in most)
