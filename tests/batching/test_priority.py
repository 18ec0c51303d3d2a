"""Who overtakes whom, and what an answer says of its wait."""

import asyncio

import grpc
import pytest

from batch_kit import Gate, until_waiting
from hearth.families.clip.tasks.clip import CLIP_TASKS
from hearth.families.ocr.tasks import OCR_TASKS
from hearth.serving.request_metrics import STAGES
from node_kit import LabLoader, ask, lab_node, queue_of, stub_of, talk, write_all

INVALID = 1
INTERACTIVE, BULK = {"priority": "interactive"}, {"priority": "bulk"}


async def to_the_end(*streams) -> None:
    for stream in streams:
        await stream.done_writing()
        while await stream.read() is not grpc.aio.EOF:
            pass


async def test_an_interactive_request_overtakes_bulk_that_came_before_it():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        bulk, person = stub.Infer(), stub.Infer()
        await bulk.write(ask(b"running"))
        await gate.entered()
        await write_all(bulk, (ask(b"bulk", str(i)) for i in range(20)))
        await until_waiting(queue_of(node), 20)
        await person.write(ask(b"person", meta=INTERACTIVE))
        await until_waiting(queue_of(node), 21)
        gate.open()
        assert (await asyncio.wait_for(person.read(), 5)).result == b"PERSON"
        await to_the_end(bulk, person)
        assert gate.batches[1][0] == b"person"


async def test_of_two_streams_each_has_its_turn():
    gate = Gate()
    async with lab_node(LabLoader(gate, max_batch=4)) as node, stub_of(node) as stub:
        many, few = stub.Infer(), stub.Infer()
        await many.write(ask(b"running"))
        await gate.entered()
        await write_all(many, (ask(b"many", str(i)) for i in range(20)))
        await until_waiting(queue_of(node), 20)
        await few.write(ask(b"few"))
        await until_waiting(queue_of(node), 21)
        gate.open()
        assert (await asyncio.wait_for(few.read(), 5)).result == b"FEW"
        await to_the_end(many, few)
        assert b"few" in gate.batches[1]


@pytest.mark.parametrize("priority", ["", "urgent", "Interactive!", "1"])
async def test_a_priority_that_is_none_is_refused(priority):
    async with lab_node() as node, stub_of(node) as stub:
        requests = [ask(b"a", "wrong", meta={"priority": priority}), ask(b"b", "right", meta=BULK)]
        answers = {answer.correlation_id: answer for answer in await talk(stub, requests)}
        assert answers["wrong"].error.code == INVALID
        assert "priority" in answers["wrong"].error.message
        assert answers["right"].result == b"B"


def test_texts_are_interactive_and_pictures_are_not():
    kinds = {task.name: task.interactive for task in (*CLIP_TASKS, *OCR_TASKS)}
    assert kinds["clip_embed"]
    assert not kinds["clip_image_embed"] and not kinds["clip_classify"] and not kinds["ocr"]


async def test_an_answer_tells_how_long_it_waited_and_with_how_many_it_ran():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask(b"first", "first"))
        await gate.entered()
        await write_all(stream, (ask(b"%d" % i, str(i)) for i in range(5)))
        await until_waiting(queue_of(node), 5)
        gate.open()
        await stream.done_writing()
        answers = {answer.correlation_id: answer async for answer in stream}
        assert answers.pop("first").meta["batch"] == "1"
        assert {answer.meta["batch"] for answer in answers.values()} == {"5"}
        for answer in answers.values():
            assert 0 < float(answer.meta["queue_ms"]) <= float(answer.meta["lat_ms"])


async def test_an_answer_that_no_queue_gave_tells_of_none():
    async with lab_node() as node, stub_of(node) as stub:
        [answer] = await talk(stub, [ask(task="noop")])
        assert "lat_ms" in answer.meta
        assert "queue_ms" not in answer.meta and "batch" not in answer.meta


async def test_requests_are_counted_by_task_and_code_and_their_stages_timed():
    async with lab_node() as node, stub_of(node) as stub:
        requests = [
            ask(b"a"),
            ask(b"b", task="shout"),  # an alias of upper
            ask(b"bad"),
            ask(b"poison"),
            ask(task="upper_aside"),
            ask(task="noop"),
            *(ask(task=f"made up {i}") for i in range(20)),
        ]
        await talk(stub, requests)
        metrics = node.service.metrics.statistics()
        assert metrics.requests == {
            ("upper", "OK"): 2,
            ("upper", "INVALID_ARGUMENT"): 1,
            ("upper", "INTERNAL"): 1,
            ("upper_aside", "OK"): 1,
            ("noop", "OK"): 1,
            ("", "NOT_FOUND"): 20,
        }
        seconds = {task: sum(snapshot.counts) for task, snapshot in metrics.seconds.items()}
        assert seconds == {"upper": 4, "upper_aside": 1, "noop": 1, "": 20}
        stages = {key: sum(snapshot.counts) for key, snapshot in metrics.stages.items()}
        assert stages.pop(("upper", "encode")) == 2
        assert stages.pop(("upper", "run")) == stages.pop(("upper", "wait")) >= 2
        assert stages == {("noop", "encode"): 1, **{("upper_aside", s): 1 for s in STAGES}}


async def test_who_left_before_the_answer_is_counted_as_cancelled():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask())
        await gate.entered()
        stream.cancel()
        await asyncio.wait_for(node.service.admission.idle(), 5)
        gate.open()
        assert node.service.metrics.statistics().requests == {("upper", "CANCELLED"): 1}
