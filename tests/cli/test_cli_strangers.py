"""What strangers send and name: nothing of it commands a terminal, ends in a traceback, or waits.

Names of files, answers, errors, capabilities, arguments, and what lies in a folder.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import orjson
import pytest
from rich.table import Table
from rich.text import Text as RichText

from cli_kit import HEARTH, Done, environment
from cli_kit import hearth_here as hearth
from client_kit import ScriptThread, capability, echo, failing
from fleet_kit import LabProcess
from hearth.cli.console import Text, _Console, shown
from hearth.cli.infer.expand import expand
from hearth.cli.infer.inputs import InferInput
from hearth.cli.infer.vectors_report import name_of
from hearth.client import TaskInfo
from hearth.contract import ml_service_pb2 as pb

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[/x]"
OBEYED = ("\x1b", "\x07", "\x9b", "\u202e")
NO_TEXT = os.fsdecode(b"\xff")


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    """The address of a node of the lab."""
    with LabProcess() as node:
        yield node.target


@pytest.fixture(scope="module")
def stranger() -> Iterator[str]:
    """The address of a node that puts commands to a terminal wherever it has words."""

    async def answer(request: pb.InferRequest) -> pb.InferResponse:
        match request.payload:
            case b"error":
                return failing(request, 1, f"bad {EVIL}\nhearth: all is well")
            case b"mime":
                return echo(request, result_mime=EVIL)
            case b"ocr":
                box = [[0, 0]] * 4
                return _json(
                    request,
                    "ocr_v1",
                    {"items": [{"text": f"{EVIL}\nnext", "confidence": 1, "box": box}]},
                )
            case b"hands":
                one = {"presence": 1, "handedness": EVIL}
                return _json(request, "hand_tracking_v1", {"hands": [one]})
        labels = [{"label": EVIL, "score": 1}]
        return _json(request, "labels_v1", {"labels": labels, "model_id": EVIL})

    extra = {"node.name": f"n{EVIL}", "node.status": EVIL, "state": "failed", "reason": EVIL}
    about = capability("echo", inputs=("text/plain",), models=(EVIL,), extra=extra)
    about.runtime = EVIL
    with ScriptThread(answer, about) as node:
        yield node.target


def _json(request: pb.InferRequest, schema: str, content: object) -> pb.InferResponse:
    mime = f"application/json;schema={schema}"
    return echo(request, result=orjson.dumps(content), result_mime=mime, result_schema=schema)


# --- commands to the terminal -------------------------------------------------------------------


@pytest.mark.parametrize("text", ["error", "mime", "ocr", "hands", "labels"])
def test_what_a_node_answers_is_shown_and_not_obeyed(stranger: str, text: str):
    done = hearth("infer", "echo", "-t", text, "--node", stranger)
    assert not any(each in done.out + done.err for each in OBEYED)
    assert r"\x1b]0;owned\x07\x1b[2J" in done.out and "[/x]" in done.out
    assert len(done.out.splitlines()) == 1 + (
        text in {"ocr", "error"}
    )  # in a cell, a line stays one


@pytest.mark.parametrize("width", ["80", "120"])
def test_what_a_node_says_of_itself_is_shown_and_not_obeyed(stranger: str, width: str):
    done = hearth("discover", "--timeout", "0.5", "--node", stranger, COLUMNS=width)
    assert done.code == 0 and r"\x1b" in done.out
    assert not any(each in done.out for each in OBEYED)
    done = hearth("infer", "echo", "-t", "x", "--model-id", "lost", "--node", stranger)
    assert done.code == 1 and r"\x1b" in done.err
    assert not any(each in done.err for each in OBEYED)


def test_errors_of_answers_that_go_to_a_file_are_shown_and_not_obeyed(
    stranger: str, tmp_path: Path
):
    folder = f"{tmp_path}/answers/"
    done = hearth("infer", "echo", "-t", "error", "--raw", "--out", folder, "--node", stranger)
    [why] = done.err.splitlines()
    assert done.code == 1 and r"bad \x1b" in why and r"\nhearth: all is well" in why
    assert not any(each in done.err for each in OBEYED)


def test_names_of_files_are_shown_and_not_obeyed(lab: str, tmp_path: Path):
    for name in ("new\nline.txt", f"{EVIL.replace('/', '')}.txt", f"{NO_TEXT}.txt"):
        (tmp_path / name).write_text("a")
    done = hearth("infer", "upper", ".", "--node", lab, cwd=tmp_path)
    assert done.code == 0 and len(done.out.splitlines()) == 3, done.err
    assert r"new\nline.txt" in done.out and r"\udcff.txt" in done.out
    assert not any(each in done.out for each in OBEYED)


def test_text_is_as_wide_as_it_is_shown_in_its_style_and_plain_text_is_as_it_was():
    page = StringIO()
    how = {"width": 40, "force_terminal": True, "color_system": "standard"}
    console = _Console(file=page, markup=False, **how)
    row = Table.grid()
    row.add_row("[b]\x1b", Text("a\x1b", style="red").append("\nb\x9b", style="bold"))
    console.print(row)
    console.print(RichText("forgotten\x1b"))
    assert [line.rstrip() for line in page.getvalue().splitlines()] == [
        "[b]\\x1b\x1b[31ma\\x1b\x1b[0m",
        "       \x1b[1;31mb\\x9b\x1b[0m",
        "forgotten\\x1b",
    ]
    for plain in ("tab\tand\nline", "größer → 漢字 שלום\u200f", ""):
        assert shown(plain) is plain


# --- names that are no Unicode ------------------------------------------------------------------


def test_names_that_differ_in_bytes_that_are_no_text_are_two(lab: str, tmp_path: Path):
    odd = tmp_path / "odd"
    odd.mkdir()
    for name, content in ((b"a\xff.txt", "one"), (b"a\xfe.txt", "two"), (b"a?.txt", "three")):
        (odd / os.fsdecode(name)).write_text(content)
    out = tmp_path / "out.jsonl"
    run = ("infer", "upper", "odd", "--out", out, "--node", lab)
    assert hearth(*run, cwd=tmp_path).code == 0
    whole = sorted(out.read_bytes().splitlines())
    names = {orjson.loads(line)["file"] for line in whole}
    assert names == {r"odd/a\udcff.txt", r"odd/a\udcfe.txt", "odd/a?.txt"}
    for lost in whole:
        out.write_bytes(b"".join(line + b"\n" for line in whole if line != lost))
        assert hearth(*run, "--resume", cwd=tmp_path).code == 0
        assert [_about(line) for line in sorted(out.read_bytes().splitlines())] == [
            _about(line) for line in whole
        ]
    assert len({name_of(InferInput(os.fsdecode(each))) for each in (b"\xff", b"\xfe", b"?")}) == 3


def _about(line: bytes) -> tuple[str, str]:
    told = orjson.loads(line)
    return told["file"], told["result"]["base64"]


# --- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("infer", "upper", "-t", "x", "-n", NO_TEXT),
        ("bench", "upper", "-t", "x", "-n", NO_TEXT),
        ("discover", "-n", NO_TEXT),
        ("infer", "upper", "-t", "x", "-o", f"a={NO_TEXT}"),
        ("bench", "upper", "-t", "x", "-o", f"{NO_TEXT}=a"),
    ],
)
def test_arguments_that_are_no_text_are_refused_in_one_line(lab: str, arguments: tuple[str, ...]):
    done = hearth(*arguments, "--node", lab)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert r"\udcff" in done.err and "no text in UTF-8" in done.err


def test_a_task_that_is_no_text_is_unknown(lab: str):
    done = hearth("infer", NO_TEXT, "-t", "x", "--node", lab)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)


def test_a_file_for_an_option_may_have_any_name(lab: str, tmp_path: Path):
    path = tmp_path / f"{NO_TEXT}.txt"
    path.write_text("3")
    assert hearth("infer", "upper", "-t", "x", "-o", f"topk=@{path}", "--node", lab).code == 0


def test_an_empty_name_is_told_and_the_others_go_on(lab: str, tmp_path: Path):
    (tmp_path / "a.txt").write_text("a")
    done = hearth("infer", "upper", "", "a.txt", "--json", "--node", lab, cwd=tmp_path)
    empty, right = done.lines
    assert (done.code, done.err, right["error"], empty["file"]) == (1, "", None, "")
    assert "name is empty" in empty["error"]["message"]
    table = hearth("infer", "upper", "", "a.txt", "--node", lab, cwd=tmp_path)
    assert table.code == 1 and "name is empty" in table.out and "a.txt" in table.out
    done = hearth("bench", "upper", "", "--count", "1", "--node", lab)
    assert (done.code, done.err.count("\n")) == (1, 1) and "name is empty" in done.err


# --- folders ------------------------------------------------------------------------------------


def test_a_walk_takes_plain_files_only(tmp_path: Path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "link.txt").symlink_to("a.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "device.txt").symlink_to("/dev/zero")
    told: list[str] = []
    found = expand([str(tmp_path)], TaskInfo("read", ("text/plain",), ()), told.append)
    assert [Path(each).name for each in found] == ["a.txt", "link.txt"]
    assert told == [
        f"{tmp_path}/{name}.txt: left out: it is no plain file" for name in ("device", "pipe")
    ]


# --- streams ------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
@pytest.mark.parametrize("how", [("--json",), ()])
def test_a_full_disk_behind_stdout_is_one_line(lab: str, how: tuple[str, ...]):
    begun = time.monotonic()
    done = _to_full("bench", "upper", "-t", "a", "-c", "1", "--count", "1", "--warmup", "0",
                    "--node", lab, *how)  # fmt: skip
    assert (done.code, done.err) == (1, "hearth: stdout: no space left on device\n")
    assert time.monotonic() - begun < 10


def _to_full(*arguments: str) -> Done:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*HEARTH, *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), check=False,
        )  # fmt: skip
    return Done(done.returncode, "", done.stderr)
