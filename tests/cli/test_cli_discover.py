"""`hearth discover`, and `hearth infer` without an address, on a LAN of our own."""

import io
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from google.protobuf.empty_pb2 import Empty
from rich.console import Console

import lan_kit
from cli_kit import (
    HEARTH,
    PAGE,
    TITLE,
    Done,
    Lines,
    at_once,
    environment,
    ocr_node,
)
from client_kit import Requests, ScriptedNode, serving
from fleet_kit import LabProcess
from hearth.cli.discover import views as node_views
from hearth.cli.discover.sightings import watch_nodes
from hearth.cli.discover.views import facts
from hearth.client.limits import ClientLimits
from hearth.contract import ml_service_pb2 as pb
from hearth.discovery.announcer import Announcer
from hearth.discovery.settings import MdnsSettings
from lan_kit import Host, Lan
from node_kit import lab_node


@pytest.fixture(scope="module")
def cellar(lan: Lan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The host of a node named cellar, with ocr."""
    folder = tmp_path_factory.mktemp("cellar")
    host = lan["node"]
    with ocr_node(folder, "--name", "cellar", prefix=tuple(host.command())):
        yield host


def on(host: Host, *arguments: object, timeout: float = 30, **changes: str) -> Done:
    """Run a command of hearth on a host of the LAN."""
    done = subprocess.run(
        host.command(*HEARTH, *map(str, arguments)),
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(**changes),
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_node_is_listed_with_all_that_is_known_of_it(lan: Lan, cellar: Host):
    look = ("discover", "--timeout", "2")
    lines, narrow, wide = at_once(
        lambda: on(lan["client"], *look, "--json"),
        lambda: on(lan["client"], *look, COLUMNS="80"),
        lambda: on(lan["client"], *look, COLUMNS="120"),
    )
    assert (lines.code, lines.err) == (0, "")
    (node,) = lines.lines
    assert node["name"] == "cellar" and node["address"].startswith(f"{cellar.address}:")
    assert (node["status"], node["runtime"], node["error"]) == ("ready", "onnxrt", None)
    assert node["tasks"] == ["ocr", "compose"] and node["models"] == ["PP-OCRv6-small"]
    service, compose = node["services"]
    assert compose["name"] == "compose"
    assert (service["name"], service["state"]) == ("ocr", "ready")
    assert "image/png" in service["inputs"]["ocr"]
    for columns, table in ((80, narrow), (120, wide)):
        assert table.code == 0
        for expected in ("cellar", "ready", "onnxrt", "PP-OCRv6-small", "ocr"):
            assert expected in table.out.split()
        assert max(map(len, table.out.splitlines())) <= columns and "\x1b" not in table.out


def test_infer_finds_a_node_by_itself(lan: Lan, cellar: Host):
    done, lost = at_once(
        lambda: on(lan["client"], "infer", "ocr", PAGE),
        lambda: on(lan["client"], "infer", "clip_classify", PAGE),
    )
    assert (done.code, done.err) == (0, "") and TITLE in done.out
    assert lost.code == 1 and lost.err.count("\n") == 1
    assert f"{cellar.address}:" in lost.err and "can't do 'clip_classify'" in lost.err


def test_nodes_are_told_of_as_they_come_and_go(lan: Lan, cellar: Host, tmp_path: Path):
    with watching(lan["client"]) as lines:
        lines.until(lambda line: event(line) == ("added", "cellar"))
        with ocr_node(tmp_path, "--name", "attic", prefix=tuple(lan["second"].command())):
            lines.until(lambda line: event(line)[1] == "attic" and '"status":"ready"' in line)
        lines.until(lambda line: event(line) == ("removed", "attic"))


def test_a_node_that_does_not_answer_is_listed_with_the_reason(lan: Lan, cellar: Host):
    async def announce() -> Announcer:
        announcer = Announcer(
            MdnsSettings(name="ghost"), uuid="ghost", port=9, version="1", runtime="none"
        )
        await announcer.start()
        return announcer

    with lan["second"].loop() as loop:
        ghost = loop.call(announce())
        try:
            with watching(lan["client"]) as lines:
                line = lines.until(lambda line: event(line) == ("added", "ghost"))
        finally:
            loop.call(ghost.close())
    assert orjson.loads(line)["error"] == "can't connect: connection refused"
    assert orjson.loads(line)["tasks"] == []


@pytest.mark.parametrize("by_option", [True, False])
def test_nodes_that_are_named_are_listed_beside_those_that_are_found(
    lan: Lan, cellar: Host, by_option: bool
):
    nodes = {}

    def all_told(line: str) -> bool:
        nodes[event(line)[1]] = orjson.loads(line)
        return nodes.keys() >= {"cellar", "closet"}

    silent = {"mdns.enabled": False, "mdns.name": "closet"}
    with LabProcess(lan["second"], **silent) as closet:
        arguments = ("--node", closet.target) if by_option else ()
        changes = {} if by_option else {"HEARTH_NODES": closet.target}
        with watching(lan["client"], *arguments, **changes) as lines:
            lines.until(all_told)
    named = nodes["closet"]
    assert (named["address"], named["status"]) == (closet.target, "ready")
    assert named["version"] == nodes["cellar"]["version"] and named["runtime"] == "python"
    assert named["load"] == {"in_flight": 0, "streams": 0, "waiting": 0}


def test_a_node_that_is_named_and_found_is_listed_once(lan: Lan, cellar: Host):
    look = ("discover", "--timeout", "1", "--json")
    (found,) = on(lan["client"], *look).lines
    port = found["address"].rpartition(":")[2]
    for done in at_once(
        lambda: on(cellar, *look, "--node", f"127.0.0.1:{port}"),
        lambda: on(lan["client"], *look, "--node", found["address"]),
    ):
        assert [node["name"] for node in done.lines] == ["cellar"]


async def test_how_busy_a_node_is_makes_no_event():
    often = ClientLimits(refresh_seconds=0.02)
    asked = 0

    class Busy(ScriptedNode):
        async def StreamCapabilities(self, _: Empty, context: Any) -> AsyncIterator[pb.Capability]:
            nonlocal asked
            asked += 1
            yield pb.Capability(
                service_name="lab",
                model_ids=["old" if asked < 5 else "new"],
                extra={"load.in_flight": str(asked), "node.status": "ready"},
            )

    async with (
        serving(Busy(nothing)) as target,
        aclosing(watch_nodes(None, [target], often)) as events,
    ):
        own = (each async for each in events if each.sighting.node.target == target)
        first, second = await anext(own), await anext(own)
    assert (first.kind, second.kind) == ("added", "updated")
    assert facts(first.sighting)["models"] == ["old"] and facts(second.sighting)["models"] == [
        "new"
    ]
    assert facts(second.sighting)["load"] == {"in_flight": 5}


async def test_a_node_that_comes_up_is_the_one_that_was_down():
    async with lab_node() as node:
        target = f"127.0.0.1:{node.port}"
    async with aclosing(watch_nodes(None, [target])) as events:
        own = (each async for each in events if each.sighting.node.target == target)
        down = await anext(own)
        async with lab_node(port=int(target.rpartition(":")[2])):
            up = await anext(own)
    assert (down.kind, up.kind, up.key) == ("added", "updated", down.key)
    assert "connection refused" in down.sighting.trouble and not up.sighting.trouble


@pytest.mark.parametrize("width", [80, 120])
async def test_a_node_that_is_dead_is_unreachable_whatever_mdns_still_says(width: int):
    async with lab_node() as node:
        target = f"127.0.0.1:{node.port}"
    async with aclosing(watch_nodes(None, [target])) as events:
        dead = await anext(each.sighting async for each in events
                           if each.sighting.node.target == target)  # fmt: skip
    dead = replace(dead, node=replace(dead.node, status="ready"))
    page = Console(width=width, record=True, file=io.StringIO())
    page.print(node_views.table([dead], width))
    shown = page.export_text()
    assert "unreachable" in shown and "connection refused" in shown and "ready" not in shown
    # For scripts both are told.
    told = facts(dead)
    assert told["status"] == "ready" and "connection refused" in str(told["error"])


async def nothing(requests: Requests, context: Any) -> AsyncIterator[pb.InferResponse]:
    """No answer."""
    return
    yield


def test_where_there_is_no_node_it_says_what_to_do():
    with lan_kit.lan("alone") as hosts:
        listed, asked = at_once(
            lambda: on(hosts["alone"], "discover", "--timeout", "0.3"),
            lambda: on(hosts["alone"], "infer", "ocr", PAGE),
        )
    assert (listed.code, listed.out) == (asked.code, asked.out) == (1, "")
    assert listed.err.startswith("no node found: ") and "hearth serve" in listed.err
    assert asked.err.startswith("hearth: no node found on this network: ")


def event(line: str) -> tuple[str, str]:
    content = orjson.loads(line)
    return content["event"], content["name"]


@contextmanager
def watching(host: Host, *arguments: str, **changes: str) -> Iterator[Lines]:
    """The lines of `hearth discover --watch --json` on a host; Ctrl-C ends it with 130."""
    process = host.popen(
        *HEARTH, "discover", "--watch", "--json", *arguments,
        stdout=subprocess.PIPE, env=environment(**changes),
    )  # fmt: skip
    lines = Lines(process.stdout)
    try:
        yield lines
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(10)
        lines.close()
        assert code == 130
