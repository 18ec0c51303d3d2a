"""The command ``hearth`` and its subcommands."""

from typing import Annotated

import typer

from hearth.cli import doctor, serve
from hearth.cli.bench.command import bench
from hearth.cli.discover.command import discover
from hearth.cli.help import WithSettings, WithTasks
from hearth.cli.infer.command import infer
from hearth.cli.models.app import app as models
from hearth.cli.watch import watch

app = typer.Typer(
    name="hearth",
    help="The inference node for a home or office network, and its client.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve", cls=WithSettings)(serve.serve)
app.command("discover")(discover)
app.command("infer", cls=WithTasks)(infer)
app.command("watch")(watch)
app.command("bench", cls=WithTasks)(bench)
app.add_typer(models, name="models")
app.command("doctor")(doctor.doctor)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from hearth._version import __version__

        typer.echo(f"hearth {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Return the inference node for a home or office network, and its client."""
