"""The contract's files are held against the image of what was published."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lan_kit import require

PROTO = Path(__file__).resolve().parents[2] / "proto"
FILE = "home_native/v1/ml_service.proto"


@pytest.fixture(scope="module")
def buf() -> str:
    path = Path(sys.executable).with_name("buf")
    found = str(path) if path.exists() else shutil.which("buf")
    require(found, "the program buf (pip install buf-bin)")
    return str(found)


def run(buf: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [buf, *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip


def changed(buf: str, tmp_path: Path, old: str, new: str) -> subprocess.CompletedProcess[str]:
    """What `make lint` says of the contract with these words changed."""
    shutil.copytree(PROTO, tmp_path / "proto")
    file = tmp_path / "proto" / FILE
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")
    return run(buf, "breaking", "proto", "--against", "proto/contract.json", folder=tmp_path)


def test_the_image_is_what_the_files_say(buf: str, tmp_path: Path):
    image = tmp_path / "image.json"
    built = run(
        buf, "build", str(PROTO), "--exclude-source-info", "-o", str(image), folder=tmp_path
    )
    assert built.returncode == 0, built.stderr
    kept = json.loads((PROTO / "contract.json").read_text(encoding="utf-8"))
    assert json.loads(image.read_text(encoding="utf-8")) == kept, "run `make stubs`"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("bytes payload = 3", "bytes payload = 9", 'field "3"'),
        ("bytes payload = 3", "string payload = 3", '"bytes" to "string"'),
        ("bytes payload = 3", "bytes content = 3", '"payload" to "content"'),
        ("ERROR_CODE_INTERNAL = 4", "ERROR_CODE_INTERNAL = 5", 'enum value "4"'),
        ("rpc Health(", "rpc Healthy(", 'RPC "Health"'),
    ],
    ids=["number", "type", "name", "code", "rpc"],
)
def test_what_would_break_a_client_is_refused(buf: str, tmp_path, old: str, new: str, told: str):
    done = changed(buf, tmp_path, old, new)
    assert done.returncode != 0
    assert told in done.stdout


def test_what_is_added_breaks_nobody(buf: str, tmp_path):
    added = "bytes payload = 3;\n  string language = 99"
    done = changed(buf, tmp_path, "bytes payload = 3", added)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
