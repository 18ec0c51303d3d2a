"""`hearth models` and MediaPipe's models: pulled, listed, verified, removed."""

import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cli_kit import HEARTH, Done, environment
from cli_kit import hearth_here as hearth
from hearth.cli.checks import Check, services
from hearth.hub.remote import CHUNK
from hearth.settings import load
from hub_kit import HubServer
from index_kit import ALONE, PackageIndex
from mediapipe_kit import bundle, damage, place, wheel_path

ALL = 29_183_332


def models(command: str, folder: Path, *arguments: object, **changes: str) -> Done:
    settings = ("-s", "services=mediapipe") if command in ("list", "pull") else ()
    return hearth("models", command, *arguments, *settings, cwd=folder, **{**ALONE, **changes})


def row(folder: Path, *settings: str, **changes: str) -> dict[str, Any]:
    """What is listed of the service."""
    flags = [part for setting in settings for part in ("-s", setting)]
    return models("list", folder, "--json", *flags, **changes).lines[0]


def test_the_wheel_is_pulled_with_its_bytes_shown(tmp_path: Path):
    with PackageIndex("mediapipe", wheel_path()) as index:
        done = models("pull", tmp_path, "mediapipe", HF_HUB_OFFLINE="0", **index.environment)
        assert done.code == 0, done.err
        again = models("pull", tmp_path, HF_HUB_OFFLINE="0", **index.environment)
    assert done.out.splitlines() == [
        "mediapipe (mediapipe-0.10.21) is here", "  29.2 MB in data/mediapipe"
    ]  # fmt: skip
    assert "MediaPipe's models: 35.6 MB of 35.6 MB, " in done.err and "MB/s" in done.err
    # Without names the configured services are pulled; here there is nothing left to do.
    assert (again.code, again.out, again.err, index.transfers) == (0, done.out, "", 1)


def test_a_terminal_shows_a_bar(tmp_path: Path):
    control, terminal = pty.openpty()
    with PackageIndex("mediapipe", wheel_path()) as index:
        index.content = index.content[: 1 << 20]  # another file: it is refused in the end
        asking = environment(HF_HUB_OFFLINE="0", COLUMNS="100", TERM="xterm", **index.environment)
        process = subprocess.Popen(
            [*HEARTH, "models", "pull", "mediapipe"],
            cwd=tmp_path, env=asking, stdout=subprocess.DEVNULL, stderr=terminal,
        )  # fmt: skip
        os.close(terminal)
        seen = b""
        while True:
            try:
                seen += os.read(control, CHUNK)
            except OSError:  # Linux says so when the last writer has gone
                break
        os.close(control)
        assert process.wait(30) == 1
    assert b"MediaPipe's models" in seen and b"/35.6 MB" in seen
    assert b"the package index gives another file" in seen


def test_the_list_says_whether_the_models_are_here_and_where(tmp_path: Path):
    absent = row(tmp_path, HF_HUB_OFFLINE="0")
    assert (absent["model"], absent["state"], absent["bytes"]) == (
        "mediapipe-0.10.21", "not here", None
    )  # fmt: skip
    assert "by `hearth models pull mediapipe`" in absent["why"]
    assert absent["where"] == "a wheel of mediapipe 0.10.21, fetched with pip"
    assert "forbids fetching it" in row(tmp_path)["why"]
    assert row(tmp_path, "mediapipe.wheel=my.whl")["where"] == "my.whl"
    folder = place(tmp_path / "data")
    bundle(folder / "hand_landmarker.task", hand_detector="palm_detection_full")
    here, files = models("list", tmp_path, "--json").lines
    assert (here["state"], here["bytes"], here["why"]) == ("here", ALL, None)
    assert here["where"] == "data/mediapipe, data/mediapipe/hand_landmarker.task"
    assert (files["kind"], files["state"], files["bytes"]) == ("from a wheel", "whole", ALL)
    (folder / "hand_recrop.tflite").unlink()
    assert row(tmp_path)["state"] == "partial"


def test_a_damaged_file_is_found_and_pulled_anew(tmp_path: Path):
    folder = place(tmp_path / "data")
    damage(folder / "hand_recrop.tflite")
    found = models("verify", tmp_path, "mediapipe")
    assert found.code == 1
    assert found.out.splitlines() == [
        "✗ from a wheel mediapipe-0.10.21",
        "  hand_recrop.tflite has a wrong sha256, and was taken away",
        "  fetched anew by the next start, or `hearth models pull mediapipe`",
    ]
    assert row(tmp_path)["state"] == "partial"
    still = models("verify", tmp_path)
    assert still.code == 1 and "  hand_recrop.tflite is missing\n" in still.out
    pulled = models("pull", tmp_path, "-s", f"mediapipe.wheel={wheel_path()}")
    assert pulled.code == 0, pulled.err
    assert models("verify", tmp_path).out == "✓ from a wheel mediapipe-0.10.21\n"


def test_a_download_that_broke_off_is_not_called_right(tmp_path: Path):
    (tmp_path / "data/mediapipe/.partial").mkdir(parents=True)
    done = models("verify", tmp_path)
    assert (done.code, done.out.splitlines()) == (0, [
        "– from a wheel mediapipe-0.10.21",
        "  not finished: `hearth models pull mediapipe` goes on with it",
    ])  # fmt: skip


@pytest.mark.parametrize("name", ["mediapipe", "mediapipe-0.10.21"])
def test_the_models_are_removed_once_the_user_agrees(name: str, tmp_path: Path):
    folder = place(tmp_path / "data")
    asked = models("remove", tmp_path, name)
    assert asked.code == 2 and "add --yes" in asked.err
    assert "a node that runs opens each of them when a task first needs it" in asked.err
    assert row(tmp_path)["state"] == "here"
    done = models("remove", tmp_path, name, "--yes")
    assert (done.code, done.out) == (0, "removed 1 of 1, 29.2 MB are free\n")
    assert not folder.exists() and row(tmp_path)["state"] == "not here"


def test_what_cannot_be_pulled_is_one_line_and_spares_the_others(tmp_path: Path, hub: HubServer):
    hub.add_repository("datasets/org/names", {"embeddings/v.npy": bytes(100)})
    done = models(
        "pull", tmp_path, "mediapipe", "datasets/org/names", "mediapip", "-s",
        f"hub.endpoint={hub.url}", HF_HUB_OFFLINE="0", PIP_NO_INDEX="1",
    )  # fmt: skip
    assert done.code == 1 and "Traceback" not in done.err
    assert done.out.splitlines()[0] == "datasets/org/names is here"
    failures = [line for line in done.err.splitlines() if line.startswith("hearth: ")]
    assert failures[0].startswith(
        "hearth: can't fetch MediaPipe's models with pip: it finds no mediapipe==0.10.21"
    )
    assert failures[1].endswith("did you mean mediapipe?")
    offline = models("pull", tmp_path, "mediapipe")
    assert offline.code == 1 and "(hub.offline or HF_HUB_OFFLINE)" in offline.err


@pytest.mark.parametrize(
    ("files", "wheel", "state"),
    [(True, False, "ok"), (False, False, "bad"), (False, True, "note")],
)
def test_the_doctor_looks_for_them(files: bool, wheel: bool, state: str, tmp_path: Path):
    own = tmp_path / "my.whl"
    own.touch()
    if files:
        place(tmp_path)
    assert looked_for(tmp_path, **{"mediapipe.wheel": str(own)} if wheel else {}).state == state


def looked_for(data_dir: Path, **settings: str) -> Check:
    chosen = {"services": "mediapipe", "data_dir": data_dir, "hub.offline": True, **settings}
    [check] = services(load(chosen, environment={}, config=Path(os.devnull)))
    return check


@pytest.mark.parametrize("setting", ["mediapipe.wheel", "mediapipe.bundles"])
def test_a_file_that_the_settings_name_and_that_is_not_there_is_told(setting: str, tmp_path: Path):
    lost = {setting: str(tmp_path / "lost")}
    check = looked_for(tmp_path, **lost)
    assert (check.state, check.what) == ("bad", f"no such file: {tmp_path}/lost")
    told = row(tmp_path, f"{setting}={tmp_path}/lost")
    assert (told["state"], told["why"]) == ("unavailable", check.what)
    pulled = models("pull", tmp_path, "-s", f"{setting}={tmp_path}/lost")
    assert pulled.code == 1 and check.what in pulled.err
    # Where all models are here, nobody asks for the wheel any more.
    place(tmp_path)
    assert looked_for(tmp_path, **lost).state == ("ok" if setting == "mediapipe.wheel" else "bad")
