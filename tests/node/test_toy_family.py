"""A family is a folder and a line: with these two, everything else knows it.

A copy of hearth gets ``kits/toy_family`` and its line, and its lists are written anew; real
processes of that copy are asked.
"""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import orjson
import pytest
from google.protobuf.empty_pb2 import Empty

from checkout import KITS, ROOT
from cli_kit import HEARTH, Done, environment
from hearth.contract import ml_service_pb2_grpc as pb_grpc

Command = Callable[..., Done]

NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one folder and one line more, after `make tables`."""
    root = tmp_path_factory.mktemp("checkout")
    for folder in ("src", "tools"):
        shutil.copytree(ROOT / folder, root / folder, ignore=NOT_COPIED)
    for file in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / file, root)
    families = root / "src" / "hearth" / "families"
    shutil.copytree(KITS / "toy_family", families / "toy", ignore=NOT_COPIED)
    registry = families / "registry.py"
    before = registry.read_text()
    after = before.replace('    "compose",\n', '    "compose",\n    "toy",\n')
    assert len(after.splitlines()) == len(before.splitlines()) + 1
    registry.write_text(after)
    subprocess.run(
        [sys.executable, root / "tools" / "make_tables.py"],
        env=environment_of(root), check=True, capture_output=True, timeout=100,
    )  # fmt: skip
    return root


def environment_of(checkout: Path, **changes: str) -> dict[str, str]:
    return environment(PYTHONPATH=str(checkout / "src"), **changes)


@pytest.fixture
def hearth(checkout: Path, tmp_path: Path) -> Command:
    """Run a command of the copy to its end."""

    def run(*arguments: str, **changes: str) -> Done:
        done = subprocess.run(
            [*HEARTH, *arguments],
            capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False,
            env=environment_of(checkout, COLUMNS="200", **changes),
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@contextmanager
def serving(checkout: Path, folder: Path, *arguments: str, **changes: str) -> Iterator[str]:
    """Run a node of the copy with the toy alone; gives its address once it is ready."""
    command = [*HEARTH, "serve", "--service", "toy", "--port", "0", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "--no-mdns", *arguments],
        cwd=folder, stderr=subprocess.PIPE, text=True, env=environment_of(checkout, **changes),
    )  # fmt: skip
    watchdog = threading.Timer(90, process.kill)
    watchdog.start()
    try:
        assert process.stderr is not None
        log = ""
        for line in process.stderr:
            log += line
            if "ready: toy ready" in line:
                break
        port = re.search(r"listening on .*:(\d+)", log)
        assert port, log
        yield f"127.0.0.1:{port[1]}"
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def test_its_settings_come_from_flags_and_the_environment(checkout, hearth, tmp_path):
    flags = ("--set", "toy.mark=?")
    with serving(checkout, tmp_path, *flags, HEARTH_TOY__LARGEST_BATCH="7") as node:
        done = hearth("infer", "toy_shout", "--text", "hey", "-o", "times=3", "--node", node)
        assert done.code == 0, done.err
        assert "HEY???" in done.out
        with grpc.insecure_channel(node) as channel:
            capability = pb_grpc.InferenceStub(channel).GetCapabilities(Empty())
        shout = next(task for task in capability.tasks if task.name == "toy_shout")
        assert shout.limits["times"] == "int, default 1, at least 0, at most 9"
        assert list(capability.model_ids) == ["toy-1"]
        assert "compose" in [task.name for task in capability.tasks]  # as on every node
        assert capability.extra["toy.max_batch"] == "7"


def test_its_answers_stream(checkout, hearth, tmp_path):
    with serving(checkout, tmp_path) as node:
        done = hearth("infer", "toy_spell", "--text", "hey", "--node", node, "--stream", "--json")
        assert done.code == 0, done.err
        *deltas, last = done.lines
        # Those that wait for their client become one: how many there are is the socket's affair.
        assert "".join(line["result"]["text"] for line in deltas) == "HEY"
        assert (last["result"]["text"], last["last"]) == ("H-E-Y", True)


def test_a_wrong_setting_of_it_is_one_line(hearth):
    done = hearth("serve", "--service", "toy", "--set", "toy.largest_batch=0")
    assert done.code != 0
    assert re.search(r"toy\.largest_batch = .0. \(from the command line\): .*greater", done.err)


def test_help_lists_its_settings_its_service_and_its_tasks(hearth):
    words = hearth("serve", "--help").out
    assert "toy.mark" in words and "what a shout ends with" in words
    assert re.search(r"What to serve.*\btoy\b", " ".join(words.split()))
    row = next(line for line in hearth("infer", "--help").out.splitlines() if "toy_shout" in line)
    for part in ("toy", "text", "shout_v1", "times", "a text in capitals"):
        assert part in row


def test_models_and_doctor_know_it(hearth):
    done = hearth("models", "list", "--json", "--set", "services=toy")
    configured = [orjson.loads(line) for line in done.out.splitlines()]
    assert [(row["service"], row["state"]) for row in configured] == [("toy", "here")]
    assert "there are clip, bioclip, siglip, ocr, mediapipe, face, toy" in hearth(
        "models", "list", "--set", "services=tyo"
    ).out.replace("\n", " ")


def test_the_lists_that_are_written_have_it(checkout):
    page = (checkout / "README.md").read_text()
    assert "| `toy.mark` | `HEARTH_TOY__MARK` | `!` | what a shout ends with |" in page
    assert "| `shout_v1` | text, marks, model_id | a text in capitals |" in page
    assert "| `letters_v1` | text |" in page
    known = (checkout / "src" / "hearth" / "known.py").read_text()
    assert '"toy": ("toy_shout", "toy_spell")' in known


def test_a_client_reads_settings_without_what_a_node_needs(checkout):
    script = "import sys, hearth.settings as s; print(s.Settings().toy.mark, *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment_of(checkout),
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    mark, *loaded = done.stdout.split()
    assert mark == "!"
    assert not {"numpy", "grpc", "onnxruntime", "PIL", "hearth.families.toy.model"} & set(loaded)
