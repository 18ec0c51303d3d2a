"""Nodes for the benchmark of the client, each a process of its own; prints its port.

``size``               a task that answers how long its payload is, besides ``noop``
``paced BASE EACH``    a model of so many milliseconds, and of so many more for each of a batch

``--set PATH=VALUE`` sets anything. They wait more than they compute: several share a core.
"""

import argparse

import uvloop

from _lab import LAB, NOOP, Model, Paced
from _servers import serve
from hearth.node import InferenceNode
from hearth.settings import load
from hearth.tasks.answer import Result
from hearth.tasks.task import Call, Task


async def _size(_: Model, payload: bytes, call: Call) -> bytes:
    return str(len(payload)).encode()


SIZE = Task(
    "size", "lab", "the length of a picture's file", ("image/jpeg",), None,
    lambda _, call: call.request.data, _size,
    lambda _, answer, call: Result(answer, "application/json;schema=lab_v1", "lab_v1"),
)  # fmt: skip


def main() -> None:
    """Read the flags and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("size", "paced"))
    parser.add_argument("milliseconds", nargs="*", type=float)
    parser.add_argument("--set", action="append", default=[])
    asked = parser.parse_args()
    flags = {
        "host": "127.0.0.1", "port": 0, "mdns.enabled": False, "log_level": "warning",
        "cache_entries": 0,
        **dict(setting.split("=", 1) for setting in asked.set),
    }  # fmt: skip
    model = Paced(*asked.milliseconds) if asked.kind == "paced" else Model()
    node = InferenceNode(load(flags, environment={}), loaders=[model], tasks=[NOOP, LAB, SIZE])
    uvloop.run(serve(node, None))


if __name__ == "__main__":
    main()
