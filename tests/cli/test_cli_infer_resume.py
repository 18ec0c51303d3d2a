"""Runs of `hearth infer` that end early, and go on: no answer is lost, and none is there twice."""

import base64
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from cli_kit import HEARTH, Done, environment
from cli_kit import hearth as hearth_process
from cli_kit import hearth_here as hearth
from disk_kit import small_disk
from fleet_kit import LabProcess, lab_processes
from hearth.client.messages import MODEL

MANY = 300
SLOW = 0.02
"""Seconds for each batch of up to eight: MANY texts take about a second."""


@pytest.fixture(scope="module")
def slow() -> Iterator[str]:
    """The address of a node that takes its time."""
    with LabProcess(seconds=SLOW) as node:
        yield node.target


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder of many texts."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(MANY):
        (folder / f"{number:03}.txt").write_text(f"note {number}")
    return folder


def lines_of(out: Path) -> list[dict]:
    return [orjson.loads(line) for line in out.read_bytes().splitlines()]


def texts_of(out: Path) -> dict[str, str]:
    """What was answered for each file; no file may be there twice."""
    lines = lines_of(out)
    answers = {
        Path(line["file"]).name: base64.b64decode(line["result"]["base64"]).decode()
        for line in lines
    }
    assert len(answers) == len(lines)
    return answers


def all_right(out: Path, count: int = MANY) -> bool:
    return texts_of(out) == {f"{number:03}.txt": f"NOTE {number}" for number in range(count)}


def infer(*arguments: object, node: str, cwd: Path | None = None) -> Done:
    return hearth("infer", "upper", *arguments, "--node", node, cwd=cwd)


@contextmanager
def underway(*arguments: object, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run as a process, once some of its lines are there."""
    command = [*HEARTH, "infer", "upper", *map(str, arguments), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment())
    try:
        wait_for(lambda: count_lines(out) > 20, process)
        yield process
    finally:
        process.kill()
        process.communicate()


def count_lines(out: Path) -> int:
    try:
        return out.read_bytes().count(b"\n")
    except FileNotFoundError:  # that it can be written is tried, and the file taken away again
        return 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    pause = threading.Event()
    while not condition():
        assert process.poll() is None, "it has ended before"
        pause.wait(0.005)


# --- runs that end early ---------------------------------------------------------------------


def test_a_killed_run_goes_on_where_it_was(slow: str, notes: Path):
    out = notes.parent / "out.jsonl"
    with underway(notes, "--node", slow, out=out) as process:
        process.kill()
        process.wait(20)
    before = out.read_bytes()
    assert 20 < before.count(b"\n") < MANY and before.endswith(b"\n")
    with out.open("ab") as file:
        file.write(before.splitlines()[0][:70])  # as a kill in the middle of a write leaves it
    done = infer(notes, "--out", out, "--resume", node=slow)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert out.read_bytes().startswith(before) and all_right(out)
    # And where nothing is left to do, nothing is done.
    whole = out.read_bytes()
    assert infer(notes, "--out", out, "--resume", node=slow).code == 0
    assert out.read_bytes() == whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_far_it_came_and_how_to_go_on(
    slow: str, notes: Path, number: signal.Signals, code: int
):
    out = notes.parent / "out.jsonl"
    with underway(notes, "--node", slow, out=out) as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert process.returncode == code
    count = len(lines_of(out))
    assert said.decode() == (
        f"hearth: interrupted: {count} of {MANY} done; the same command with --resume goes on\n"
    )
    assert infer(notes, "--out", out, "--resume", "-j", "16", node=slow).code == 0
    assert all_right(out)


def test_ctrl_c_ends_it_at_once_even_where_a_node_hangs(notes: Path):
    out = notes.parent / "out.jsonl"
    with LabProcess(seconds=SLOW) as node, underway(notes, "--node", node.target, out=out) as run:
        node.signal(signal.SIGSTOP)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=5)
    assert run.returncode == 130 and said.count(b"\n") == 1


def test_a_second_ctrl_c_ends_it_wherever_it_is(notes: Path):
    out = notes.parent / "out.jsonl"
    with LabProcess(seconds=SLOW) as node, underway(notes, "--node", node.target, out=out) as run:
        node.signal(signal.SIGSTOP)
        run.send_signal(signal.SIGINT)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=5)
    # Where the first has done all already, the second finds Python itself at its end.
    assert run.returncode in {130, -signal.SIGINT}
    assert said.startswith(b"hearth: interrupted: ") and said.count(b"\n") == 1


def test_a_full_disk_is_one_line_and_what_was_written_is_whole(
    slow: str, notes: Path, tmp_path: Path
):
    with small_disk(tmp_path / "disk", "128k") as disk:
        ballast, out = disk / "ballast", disk / "out.jsonl"
        ballast.write_bytes(bytes(96 << 10))
        done = infer(notes, "--out", out, node=slow)
        count = len(texts_of(out))
        assert 0 < count < MANY
        assert (done.code, done.err) == (
            1,
            f"hearth: {out}: no space left on device: {count} of {MANY} done; "
            "the same command with --resume goes on\n",
        )
        ballast.unlink()
        done = infer(notes, "--out", out, "--resume", node=slow)
        assert done.code == 0, done.err
        assert all_right(out)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_disk_behind_stdout_is_one_line(slow: str):
    command = [*HEARTH, "infer", "upper", "-t", "a", "-t", "b", "--json", "--node", slow]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environment(), check=False
        )
    assert (done.returncode, done.stderr) == (1, b"hearth: stdout: no space left on device\n")


# --- what stays of a file ---------------------------------------------------------------------


def test_what_failed_is_tried_again_and_each_input_has_one_line(slow: str, notes: Path):
    out = notes.parent / "out.jsonl"
    given = [f"notes/{number:03}.txt" for number in range(4)]
    missing = notes / "001.txt"
    missing.rename(notes / "away")
    done = infer(*given, "--out", out, "-j", "1", node=slow, cwd=notes.parent)
    assert done.code == 1
    assert done.err == (
        f"{out}: 1 of 4 failed: their lines say why, and the same command with --resume tries "
        "them again\n"
    )
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join([*lines, b"\n", lines[0], lines[3]]))
    out.chmod(0o640)
    link = notes.parent / "link.jsonl"
    link.symlink_to(out)
    (notes / "away").rename(missing)
    done = infer(*given, "--out", link, "--resume", node=slow, cwd=notes.parent)
    assert (done.code, done.err) == (0, "")
    assert out.read_bytes().startswith(lines[0] + lines[2] + lines[3]) and all_right(out, 4)
    assert link.is_symlink() and out.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in notes.parent.iterdir()) == [
        "link.jsonl", "notes", "out.jsonl"
    ]  # fmt: skip


def test_the_same_input_twice_has_two_lines_and_other_inputs_keep_theirs(slow: str, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    assert infer("-t", "a", "-t", "a", "-t", "b", "--out", out, node=slow).code == 0
    first = out.read_bytes()
    assert infer("-t", "a", "-t", "a", "-t", "c", "--out", out, "--resume", node=slow).code == 0
    assert out.read_bytes().startswith(first)
    assert sorted(line["text"] for line in lines_of(out)) == ["a", "a", "b", "c"]
    # Without --resume it is replaced.
    assert infer("-t", "d", "--out", out, node=slow).code == 0
    assert [line["text"] for line in lines_of(out)] == ["d"]


def test_standard_input_is_always_done_again(slow: str, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    for given in (b"one", b"two"):
        done = hearth_process(
            "infer", "upper", "-", "--out", out, "--resume", "--node", slow, given=given
        )
        assert done.code == 0, done.err
    [line] = lines_of(out)
    assert base64.b64decode(line["result"]["base64"]) == b"TWO"


def test_a_file_of_something_else_is_refused_and_stays(slow: str, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    assert infer("-t", "a", "--topk", "3", "--out", out, node=slow).code == 0
    before = out.read_bytes()
    assert lines_of(out)[0]["options"] == {"topk": "3"}
    how = ("--out", out, "--resume", "--node", slow)
    for task, options, reason in (
        ("upper", (), "it holds answers of upper with topk=3; name another file"),
        ("noop", ("--topk", "3"), "it holds answers of upper; name another file"),
    ):
        done = hearth("infer", task, "-t", "a", *options, *how)
        assert done.code == 2 and reason in done.err and done.err.count("\n") == 1
        assert out.read_bytes() == before
    line = lines_of(out)[0]
    strange: list[dict] = [
        {"meta": None}, {"meta": {MODEL: ["m"]}}, {"file": ["a"]}, {"text": 1}, {"entries": [1]},
        {"entries": {"a": 1}}, {"options": [1]}, {"task": None},
    ]  # fmt: skip
    foreign = [orjson.dumps({**line, **each}) + b"\n" for each in strange]
    for content in (before + b"a shopping list\n" + before, b"[1]\n", b"no line's end", *foreign):
        out.write_bytes(content)
        done = infer("-t", "a", "--topk", "3", *how, node=slow)
        assert done.code == 2 and "is no answer of `hearth infer`" in done.err
        assert done.err.count("\n") == 1
        assert out.read_bytes() == content


def test_a_resumed_run_never_mixes_two_models(tmp_path: Path):
    out = tmp_path / "out.jsonl"
    texts = [word for number in range(40) for word in ("-t", f"text {number}")]
    with lab_processes(LabProcess(model="lab-1"), LabProcess(model="lab-2")) as (one, two):
        assert infer("-t", "first", "--out", out, node=one.target).code == 0
        both = (*texts, "--out", out, "--resume", "--node", two.target)
        done = infer(*both, node=one.target)
        assert done.code == 0, done.err
        assert {line["meta"]["lumen.model.id"] for line in lines_of(out)} == {"lab-1"}
        done = infer("-t", "last", "--out", out, "--resume", node=two.target)
        assert done.code == 1 and "its answers are of the model lab-1: no node has" in done.err
        assert len(lines_of(out)) == 41


def test_a_model_that_is_asked_for_answers_alone_and_goes_on_with_its_own_lines(tmp_path: Path):
    out = tmp_path / "out.jsonl"
    texts = [word for number in range(20) for word in ("-t", f"text {number}")]
    with lab_processes(LabProcess(model="lab-1"), LabProcess(model="lab-2")) as (one, two):
        both = ("--node", one.target, "--node", two.target)
        for model in ("lab-2", "lab-1"):
            done = hearth("infer", "upper", *texts, "--model-id", model, "--json", *both)
            assert {line["meta"][MODEL] for line in done.lines} == {model} and done.code == 0
        done = hearth("infer", "upper", *texts, "--model-id", "lab-3", *both)
        assert done.code == 1 and "no node has the model lab-3" in done.err
        run = ("infer", "upper", *texts, "--out", out, "--resume", *both, "--model-id")
        assert hearth(*run, "lab-2").code == hearth(*run, "lab-2", "-t", "more").code == 0
        assert len(lines_of(out)) == 21
        done = hearth(*run, "lab-1")
    assert done.code == 2 and done.err.count("\n") == 1
    assert "its answers are of the model lab-2, and --model-id is lab-1" in done.err


# --- two runs at once -------------------------------------------------------------------------


@pytest.mark.parametrize("how", [("--resume",), ()])
def test_a_file_that_another_run_is_writing_is_refused(
    slow: str, notes: Path, how: tuple[str, ...]
):
    out = notes.parent / "out.jsonl"
    with underway(notes, *how, "--node", slow, out=out) as process:
        for second in (("--resume",), (), ("--raw",)):
            done = infer(notes, "--out", out, *second, node=slow)
            assert (done.code, done.out) == (1, "")
            assert done.err == f"hearth: {out}: another run is writing it\n"
        process.kill()
        process.wait(20)
    assert infer(notes, "--out", out, "--resume", node=slow).code == 0
    assert all_right(out)
    assert sorted(path.name for path in notes.parent.iterdir()) == ["notes", "out.jsonl"]


def test_nor_is_one_written_whose_lines_were_sorted_out_before(slow: str, notes: Path):
    out = notes.parent / "out.jsonl"
    assert infer(*sorted(notes.iterdir())[:3], "--out", out, "-j", "1", node=slow).code == 0
    first, second, third = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(first + second + second + third)  # it is written anew
    with underway(notes, "--resume", "--node", slow, out=out) as process:
        assert infer(notes, "--out", out, "--resume", node=slow).code == 1
        assert process.wait(20) == 0
    assert all_right(out)


def test_a_file_that_is_emptied_meanwhile_gets_no_hole(slow: str, notes: Path):
    out = notes.parent / "out.jsonl"
    with underway(notes, "--node", slow, out=out) as process:
        os.truncate(out, 0)
        assert process.wait(20) == 0
    assert b"\0" not in out.read_bytes() and 0 < len(lines_of(out)) < MANY


def test_a_run_that_writes_nothing_leaves_no_file_and_takes_none_of_another_away(
    slow: str, tmp_path: Path
):
    out = tmp_path / "out.jsonl"
    done = hearth("infer", "upper", tmp_path, "--out", out, "--node", slow)
    assert done.code == 1 and not out.exists()
    assert infer("-t", "a", "--out", out, node=slow).code == 0
    whole = out.read_bytes()
    assert infer("-t", "a", "--out", out, "--resume", node=slow).code == 0
    assert out.read_bytes() == whole


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "--resume goes with --out"),
        (("--out", "x.png"), "--resume is for lines of JSON and for .npz"),
        (("--out", "x.npy"), "--resume is for lines of JSON and for .npz"),
        (("--out", "x.bin", "--raw"), "--resume is for lines of JSON and for .npz"),
        (("--out", "/dev/null"), "this is no plain file, which --resume needs"),
    ],
)
def test_resume_needs_a_file_to_go_on_with(slow: str, arguments: tuple[str, ...], complaint: str):
    done = infer("-t", "x", *arguments, "--resume", node=slow)
    assert done.code == 2 and complaint in done.err and done.err.count("\n") == 1
