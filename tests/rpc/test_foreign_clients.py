"""Clients that budget no code with us talk to the real node: Go (`buf curl`) and Node.js."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import ROOT
from cli_kit import PAGE, TITLE
from lan_kit import require, require_tools
from node_kit import NodeThread

SERVICE = "home_native.v1.Inference"

# --- Go: buf curl -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def buf() -> str:
    path = Path(sys.executable).with_name("buf")
    found = str(path) if path.exists() else shutil.which("buf")
    require(found, "the program buf (pip install buf-bin)")
    return str(found)


def curl(buf: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [buf, "curl", "--protocol", "grpc", "--http2-prior-knowledge", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # It keeps its own configuration; nothing of the user's is touched.
        env={**os.environ, "HOME": "/nonexistent"},
    )


def objects(text: str) -> list[dict]:
    """The JSON objects that follow each other in ``text``."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        value, at = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        found.append(value)
    return found


def test_a_go_client_lists_the_services_by_reflection(buf: str, node: NodeThread):
    services = curl(buf, "--list-services", f"http://{node.target}")
    assert services.returncode == 0, services.stderr
    assert SERVICE in services.stdout and "grpc.health.v1.Health" in services.stdout
    methods = curl(buf, "--list-methods", f"http://{node.target}")
    assert {f"{SERVICE}/{name}" for name in
            ("Infer", "GetCapabilities", "StreamCapabilities", "Health")} <= set(
        methods.stdout.split()
    )  # fmt: skip


def test_a_go_client_calls_health_and_capabilities(buf: str, node: NodeThread):
    health = curl(buf, f"http://{node.target}/{SERVICE}/Health")
    assert (health.returncode, objects(health.stdout)) == (0, [{}]), health.stderr
    standard = curl(
        buf, "-d", '{"service": "ocr"}', f"http://{node.target}/grpc.health.v1.Health/Check"
    )
    assert objects(standard.stdout) == [{"status": "SERVING"}], standard.stderr
    capabilities = curl(buf, f"http://{node.target}/{SERVICE}/GetCapabilities")
    (merged,) = objects(capabilities.stdout)
    assert merged["protocolVersion"] == "1.0.0"
    assert {"clip_classify", "clip_text_embed", "ocr"} <= {task["name"] for task in merged["tasks"]}


def test_a_go_client_runs_an_infer_stream(buf: str, node: NodeThread, tmp_path: Path):
    page = base64.b64encode(PAGE.read_bytes()).decode()
    requests = tmp_path / "requests.json"
    requests.write_text(
        "\n".join(
            json.dumps({"correlationId": name, "task": "ocr", "payload": payload})
            for name, payload in (("good", page), ("bad", "AAAA"), ("also good", page))
        )
    )
    done = curl(buf, "-d", f"@{requests}", f"http://{node.target}/{SERVICE}/Infer")
    assert done.returncode == 0, done.stderr
    answers = {answer["correlationId"]: answer for answer in objects(done.stdout)}
    assert answers.keys() == {"good", "bad", "also good"}
    for name in ("good", "also good"):
        content = json.loads(base64.b64decode(answers[name]["result"]))
        assert content["items"][0]["text"] == TITLE
        assert answers[name]["resultMime"] == "application/json;schema=ocr_v1"
        assert answers[name]["isFinal"]
    assert answers["bad"]["error"]["code"] == "ERROR_CODE_INVALID_ARGUMENT"


def test_a_go_client_with_one_bad_request_gets_a_status(buf: str, node: NodeThread):
    request = json.dumps({"correlationId": "1", "task": "fly", "payload": "AAAA"})
    done = curl(buf, "-d", request, f"http://{node.target}/{SERVICE}/Infer")
    assert done.returncode != 0
    assert '"code": "not_found"' in done.stderr and "fly" in done.stderr


# --- Node.js ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its packages, in a folder of its own."""
    require_tools("node", "npm")
    folder = tmp_path_factory.mktemp("node")
    example = folder / "examples" / "node"
    shutil.copytree(
        ROOT / "examples" / "node", example, ignore=shutil.ignore_patterns("node_modules")
    )
    shutil.copytree(ROOT / "proto", folder / "proto")
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(
        install, cwd=example, capture_output=True, text=True, timeout=90, check=False
    )
    require(done.returncode == 0, f"npm's registry ({done.stderr.strip()[-200:]})")
    return example / "infer.mjs"


def run_script(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["node", str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_node_js_client_lists_capabilities(script: Path, node: NodeThread):
    done = run_script(script, node.target)
    assert done.returncode == 0, done.stderr
    found = {line["serviceName"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert found["ocr"]["tasks"] == ["ocr"] and "clip_embed" in found["clip"]["tasks"]


def test_a_node_js_client_streams_files(script: Path, node: NodeThread, tmp_path: Path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    # Over half a MiB, so that it travels in chunks: what follows a PNG's end is ignored.
    large = tmp_path / "large.png"
    large.write_bytes(PAGE.read_bytes() + bytes(1_200_000))
    done = run_script(script, node.target, "ocr", PAGE, bad, large)
    assert done.returncode == 1, done.stderr
    answers = {line["file"]: line for line in map(json.loads, done.stdout.splitlines())}
    for file in (PAGE, large):
        assert answers[str(file)]["result"]["items"][0]["text"] == TITLE
    assert "not an image" in answers[str(bad)]["error"]


def test_a_node_js_client_sends_options(script: Path, node: NodeThread):
    done = run_script(script, node.target, "ocr", "min_confidence=1", PAGE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]["count"] == 0
    done = run_script(script, node.target, "ocr", "min_confidence=7", PAGE)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"] == "min_confidence = 7 is more than 1"


def test_a_node_js_client_gets_the_answers_of_a_composed_request_one_by_one(
    script: Path, node: NodeThread
):
    entries = json.dumps(["ocr", {"id": "bad", "task": "ocr", "options": {"min_confidence": 7}}])
    done = run_script(script, node.target, "compose", f"entries={entries}", PAGE)
    assert done.returncode == 1, done.stderr
    told = {line["entry"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert told.keys() == {"ocr", "bad"}
    assert told["ocr"]["result"]["items"][0]["text"] == TITLE and told["ocr"]["error"] is None
    assert told["bad"]["result"] is None and "is more than 1" in told["bad"]["error"]


def test_a_node_js_client_sees_the_status_of_a_single_request(script: Path, node: NodeThread):
    done = run_script(script, node.target, "fly", PAGE)
    assert done.returncode == 1
    assert "fly" in json.loads(done.stdout)["error"]
