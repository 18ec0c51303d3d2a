"""The node in numbers: a real scrape of a real node, and counts that add up."""

import asyncio
import http.client
import math
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import grpc
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from batch_kit import Gate, until, until_waiting
from cli_kit import PAGE
from hearth.batching import LatencyProfile
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.errors import SettingsError
from hearth.node import InferenceNode
from hearth.settings import load
from node_kit import LabLoader, NodeThread, ask, lab_node, queue_of, stub_of, talk, write_all

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Page:
    """A scraped page; ``page["name", "value of a label", …]`` is a sample's value."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = list(families)
        self.samples: dict[tuple[str, ...], float] = {}
        for family in self.families:
            assert family.documentation, family.name
            for sample in family.samples:
                at = (sample.name, *sorted(sample.labels.values()))
                assert at not in self.samples, at
                self.samples[at] = sample.value

    def __getitem__(self, at: str | tuple[str, ...]) -> float:
        name, *labels = (at,) if isinstance(at, str) else at
        return self.samples[name, *sorted(labels)]

    def by(self, name: str) -> dict[tuple[str, ...], float]:
        """All samples of that name, by the values of their labels."""
        return {at[1:]: value for at, value in self.samples.items() if at[0] == name}


def get(
    node: InferenceNode | NodeThread, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request by Python's own HTTP client."""
    port = node.node.metrics_port if isinstance(node, NodeThread) else node.metrics_port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


async def scrape(node: InferenceNode) -> Page:
    """The page of a node on this loop."""
    response, body = await asyncio.to_thread(get, node)
    assert response.status == 200
    return Page(parse_text(body.decode()))


async def test_what_became_of_the_requests_adds_up():
    gate = Gate()
    async with lab_node(LabLoader(gate), metrics_port=0) as node, stub_of(node) as stub:
        first, gone = stub.Infer(), stub.Infer()
        await first.write(ask(b"good"))
        await gate.entered()
        await gone.write(ask(b"good"))
        await until_waiting(queue_of(node), 1)
        gone.cancel()
        await until(lambda: queue_of(node).statistics().cancelled == 1)
        # The model would be done long after the client has stopped waiting.
        queue_of(node).tune(LatencyProfile({1: 3600.0}))
        late = asyncio.create_task(talk(stub, [ask(b"late")], timeout=60))
        await until_waiting(queue_of(node), 1)
        assert let_in(await scrape(node)) == 3  # one runs, one waits, one is gone
        gate.open()
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await late
        assert told.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED

        await first.done_writing()
        assert len([answer async for answer in first]) == 1
        requests = [
            *[ask(b"good") for _ in range(4)],
            *[ask(b"bad") for _ in range(2)],
            *[ask(b"good", task="shout") for _ in range(3)],
            *[ask(b"poison", task="upper_aside") for _ in range(1)],
            *[ask(b"bad", task="upper_aside") for _ in range(3)],
            *[ask(b"good", task=f"made-up-{number}") for number in range(4)],
        ]
        assert len(await talk(stub, requests)) == len(requests)
        page = await scrape(node)
    assert Counter({at: int(n) for at, n in page.by("hearth_requests_total").items()}) == {
        ("OK", "upper"): 8,  # an alias counts as what it stands for
        ("INVALID_ARGUMENT", "upper"): 2,
        ("INTERNAL", "upper_aside"): 1,
        ("INVALID_ARGUMENT", "upper_aside"): 3,
        ("NOT_FOUND", "unknown"): 4,  # whatever clients make up is one row
        ("DEADLINE_EXCEEDED", "upper"): 1,
        ("CANCELLED", "upper"): 1,
    }
    assert page["hearth_request_seconds_count", "upper"] == 12
    assert page["hearth_request_stage_seconds_count", "upper", "run"] == 8
    assert page["hearth_request_stage_seconds_count", "upper", "encode"] == 8
    assert page["hearth_requests_in_flight"] == page["hearth_held_bytes"] == 0
    queue = {at[0]: value for at, value in page.samples.items() if at[1:] == ("lab", "lab")}
    assert queue["hearth_queue_items_total"] == 9
    assert queue["hearth_queue_failed_total"] == 1
    dropped = page.by("hearth_queue_dropped_total").items()
    assert {at: count for at, count in dropped if "compose" not in at} == {
        ("lab", "lab", "unprepared"): 3,
        ("expired", "lab", "lab"): 1,
        ("cancelled", "lab", "lab"): 1,
        ("lab", "lab", "refused"): 0,
    }
    assert let_in(page) == 14
    assert queue["hearth_queue_batch_size_sum"] == 9
    assert queue["hearth_queue_batch_size_count"] == queue["hearth_queue_run_seconds_count"]
    assert queue["hearth_queue_decode_seconds_count"] == 4


def let_in(page: Page) -> float:
    """How many items ever came into the lab's queue."""
    waiting, running, ran = (
        page[f"hearth_queue_{name}", "lab", "lab"] for name in ("waiting", "running", "items_total")
    )
    dropped = page.by("hearth_queue_dropped_total")
    return waiting + running + ran + sum(n for at, n in dropped.items() if "refused" not in at)


async def test_histograms_are_whole():
    async with lab_node(metrics_port=0) as node, stub_of(node) as stub:
        await talk(stub, [ask(b"x") for _ in range(20)])
        page = await scrape(node)
    histograms = [family for family in page.families if family.type == "histogram"]
    assert len(histograms) == 8
    for family in histograms:
        at: dict[tuple[str, ...], list[tuple[float, float]]] = {}
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                bound = float(sample.labels.pop("le"))
                at.setdefault(tuple(sorted(sample.labels.values())), []).append(
                    (bound, sample.value)
                )
        for labels, buckets in at.items():
            assert buckets == sorted(buckets) and buckets[-1][0] == math.inf
            counts = [count for _, count in buckets]
            assert counts == sorted(counts)
            assert counts[-1] == page[f"{family.name}_count", *labels]


async def test_work_that_is_under_way_is_seen():
    gate = Gate()
    async with lab_node(LabLoader(gate), metrics_port=0) as node, stub_of(node) as stub:
        stream = stub.Infer()
        await write_all(stream, [ask(b"first")])
        await gate.entered()
        await write_all(stream, [ask(b"second"), ask(b"third")])
        await until_waiting(queue_of(node), 2)
        page = await scrape(node)
        assert page["hearth_requests_in_flight"] == 3
        assert page["hearth_held_bytes"] == len(b"firstsecondthird")
        assert page["hearth_streams"] == 1
        assert page["hearth_queue_running", "lab", "lab"] == 1
        assert page["hearth_queue_waiting", "lab", "lab"] == 2
        assert not page.by("hearth_requests_total")
        gate.open()
        await stream.done_writing()
        assert len([answer async for answer in stream]) == 3


async def test_scrapes_during_work_are_consistent():
    async with lab_node(metrics_port=0) as node, stub_of(node) as stub:
        work = asyncio.gather(*(talk(stub, [ask(b"x") for _ in range(300)]) for _ in range(4)))
        seen = [0.0]
        while not work.done():
            page = await scrape(node)
            done = page.samples.get(("hearth_requests_total", "OK", "upper"), 0.0)
            assert done >= seen[-1]
            assert done == page.samples.get(("hearth_request_seconds_count", "upper"), 0.0)
            seen.append(done)
        await work
        assert (await scrape(node))["hearth_requests_total", "OK", "upper"] == 1200


async def test_a_model_s_state_and_the_node_are_told():
    def broken() -> None:
        raise SettingsError("no such device")

    async with lab_node(LabLoader(load=broken), metrics_port=0) as node:
        page = await scrape(node)
        assert page["hearth_model_state", "lab", "failed"] == 1
        assert page["hearth_model_state", "lab", "ready"] == 0
        assert page["hearth_node_status", "ready"] == 1
        assert {service for service, _ in page.by("hearth_queue_waiting")} == {"compose"}
        assert not page.by("hearth_model_info")
    async with lab_node(metrics_port=0) as node:
        page = await scrape(node)
        assert page["hearth_model_state", "lab", "ready"] == 1
        assert page["hearth_model_info", "lab", "lab-1", "python", "cpu", "fp32"] == 1
        if sys.platform == "linux":
            assert page["process_resident_memory_bytes"] > 0


async def test_whoever_asks_for_openmetrics_gets_it():
    async with lab_node(metrics_port=0) as node, stub_of(node) as stub:
        await talk(stub, [ask(b"x")])
        response, body = await asyncio.to_thread(get, node, Accept=f"{OPENMETRICS},*/*;q=0.1")
        assert response.getheader("Content-Type").startswith("application/openmetrics-text")
        assert Page(parse_openmetrics(body.decode()))["hearth_requests_total", "OK", "upper"] == 1
        for accept in ("text/plain", "*/*", "application/openmetrics-text; version=none"):
            response, body = await asyncio.to_thread(get, node, Accept=accept)
            assert response.getheader("Content-Type").startswith("text/plain")
            assert Page(parse_text(body.decode()))["hearth_requests_total", "OK", "upper"] == 1


async def test_the_manners_of_http_are_kept():
    async with lab_node(metrics_port=0) as node:
        for path, method, status in [
            ("/", "GET", 200), ("/metrics?x=1", "GET", 200), ("/metrics", "HEAD", 200),
            ("/favicon.ico", "GET", 404), ("/metrics", "POST", 405),
        ]:  # fmt: skip
            response, body = await asyncio.to_thread(get, node, path, method)
            assert response.status == status
            assert bool(body) == (method != "HEAD")
            assert response.getheader("Connection") == "close"


@pytest.mark.parametrize("sent", [b"\r\n\r\n", b"HELO\r\n\r\n", b"\x16\x03\x01" * 20_000, b""])
async def test_what_is_no_http_is_cut_off_and_hurts_nobody(sent: bytes):
    async with lab_node(metrics_port=0) as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.metrics_port)
        writer.write(sent)
        writer.write_eof()
        try:
            answer = await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:
            answer = b""
        assert not answer or answer.startswith(b"HTTP/1.1 400 ")
        writer.close()
        assert (await scrape(node))["hearth_node_status", "ready"] == 1


async def test_a_stop_closes_the_port_and_waits_for_no_slow_reader():
    async with lab_node(metrics_port=0) as node:
        port = node.metrics_port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\n")
        await scrape(node)  # the slow one's connection was accepted before this one's
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_port_that_is_taken_is_a_wrong_setting_and_nothing_stays_open():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = {"host": "127.0.0.1", "port": 0, "mdns.enabled": False,
                 "metrics_port": taken.getsockname()[1]}  # fmt: skip
        settings = load(flags, environment={}, config=Path("/dev/null"))
        node = InferenceNode(settings, loaders=[LabLoader()])
        with pytest.raises(SettingsError, match="metrics_port") as caught:
            await node.start()
        assert "\n" not in str(caught.value)
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", node.port)


async def test_metrics_are_off_unless_they_are_asked_for():
    async with lab_node() as node:
        assert node.metrics_port == 0
    script = "import hearth.node, sys; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_hits_of_the_cache_are_counted(tiny_export: Path, tmp_path: Path):
    flags = {"clip.model": str(tiny_export), "services": "clip", "clip.templates": "single",
             "batch_size": 1}  # fmt: skip
    with NodeThread(**flags, data_dir=tmp_path, metrics_port=0, derived=False) as node:
        with grpc.insecure_channel(node.target) as channel:
            stub = pb_grpc.InferenceStub(channel)
            picture = PAGE.read_bytes()
            for _ in range(3):
                request = ask(picture, task="clip_image_embed", payload_mime="image/png")
                assert [answer.error.message for answer in stub.Infer(iter([request]))] == [""]
        _, body = get(node)
    page = Page(parse_text(body.decode()))
    lookups = page.by("hearth_cache_lookups_total")
    hits = sum(value for labels, value in lookups.items() if "hit" in labels)
    misses = sum(value for labels, value in lookups.items() if "miss" in labels)
    assert (hits, misses) == (2, 1)
    assert sum(page.by("hearth_cache_entries").values()) == 1
    assert min(page.by("hearth_cache_capacity").values()) == 4096
