"""``hearth watch``: what a node sees in a camera, a video, pictures or the screen."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hearth.cli.options import OneNode, TaskOptions, read_options, warn_of_unknown
from hearth.errors import SetupError, how_to_install

if TYPE_CHECKING:
    from hearth.watch.frames import FrameSource
    from hearth.watch.run import WatchArguments
    from hearth.watch.sinks import FrameSink


def watch(  # noqa: PLR0917
    task: Annotated[str, typer.Argument(help="What to do: pose_tracking, face_mesh, ocr, …")],
    source: Annotated[
        str,
        typer.Argument(
            help="A camera (0, /dev/video0), a video, a picture, a folder of pictures, an address "
            "(rtsp://…, http://…), screen, or a part of it: screen:640x480+100+50."
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Write a video (.mp4, .mkv, .avi; without sound), a folder of pictures, or, for "
            "one picture, a .png or .jpg; no window is opened.",
        ),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write a line of JSON a frame; - is stdout."),
    ] = None,
    no_window: Annotated[
        bool, typer.Option("--no-window", help="Show nothing: for --json alone.")
    ] = False,
    node: OneNode = None,
    options: TaskOptions = None,
    size: Annotated[
        int | None,
        typer.Option(min=16, help="Send frames scaled down to this longer side, in pixels."),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Send raw RGB frames; else JPEGs, or a picture's own file."),
    ] = False,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Show it as a mirror does; it is sent as it is.")
    ] = False,
    angles: Annotated[
        bool, typer.Option("--angles", help="Write the angles at a body's joints.")
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=240,
            help="Frames a second of --out's video; else the source's, or 10 for pictures.",
        ),
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="End after so many frames.")] = None,
) -> int:
    """Show what a node sees in a camera, a video, pictures or the screen.

    It is drawn on the frames: live in a window (q or Esc closes it), or into --out.

    Of a camera the newest frame is always next; of a video every frame is done, in order.

    The exit code is 0 only if no frame failed.
    """  # fmt: skip
    asked = read_options(options or [])
    if no_window and out is None and json is None:
        raise typer.BadParameter("--no-window shows nothing: give --json or --out as well")
    try:
        from hearth.watch.drawing import DrawingStyle
        from hearth.watch.run import WatchArguments
        from hearth.watch.sinks import open_json, open_out
        from hearth.watch.sources import open_source
        from hearth.watch.window import PictureWindow
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    from hearth.cli.console import hint

    opened = open_source(source, hint)
    sinks = [open_out(out, opened, source, rate)] if out is not None else []
    if json is not None:
        sinks.append(open_json(json, source, out))
    window = PictureWindow(f"{task} · {opened.name}") if out is None and not no_window else None
    arguments = WatchArguments(task, asked, node, size, raw, frames, DrawingStyle(mirror, angles))
    return run(arguments, opened, sinks, window)


def run(
    arguments: "WatchArguments",
    source: "FrameSource",
    sinks: "Sequence[FrameSink]",
    window: Any = None,
) -> int:
    """Watch to the end of the source, and return the exit code.

    Closes all it is given, however it is told to end. Raises HearthError and OSError.
    """
    import asyncio
    from contextlib import ExitStack
    from functools import partial

    from hearth.cli.console import complain, hint
    from hearth.cli.exit_codes import FAILURE, OK
    from hearth.cli.progress import ProgressView
    from hearth.cli.signals import StopSignals
    from hearth.watch.display import Display, FrameCounter
    from hearth.watch.run import WatchRun, summary

    counter, stopping = FrameCounter(), StopSignals()
    try:
        with stopping, ExitStack() as stack:
            for sink in sinks:
                stack.callback(sink.close)
            bar = stack.enter_context(ProgressView(say=None))
            display = Display(
                source, counter, window, arguments.task, progress=bar.progress, note=hint
            )
            warn = partial(warn_of_unknown, options=arguments.options)
            asyncio.run(WatchRun(arguments, source, sinks, display, counter, on_ready=warn).run())
    except KeyboardInterrupt:
        complain(f"interrupted: {summary(counter, sinks)}")
        return stopping.code
    hint(summary(counter, sinks))
    return FAILURE if counter.failed else OK


def _missing(error: ModuleNotFoundError) -> Exception:
    """Say which package isn't installed; return the error itself where it is one of ours."""
    if (error.name or "").partition(".")[0] == "hearth":
        return error
    return SetupError(
        f"watching needs more than the client ({error.name} is missing): {how_to_install('watch')}"
    )
