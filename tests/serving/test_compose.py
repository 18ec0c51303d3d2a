"""One request for several tasks, over a real socket, with a small model of the tests' own."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace

import grpc
import orjson
import pytest

from batch_kit import until
from hearth.batching import BatchQueue
from hearth.client import Connection, Job
from hearth.contract import ml_service_pb2 as pb
from hearth.errors import InvalidInput, ModelFailed
from hearth.families.clip.tasks.vectors import TOP_K
from hearth.families.compose.tasks import COMPOSE_TASKS
from hearth.media import ImageReader, Picture
from hearth.media.formats import IMAGES
from hearth.tasks.answer import Result
from hearth.tasks.images import parse_image
from hearth.tasks.options import Option
from node_kit import LAB_TASKS, Lab, LabLoader, lab_node, stub_of, talk
from picture_kit import picture

FACES = Option("faces", "text", "", "what another task has found")


class Looks:
    """A reader that counts how often a file is decoded."""

    def __init__(self):
        self.count = 0
        self.lock = threading.Lock()

    def __enter__(self):
        self.open = ImageReader._open
        looks = self

        def opened(reader, payload):
            with looks.lock:
                looks.count += 1
            return looks.open(reader, payload)

        ImageReader._open = opened
        return self

    def __exit__(self, *_):
        ImageReader._open = self.open


def _size(lab: Lab, file, call) -> Result:
    return Result(file, "text/plain", "size_v1", {})


async def _measure(lab: Lab, file, call):
    reader = ImageReader(10**8)
    picture = reader.read(file) if isinstance(file, bytes) else file.image(reader)
    await lab.queue.submit(b"x", context=call.context)
    if call.options["faces"] == "fail":
        raise InvalidInput("this one is bad")
    if call.options["faces"] == "panic":
        raise ModelFailed("the model failed")
    told = f"{picture.width}x{picture.height} {call.options['faces']} {call.options['topk']}"
    return told.encode()


SIZE = replace(
    LAB_TASKS[0], name="size", aliases=("measure",), inputs=IMAGES, parse=parse_image,
    call=_measure, render=_size, options=(TOP_K, FACES),
)  # fmt: skip
TASKS = (*LAB_TASKS, SIZE, *COMPOSE_TASKS)


def node_with_all(**flags):
    return lab_node(tasks=TASKS, **flags)


def composed(entries, payload=None, cid="c", **fields) -> pb.InferRequest:
    text = entries if isinstance(entries, str) else orjson.dumps(entries).decode()
    return pb.InferRequest(
        correlation_id=cid, task="compose", payload=payload or picture(),
        meta={"entries": text, **fields.pop("meta", {})}, **fields,
    )  # fmt: skip


def by_entry(responses: Iterable[pb.InferResponse]) -> dict[str, pb.InferResponse]:
    return {response.meta["entry"]: response for response in responses}


async def test_each_entry_has_its_own_answer_and_only_the_last_is_final():
    async with node_with_all() as node, stub_of(node) as stub:
        entries = ["size", {"id": "two", "task": "measure", "options": {"topk": 2}}]
        with Looks() as looks:
            responses = await talk(stub, [composed(entries)])
    assert [response.is_final for response in responses] == [False, True]
    assert all(response.correlation_id == "c" for response in responses)
    told = by_entry(responses)
    assert told["size"].result == b"64x48  5" and told["two"].result == b"64x48  2"
    assert told["two"].meta["task"] == "size" and "lat_ms" in told["two"].meta
    assert told["size"].result_schema == "size_v1"
    assert looks.count == 1


async def test_what_the_request_s_meta_says_holds_for_all_entries_that_say_nothing_else():
    async with node_with_all() as node, stub_of(node) as stub:
        entries = ["size", {"id": "two", "task": "size", "options": {"topk": 2}}]
        told = by_entry(await talk(stub, [composed(entries, meta={"topk": "7"})]))
    assert told["size"].result == b"64x48  7" and told["two"].result == b"64x48  2"


async def test_an_answer_is_sent_as_soon_as_it_is_ready():
    gate = threading.Event()

    def run(items):
        if b"slow" in items:
            gate.wait(10)
        return [item.upper() for item in items]

    async with (
        lab_node(LabLoader(run, max_batch=1), tasks=TASKS) as node,
        stub_of(node) as stub,
    ):
        stream = stub.Infer()
        await stream.write(composed(["noop", {"id": "slow", "task": "upper"}], b"slow"))
        first = await asyncio.wait_for(stream.read(), 5)
        assert first.meta["entry"] == "noop" and not first.is_final
        gate.set()
        last = await asyncio.wait_for(stream.read(), 5)
        assert last.result == b"SLOW" and last.is_final
        await stream.done_writing()


async def test_an_entry_that_fails_spares_the_others():
    async with node_with_all() as node, stub_of(node) as stub:
        entries = [
            {"id": "bad", "task": "size", "options": {"faces": "fail"}},
            {"id": "worse", "task": "size", "options": {"faces": "panic"}},
            {"id": "wrong", "task": "size", "options": {"topk": "many"}},
            {"id": "later", "task": "later"},
            {"id": "good", "task": "size"},
            {"id": "after", "task": "size", "needs": ["later"]},
        ]
        responses = await talk(stub, [composed(entries)])
        told = by_entry(responses)
        assert len(responses) == 6 and [r.is_final for r in responses].count(True) == 1
        assert responses[-1].is_final
        assert told["bad"].error.code == pb.ERROR_CODE_INVALID_ARGUMENT
        assert told["bad"].error.message == "this one is bad"
        assert told["worse"].error.code == pb.ERROR_CODE_INTERNAL
        assert told["wrong"].error.code == pb.ERROR_CODE_INVALID_ARGUMENT
        assert told["later"].error.code == pb.ERROR_CODE_UNAVAILABLE
        assert told["after"].error.code == pb.ERROR_CODE_UNAVAILABLE
        assert "later, which it needs, has failed" in told["after"].error.message
        assert not told["good"].HasField("error") and told["good"].result == b"64x48  5"


async def test_an_answer_is_handed_to_the_entry_that_needs_it():
    async with node_with_all() as node, stub_of(node) as stub:
        entries = [
            {"id": "second", "task": "size", "needs": {"faces": "first"}},
            {"id": "first", "task": "size"},
        ]
        told = by_entry(await talk(stub, [composed(entries)]))
        assert told["second"].result == b"64x48 64x48  5 5"


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ("", "entries is missing"),
        ("{", "no JSON"),
        ("size,,nothing", "no task 'nothing'"),
        ("{}", "JSON array"),
        ("[]", "JSON array"),
        ([1], 'no "task"'),
        ([{"task": 3}], 'no "task"'),
        (["nothing"], "no task 'nothing'"),
        (["compose"], "can't be an entry of itself"),
        (["size", "size"], "two have the name 'size'"),
        ([{"task": "size", "needs": ["x"]}], "'size' needs 'x'"),
        ([{"task": "size", "needs": ["size"]}], "circle"),
        (
            [{"task": "size", "needs": ["upper"]}, {"task": "upper", "needs": ["size"]}],
            "circle",
        ),
        ([{"task": "size", "needs": {"boxes": "upper"}}, "upper"], "has no option 'boxes'"),
        ([{"task": "size", "needs": 3}], "needs is"),
        ([{"task": "size", "needs": {"faces": "upper", "topk": "upper"}}, "upper"], "twice"),
        (
            '[{"task": "size", "options": {"x": ' + "[" * 300 + "]" * 300 + "}}]",
            "nested too deeply",
        ),
        ([{"task": "size", "needs": [{}]}], "no id"),
        ([{"task": "size", "option": {}}], "'option' is none of"),
        ([{"task": "size", "options": []}], "no JSON object"),
        ([{"task": "size", "id": ""}], "id is no text of"),
        (["size"] * 17, "at most 16"),
    ],
)
async def test_what_can_not_be_composed_is_invalid(entries, told):
    async with node_with_all() as node, stub_of(node) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await talk(stub, [composed(entries)])
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert told in (caught.value.details() or "")
        # Nothing of it is left in flight, and the next request is served.
        assert node.service.admission.statistics().in_flight == 0
        assert (await talk(stub, [composed(["size"])]))[0].is_final


async def test_a_broken_picture_is_an_error_of_the_entries_that_look_at_it():
    async with node_with_all() as node, stub_of(node) as stub:
        told = by_entry(await talk(stub, [composed(["size", "upper"], b"no picture")]))
    assert told["upper"].result == b"NO PICTURE"
    assert told["size"].error.code == pb.ERROR_CODE_INVALID_ARGUMENT
    assert told["size"].error.message.startswith("not an image")


@pytest.mark.parametrize("payload", [b"panic", b"cancelled"])
async def test_entries_that_end_as_nothing_should_are_told(payload):
    async with node_with_all() as node, stub_of(node) as stub:
        async with asyncio.timeout(10):
            told = by_entry(await talk(stub, [composed(["upper", "noop"], payload)]))
        assert (await talk(stub, [composed(["upper"], b"text")]))[0].result == b"TEXT"
    assert told["noop"].error.code == told["upper"].error.code == pb.ERROR_CODE_INTERNAL


async def test_a_request_in_flight_is_finished_when_the_node_stops():
    gate = threading.Event()

    def run(items):
        gate.wait(10)
        return [item.upper() for item in items]

    async with (
        lab_node(LabLoader(run), tasks=TASKS) as node,
        stub_of(node) as stub,
    ):
        entries = ["upper", {"id": "after", "task": "noop", "needs": ["upper"]}]
        answers = asyncio.create_task(talk(stub, [composed(entries, b"text")]))
        queue = node.models["lab"].require().queues[0]
        await until(lambda: queue.statistics().running == 1)
        stopping = asyncio.create_task(node.stop())
        await until(lambda: node.status == "draining")
        gate.set()
        told = by_entry(await answers)
        await stopping
    assert told["upper"].result == b"TEXT" and told["after"].result == b"text"


async def test_a_client_that_takes_no_answers_holds_no_room_for_decoded_pictures():
    big = picture(2000, 1500) + bytes(6 << 20)  # what follows the picture is ignored
    async with node_with_all() as node:
        places = node.models["compose"].require().queues[0]
        async with AsyncExitStack() as stack:
            streams = []
            for _ in range(20):
                stub = await stack.enter_async_context(stub_of(node))
                stream = stub.Infer()
                streams.append(stream)
                entries = ["size", "noop", {"id": "again", "task": "noop"}]
                await stream.write(composed(entries, big))
            # All are done, though none of their answers was read.
            await until(lambda: places.statistics().items >= 20)
            stub = await stack.enter_async_context(stub_of(node))
            async with asyncio.timeout(10):
                assert (await talk(stub, [composed(["size"])]))[0].is_final
            for stream in streams:
                stream.cancel()
        await asyncio.wait_for(node.service.admission.idle(), 10)


async def test_raw_frames_and_texts_are_composed_as_well():
    async with node_with_all() as node, stub_of(node) as stub:
        mime = "image/x-raw;format=gray;width=5;height=4"
        [raw] = await talk(stub, [composed(["size"], bytes(20), payload_mime=mime)])
        assert raw.result == b"5x4  5"
        two = await talk(stub, [composed(["upper", "noop"], b"text")])
        assert {each.meta["entry"]: each.result for each in two} == {
            "upper": b"TEXT",
            "noop": b"text",
        }


async def test_composed_requests_of_many_clients_share_batches():
    async with node_with_all() as node:
        sizes = []
        queue: BatchQueue = node.models["lab"].require().queues[0]
        gate, run = threading.Event(), queue._runner._run

        def held(items):
            gate.wait(10)
            sizes.append(len(items))
            return run(items)

        queue._runner._run = held

        async def client():
            async with stub_of(node) as stub:
                return await talk(stub, [composed(["size", "measure"])])

        clients = [asyncio.create_task(client()) for _ in range(4)]
        await until(lambda: queue.statistics().waiting + queue.statistics().running == 8)
        gate.set()
        answers = await asyncio.gather(*clients)
    assert all(len(responses) == 2 for responses in answers)
    assert max(sizes) > 2  # more than one request has entries


async def test_a_client_that_leaves_ends_all_entries():
    gate = threading.Event()

    def run(items):
        gate.wait(10)
        return [item.upper() for item in items]

    async with (
        lab_node(LabLoader(run, max_batch=1), tasks=TASKS) as node,
        stub_of(node) as stub,
    ):
        stream = stub.Infer()
        await stream.write(composed([{"id": str(n), "task": "size"} for n in range(16)]))
        queue = node.models["lab"].require().queues[0]
        await until(lambda: queue.statistics().running == 1)
        stream.cancel()
        gate.set()
        await asyncio.wait_for(node.service.admission.idle(), 5)
        assert queue.statistics().waiting == 0


async def test_many_composed_requests_beside_plain_ones_on_one_stream():
    async with node_with_all() as node, stub_of(node) as stub:
        requests = [
            composed(["size", "measure"], picture(10 + n, 10), cid=str(n))
            if n % 2
            else pb.InferRequest(correlation_id=str(n), task="upper", payload=b"a%d" % n)
            for n in range(60)
        ]
        responses = await talk(stub, requests)
    finals = [response.correlation_id for response in responses if response.is_final]
    assert sorted(finals, key=int) == [str(n) for n in range(60)]
    for response in responses:
        number = int(response.correlation_id)
        assert response.result == (b"%dx10  5" % (10 + number) if number % 2 else b"A%d" % number)
    assert len(responses) == 90


async def test_our_client_puts_the_parts_together():
    big = b"x" * (5 << 20)  # its answer comes in chunks
    entries = orjson.dumps(["upper", "noop", {"id": "bad", "task": "later"}]).decode()
    async with node_with_all() as node, Connection(f"127.0.0.1:{node.port}") as client:
        outcome = await client.infer(Job("compose", big, meta={"entries": entries}))
        alone = await client.infer(Job("compose", b"", meta={"entries": "[]"}))
    assert outcome.error is None and outcome.parts.keys() == {"upper", "noop", "bad"}
    assert outcome.parts["upper"].body == big.upper()
    assert outcome.parts["noop"].body == big and outcome.parts["noop"].error is None
    failure = outcome.parts["bad"].error
    assert failure is not None and failure.code == "UNAVAILABLE"
    assert alone.error is not None and not alone.parts


async def test_an_answer_that_is_too_large_is_not_handed_on():
    entries = ["upper", {"task": "size", "needs": {"faces": "upper"}}]
    async with node_with_all() as node, stub_of(node) as stub:
        told = by_entry(await talk(stub, [composed(entries, picture() + bytes(600_000))]))
    assert told["size"].error.code == pb.ERROR_CODE_INVALID_ARGUMENT
    assert "at most 524288 are handed on" in told["size"].error.message


async def test_nothing_of_a_composed_request_outlives_it():
    """Without waiting for Python's collector of cycles: a picture may have 36 MB."""
    alive = weakref.WeakSet()
    made = Picture.__init__

    def noted(self, *arguments, **named):
        made(self, *arguments, **named)
        alive.add(self)

    async with node_with_all() as node, stub_of(node) as stub:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Picture, "__init__", noted)
            gc.collect()
            gc.disable()
            try:
                for _ in range(5):
                    await talk(stub, [composed(["size", "measure", "later"])])
                await asyncio.wait_for(node.service.admission.idle(), 5)
                await until(lambda: not alive)
            finally:
                gc.enable()
