"""`hearth infer` as a user runs it, against the real node; where a process matters, as one."""

import asyncio
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import orjson
import pytest
import skimage

from cli_kit import HEARTH, PAGE, TITLE, Done, environment, hearth, hearth_here
from client_kit import Requests, ScriptedNode, echo, serving
from fleet_kit import LabProcess
from hearth.contract import ml_service_pb2 as pb
from node_kit import NodeThread

PICTURES = Path(skimage.__file__).parent / "data"
ASTRONAUT, COFFEE = PICTURES / "astronaut.png", PICTURES / "coffee.png"
ESCAPE = "\x1b"


def infer(node: NodeThread, *arguments: object, **options: object) -> Done:
    return hearth_here("infer", *arguments, "--node", node.target, **options)


def test_text_in_a_picture_is_printed_line_by_line(node: NodeThread):
    done = infer(node, "ocr", PAGE.name, cwd=PAGE.parent)
    assert done.code == 0, done.err
    first = done.out.splitlines()[0].split()
    assert first[0] == "page.png" and first[2] == "%" and " ".join(first[3:]) == TITLE
    assert ESCAPE not in done.out and not done.err


def test_labels_are_printed_with_their_share(node: NodeThread):
    done = infer(node, "clip_classify", "--topk", "3", ASTRONAUT.name, COFFEE.name, cwd=PICTURES)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert len(lines) == 6
    assert {lines[0].split()[0], lines[3].split()[0]} == {"astronaut.png", "coffee.png"}
    assert all(re.search(r"\d\.\d %  \w", line) for line in lines)


@pytest.mark.parametrize("columns", ["80", "120"])
def test_tables_keep_to_the_width(node: NodeThread, columns: str):
    done = infer(node, "ocr", PAGE, "nowhere/" + "long" * 30 + ".png", COLUMNS=columns)
    assert max(map(len, done.out.splitlines())) <= int(columns)
    assert "…" in done.out and "longlong.png  ✗" in done.out


def test_texts_come_from_the_command_line_from_files_and_from_stdin(
    node: NodeThread, tmp_path: Path
):
    note = tmp_path / "note.txt"
    note.write_text("a dog\n")
    inputs = ("-t", "a dog", note, "-")
    done = hearth(
        "infer", "clip_embed", *inputs, "--json", "--node", node.target, given=b"a dog\r\n"
    )
    assert done.code == 0, done.err
    typed, filed, piped = done.lines
    assert (typed["file"], typed["text"]) == (None, "a dog")
    assert (filed["file"], piped["file"]) == (str(note), "-")
    assert typed["result"]["vector"] == filed["result"]["vector"] == piped["result"]["vector"]
    table = infer(node, "clip_embed", "--text", "a dog")
    assert re.match(r"“a dog”  16 numbers: [+-]0\.\d{4} .* …$", table.out.strip())


def test_json_comes_in_the_order_of_the_inputs_with_errors_in_their_place(
    node: NodeThread, tmp_path: Path
):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"\xff\xd8\xff no picture")
    huge = tmp_path / "huge.jpg"
    with huge.open("wb") as file:
        file.truncate(200 << 30)  # it takes no room on the disk
    files = [PAGE, "missing.png", COFFEE, bad, huge]
    done = infer(node, "ocr", "--json", *files)
    assert done.code == 1
    assert [line["file"] for line in done.lines] == [str(file) for file in files]
    assert [line["task"] for line in done.lines] == ["ocr"] * 5
    page, missing, coffee, broken, large = done.lines
    assert page["result"]["items"][0]["text"] == TITLE and page["error"] is None
    assert page["meta"]["lumen.model.id"] == page["result"]["model_id"]
    assert coffee["error"] is None
    assert missing["result"] is None
    assert missing["error"]["message"] == "can't be read: no such file or directory"
    assert broken["error"]["code"] == "INVALID_ARGUMENT"
    assert large["error"]["message"].startswith("the file has 214,748,364,800 bytes: nodes take up")


def test_many_files_travel_over_one_call_and_each_is_answered_once(
    node: NodeThread, tmp_path: Path
):
    names = []
    for number in range(40):
        names.append(f"{number}.txt")
        (tmp_path / names[-1]).write_text(f"a photo of {number} cats")
    done = infer(node, "clip_text_embed", "--json", *names, cwd=tmp_path)
    assert done.code == 0, done.err
    assert [line["file"] for line in done.lines] == names
    assert len({tuple(line["result"]["vector"]) for line in done.lines}) == 40


def test_a_picture_of_many_megabytes_is_sent_in_chunks(node: NodeThread, tmp_path: Path):
    large = tmp_path / "large.png"
    large.write_bytes(COFFEE.read_bytes() + bytes(5 << 20))  # what follows a PNG's end is ignored
    done = infer(node, "clip_image_embed", "--json", COFFEE, large)
    assert done.code == 0, done.err
    one, other = (line["result"]["vector"] for line in done.lines)
    assert one == pytest.approx(other)


def test_raw_gives_the_bytes_as_they_came(node: NodeThread, tmp_path: Path):
    vector = tmp_path / "vector.f32"
    arguments = ("clip_image_embed", ASTRONAUT, "--option", "accept=application/octet-stream")
    assert infer(node, *arguments, "--raw", "--out", vector).code == 0
    numbers = np.frombuffer(vector.read_bytes(), "<f4")
    assert numbers.shape == (16,) and abs(np.linalg.norm(numbers) - 1) < 1e-3
    (line,) = infer(node, *arguments, "--json").lines
    assert line["result"]["mime"].startswith("application/octet-stream")


def test_out_takes_the_lines_of_json(node: NodeThread, tmp_path: Path):
    out = tmp_path / "answers.jsonl"
    done = infer(node, "ocr", PAGE, "--out", out)
    assert (done.code, done.out) == (0, "")
    assert orjson.loads(out.read_bytes())["result"]["count"] > 0
    denied = infer(node, "ocr", PAGE, "--out", tmp_path / "no" / "where.jsonl")
    assert denied.code == 1 and denied.err.count("\n") == 1 and "where.jsonl" in denied.err


def test_an_unknown_task_lists_what_the_node_can_do(node: NodeThread):
    done = infer(node, "clip_clasify", PAGE)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"hearth: {node.target} can't do 'clip_clasify'; did you mean ")
    assert "clip_classify" in done.err and "ocr" in done.err and done.err.count("\n") == 1


def test_the_environment_can_name_the_node(node: NodeThread):
    assert hearth_here("infer", "ocr", PAGE, HEARTH_NODE=node.target).code == 0


def test_nobody_at_the_address_is_one_clear_line():
    done = hearth("infer", "ocr", PAGE, "--node", "127.0.0.1:1")
    assert done.code == 1
    assert done.err.startswith("hearth: 127.0.0.1:1: can't connect: connection refused")
    assert done.err.count("\n") == 1


def test_with_a_time_limit_a_node_that_is_away_is_waited_for():
    def infer_within(seconds: float, task: str = "upper") -> Done:
        return hearth_here(
            "infer", task, "-t", "a", "--timeout", seconds, "--json", "--node", lab.target
        )

    with LabProcess() as lab:
        lab.kill()
        away = infer_within(0.5)
        lab.begin()
        back = infer_within(30)
        lab.serving()
        started = time.monotonic()
        lost = infer_within(30, "uper")
        assert time.monotonic() - started < 15  # it is there, and will not learn it
    assert away.code == 1 and "connection refused" in away.err and away.err.count("\n") == 1
    assert (back.code, back.err) == (0, "") and back.lines[0]["error"] is None
    assert lost.code == 1 and "did you mean upper" in lost.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "missing argument 'task'"),
        (("ocr",), "give it files, folders, - for stdin, or --text"),
        (("ocr", "x", "--option", "topk"), "write it as key=value"),
        (("ocr", "x", "--json", "--raw"), "choose --json or --raw"),
        (("ocr", "x", "--topk", "0"), "--topk"),
        (("ocr", "x", "-j", "0"), "--jobs"),
        (("ocr", "x", "--nonsense"), "no such option"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: tuple[str, ...], complaint: str):
    done = hearth_here("infer", *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert complaint in done.err.lower() and "(see `hearth infer --help`)" in done.err


def test_a_reader_that_leaves_early_ends_it_without_noise(node: NodeThread):
    process = subprocess.Popen(
        [*HEARTH, "infer", "ocr", "--json", *[str(PAGE)] * 4, "--node", node.target],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    process.stdout.close()
    _, noise = process.communicate(timeout=30)
    assert (process.returncode, noise) == (1, b"")


# --- answers of every schema, and nodes that hang -----------------------------------------------

ANSWERS = {
    "face_v1": (
        {"faces": [{"bbox": [10.2, 20, 110, 170.4], "confidence": 0.987, "embedding": [0, 1]}]},
        "98.7 %  100×150 pixels at 10, 20, 2 numbers",
    ),
    "selfie_segmentation_v1": (
        {"width": 20, "height": 10, "counts": [10, 50, 140], "coverage": 0.25},
        "a mask of 20×10 pixels: 25.0 % are of people, 3 runs",
    ),
    "text_generation_v1": ({"text": "a cat on a mat", "finish_reason": "stop"}, "a cat on a mat"),
    "labels_v1": ({"labels": []}, "no label"),
    "ocr_v1": ({"items": [{"text": "[red]", "confidence": 0.5}]}, "50.0 %  [red]"),
    "unknown_v7": ({"a": [1, 2]}, '{"a":[1,2]}'),
    "embedding_v1": ({"nonsense": True}, '{"nonsense":true}'),
}


@asynccontextmanager
async def schemas() -> AsyncIterator[str]:
    """A node whose tasks are named as the schemas of their answers; `hang` never answers."""

    async def answer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            if request.task in ANSWERS:
                yield echo(
                    request,
                    result=orjson.dumps(ANSWERS[request.task][0]),
                    result_mime=f"application/json;schema={request.task}",
                    result_schema=request.task,
                )
            elif request.payload == b"quick":
                yield echo(request, result_mime="image/png")
        await asyncio.Event().wait()

    names = (*ANSWERS, "hang")
    tasks = [pb.IOTask(name=name, input_mimes=["text/plain"]) for name in names]
    capability = pb.Capability(service_name="any", tasks=tasks, protocol_version="1.0.0")
    async with serving(ScriptedNode(answer, (capability,))) as address:
        yield address


async def test_every_schema_is_shown_in_a_way_that_suits_it():
    async with schemas() as address:
        for task, (_, expected) in ANSWERS.items():
            done = await asyncio.to_thread(hearth_here, "infer", task, "-t", "x", "--node", address)
            assert done.code == 0, done.err
            assert expected in done.out


async def test_the_time_limit_is_for_all_and_what_is_done_stays_done():
    async with schemas() as address:
        done = await asyncio.to_thread(
            hearth_here, "infer", "hang", "-t", "quick", "-t", "slow", "--timeout", "0.5",
            "--node", address,
        )  # fmt: skip
    assert done.code == 1
    quick, slow = done.out.splitlines()
    assert "5 bytes of image/png" in quick
    assert "✗ no answer in time (DEADLINE_EXCEEDED): a longer --timeout gives it more" in slow


async def test_ctrl_c_says_how_far_it_came_and_exits_with_130():
    async with schemas() as address:
        process = await asyncio.create_subprocess_exec(
            *HEARTH, "infer", "hang", "-t", "quick", "-t", "slow", "--node", address,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
        )  # fmt: skip
        assert process.stdout is not None
        assert b"quick" in await asyncio.wait_for(process.stdout.readline(), 20)
        process.send_signal(signal.SIGINT)
        _, complaint = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 130
    assert complaint.decode() == "hearth: interrupted: 1 of 2 done\n"
