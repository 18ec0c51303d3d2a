"""A node with the lab's tasks as a process of its own, to be killed, stopped and started.

    python lab_process.py PORT [SETTING=VALUE …]

Prints its port when it serves. ``LAB_SECONDS`` of the environment is what each batch takes,
``LAB_MODEL`` the id of its model; ``LAB_POISON`` a payload at which the process dies.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from hearth.node import InferenceNode
from hearth.settings import load
from node_kit import LAB_TASKS, Lab, LabLoader

SECONDS = float(os.environ.get("LAB_SECONDS", "0"))
POISON = os.environ.get("LAB_POISON", "").encode()

Lab.model_id = os.environ.get("LAB_MODEL", Lab.model_id)


def upper(payloads: Sequence[bytes]) -> list[bytes]:
    """The lab's model, as slow as it is to be."""
    if POISON and POISON in payloads:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(SECONDS)
    return [payload.upper() for payload in payloads]


async def main(port: str, *assignments: str) -> None:
    settings = load(
        {"port": port, "grace_seconds": 5, **dict(each.split("=", 1) for each in assignments)},
        environment={},
        config=Path("/dev/null"),
    )
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with InferenceNode(settings, loaders=[LabLoader(upper)], tasks=LAB_TASKS) as node:
        await node.wait_until(lambda: node.status == "ready")
        print(node.port, flush=True)
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
