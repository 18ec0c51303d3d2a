"""Many inputs of `hearth infer`: how many at once, on which nodes, and the bar that shows it."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import skimage

from cli_kit import hearth_here as hearth
from cli_kit import on_terminal
from client_kit import Requests, ScriptedNode, echo, serving
from fleet_kit import LabProcess, lab_processes
from hearth.contract import ml_service_pb2 as pb
from node_kit import NodeThread

COFFEE = Path(skimage.__file__).parent / "data" / "coffee.png"
ESCAPE = "\x1b"


def test_many_files_on_a_terminal_have_a_bar_above_which_answers_are_printed(node: NodeThread):
    arguments = ["infer", "clip_classify", *[str(COFFEE)] * 6, "--topk", "1", "--node", node.target]
    shown = on_terminal(100, *arguments)
    assert "6/6" in shown and shown.count("%") == 6
    assert "1 node" in shown and "/s" in shown
    assert ESCAPE in shown


def test_the_bar_says_how_many_nodes_work_how_fast_and_what_failed(tmp_path: Path):
    texts = [word for number in range(100) for word in ("-t", f"text {number}")]
    with lab_processes(LabProcess(seconds=0.1), LabProcess(seconds=0.1)) as (one, two):
        shown = on_terminal(
            100, "infer", "upper", *texts, "-t", "bad", "--out", tmp_path / "out.jsonl",
            "-n", one.target, "-n", two.target, code=1,
        )  # fmt: skip
    words = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(r"2 nodes ━+ 101/101 [\d,.]+/s 0:00:0\d left 0:00:00 1 failed", words), words
    assert re.search(r"out.jsonl: 101 done in \d\.\d s", words)


@pytest.mark.parametrize("jobs", [1, 3])
async def test_no_more_are_in_flight_than_was_said(jobs: int):
    peak = 0

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        nonlocal peak
        held: list[pb.InferRequest] = []
        reading = asyncio.ensure_future(anext(requests, None))
        while (request := await reading) is not None:
            held.append(request)
            reading = asyncio.ensure_future(anext(requests, None))
            # What is to come with these comes at once.
            await asyncio.wait([reading], timeout=0.05)
            if not reading.done():
                peak = max(peak, len(held))
                for each in held:
                    yield echo(each)
                held.clear()

    task = pb.IOTask(name="wait", input_mimes=["text/plain"])
    service = pb.Capability(service_name="any", tasks=[task], protocol_version="1.0.0")
    texts = [word for number in range(4 * jobs) for word in ("-t", str(number))]
    async with serving(ScriptedNode(infer, (service,))) as address:
        done = await asyncio.to_thread(
            hearth, "infer", "wait", *texts, "--json", "-j", jobs, "--node", address
        )
    assert done.code == 0, done.err
    assert peak == jobs and len(done.lines) == 4 * jobs
