"""Clients that come while models load: some of the field ask once, and leave at the first refusal.

The emulated ones do what was measured of the real SDKs (``protocol.md``, "Capabilities").
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import orjson
import pytest
from google.protobuf.empty_pb2 import Empty

from batch_kit import Gate, until
from hearth.client import Client
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.errors import BackendUnavailable, ModelUnavailable
from hearth.families.compose.tasks import COMPOSE_TASKS
from hearth.media import IMAGE
from hearth.media.formats import IMAGES
from hearth.node import InferenceNode
from hearth.rpc.server import Server
from hearth.rpc.servicer import InferenceServicer
from hearth.serving.managed_model import ModelState
from node_kit import LAB_TASKS, Hold, LabLoader, ask, lab_node, stub_of, talk, write_all
from picture_kit import picture

EMPTY = Empty()
SDK_SECONDS = 10
"""All SDKs of the field give a question for capabilities so long."""
UNAVAILABLE, DEADLINE_EXCEEDED = 2, 3
AWHILE = 1000.0
"""Seconds that a node lets clients wait in a test that doesn't end before it is let go."""

SLOW = replace(LAB_TASKS[0], name="slow", aliases=(), service="slow")
LOOK = replace(LAB_TASKS[3], name="look", inputs=IMAGES)
LOOK_SLOWLY = replace(LOOK, name="look_slowly", service="slow")
TASKS = (*LAB_TASKS, SLOW, LOOK, LOOK_SLOWLY, *COMPOSE_TASKS)


@asynccontextmanager
async def starting(hold: Callable[[], None], **flags) -> AsyncIterator[InferenceNode]:
    """A node whose ``lab`` is ready, and whose ``slow`` loads until ``hold`` returns."""
    slow = LabLoader(service="slow", load=hold)
    flags = {"wait_seconds": AWHILE, "tasks": TASKS, **flags}
    async with lab_node(others=[slow], settled=False, **flags) as node:
        await node.wait_until(lambda: node.models["lab"].state == ModelState.READY)
        yield node


def waiting(node: InferenceNode) -> int:
    """How many wait for a change of a model, the node itself not counted."""
    return len(node._changes._waiters) - 1


class AsksOnce:
    """As the Go SDK 1.1.4: it reads capabilities when its connection is ready, and never again."""

    def __init__(self, stub: pb_grpc.InferenceStub) -> None:
        self.stub = stub
        self.tasks: set[str] = set()

    async def connect(self) -> None:
        async for capability in self.stub.StreamCapabilities(EMPTY, timeout=SDK_SECONDS):
            if capability.protocol_version.startswith("1."):
                self.tasks |= {task.name for task in capability.tasks}

    async def infer(self, task: str, payload: bytes) -> bytes:
        assert task in self.tasks, f"blind for {task}"
        [answer] = await talk(self.stub, [ask(payload, task=task)])
        return answer.result


class DropsNodes(AsksOnce):
    """As 1.2.6: it also sends what nobody told it of, and leaves at the first UNAVAILABLE."""

    async def infer(self, task: str, payload: bytes) -> bytes:
        assert self.stub is not None, "it has left"
        try:
            [answer] = await talk(self.stub, [ask(payload, task=task)])
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                self.stub = None
            raise
        return answer.result


class Polls(AsksOnce):
    """As family B: the unary question, every 30 s: once, in the time of a test."""

    async def connect(self) -> None:
        merged = await self.stub.GetCapabilities(EMPTY, timeout=SDK_SECONDS)
        self.tasks = {task.name for task in merged.tasks}


# --- capabilities -------------------------------------------------------------------------------


@pytest.mark.parametrize("sdk", [AsksOnce, DropsNodes, Polls])
async def test_a_client_that_asks_once_sees_a_model_that_was_still_loading(sdk):
    hold = Hold()
    async with starting(hold) as node, stub_of(node) as stub:
        client = sdk(stub)
        connecting = asyncio.create_task(client.connect())
        await until(lambda: waiting(node) == 1)
        await stub.Health(EMPTY, timeout=5)  # at once
        hold.let_go()
        await connecting
        assert await client.infer("slow", b"a") == await client.infer("upper", b"a") == b"A"


async def test_a_client_that_leaves_at_the_first_refusal_stays():
    hold = Hold()
    async with starting(hold) as node, stub_of(node) as stub:
        client = DropsNodes(stub)
        early = [asyncio.create_task(client.infer("slow", b"%d" % n)) for n in range(5)]
        await until(lambda: waiting(node) == 5)
        hold.let_go()
        assert await asyncio.gather(*early) == [b"%d" % n for n in range(5)]


@pytest.mark.parametrize("sdk", [AsksOnce, Polls])
async def test_after_the_wait_capabilities_tell_what_is_ready(sdk):
    hold = Hold()
    async with starting(hold, wait_seconds=0.05) as node, stub_of(node) as stub:
        client = sdk(stub)
        await client.connect()
        assert {"upper", "compose"} <= client.tasks and "slow" not in client.tasks
        merged = await stub.GetCapabilities(EMPTY)
        assert (merged.extra["slow.state"], merged.extra["lab.state"]) == ("loading", "ready")
        assert merged.extra["node.status"] == "starting"
        hold.let_go()


async def test_after_the_wait_a_node_without_a_model_is_unavailable():
    hold = Hold()
    loading = lab_node(LabLoader(load=hold), settled=False, wait_seconds=0.05)
    async with loading as node, stub_of(node) as stub:
        for call in (stub.GetCapabilities(EMPTY), stub.StreamCapabilities(EMPTY).read()):
            assert await code_of(call) == (grpc.StatusCode.UNAVAILABLE, "models are loading")
        hold.let_go()
        await node.wait_until(lambda: node.status == "ready")
        assert (await stub.GetCapabilities(EMPTY)).tasks  # on the same connection
        assert (await talk(stub, [ask()]))[0].result == b"X"


async def test_capabilities_come_before_the_clients_own_deadline():
    hold = Hold()
    async with starting(hold) as node, stub_of(node) as stub:
        merged = await stub.GetCapabilities(EMPTY, timeout=2)
        assert merged.extra["slow.state"] == "loading"
        hold.let_go()


async def test_a_model_that_was_fetched_meanwhile_holds_up_its_own_requests_alone():
    hold = Hold()
    far = LabLoader(service="slow", local=False, load=hold)
    node_of = lab_node(others=[far], tasks=TASKS, wait_seconds=AWHILE)
    async with node_of as node, stub_of(node) as stub:
        slot = node.models["slow"]
        await node.wait_until(lambda: slot.state == ModelState.LOADING and slot.startup_done)
        merged = await stub.GetCapabilities(EMPTY, timeout=5)
        assert merged.extra["slow.state"] == "loading"
        early = asyncio.create_task(talk(stub, [ask(task="slow")]))
        await until(lambda: waiting(node) == 1)
        hold.let_go()
        assert (await early)[0].result == b"X"


# --- requests -----------------------------------------------------------------------------------


async def test_other_requests_of_the_stream_go_on_meanwhile():
    hold = Hold()
    async with starting(hold) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await write_all(stream, [ask(b"a", "1", "slow"), ask(b"b", "2"), ask(b"c", "3", "slow")])
        assert (await stream.read()).correlation_id == "2"
        await write_all(stream, [ask(b"d", "4")])
        assert (await stream.read()).correlation_id == "4"
        hold.let_go()
        late = [await stream.read(), await stream.read()]
        assert {each.correlation_id: each.result for each in late} == {"1": b"A", "3": b"C"}
        stream.cancel()


async def test_a_request_waits_no_longer_than_its_own_timeout():
    hold = Hold()
    async with starting(hold) as node, stub_of(node) as stub:
        stream = stub.Infer()
        hurried = {"timeout_ms": "50"}
        await write_all(stream, [ask(b"a", "1", "slow", meta=hurried), ask(b"b", "2")])
        answers = [await stream.read(), await stream.read()]
        errors = {each.correlation_id: each.error for each in answers}
        assert errors["1"].code == DEADLINE_EXCEEDED and "timeout_ms" in errors["1"].message
        assert not errors["2"].code
        stream.cancel()
        # By gRPC's deadline it ends as well, and nothing of it stays.
        call = talk(stub, [ask(task="slow")], timeout=0.2)
        assert (await code_of(call))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: waiting(node) == 0)
        hold.let_go()


async def test_after_the_wait_a_request_is_unavailable():
    hold = Hold()
    async with starting(hold, wait_seconds=0.05) as node, stub_of(node) as stub:
        found = await code_of(talk(stub, [ask(task="slow")]))
        assert found == (grpc.StatusCode.UNAVAILABLE, "slow is loading")
        hold.let_go()


def _no_device() -> None:
    raise BackendUnavailable("no such device")


def _no_hub() -> None:
    raise ModelUnavailable("the hub can't be reached")


@pytest.mark.parametrize(
    ("slow", "why"),
    [
        ({"load": _no_device}, "slow is failed: no such device"),
        ({"local": False, "download": _no_hub}, "slow is absent: the hub can't be reached"),
    ],
)
async def test_nobody_waits_for_what_has_failed_or_must_be_downloaded(slow, why):
    others = [LabLoader(service="slow", **slow)]
    node_of = lab_node(others=others, tasks=TASKS, wait_seconds=AWHILE)
    # A download is tried again, but not while the test runs.
    async with node_of as node, stub_of(node) as stub:
        await node.wait_until(lambda: bool(node.models["slow"].reason))
        async with asyncio.timeout(10):
            assert "lab" in str(await stub.GetCapabilities(EMPTY))
            assert (await code_of(talk(stub, [ask(task="slow")])))[1] == why


async def test_a_model_that_fails_while_it_is_waited_for_is_told_with_its_reason():
    hold = Hold()

    def fail() -> None:
        hold()
        raise BackendUnavailable("no such device")

    async with starting(fail) as node, stub_of(node) as stub:
        early = asyncio.create_task(code_of(talk(stub, [ask(task="slow")])))
        capable = stub.GetCapabilities(EMPTY)
        await until(lambda: waiting(node) == 2)
        hold.let_go()
        assert (await early)[1] == "slow is failed: no such device"
        assert (await capable).extra["slow.state"] == "failed"


async def test_requests_that_wait_are_bounded_and_leave_nothing_when_they_are_cancelled():
    hold = Hold()
    async with starting(hold, queue_capacity=4) as node, stub_of(node) as stub:
        streams = [stub.Infer() for _ in range(4)]
        for stream in streams:
            await stream.write(ask(task="slow"))
        await until(lambda: waiting(node) == 4)
        refused = await code_of(talk(stub, [ask(task="slow")]))
        assert refused[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        for stream in streams:
            stream.cancel()
        await until(lambda: waiting(node) == 0)
        assert node.service.admission.statistics().in_flight == 0
        assert (await talk(stub, [ask()]))[0].result == b"X"
        hold.let_go()


async def test_a_node_that_stops_ends_the_wait():
    hold = Hold()
    async with starting(hold, grace_seconds=30) as node, stub_of(node) as stub:
        early = asyncio.create_task(code_of(talk(stub, [ask(task="slow")])))
        capable = stub.GetCapabilities(EMPTY)
        await until(lambda: waiting(node) == 2)
        async with asyncio.timeout(10):
            stopping = asyncio.create_task(node.stop())
            assert await early == (grpc.StatusCode.UNAVAILABLE, "this node is shutting down")
            assert (await capable).extra["node.status"] == "draining"
            await stopping
        hold.let_go()


# --- composed requests --------------------------------------------------------------------------


def composed(entries: list, payload: bytes, cid: str = "1", **meta: str) -> pb.InferRequest:
    meta["entries"] = orjson.dumps(entries).decode()
    return ask(payload, cid, "compose", meta=meta)


async def test_the_entries_of_a_composed_request_wait_each_for_its_own_model():
    hold = Hold()
    async with starting(hold) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(composed(["slow", "upper"], b"a"))
        first = await stream.read()
        assert (first.meta["entry"], first.result, first.is_final) == ("upper", b"A", False)
        hold.let_go()
        second = await stream.read()
        assert (second.meta["entry"], second.result, second.is_final) == ("slow", b"A", True)
        stream.cancel()


async def test_an_entry_that_has_waited_in_vain_is_told_so_and_spares_the_others():
    hold = Hold()
    async with starting(hold, wait_seconds=0.05) as node, stub_of(node) as stub:
        entries = ["look_slowly", {"id": "after", "task": "upper", "needs": ["look_slowly"]}]
        answers = await talk(stub, [composed([*entries, "noop"], picture())])
        told = {each.meta["entry"]: each for each in answers}
        assert told["noop"].result
        assert told["look_slowly"].error.message == "slow is loading"
        assert told["after"].error.code == told["look_slowly"].error.code == UNAVAILABLE
        hold.let_go()


async def test_pictures_for_a_model_that_loads_take_no_room_from_others():
    hold = Hold()
    async with starting(hold) as node, stub_of(node) as stub:
        stream = stub.Infer()
        early = [
            composed(["look_slowly"], picture(), str(n)) for n in range(IMAGE.most_decoded + 1)
        ]
        await write_all(stream, early)
        await until(lambda: waiting(node) == len(early))
        [answer] = await talk(stub, [composed(["look"], picture())])
        assert answer.result == picture()
        hold.let_go()
        late = [await stream.read() for _ in early]
        assert all(each.result == picture() for each in late)
        stream.cancel()


# --- our own client, and connections that grow old ----------------------------------------------


async def test_our_own_client_comes_early_too():
    hold = Hold()
    async with starting(hold) as node, Client([f"127.0.0.1:{node.port}"]) as client:
        asking = asyncio.create_task(client.infer("slow", b"a", mime="text/plain"))
        await until(lambda: waiting(node) >= 1)
        hold.let_go()
        assert (await asking).body == b"A"


class Peers(InferenceServicer):
    """Notes over which connections it was asked for capabilities."""

    def __init__(self, node: InferenceNode) -> None:
        largest = node.settings.max_payload_mb << 20
        super().__init__(node.service, largest_request=largest, version="")
        self.seen: list[str] = []

    async def GetCapabilities(self, request: Empty, context) -> pb.Capability:
        self.seen.append(context.peer())
        return await super().GetCapabilities(request, context)

    async def StreamCapabilities(self, request: Empty, context) -> AsyncIterator[pb.Capability]:
        self.seen.append(context.peer())
        async for capability in super().StreamCapabilities(request, context):
            yield capability


@asynccontextmanager
async def ageing(node: InferenceNode) -> AsyncIterator[tuple[Peers, str]]:
    """The node at another port, where a connection is old after an instant."""
    peers = Peers(node)
    server = Server(peers, largest_request=1 << 20, connection_seconds=0.05)
    port = await server.start("127.0.0.1", 0)
    try:
        yield peers, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def test_an_old_connection_takes_no_new_calls_and_cuts_no_stream():
    async with (
        lab_node() as node,
        ageing(node) as (peers, target),
        grpc.aio.insecure_channel(target) as channel,
        asyncio.timeout(30),
    ):
        stub = pb_grpc.InferenceStub(channel)
        stream = stub.Infer()
        while len(set(peers.seen)) < 4:
            await stream.write(ask())
            assert (await stream.read()).result == b"X"
            assert (await stub.GetCapabilities(EMPTY)).tasks
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK


async def test_our_own_client_loses_no_request_when_its_connections_grow_old():
    gate = Gate()
    async with (
        lab_node(LabLoader(gate)) as node,
        ageing(node) as (peers, target),
        Client([target]) as client,
        asyncio.timeout(30),
    ):
        await client.ready("upper")
        [handle] = client._pool.handles
        slow = asyncio.create_task(client.infer("upper", b"a", mime="text/plain"))
        await gate.entered()
        # It hears nothing on the stream, and asks whether the node lives, as after a silence.
        while len(set(peers.seen)) < 4:
            asked = len(peers.seen)
            handle._check_now()
            await until(lambda asked=asked: len(peers.seen) > asked)
            assert not slow.done() and client.nodes[0].state == "up"
        gate.open()
        assert (await slow).body == b"A"
        answers = [answer async for answer in client.map("upper", [b"b", b"c"], mime="text/plain")]
        assert [answer.body for answer in answers] == [b"B", b"C"]


async def code_of(call) -> tuple[grpc.StatusCode, str]:
    """The status that a call ends with, up to the first semicolon of its message."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details().partition(";")[0]
