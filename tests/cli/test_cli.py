"""The command line as a whole: help, versions, a client's installation."""

import importlib.metadata as metadata
import io
import os
import re
import socket
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rich.console import Console

from checkout import ROOT
from cli_kit import PAGE, TITLE, Done, environment, hearth, hearth_here, ocr_node
from hearth.batching import LatencyProfile
from hearth.cli.discover.sightings import Sighting
from hearth.cli.discover.views import table
from hearth.client.capabilities import read
from hearth.contract import ml_service_pb2 as pb
from hearth.discovery.record import NodeRecord
from hearth.families.tasks import TASKS
from hearth.models.tuning import FILE, ProfileCache, machine_facts
from hearth.settings import describe
from lan_kit import wait_for
from node_kit import NodeThread

SOURCE = ROOT / "src"

HEAVY = ("grpc", "zeroconf", "numpy", "pydantic_settings", "orjson", "onnxruntime", "torch", "PIL")


def test_the_version_is_the_package_s():
    assert hearth("--version").out == f"hearth {metadata.version('hearth')}\n"


def test_help_lists_the_commands_and_imports_nothing_heavy():
    script = (
        "import sys; from hearth.cli.main import main; main(['--help']); "
        f"print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    for command in ("serve", "discover", "infer", "models", "doctor"):
        assert re.search(rf"│ {command} ", done.stdout)
    assert done.stdout.rstrip().endswith("heavy: []")


def test_ctrl_c_while_it_still_imports_is_quiet():
    script = """
        import sys
        from hearth.cli.main import main

        class Impatient:
            def find_spec(self, name, *_):
                if name == "typer":
                    raise KeyboardInterrupt

        sys.meta_path.insert(0, Impatient())
        sys.exit(main(["--help"]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_help_of_serve_lists_every_setting_and_that_of_infer_every_task():
    words = hearth_here("serve", "--help", COLUMNS="200").out.split()
    assert {path for path, *_ in describe()} <= set(words)
    told = " ".join(words).partition("What to serve")[2].partition("May be repeated")[0]
    assert {task.service for task in TASKS} <= set(re.findall(r"\w+", told))
    words = hearth_here("infer", "--help", COLUMNS="200").out.replace(",", " ").split()
    assert {name for task in TASKS for name in task.names} <= set(words)


def test_the_list_of_nodes_calls_no_service_a_model():
    compose = pb.Capability(service_name="compose", tasks=[pb.IOTask(name="compose")])
    lost = pb.Capability(service_name="clip", extra={"state": "absent", "reason": "no model"})
    node = NodeRecord("cellar", "1", "10.0.0.5", 50051, "ready", "1.0")
    sighting = Sighting(node, read([compose, lost]))
    for width in (120, 80):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(table([sighting], width))
        assert console.export_text().split().count("compose") == 1


@pytest.mark.parametrize("arguments", [("serf",), ("serve", "--port", "x"), ("models", "lost")])
def test_what_makes_no_sense_is_one_line_and_exit_code_2(arguments: tuple[str, ...]):
    done = hearth(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("hearth: ")


def test_a_setting_that_is_not_one_is_exit_code_2(tmp_path: Path):
    for arguments, complaint in (
        (("--set", "clip.engine=torch"), "unknown setting clip.engine (from the command line)"),
        (("--set", "clip"), "write it as NAME=VALUE"),
        (("--backend", "tensorflow"), "clip.backend = 'tensorflow'"),
        (("--config", "nowhere.toml"), "can't read nowhere.toml"),
    ):
        done = hearth_here("serve", *arguments, cwd=tmp_path)
        assert (done.code, done.err.count("\n")) == (2, 1) and complaint in done.err


def test_metrics_are_served_where_a_flag_says_so_and_the_doctor_tells_what_was_measured(
    tmp_path: Path,
):
    settings = ("--set", "services=ocr", "--set", "port=0")
    before = hearth_here("doctor", "--json", *settings, cwd=tmp_path)
    (speed,) = [check for check in before.lines if check["area"] == "speed"]
    assert (speed["state"], "not measured yet" in speed["what"]) == ("note", True)

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (
        # Two sizes of batches are measured sooner than all.
        ocr_node(tmp_path, "--no-mdns", "--metrics-port", str(port), "--set", "batch_size=2"),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as page,
    ):
        assert b'hearth_model_state{service="ocr",state="ready"} 1.0' in page.read()
        # Measured in a quiet moment, once it is ready.
        wait_for(lambda: len(list(ProfileCache(tmp_path / "data" / FILE))) == 2, timeout=60)

    after = hearth_here("doctor", "--json", *settings, cwd=tmp_path)
    speeds = [check for check in after.lines if check["area"] == "speed"]
    assert {check["name"] for check in speeds} == {"ocr"}
    assert {check["what"].partition(":")[0] for check in speeds} == {"orientation", "recognition"}
    for check in speeds:
        assert re.search(r"batches up to \d+ — 1: [\d.]+ ms \([\d.]+/s\), ", check["what"])


def test_the_doctor_tells_only_of_this_machine_and_the_newest(tmp_path: Path):
    cache = ProfileCache(tmp_path / "tuning.json")
    here = {"model": "M", "runtime": "onnxrt", "device": "cpu", "precision": "fp32",
            **machine_facts()}  # fmt: skip
    cache.save("clip-image", {**here, "engine": "1"}, LatencyProfile({1: 0.5}), largest=1)
    cache.save("clip-image", {**here, "engine": "2"}, LatencyProfile({1: 0.1, 2: 0.12}), largest=2)
    cache.save("clip-text", {**here, "cpu": "another"}, LatencyProfile({1: 0.7}), largest=1)
    done = hearth_here("doctor", "--json", "--data-dir", tmp_path, "--set", "port=0",
                       "--set", "clip.max_batch_size=3", cwd=tmp_path)  # fmt: skip
    (speed,) = [check for check in done.lines if check["area"] == "speed"]
    assert (speed["name"], speed["state"]) == ("clip", "ok")
    assert speed["what"] == (
        "image: M on onnxrt, cpu, fp32\n"
        "batches up to 3, as set — 1: 100 ms (10/s), 2: 120 ms (16.7/s)"
    )


# --- an installation without the extra `server` -------------------------------------------------


@pytest.fixture(scope="module")
def client_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages that plain `hearth` requires, and no others."""
    folder = tmp_path_factory.mktemp("client-only")
    seen: set[str] = set()
    wanted = ["hearth"]
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in seen:
            continue
        seen.add(name)
        distribution = metadata.distribution(name)
        wanted += (
            requirement.name
            for requirement in map(Requirement, distribution.requires or ())
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        )
        tops = {file.parts[0] for file in distribution.files or () if ".." not in file.parts}
        for top in tops:
            place, link = Path(str(distribution.locate_file(top))), folder / top
            if place.exists() and not link.exists():
                link.symlink_to(place)
    return folder


def as_client(packages: Path, *arguments: object) -> Done:
    """Run the command line with no packages but those."""
    done = subprocess.run(
        # -S leaves site-packages out.
        [sys.executable, "-S", "-m", "hearth", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        env=environment(PYTHONPATH=os.pathsep.join((str(SOURCE), str(packages)))),
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_a_client_s_installation_can_ask_a_node(client_only: Path, node: NodeThread):
    done = as_client(client_only, "infer", "ocr", PAGE, "--node", node.target)
    assert done.code == 0, done.err
    assert TITLE in done.out


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(("serve",), "server"), (("models", "export", "ViT-B-32:openai"), "export")],
)
def test_a_client_s_installation_says_what_to_install_for_more(
    client_only: Path, arguments: tuple[str, ...], extra: str
):
    done = as_client(client_only, *arguments)
    assert (done.code, done.err.count("\n")) == (1, 1), done.err
    assert f"pip install '.[{extra}]'" in done.err


def test_a_client_s_installation_has_help_and_a_doctor(client_only: Path, tmp_path: Path):
    assert as_client(client_only, "infer", "--help").code == 0
    done = as_client(client_only, "doctor", "--data-dir", tmp_path, "--set", "port=0")
    assert done.code == 0, done.err
    assert "pip install '.[server]'" in done.out
