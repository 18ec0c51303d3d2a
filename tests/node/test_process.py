"""`hearth serve` as a process: signals, exit codes, errors of settings."""

import io
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import grpc
import pytest
import skimage
from google.protobuf.empty_pb2 import Empty
from PIL import Image

from cli_kit import hearth_here
from hearth.contract import ml_service_pb2 as pb
from hearth.contract import ml_service_pb2_grpc as pb_grpc
from process_kit import Serving, serving

PAGE = Path(skimage.__file__).parent / "data" / "page.png"


@cache
def half_a_page() -> bytes:
    """Slow to read, some tenths of a second, but no slower than the tests need."""
    with Image.open(PAGE) as page:
        side = min(page.size)
        made = io.BytesIO()
        page.crop((0, 0, side, side)).save(made, "PNG")
    return made.getvalue()


@contextmanager
def infer(node: Serving, port: int) -> Iterator[object]:
    """An Infer stream of four slow requests, the first of which is answered."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.InferenceStub(channel)
        more = threading.Event()

        def requests() -> Iterator[pb.InferRequest]:
            for number in range(4):
                yield pb.InferRequest(correlation_id=str(number), task="ocr", payload=half_a_page())
            more.wait(30)

        stream = stub.Infer(requests())
        first = next(stream)
        assert first.result_schema == "ocr_v1"
        yield stream
        more.set()


def test_sigterm_answers_what_is_in_flight_and_exits_with_0(tmp_path):
    with serving(tmp_path, "--set", "grace_seconds=60") as node:
        port = int(node.read_until(r"listening on .*:(\d+)")[1])
        node.read_until(r"ready: ")
        with infer(node, port) as stream:
            node.send(signal.SIGTERM)
            answers = [next(stream) for _ in range(3)]
            assert all(a.result_schema == "ocr_v1" or a.error.code == 2 for a in answers)
            assert any(a.result_schema == "ocr_v1" for a in answers)
        assert node.wait() == 0, node.log
        assert "Traceback" not in node.log


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_node_exits_with_0(tmp_path, signum):
    with serving(tmp_path) as node:
        node.read_until(r"ready: ")
        node.send(signum)
        assert node.wait() == 0, node.log


def test_a_second_sigterm_ends_it_at_once(tmp_path):
    with serving(tmp_path, "--set", "grace_seconds=60") as node:
        port = int(node.read_until(r"listening on .*:(\d+)")[1])
        node.read_until(r"ready: ")
        with infer(node, port):
            node.send(signal.SIGTERM)
            node.read_until("stopping")
            node.send(signal.SIGTERM)
            assert node.wait() == 128 + signal.SIGTERM
            assert "at once" in node.log


def test_the_port_is_bound_before_models_are_ready_and_no_torch_is_loaded(tmp_path):
    with serving(tmp_path) as node:
        port = int(node.read_until(r"listening on .*:(\d+)")[1])
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            pb_grpc.InferenceStub(channel).Health(Empty(), timeout=5)
        node.read_until(r"ready: ")
        maps = Path(f"/proc/{node.process.pid}/maps")
        if maps.exists():
            assert "libtorch" not in maps.read_text()


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--port", "70000"], {}, ["port", "70000"]),
        ([], {"CLIP_BACKEND": "tf"}, ["CLIP_BACKEND", "tf"]),
        ([], {"HEARTH_CLIP__MAX_BATCH_SIZE": "0"}, ["HEARTH_CLIP__MAX_BATCH_SIZE"]),
        (["--service", "teleport"], {}, ["teleport"]),
        (["--host", "203.0.113.77"], {}, ["203.0.113.77"]),
    ],
)
def test_a_wrong_setting_is_one_clear_line_and_exit_code_2(tmp_path, arguments, environment, words):
    with serving(tmp_path, *arguments, **environment) as node:
        assert node.wait() == 2
        assert "Traceback" not in node.log
        assert all(word in node.log.splitlines()[-1] for word in words), node.log


def test_a_node_serves_whatever_else_its_environment_holds(tmp_path):
    others = {
        "HEARTH_PORT": "tcp://10.0.0.1:50051", "HEARTH_SERVICE_HOST": "10.0.0.1",
        "HEARTH_SERVICE_PORT": "50051", "HEARTH_PORT_50051_TCP_ADDR": "10.0.0.1",
        "HEARTH_NODES": "10.0.0.7", "HEARTH_COLOUR": "red",
    }  # fmt: skip
    with serving(tmp_path, **others) as node:
        node.read_until(r"ready: ")
        node.send(signal.SIGTERM)
        assert node.wait() == 0
        [warning] = [line for line in node.log.splitlines() if "WARNING" in line]
        assert "HEARTH_COLOUR" in warning
        assert "HEARTH_NODES" not in node.log
        assert "HEARTH_PORT" not in node.log


@pytest.mark.parametrize("command", [("models", "list"), ("doctor", "--json")])
def test_commands_with_settings_say_once_which_variables_mean_nothing(tmp_path, command):
    changes = {"HEARTH_COLOUR": "red", "HEARTH_SERVICE_HOST": "10.0.0.1"}
    done = hearth_here(*command, cwd=tmp_path, **changes, HEARTH_SERVICES="ocr")
    assert done.err.count("HEARTH_COLOUR") == 1
    assert "HEARTH_SERVICE_HOST" not in done.err
    assert "HEARTH_COLOUR" not in done.out


def test_a_settings_file_in_the_working_directory_is_read(tmp_path):
    (tmp_path / "hearth.toml").write_text('log_format = "json"\n[mdns]\nenabled = false\n')
    with serving(tmp_path) as node:
        assert '"message": "listening on' in node.read_until("listening")[0] or "{" in node.log
        node.send(signal.SIGTERM)
        assert node.wait() == 0


def test_two_nodes_can_not_share_a_port(tmp_path):
    with serving(tmp_path) as first:
        port = first.read_until(r"listening on .*:(\d+)")[1]
        with serving(tmp_path, "--port", port) as second:
            assert second.wait() == 2
            assert port in second.log and "Traceback" not in second.log
