"""``hearth bench``: requests a second, latencies and errors of the nodes."""

from typing import TYPE_CHECKING, Annotated

import typer

from hearth.cli.options import Nodes, TaskOptions, Texts, complete_task, read_options

if TYPE_CHECKING:
    from hearth.cli.bench.figures import LoadPlan

LEVELS = "1,8,64"
MOST_OPEN = 1000
"""Requests of an open loop in flight, unless -c says another bound: it stands for memory."""
MOST_LEVEL = 10_000
MOST_RATE = 1e5
"""Requests a second: some ten times what one process of Python can send."""


def bench(  # noqa: PLR0917
    task: Annotated[
        str,
        typer.Argument(help="What to do: clip_image_embed, ocr, …", autocompletion=complete_task),
    ],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders, globs in quotes, - for stdin, as for hearth infer. They are sent "
            "in turns: give many, for nodes keep what they made of the pictures they saw last."
        ),
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option(
            "--concurrency",
            "-c",
            metavar="N[,N…]",
            help=f"Requests always in flight, one level after the other ({LEVELS}); with --rate "
            f"one number, the most in flight ({MOST_OPEN}).",
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            metavar="R[,R…]",
            help="Send so many requests a second, whatever becomes of those before; latency "
            "counts from the time that each was due.",
        ),
    ] = None,
    poisson: Annotated[
        bool, typer.Option("--poisson", help="With --rate: at random times, not evenly.")
    ] = False,
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds for each level.")] = 10.0,
    count: Annotated[
        int | None, typer.Option(min=1, help="Requests for each level, in place of seconds.")
    ] = None,
    warmup: Annotated[
        float, typer.Option(min=0, help="Seconds before each level that don't count.")
    ] = 1.0,
    texts: Texts = None,
    nodes: Nodes = None,
    options: TaskOptions = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for each request.")] = 60.0,
    json: Annotated[bool, typer.Option("--json", help="One line of JSON for each level.")] = False,
) -> int:
    """Measure how many requests the nodes do in a second, and how soon.

    The exit code is 1 where no request was answered.
    """
    from hearth.cli.bench.load import Extent
    from hearth.cli.bench.run import BenchInputs, BenchRun

    plans = _plans(concurrency, rate, poisson)
    if not files and not texts:
        raise typer.BadParameter("give it files, folders, - for stdin, or --text")
    inputs = BenchInputs(files or [], texts or [], read_options(options or []))
    extent = Extent(duration, count, warmup)
    return BenchRun(task, inputs, extent).run(plans, nodes or [], timeout, json=json)


def _plans(concurrency: str | None, rate: str | None, poisson: bool) -> "list[LoadPlan]":
    from hearth.cli.bench.figures import LoadPlan

    if rate is None:
        if poisson:
            raise typer.BadParameter("--poisson needs --rate")
        return [LoadPlan(each) for each in _levels(concurrency or LEVELS)]
    most = _levels(concurrency or str(MOST_OPEN))
    if len(most) > 1:
        raise typer.BadParameter("with --rate, -c is one number: the most in flight")
    return [LoadPlan(most[0], each, poisson) for each in _rates(rate)]


def _levels(text: str) -> list[int]:
    try:
        levels = [int(each) for each in text.split(",")]
    except ValueError:
        levels = [0]
    if not all(1 <= level <= MOST_LEVEL for level in levels):
        raise typer.BadParameter(f"-c {text}: give numbers from 1 to {MOST_LEVEL:,}, as in 1,8,64")
    return levels


def _rates(text: str) -> list[float]:
    try:
        rates = [float(each) for each in text.split(",")]
    except ValueError:
        rates = [0.0]
    if not all(0 < rate <= MOST_RATE for rate in rates):
        most = f"at most {MOST_RATE:,.0f}"
        raise typer.BadParameter(f"--rate {text}: give requests a second, {most}, as in 10,50.5")
    return rates
