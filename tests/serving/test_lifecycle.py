"""From start to stop: states, capabilities, health, draining."""

import asyncio
import logging

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from batch_kit import Gate, upper
from hearth.errors import BackendUnavailable, ModelUnavailable, SettingsError
from hearth.hub.progress import Progress
from hearth.serving.managed_model import ModelState
from node_kit import Hold, Lab, LabLoader, ask, lab_node, stub_of, talk

EMPTY = Empty()
SERVING, NOT_SERVING = 1, 2


async def health_of(node, service: str = "") -> int:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{node.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def statuses_of(node) -> dict[str, int]:
    """Once the node has told them; by the standard service's List."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{node.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.List(health_pb2.HealthListRequest())
        return {name: status.status for name, status in answer.statuses.items()}


async def test_a_node_is_starting_until_every_model_whose_files_are_here_is_up(caplog):
    hold, far = Hold(), Hold()
    others = [
        LabLoader(service="slow", load=hold),
        LabLoader(service="distant", local=False, download=far),
    ]
    caplog.set_level(logging.INFO, "hearth")
    async with lab_node(others=others, settled=False) as node:
        up = [node.models[name] for name in ("lab", "compose")]
        await node.wait_until(lambda: {model.state for model in up} == {ModelState.READY})
        assert node.status == "starting" and "ready:" not in caplog.text
        assert await statuses_of(node) == {
            "": NOT_SERVING,
            "home_native.v1.Inference": NOT_SERVING,
            "lab": SERVING,
            "slow": NOT_SERVING,
            "distant": NOT_SERVING,
            "compose": SERVING,
        }
        hold.let_go()
        await node.wait_until(lambda: node.status == "ready")
        assert "ready: lab ready, slow ready, distant downloading" in caplog.text
        assert "distant is ready" not in caplog.text
        far.let_go()
        await node.wait_until(lambda: node.models["distant"].state == ModelState.READY)
        assert "distant is ready" in caplog.text


async def test_a_model_that_failed_does_not_hold_the_start():
    def load() -> None:
        raise BackendUnavailable("no such device")

    async with lab_node(others=[LabLoader(service="broken", load=load)]) as node:
        assert node.status == "ready"
        found = await statuses_of(node)
        assert (found[""], found["lab"], found["broken"]) == (SERVING, SERVING, NOT_SERVING)


async def test_a_model_that_must_be_downloaded_holds_nobody_up():
    hold = Hold()
    source = LabLoader(local=False, download=hold)
    async with lab_node(source) as node, stub_of(node) as stub:
        slot = node.models["lab"]
        await node.wait_until(lambda: slot.state == ModelState.DOWNLOADING)
        capability = await stub.GetCapabilities(EMPTY)
        assert capability.extra["lab.state"] == "downloading" and not capability.tasks
        assert await health_of(node) == SERVING and await health_of(node, "lab") == NOT_SERVING
        hold.let_go()
        await node.wait_until(lambda: slot.state == ModelState.READY)
        assert (await stub.GetCapabilities(EMPTY)).extra["lab.state"] == "ready"
        assert (await talk(stub, [ask()]))[0].result == b"X"


async def test_a_failed_download_is_told_and_tried_again():
    tries = []

    def download() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise ModelUnavailable("the hub can't be reached")

    async with lab_node(LabLoader(local=False, download=download)) as node, stub_of(node) as stub:
        slot = node.models["lab"]
        await node.wait_until(lambda: slot.state == ModelState.ABSENT)
        capability = await stub.GetCapabilities(EMPTY)
        assert capability.extra["lab.reason"] == "the hub can't be reached"
        await node.wait_until(lambda: slot.state == ModelState.READY)
        assert len(tries) == 3


async def test_files_that_vanish_while_they_are_loaded_are_fetched_again():
    steps = []

    def load() -> None:
        steps.append("load")
        if len(steps) == 1:
            source._local = False  # somebody removes them at this very moment
            raise ModelUnavailable("no such file")

    source = LabLoader(load=load, download=lambda: steps.append("download"))
    async with lab_node(source) as node, stub_of(node) as stub:
        await node.wait_until(lambda: node.models["lab"].state == ModelState.READY)
        assert (await talk(stub, [ask()]))[0].result == b"X"
    assert steps == ["load", "download", "load"]


async def test_what_is_derived_is_tried_again_whatever_went_wrong():
    class Stubborn(Lab):
        tries = 0

        def load_artifacts(self) -> None: ...

        async def derive_artifacts(self, progress: Progress) -> None:
            Stubborn.tries += 1
            if Stubborn.tries < 3:
                raise RecursionError("an odd file")

    source = LabLoader()
    source.load = lambda: Stubborn(upper)
    async with lab_node(source) as node, stub_of(node) as stub:
        slot = node.models["lab"]
        await node.wait_until(lambda: slot.reason == "an odd file")
        assert (await talk(stub, [ask()]))[0].result == b"X"  # it needs nothing derived
        await node.wait_until(lambda: slot.artifacts_ready)
        assert (slot.state, slot.reason) == (ModelState.READY, "")


async def test_a_model_that_can_not_be_loaded_fails_with_its_reason_and_the_node_serves_on():
    def load() -> None:
        raise BackendUnavailable("no such device")

    async with lab_node(LabLoader(load=load)) as node, stub_of(node) as stub:
        capability = await stub.GetCapabilities(EMPTY)
        assert capability.extra["lab.state"] == "failed"
        assert capability.extra["lab.reason"] == "no such device"
        assert capability.protocol_version == "1.0.0"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await talk(stub, [ask()])
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "no such device" in caught.value.details()


async def test_a_task_that_lacks_something_is_not_listed_and_its_reason_is_told():
    async with lab_node() as node, stub_of(node) as stub:
        capability = await stub.GetCapabilities(EMPTY)
        assert "later" not in {task.name for task in capability.tasks}
        assert capability.extra["lab.task.later"] == "still being made (7 %)"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await talk(stub, [ask(task="later")])
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "7 %" in caught.value.details()


async def test_a_stop_answers_what_is_in_flight_and_refuses_what_is_new():
    gate = Gate()
    async with lab_node(LabLoader(gate), grace_seconds=10) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask(b"in flight", "1"))
        await gate.entered()
        stopping = asyncio.create_task(node.stop())
        while node.status != "draining" or not node.service.is_draining:
            await asyncio.sleep(0.005)
        assert await health_of(node) == NOT_SERVING
        await stream.write(ask(b"new", "2"))
        refused = await asyncio.wait_for(stream.read(), 5)
        assert (refused.correlation_id, refused.error.code) == ("2", 2)
        gate.open()
        answer = await asyncio.wait_for(stream.read(), 5)
        assert (answer.correlation_id, answer.result) == ("1", b"IN FLIGHT")
        await asyncio.wait_for(stopping, 5)


async def test_a_stop_waits_no_longer_than_its_grace():
    gate = Gate()
    async with lab_node(LabLoader(gate)) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask())
        await gate.entered()
        stopping = asyncio.create_task(node.stop(grace=0.1))
        with pytest.raises(grpc.aio.AioRpcError):
            await asyncio.wait_for(stream.read(), 5)
            raise await stream.code()
        gate.open()
        await asyncio.wait_for(stopping, 10)


async def test_idle_streams_do_not_delay_a_stop():
    async with lab_node(grace_seconds=30) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await stream.write(ask())
        await stream.read()
        await asyncio.wait_for(node.stop(), 5)


async def test_a_port_that_is_taken_is_a_clear_error():
    async with lab_node() as node:
        with pytest.raises(SettingsError, match=str(node.port)):
            async with lab_node(port=node.port):
                pass


async def test_reflection_lists_the_services():
    async with lab_node() as node:
        [answer] = await reflected(node, ServerReflectionRequest(list_services=""))
        names = {service.name for service in answer.list_services_response.service}
        assert {"home_native.v1.Inference", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize(
    ("symbol", "fields"),
    [
        ("home_native.v1.InferRequest", {"correlationId", "payloadMime"}),
        ("home_native.v1.Inference", {"protocolVersion", "tensorPreprocessId"}),
        ("grpc.health.v1.Health", {"service", "statuses"}),
        (
            "grpc.reflection.v1alpha.ServerReflection",
            {"fileContainingSymbol", "listServicesResponse"},
        ),
    ],
)
async def test_reflection_tells_the_names_of_the_json_mapping(symbol, fields):
    async with lab_node() as node:
        request = ServerReflectionRequest(file_containing_symbol=symbol)
        [answer] = await reflected(node, request)
    names = set()
    for content in answer.file_descriptor_response.file_descriptor_proto:
        file = FileDescriptorProto.FromString(content)
        messages = list(file.message_type)
        while messages:
            message = messages.pop()
            messages += message.nested_type
            assert all(field.json_name for field in message.field), message.name
            names |= {field.json_name for field in message.field}
    assert fields <= names


async def reflected(node, request: ServerReflectionRequest) -> list:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{node.port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        return [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
