"""SIGHUP: a node reads its settings anew, and takes over what may change while it runs."""

import asyncio
import os
import re
import signal
import urllib.request
from pathlib import Path

import grpc
import pytest

from batch_kit import Gate, until
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from hearth.errors import Overloaded
from hearth.reload import reload
from hearth.settings import Settings, all_fields, describe, is_reloadable, load
from node_kit import LabLoader, lab_node, stub_of
from process_kit import Serving, serving

RELOADABLE = {path for path, field in all_fields() if is_reloadable(field)}


def write(folder: Path, text: str) -> None:
    (folder / "hearth.toml").write_text(text)


def hang_up(node: Serving) -> str:
    """Have the node read its settings anew; the lines that it says of it."""
    before = len(node.log)
    node.send(signal.SIGHUP)
    node.read_until(r"settings (taken anew|stay)")
    return node.log[before:]


def test_limits_and_the_log_change_without_a_restart(tmp_path):
    write(tmp_path, "metrics_port = 0\n")
    with serving(tmp_path) as node:
        metrics = int(node.read_until(r"metrics on .*:(\d+)")[1])
        node.read_until(r"ready: ")
        write(tmp_path, "metrics_port = 0\nqueue_capacity = 3\nlog_format = 'json'\n")
        lines = hang_up(node)
        assert re.search(r'"message": "settings taken anew: queue_capacity, log_format"', lines)
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        assert re.search(r'hearth_queue_capacity\{queue="ocr-?[a-z]*".*\} 3\.0', page), page
        node.send(signal.SIGTERM)
        assert node.wait() == 0, node.log


def test_what_needs_a_restart_is_told_a_line_each_and_stays(tmp_path):
    with serving(tmp_path) as node:
        port = int(node.read_until(r"listening on .*:(\d+)")[1])
        node.read_until(r"ready: ")
        write(tmp_path, "max_payload_mb = 7\ncache_entries = 5\n[clip]\ndevice = 'cuda'\n")
        lines = hang_up(node).splitlines()
        restarts = [line for line in lines if "needs a restart" in line]
        assert [re.findall(r"WARNING +(\S+) has changed", line) for line in restarts] == [
            ["max_payload_mb"],
            ["clip.device"],
        ]
        assert lines[-1].endswith("settings taken anew: cache_entries")
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            request = pb.InferRequest(task="ocr", payload=bytes(8 << 20))
            answer = next(pb_grpc.InferenceStub(channel).Infer(iter([request, request])))
            assert answer.error.message.startswith("not an image"), "it is not too large"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("queue_capacity = 'many'\n", "queue_capacity = 'many' (from hearth.toml)"),
        ("queue_capacity = \n", "isn't valid TOML"),
        ("queue_capacty = 3\n", "unknown setting queue_capacty"),
    ],
)
def test_a_broken_file_leaves_all_as_it_was_and_is_told_in_one_line(tmp_path, text, words):
    with serving(tmp_path) as node:
        node.read_until(r"ready: ")
        write(tmp_path, f"log_format = 'json'\n{text}")
        [line] = hang_up(node).splitlines()
        assert "the settings stay as they are: " in line and words in line
        assert not line.startswith("{")
        write(tmp_path, "")
        assert hang_up(node).splitlines()[-1].endswith("settings taken anew: nothing has changed")
        node.send(signal.SIGTERM)
        assert node.wait() == 0, node.log


def test_flags_still_come_before_the_file(tmp_path):
    with serving(tmp_path, "--log-format", "text", "--set", "cache_entries=9") as node:
        node.read_until(r"ready: ")
        write(tmp_path, "log_format = 'json'\ncache_entries = 2\nmax_held_mb = 300\n")
        assert hang_up(node).splitlines()[-1].endswith("settings taken anew: max_held_mb")


def test_a_node_in_a_terminal_stops_when_that_is_closed(tmp_path):
    master, slave = os.openpty()

    def take_terminal() -> None:
        os.setsid()
        os.close(os.open(os.ttyname(slave), os.O_RDWR))  # the first that a session opens is its own

    options = {"stdin": slave, "preexec_fn": take_terminal}
    with serving(tmp_path, options=options) as node:
        node.read_until(r"ready: ")
        os.close(slave)
        node.send(signal.SIGHUP)
        node.read_until("settings taken anew")
        os.close(master)
        node.read_until("stopping")
        assert node.wait() == 0, node.log


async def test_a_lower_limit_counts_from_then_on_and_a_higher_one_lets_in_who_waits():
    gate = Gate()
    async with lab_node(LabLoader(gate), queue_capacity=8) as node, stub_of(node) as stub:
        first = asyncio.create_task(node.infer("upper", b"x"))
        await gate.entered()
        await node.reload(node.settings.model_copy(update={"queue_capacity": 1}))
        with pytest.raises(Overloaded, match="at most 1 requests"):
            await node.infer("upper", b"y")
        await node.reload(node.settings.model_copy(update={"queue_capacity": 4}))
        stream = stub.Infer()
        for _ in range(3):
            await stream.write(pb.InferRequest(task="upper", payload=b"z"))
        await until(lambda: node.service.admission.statistics().waiting == 1)
        await node.reload(node.settings.model_copy(update={"queue_capacity": 100}))
        await until(lambda: node.service.admission.statistics().in_flight == 4)
        gate.open()
        assert (await first).body == b"X"
        stream.cancel()


def test_every_path_is_either_taken_over_or_named():
    fresh = load(
        {"queue_capacity": 7, "port": 1, "clip.model": "ViT-L-14:openai", "log_level": "debug"},
        environment={},
    )
    change = reload(Settings(), fresh)
    assert change.applied == ("queue_capacity", "log_level")
    assert change.need_restart == ("port", "clip.model")
    assert (change.settings.queue_capacity, change.settings.port) == (7, 50051)
    assert reload(change.settings, change.settings).applied == ()


def test_the_tables_say_which_settings_a_node_takes_anew():
    told = {path for path, *_, meaning in describe() if meaning.endswith("taken anew on SIGHUP")}
    assert told == RELOADABLE >= {"log_level", "queue_capacity", "max_held_mb", "cache_entries"}
