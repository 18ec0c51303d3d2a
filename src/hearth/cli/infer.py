"""``hearth infer``: do a task to files or texts."""

from typing import Annotated

import typer

from hearth.cli.meta import HELP, read_options


def infer(  # noqa: PLR0917
    task: Annotated[str, typer.Argument(help="What to do: clip_classify, ocr, …")],
    files: Annotated[
        list[str] | None, typer.Argument(help="Images, or texts for a text task; - is stdin.")
    ] = None,
    texts: Annotated[
        list[str] | None, typer.Option("--text", "-t", help="A text. May be repeated.")
    ] = None,
    nodes: Annotated[
        list[str] | None,
        typer.Option(
            "--node",
            "-n",
            metavar="HOST:PORT",
            help="A node to ask. May be repeated; else HEARTH_NODES, "
            "else all on the network that can do it.",
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="KEY=VALUE", help=HELP),
    ] = None,
    topk: Annotated[int | None, typer.Option(min=1, help="How many labels.")] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0.001, help="Seconds for all inputs together.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One line of JSON for each input, in their order.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="The answers' bytes as they came, in order.")
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Write --json lines (or --raw bytes) to this file; a .png or .jpg takes one "
            "answer's bytes, a folder (--raw) each in a file of its own.",
        ),
    ] = None,
) -> int:
    """Do a task to files or texts, all over one call.

    Answers are printed as they come. The exit code is 0 only if none failed.
    """  # fmt: skip
    from hearth.cli.inputs import gather
    from hearth.cli.report import TableReport
    from hearth.cli.run import run
    from hearth.cli.written import written

    inputs = gather(files or [], texts or [])
    if not inputs:
        raise typer.BadParameter("give it files, - for stdin, or --text")
    if json and raw:
        raise typer.BadParameter("choose --json or --raw")
    meta = read_options(options or [])
    if topk is not None:
        meta["topk"] = str(topk)
    for_programs = raw or json or out
    report = written(inputs, out, raw=raw, json=json) if for_programs else TableReport(inputs)
    return run(task, inputs, report, meta=meta, nodes=nodes or [], timeout=timeout)
