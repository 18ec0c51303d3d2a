"""An application with the client, as a process of its own: gRPC's threads belong to one host.

    python lan_client.py FOLDER

Its words come by line: ``map COUNT`` answers the folder's files, from the first again after
the last; ``enough`` ends that early. What happens is printed as lines of JSON: ``nodes`` with
their states, ``answer`` for each answer, ``end`` after the last of a map.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hearth.client import Client

GLANCE_SECONDS = 0.005
"""Between two looks at the nodes: the client doesn't tell an application of changes."""


def tell(what: str, value: object) -> None:
    print(json.dumps({what: value, "at": time.monotonic()}), flush=True)


async def watch(client: Client, opened: float) -> None:
    """Print the nodes, and the seconds since the opening, whenever one has changed."""
    told: dict[str, str] = {}
    while True:
        nodes = {node.target: node.state for node in client.nodes}
        if nodes != told:
            told = nodes
            tell("nodes", [nodes, time.monotonic() - opened])
        await asyncio.sleep(GLANCE_SECONDS)


async def answer(client: Client, sources: Iterator[Path]) -> None:
    async for each in client.map("upper", sources, ordered=False):
        error = str(each.error) if each.error else ""
        tell("answer", [each.index, each.input.name, each.body.decode(), each.node, error])
    tell("end", True)


async def main(folder: Path) -> None:
    files = sorted(folder.iterdir())
    words = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    enough = asyncio.Event()
    opened = time.monotonic()
    async with Client() as client, asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch(client, opened))
        while line := (await words.readline()).decode().split():
            if line == ["enough"]:
                enough.set()
                continue
            enough.clear()
            some = itertools.islice(itertools.cycle(files), int(line[1]))
            sources = itertools.takewhile(lambda _: not enough.is_set(), some)
            tasks.create_task(answer(client, sources))
        watching.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
