"""How long a client needs to find a node by mDNS.

As a script it is the client: it prints the seconds from the opening until the first node that
it has found answers.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
SETTINGS = {"host": "0.0.0.0", "mdns.enabled": "true"}
GLANCE = 0.001
"""Seconds between two looks at the nodes: the precision."""


def found(rounds: int) -> tuple[str, list[float]]:
    """Return the place, and the seconds that each of ``rounds`` new clients needed."""
    with _hosts() as (where, node, client), tempfile.TemporaryDirectory() as folder:
        settings = SETTINGS | {"data_dir": folder}
        flags = [flag for key, value in settings.items() for flag in ("--set", f"{key}={value}")]
        script = str(HERE / "_client_nodes.py")
        serving = subprocess.Popen(
            [*node, sys.executable, script, "size", *flags], stdout=subprocess.PIPE, text=True
        )
        try:
            assert serving.stdout is not None
            serving.stdout.readline()
            _one(client)  # the node says that it is there once it is sure of its name
            return where, [_one(client) for _ in range(rounds)]
        finally:
            serving.terminate()
            serving.communicate(timeout=20)


@contextmanager
def _hosts() -> Iterator[tuple[str, list[str], list[str]]]:
    """Return the place, and what commands begin with there: the node's and the client's."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        yield "this machine's network", [], []
        return
    sys.path.insert(0, str(HERE.parent / "tests" / "kits"))
    import lan_kit

    with lan_kit.lan("node", "client") as lan:
        yield "two network namespaces", lan["node"].command(), lan["client"].command()


def _one(command: list[str]) -> float:
    done = subprocess.run(
        [*command, sys.executable, __file__], capture_output=True, text=True, timeout=30, check=True
    )
    return float(done.stdout)


async def _search() -> float:
    from hearth.client import Client

    loop = asyncio.get_running_loop()
    started = loop.time()
    async with Client(mdns=True) as client:
        while not any(node.state == "up" for node in client.nodes):
            await asyncio.sleep(GLANCE)
        return loop.time() - started


if __name__ == "__main__":
    print(asyncio.run(_search()))
