"""The examples do what they say, as processes beside a real node."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

import reference_kit
from cli_kit import PAGE, TITLE, environment
from example_kit import BUSY, EXAMPLES, ROOT, Example, LabProcess, finish, lab_process
from hearth.contract import ml_service_pb2 as pb
from mediapipe_kit import place
from node_kit import NodeThread

# --- Python: a video, with real models --------------------------------------------------------

VIDEO = ROOT / "examples" / "python" / "video.py"
FRAMES = 12


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeThread]:
    data_dir = tmp_path_factory.mktemp("data")
    place(data_dir)
    with NodeThread(services="mediapipe", data_dir=data_dir) as node:
        yield node


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Half a second in which a face moves to the right."""
    picture = np.ascontiguousarray(reference_kit.picture("astronaut")[..., ::-1])
    path = tmp_path / "clip.mp4"
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (400, 400))
    for shift in range(FRAMES):
        left = 2 * (FRAMES - shift)
        film.write(np.ascontiguousarray(picture[:400, left : left + 400]))
    film.release()
    return path


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(VIDEO), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment(), check=False
    )


def test_a_video_is_answered_frame_by_frame(vision: NodeThread, clip: Path):
    done = run(vision.target, "face_mesh", clip)
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert sorted(map(int, told)) == list(range(FRAMES))
    assert set(told.values()) <= {"found 1", "dropped"}
    # What is newest is never left out.
    assert told["0"] == told[str(FRAMES - 1)] == "found 1"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "usage:"),
        (("fly", "{clip}"), r"no task 'fly'"),
        (("face_mesh", "{clip}.nowhere"), r"no frame comes from .*\.nowhere"),
    ],
)
def test_what_goes_wrong_is_told(vision: NodeThread, clip: Path, arguments, reason):
    filled = [each.replace("{clip}", str(clip)) for each in arguments]
    done = run(*([vision.target, *filled] if filled else []))
    assert done.returncode == 1 and re.search(reason, done.stdout + done.stderr)


# --- Go, Node.js and the shell ------------------------------------------------------------------


@pytest.fixture(scope="module", params=EXAMPLES)
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    return EXAMPLES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def lab() -> Iterator[LabProcess]:
    with lab_process() as process:
        yield process


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.json"
    path.write_bytes(b'"hello"')
    return path


def test_an_example_lists_what_the_node_can_do(example: Example, lab: LabProcess):
    done = example.run(lab.target)
    assert done.returncode == 0, done.stderr
    assert '"lab-1"' in done.stdout and '"upper_aside"' in done.stdout


def test_an_example_gives_the_answers_of_real_models(
    example: Example, node: NodeThread, tmp_path: Path
):
    text = tmp_path / "dog.txt"
    text.write_text("a dog")
    answers = example.ask(node.target, "clip_text_embed", text)
    assert (answers.code, answers.errors) == (0, {"dog.txt": None})
    assert len(answers.results["dog.txt"]["vector"]) == answers.results["dog.txt"]["dim"]
    page = example.ask(node.target, "ocr", PAGE).results[PAGE.name]
    assert page["items"][0]["text"] == TITLE
    assert example.ask(node.target, "ocr", PAGE, min_confidence=1).results[PAGE.name]["count"] == 0


@pytest.mark.parametrize("example", ["go"], indirect=True)  # test_foreign_clients has node
def test_an_example_shows_the_answers_of_a_composed_request_one_by_one(
    example: Example, node: NodeThread
):
    entries = json.dumps(["ocr", {"id": "bad", "task": "ocr", "options": {"min_confidence": 7}}])
    done = example.run(node.target, "compose", f"entries={entries}", PAGE)
    assert done.returncode == 1, done.stderr
    told = {line["entry"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert told.keys() == {"ocr", "bad"}
    assert told["ocr"]["result"]["items"][0]["text"] == TITLE and told["ocr"]["error"] is None
    assert told["bad"]["result"] is None and "is more than 1" in told["bad"]["error"]


def test_an_example_takes_a_bad_file_among_good_ones_and_large_ones(
    example: Example, lab: LabProcess, file: Path
):
    # More than a message of gRPC may have by default, both ways.
    bad, large = file.with_name("bad"), file.with_name("large.json")
    bad.write_bytes(b"bad")
    large.write_bytes(b'"%s"' % (b"x" * 5_000_000))
    answers = example.ask(lab.target, "upper", file, bad, large, file.with_name("none"))
    assert answers.code == 1
    assert answers.results == {
        "file.json": "HELLO", "bad": None, "large.json": "X" * 5_000_000, "none": None,
    }  # fmt: skip
    assert answers.errors["file.json"] is answers.errors["large.json"] is None
    assert "bad input" in str(answers.errors["bad"]) and "none" in str(answers.errors["none"])


def test_an_example_says_what_was_wrong_with_its_only_request(
    example: Example, lab: LabProcess, file: Path
):
    answers = example.ask(lab.target, "fly", file)
    assert answers.code == 1 and "no task 'fly'" in str(answers.errors["file.json"])
    answers = example.ask(lab.target, "upper", file, topk='a"b\\c')
    assert answers.code == 1 and """'a"b\\\\c' is not a number""" in str(
        answers.errors["file.json"]
    )


def test_an_example_says_in_one_line_that_no_node_is_there(example: Example, file: Path):
    # Port 1 is tcpmux: nothing listens there.
    for words in ((), ("upper", file)):
        done = example.run("127.0.0.1:1", *words)
        assert done.returncode == 1
        [line] = (done.stdout + done.stderr).splitlines()
        assert "ECONNREFUSED" in line or "connection refused" in line


def test_an_example_ends_when_its_node_dies(example: Example, file: Path):
    with lab_process() as mortal, example.start(mortal.target, "hold", file) as process:
        mortal.until_held()
        mortal.kill()
        done = finish(process)
    assert done.returncode == 1
    assert len((done.stdout + done.stderr).splitlines()) == 1


def test_a_wrong_call_of_an_example_shows_how_it_is_called(example: Example):
    done = example.run("127.0.0.1:1", "upper")
    assert done.returncode == 2 and "usage: " in done.stderr


@pytest.mark.parametrize("count", [1, 3], ids=["status", "in_band"])
@pytest.mark.parametrize("example", ["go"], indirect=True)
def test_an_example_asks_again_when_the_node_wants(
    example: Example, lab: LabProcess, tmp_path: Path, count: int
):
    files = [tmp_path / f"{count}{index}" for index in range(count)]
    for path in files:
        path.write_text(path.name)
    start = time.monotonic()
    answers = example.ask(lab.target, "busy", *files)
    assert answers.code == 0
    assert answers.results == {path.name: int(path.name) for path in files}
    assert time.monotonic() - start >= BUSY


def test_the_go_stubs_are_those_of_the_contract():
    text = (ROOT / "examples" / "go" / "pb" / "ml_service.pb.go").read_text()
    raw = text.partition("rawDesc = []byte{")[2].partition("}")[0]
    made = FileDescriptorProto.FromString(bytes(int(byte, 16) for byte in re.findall("0x..", raw)))
    contract = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(contract)
    # Only protoc's plugins are told a field's name in JSON; it follows from the other one.
    entries = [entry for message in made.message_type for entry in message.nested_type]
    for field in (field for message in (*made.message_type, *entries) for field in message.field):
        field.ClearField("json_name")
    assert made == contract
