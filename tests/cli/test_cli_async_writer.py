"""Answers of `hearth infer` are written beside its loop: who reads them slowly holds nobody up."""

import asyncio
import fcntl
import os
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from cli_kit import HEARTH, environment
from cli_kit import hearth_here as hearth
from client_kit import Requests, ScriptedNode, echo, serving
from fleet_kit import LabProcess
from hearth.cli.infer.async_writer import MOST_WAITING, AsyncWriter
from hearth.contract import ml_service_pb2 as pb


async def numbers(count: int, drawn: list[int]) -> AsyncIterator[int]:
    """So many; ``drawn`` gets those that were taken."""
    for number in range(count):
        drawn.append(number)
        yield number


async def test_the_loop_goes_on_while_a_write_takes_its_time_and_little_is_held():
    written, drawn, gate = [], [], threading.Event()

    def write(number: int) -> None:
        gate.wait(20)
        written.append(number)

    writer = AsyncWriter(write)
    following = asyncio.create_task(writer.follow(numbers(10 * MOST_WAITING, drawn)))
    while len(drawn) < MOST_WAITING:
        await asyncio.sleep(0)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not written and len(drawn) <= 2 * MOST_WAITING
    gate.set()
    await following
    assert written == list(range(10 * MOST_WAITING)) and not writer.is_stuck


async def test_what_goes_wrong_ends_it_at_once():
    async def endless() -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def broken() -> AsyncIterator[int]:
        yield 1
        raise KeyError("drawn")

    def fail(_: int) -> None:
        raise OSError("written")

    with pytest.raises(OSError, match="written"):
        await AsyncWriter(fail).follow(endless())
    written: list[int] = []
    with pytest.raises(KeyError, match="drawn"):
        await AsyncWriter(written.append).follow(broken())
    assert written == [1]


async def test_what_has_come_is_written_when_it_is_told_to_end():
    written, drawn, gate = [], [], threading.Event()

    def write(number: int) -> None:
        gate.wait(20)
        written.append(number)

    writer = AsyncWriter(write)
    following = asyncio.create_task(writer.follow(numbers(10 * MOST_WAITING, drawn)))
    while len(drawn) < MOST_WAITING:
        await asyncio.sleep(0)
    following.cancel()
    asyncio.get_running_loop().call_later(0.05, gate.set)
    with pytest.raises(asyncio.CancelledError):
        await following
    assert written == drawn and not writer.is_stuck


@asynccontextmanager
async def node(infer: Any) -> AsyncIterator[str]:
    task = pb.IOTask(name="say", input_mimes=["text/plain"])
    service = pb.Capability(service_name="any", tasks=[task], protocol_version="1.0.0")
    async with serving(ScriptedNode(infer, (service,))) as address:
        yield address


def is_full(pipe: int) -> bool:
    (held,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
    return held >= fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) - 4096


@pytest.mark.skipif(not hasattr(fcntl, "F_GETPIPE_SZ"), reason="Linux says how full a pipe is")
def test_one_that_is_told_to_end_does_so_though_nobody_reads_its_answers():
    texts = [word for number in range(1000) for word in ("-t", f"{number} {'long ' * 40}")]
    with LabProcess() as lab:
        process = subprocess.Popen(
            [*HEARTH, "infer", "upper", *texts, "--json", "--node", lab.target],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        first = os.read(process.stdout.fileno(), 1)  # and no more: soon the pipe is full
        pause = threading.Event()
        while not is_full(process.stdout.fileno()):
            pause.wait(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143 and first == b"{"
        process.stdout.close()
        said = process.stderr.read()
        process.stderr.close()
    assert said.startswith(b"hearth: interrupted: ") and said.count(b"\n") == 1


async def test_a_file_has_each_answer_as_it_comes_and_stdout_has_them_in_order(tmp_path: Path):
    out = tmp_path / "out.jsonl"

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        slow, answered = None, 0
        async for request in requests:
            if request.payload == b"slow":
                slow = request
            else:
                yield echo(request)
                answered += 1
            if slow is not None and answered == 3:
                yield echo(slow)

    given = [word for text in ("slow", "1", "2", "3") for word in ("-t", text)]
    async with node(infer) as address:
        how = ("infer", "say", *given, "-j", "4", "--timeout", "20", "--node", address)
        filed = await asyncio.to_thread(hearth, *how, "--out", out)
        piped = await asyncio.to_thread(hearth, *how, "--json")
    assert filed.code == piped.code == 0, filed.err
    texts = [orjson.loads(line)["text"] for line in out.read_bytes().splitlines()]
    assert sorted(texts) == ["1", "2", "3", "slow"] and texts[-1] == "slow"
    assert [line["text"] for line in piped.lines] == ["slow", "1", "2", "3"]
