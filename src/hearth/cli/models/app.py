"""``hearth models``: the node's model files, from fetching them to removing them."""

import typer

from hearth.cli.models.export import export
from hearth.cli.models.listing import list_models
from hearth.cli.models.pull import pull
from hearth.cli.models.remove import remove
from hearth.cli.models.verify import verify

app = typer.Typer(
    help="The node's model files: list, fetch, check and remove them, or make ONNX files.",
    no_args_is_help=True,
)
app.command("list")(list_models)
app.command("pull")(pull)
app.command("verify")(verify)
app.command("remove")(remove)
app.command("export")(export)
