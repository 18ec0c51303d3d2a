"""``hearth discover``: the nodes of the network."""

from typing import Annotated

import typer

from hearth.cli.options import NodesAsWell


def discover(
    timeout: Annotated[
        float, typer.Option("--timeout", "-t", min=0.1, help="Seconds to look for nodes.")
    ] = 3.0,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on, and show nodes as they come and go.")
    ] = False,
    nodes: NodesAsWell = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="A line of JSON for each node; with --watch for each event."),
    ] = False,
) -> int:
    """List the nodes of the network with their status, models and tasks.

    The exit code is 1 where no node is found.
    """
    import asyncio
    from contextlib import aclosing

    from hearth.cli.console import hint
    from hearth.cli.discover.sightings import watch_nodes
    from hearth.cli.discover.views import EventLines, NodeLines, NodeTable, NodeView
    from hearth.cli.exit_codes import FAILURE, OK

    view: NodeView = NodeTable(live=watch) if not json else EventLines() if watch else NodeLines()

    async def look() -> None:
        async with aclosing(watch_nodes(None if watch else timeout, nodes or [])) as events:
            async for event in events:
                view.show(event)

    with view:
        asyncio.run(look())
    if not view.shown:
        hint(
            "no node found: is one running (`hearth serve`), and on this network? "
            "A node that mDNS doesn't reach is listed with `hearth discover --node HOST:PORT`."
        )
        return FAILURE
    return OK
