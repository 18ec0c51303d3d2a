"""``hearth infer``: do a task to files or texts."""

from typing import Annotated

import typer

from hearth.cli.options import Nodes, TaskOptions, Texts, complete_task, read_options


def infer(  # noqa: PLR0917
    task: Annotated[
        str,
        typer.Argument(help="What to do: clip_classify, ocr, …", autocompletion=complete_task),
    ],
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders (what suits the task, at any depth), globs in "
            "quotes ('photos/**/*.jpg'); - is stdin."
        ),
    ] = None,
    texts: Texts = None,
    nodes: Nodes = None,
    options: TaskOptions = None,
    model_id: Annotated[
        str | None,
        typer.Option(
            "--model-id",
            metavar="ID",
            help="Take answers of this model alone, where nodes have several (hearth discover).",
        ),
    ] = None,
    topk: Annotated[int | None, typer.Option(min=1, help="How many labels.")] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Seconds for all inputs together, waiting for a node included."
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            metavar="N",
            help="Requests in flight at once; else as many as keep the nodes busy.",
        ),
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
            help="Write --json lines, as they come, (or --raw bytes, in order) to this file; a "
            ".npz or .npy takes the vectors of all for numpy, a .png or .jpg one answer's bytes, a "
            "folder (--raw) each in a file of its own.",
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Print parts of answers as they come, one input after the other: text on a "
            "terminal, else a line of JSON for each part. It goes without saying for one input "
            "of a task that streams, on a terminal.",
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with --out where an earlier run ended: do what it hasn't, or what "
            "failed, with the same model.",
        ),
    ] = False,
) -> int:
    """Do a task to files or texts, on all nodes that can do it.

    Answers are printed as they come. The exit code is 0 only if none failed.
    """  # fmt: skip
    from hearth.cli.infer.run import InferArguments, run
    from hearth.cli.infer.target import AnswerTarget

    if not files and not texts:
        raise typer.BadParameter("give it files, folders, - for stdin, or --text")
    if json and raw:
        raise typer.BadParameter("choose --json or --raw")
    asked = read_options(options or [])
    if topk is not None:
        asked["topk"] = str(topk)
    target = AnswerTarget(out, raw=raw, json=json, resume=resume, stream=stream)
    target.check()
    return run(
        InferArguments(
            task, files or [], texts or [], asked, nodes or [], timeout, jobs, target, model_id
        )
    )
