"""What clients choose nodes by: deadlines of single requests, and what a node says of itself."""

import asyncio
import gc
import json
import logging
import sys
import uuid
from pathlib import Path

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty

import hearth
from batch_kit import Gate, until
from hearth.discovery.browser import Browser
from hearth.families.compose.tasks import COMPOSE_TASKS
from hearth.node import InferenceNode
from hearth.settings import load
from hearth.tasks.task import Request
from lan_kit import Lan, wait_for
from node_kit import LAB_TASKS, LabLoader, ask, lab_node, stub_of, talk, write_all

EMPTY = Empty()
INVALID, DEADLINE = 1, 3
DAY = 86_400_000


WHO = """
import sys, grpc
from google.protobuf.empty_pb2 import Empty
from hearth.contract.ml_service_pb2_grpc import InferenceStub

for target in sys.argv[1:]:
    with grpc.insecure_channel(target) as channel:
        extra = InferenceStub(channel).GetCapabilities(Empty(), timeout=5).extra
        print(extra["node.uuid"], extra["node.name"])
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch) -> None:
    """A node keeps its uuid in the data folder: not in that of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)


def within(milliseconds: object) -> dict[str, str]:
    return {"timeout_ms": str(milliseconds)}


async def answers_of(stream) -> dict[str, object]:
    """Every answer by its id, or by its entry where it is a part."""
    await stream.done_writing()
    answers = {}
    while (answer := await asyncio.wait_for(stream.read(), 5)) is not grpc.aio.EOF:
        answers[answer.meta.get("entry") or answer.correlation_id] = answer
    return answers


async def told_of(stub) -> tuple[dict[str, str], list[dict[str, str]]]:
    """``extra`` of the node as a whole, and of each service."""
    merged = await stub.GetCapabilities(EMPTY)
    return dict(merged.extra), [dict(each.extra) async for each in stub.StreamCapabilities(EMPTY)]


# --- deadlines of single requests ---------------------------------------------------------------


async def test_a_request_that_is_late_is_told_so_and_its_stream_goes_on():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask(b"first", "first"))
        await gate.entered()
        await stream.write(ask(b"late", "late", meta=within(50)))
        await stream.write(ask(b"patient", "patient", meta=within(DAY)))
        late = await asyncio.wait_for(stream.read(), 5)  # though the model still stands still
        assert (late.correlation_id, late.error.code, late.is_final) == ("late", DEADLINE, True)
        assert "timeout_ms = 50" in late.error.message
        gate.open()
        answers = await answers_of(stream)
        assert {cid: answer.result for cid, answer in answers.items()} == {
            "first": b"FIRST", "patient": b"PATIENT",
        }  # fmt: skip
        assert gate.batches == [[b"first"], [b"patient"]]
        counted = node.service.metrics.statistics().requests
        assert counted == {("upper", "OK"): 2, ("upper", "DEADLINE_EXCEEDED"): 1}


async def test_of_a_stream_with_one_request_its_deadline_is_the_status():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await talk(stub, [ask(meta=within(50))])
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        gate.open()


async def test_the_streams_deadline_holds_where_it_is_the_earlier_one():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        first, late = stub.Infer(), stub.Infer(timeout=0.3)
        await first.write(ask(b"first"))
        await gate.entered()
        await late.write(ask(b"late", meta=within(DAY)))
        assert await late.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        gate.open()
        await answers_of(first)
        assert [b"late"] not in gate.batches


async def test_a_request_counts_from_when_it_is_complete():
    async with lab_node() as node, stub_of(node) as stub:
        stream = stub.Infer()
        chunks = [
            ask(b"ab", seq=seq, total=2, offset=2 * seq, meta=within(500)) for seq in range(2)
        ]
        await stream.write(chunks[0])
        await asyncio.sleep(0.6)  # the time itself is what is tested
        await stream.write(chunks[1])
        assert (await asyncio.wait_for(stream.read(), 5)).result == b"ABAB"
        stream.cancel()


@pytest.mark.parametrize("wrong", ["", "0", "-1", "0.5", "soon", "nan", "inf", DAY + 1])
async def test_a_timeout_that_is_none_is_refused(wrong):
    async with lab_node() as node, stub_of(node) as stub:
        requests = [ask(b"a", "wrong", meta=within(wrong)), ask(b"b", "right", meta=within(DAY))]
        answers = {answer.correlation_id: answer for answer in await talk(stub, requests)}
        assert answers["wrong"].error.code == INVALID
        assert "timeout_ms" in answers["wrong"].error.message
        assert "e+" not in answers["wrong"].error.message  # bounds are written in full
        assert answers["right"].result == b"B"


async def test_every_task_lists_the_option():
    async with lab_node(tasks=(*LAB_TASKS, *COMPOSE_TASKS)) as node, stub_of(node) as stub:
        tasks = (await stub.GetCapabilities(EMPTY)).tasks
        assert {"upper", "compose"} <= {task.name for task in tasks}
        listed = {task.limits["timeout_ms"] for task in tasks}
        assert listed == {f"int, at least 1, at most {DAY}"}


async def test_the_whole_requests_deadline_holds_for_each_of_its_entries():
    gate = Gate()
    tasks = (*LAB_TASKS, *COMPOSE_TASKS)
    async with lab_node(LabLoader(gate), tasks=tasks) as node, stub_of(node) as stub:
        entries = [
            {"id": "hurried", "task": "upper", "options": within(50)},
            {"id": "patient", "task": "upper", "options": within(DAY)},
            {"id": "plain", "task": "upper"},
            {"id": "next", "task": "upper", "needs": ["hurried"]},
            {"id": "quick", "task": "noop"},
        ]
        stream = stub.Infer()
        meta = {**within(400), "entries": json.dumps(entries)}
        await stream.write(ask(b"x", "whole", "compose", meta=meta))
        answers = await asyncio.wait_for(answers_of(stream), 5)  # the gate is still shut
        assert answers.pop("quick").result == b"x"
        assert answers.keys() == {"hurried", "patient", "plain", "next"}
        assert {answer.error.code for answer in answers.values()} == {DEADLINE}
        gate.open()


async def test_a_late_entry_leaves_the_others_alone():
    gate = Gate()
    tasks = (*LAB_TASKS, *COMPOSE_TASKS)
    async with lab_node(LabLoader(gate), tasks=tasks) as node, stub_of(node) as stub:
        entries = [
            {"id": "hurried", "task": "upper", "options": within(50)},
            {"id": "patient", "task": "upper"},
        ]
        stream = stub.Infer()
        await stream.write(ask(b"x", "w", "compose", meta={"entries": json.dumps(entries)}))
        late = await asyncio.wait_for(stream.read(), 5)
        assert (late.meta["entry"], late.error.code) == ("hurried", DEADLINE)
        gate.open()
        assert (await answers_of(stream))["patient"].result == b"X"


async def test_late_requests_leave_nothing_behind():
    gate = Gate()
    gc.collect()
    gc.disable()
    try:
        async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
            stream = stub.Infer()
            await stream.write(ask(b"first"))
            await gate.entered()
            await write_all(stream, (ask(bytes(9), str(i), meta=within(60)) for i in range(20)))
            for _ in range(20):
                assert (await asyncio.wait_for(stream.read(), 5)).error.code == DEADLINE
            await until(lambda: node.service.admission.statistics().in_flight == 1)
            assert not [o for o in gc.get_objects() if type(o) is Request and len(o.payload) == 9]
            gate.open()
            await answers_of(stream)
            assert gate.batches == [[b"first"]]
    finally:
        gc.enable()


# --- load ---------------------------------------------------------------------------------------


async def test_a_node_tells_how_busy_all_clients_keep_it():
    gate = Gate()
    async with (
        lab_node(LabLoader(gate), queue_capacity=16) as node,
        stub_of(node) as stub,
        stub_of(node) as other,
    ):
        merged, services = await told_of(stub)
        for told in (merged, *services):
            assert [told[f"load.{of}"] for of in ("in_flight", "streams", "waiting")] == ["0"] * 3
        many, one = stub.Infer(), other.Infer()
        await one.write(ask())
        await gate.entered()
        await write_all(many, (ask(cid=str(i)) for i in range(20)))
        await until(lambda: node.service.admission.statistics().waiting == 1)
        held = node.service.admission.statistics()
        merged, services = await told_of(other)
        for told in (merged, *services):
            assert told["load.in_flight"] == str(held.in_flight)
            assert (told["load.streams"], told["load.waiting"]) == ("2", "1")
        assert held.in_flight > 1
        gate.open()
        await answers_of(one)
        await answers_of(many)
        await until(lambda: not node.service.admission.statistics().in_flight)
        assert (await told_of(stub))[0]["load.in_flight"] == "0"


# --- who it is, and what it is about to do ------------------------------------------------------


async def test_a_node_says_who_it_is_once_for_all_and_with_each_service(tmp_path):
    async with lab_node(data_dir=tmp_path) as node, stub_of(node) as stub:
        merged, services = await told_of(stub)
    kept = json.loads((tmp_path / "node.json").read_text())["uuid"]
    assert len(services) == 2
    for told in (merged, *services):
        assert told["node.uuid"] == kept == str(uuid.UUID(kept))
        assert told["node.name"].endswith(kept[:8])
        assert told["version"] == hearth.__version__
        assert told["node.status"] == "ready"
    of_node = ("version", "node.", "load.")
    assert not [key for key in merged if any(f".{part}" in key for part in of_node)]
    assert merged["lab.state"] == "ready"


async def test_a_node_is_the_same_after_a_restart_and_is_named_as_it_is_told(tmp_path):
    seen = []
    for _ in range(2):
        async with lab_node(data_dir=tmp_path) as node, stub_of(node) as stub:
            seen.append((await told_of(stub))[0]["node.uuid"])
    assert seen[0] == seen[1]
    flags = {"mdns.uuid": "kitchen-1", "mdns.name": "the kitchen.box"}
    async with lab_node(data_dir=tmp_path, **flags) as node, stub_of(node) as stub:
        told, _ = await told_of(stub)
    assert (told["node.uuid"], told["node.name"]) == ("kitchen-1", "the kitchen-box")


def test_two_nodes_of_one_name_say_what_they_are_announced_as(lan: Lan, tmp_path):
    async def start(host: str) -> InferenceNode:
        flags = {"port": 0, "data_dir": tmp_path / host, "mdns.name": "box"}
        settings = load(flags, environment={}, config=Path("/dev/null"))
        node = InferenceNode(settings, loaders=[LabLoader()], tasks=LAB_TASKS)
        await node.start()
        return node

    with lan["node"].loop() as one, lan["second"].loop() as two, lan["client"].loop() as here:
        browser = here.call(Browser().__aenter__())
        nodes = [loop.call(start(host)) for loop, host in ((one, "node"), (two, "second"))]

        def announced() -> dict[str, str]:
            return {record.uuid: record.name for record in browser.nodes}

        wait_for(lambda: len(set(announced().values())) == 2)
        assert "box" in announced().values()
        wait_for(lambda: all(node.status == "ready" for node in nodes))
        # From a process inside: here gRPC's threads live in the namespace of the tests.
        targets = [f"{record.address}:{record.port}" for record in browser.nodes]
        told = lan["client"].run(sys.executable, "-c", WHO, *targets)
        assert dict(line.split(" ") for line in told.splitlines()) == announced()
        for loop, node in zip((one, two), nodes, strict=True):
            loop.call(node.stop())
        here.call(browser.__aexit__())


async def test_a_data_folder_that_cannot_be_written_stops_no_node(tmp_path, caplog):
    file = tmp_path / "file"
    file.touch()  # root writes to folders that are read-only, but into no file
    with caplog.at_level(logging.WARNING):
        async with lab_node(data_dir=file / "data") as node, stub_of(node) as stub:
            told, _ = await told_of(stub)
            assert uuid.UUID(told["node.uuid"])
            assert (await talk(stub, [ask()]))[0].result == b"X"
    assert "can't keep the node's uuid" in caplog.text


async def test_capabilities_say_that_a_node_drains():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask())
        await gate.entered()
        stopping = asyncio.create_task(node.stop())
        await until(lambda: node.status == "draining")
        merged, services = await told_of(stub)
        for told in (merged, *services):
            assert told["node.status"] == "draining"
        # What a service is hasn't changed: older clients read it alone.
        assert merged["lab.state"] == services[0]["state"] == "ready"
        gate.open()
        assert (await stream.read()).result == b"X"
        stream.cancel()
        await stopping
