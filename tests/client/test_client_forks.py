"""Clients and forks: what was opened before one says so in the child, and nobody waits."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from checkout import KITS
from cli_kit import environment

LAB = KITS / "lab_process.py"

SYNC = """
import os, sys
from hearth import SyncClient
target = sys.argv[1]
with SyncClient(target) as client:
    print(client.ready("upper", 20).target)
    answers = client.map("upper", [b"a"] * 3)
    next(answers)
    if os.fork():
        _, status = os.wait()
        print("child ended with", os.waitstatus_to_exitcode(status))
        print("parent", client.infer("upper", b"x").error)
    else:
        for use in (
            lambda: client.infer("upper", b"x"), lambda: client.nodes, lambda: next(answers),
            lambda: list(client.map("upper", [b"x"])), lambda: client.ready("upper"),
            lambda: SyncClient(target).open(),
        ):
            try:
                print("used", use())
            except RuntimeError as error:
                print("refused:", error)
        sys.stdout.flush()
        sys.exit(7)
"""

ASYNC = """
import asyncio, gc, os, sys
from hearth.client import Client, Connection
target = sys.argv[1]
async def main():
    async with Client(target) as client, Connection(target) as node:
        print((await client.ready("upper", 20)).target)
        if os.fork():
            _, status = os.wait()
            print("child ended with", os.waitstatus_to_exitcode(status))
            print("parent", (await client.infer("upper", b"x")).error)
            return
        gc.collect()
        for use in (
            lambda: client.infer("upper", b"x"), lambda: client.ready("upper"),
            lambda: anext(client.map("upper", [b"x"])), lambda: Client(target).open(),
            lambda: node.capabilities(), lambda: anext(node.infer_many([])),
        ):
            try:
                print("used", await use())
            except RuntimeError as error:
                print("refused:", error)
        sys.stdout.flush()
        sys.exit(7)
asyncio.run(main())
"""

POOL = """
import multiprocessing, sys
from hearth import SyncClient
client = SyncClient(sys.argv[1])
def upper(text):
    with SyncClient(sys.argv[1]) as own:
        return own.infer("upper", text).error
def shared(text):
    try:
        return client.infer("upper", text).error
    except RuntimeError as error:
        return f"refused: {error}"
fork = multiprocessing.get_context("fork")
with fork.Pool(2) as pool:
    print("fresh ones", pool.map(upper, [b"a", b"b", b"c"]))
with client:
    client.ready("upper", 20)
    with fork.Pool(2) as pool:
        print("shared one", *set(pool.map(shared, [b"a", b"b"])))
"""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A node in another process: in this one gRPC works, and forks are no use."""
    arguments = ("0", "mdns.enabled=false", "host=127.0.0.1")
    with subprocess.Popen(
        [sys.executable, LAB, *arguments], cwd=tmp_path_factory.mktemp("lab"),
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


def run(code: str, target: str) -> list[str]:
    """The lines that a program writes; it and its children may take a few seconds."""
    done = subprocess.run(
        [sys.executable, "-c", code, target], capture_output=True, text=True, timeout=20,
        env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("code", [SYNC, ASYNC], ids=["SyncClient", "Client"])
def test_a_client_says_at_once_that_it_was_opened_before_a_fork(target, code):
    lines = run(code, target)
    refused = [line for line in lines if line.startswith("refused: ")]
    assert len(refused) == 6
    assert all("opened before a fork" in line and "each process" in line for line in refused)
    # Neither did the child wait at its end, nor has the parent lost anything.
    assert lines[-2:] == ["child ended with 7", "parent None"]
    assert not [line for line in lines if line.startswith("used")]


def test_forked_workers_have_clients_of_their_own_where_none_was_open_before(target):
    first, second = run(POOL, target)
    assert first == "fresh ones [None, None, None]"
    assert second.startswith("shared one refused: this client was opened before a fork")
