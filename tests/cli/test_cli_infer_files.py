"""What `hearth infer` reads from and writes to files, and what it says of options and tasks."""

import asyncio
import base64
import os
import pty
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
import skimage

from cli_kit import HEARTH, PAGE, Done, environment
from cli_kit import hearth_here as hearth
from client_kit import Requests, ScriptedNode, echo, serving
from hearth.client.capabilities import read
from hearth.client.reasons import missing, service_of
from hearth.contract import ml_service_pb2 as pb
from hearth.families.tasks import TASKS

COFFEE = Path(skimage.__file__).parent / "data" / "coffee.png"
JPEG = b"\xff\xd8\xff\xe0 \0 a picture"
PICTURES = ["image/jpeg", "image/png"]
OPTIONS = {
    "max_batch": "8",
    "priority": "choice",
    "min_confidence": "float, default 0.5",
    "background": "text",
}


@asynccontextmanager
async def painter() -> AsyncIterator[str]:
    """A node: ``paint`` answers with a JPEG, ``tell`` with the options, ``fail`` with an error."""

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            if request.task == "paint":
                yield echo(request, result=JPEG, result_mime="image/jpeg")
            elif request.task == "tell":
                told = orjson.dumps(dict(request.meta))
                yield echo(request, result=told, result_mime="application/json")
            else:
                error = pb.Error(code=pb.ERROR_CODE_INVALID_ARGUMENT, message="too dark")
                yield echo(request, result=b"", error=error)

    tasks = [
        pb.IOTask(name=name, input_mimes=PICTURES, limits=OPTIONS)
        for name in ("paint", "tell", "fail", "face_detect")
    ]
    capability = pb.Capability(service_name="any", tasks=tasks, protocol_version="1.0.0")
    async with serving(ScriptedNode(infer, (capability,))) as address:
        yield address


async def infer(*arguments: object, cwd: Path | None = None) -> Done:
    async with painter() as address:
        return await asyncio.to_thread(hearth, "infer", *arguments, "--node", address, cwd=cwd)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what is read stays, what is written comes with an answer -------------------------------------


@pytest.mark.parametrize("how", [("--raw",), ("--json",), ()])
async def test_a_picture_is_never_written_over_by_its_own_answer(how: tuple[str], tmp_path: Path):
    mine, link = tmp_path / "self.jpg", tmp_path / "link.jpg"
    mine.write_bytes(JPEG)
    link.symlink_to(mine)
    for out in (mine, link, f"{tmp_path}/../{tmp_path.name}/self.jpg"):
        done = await infer("paint", COFFEE, mine, *how, "--out", out)
        reason = "lines of JSON are no picture" if how == ("--json",) else "the source itself would"
        assert done.code == 2 and reason in done.err
    if how == ("--json",):
        (tmp_path / "link").symlink_to(mine)
        done = await infer("paint", COFFEE, mine, *how, "--out", tmp_path / "link")
        assert done.code == 2 and "the source itself would be written over" in done.err
    if how == ("--raw",):
        done = await infer("paint", "self.jpg", *how, "--out", "./", cwd=tmp_path)
        assert done.code == 2 and "the source itself would be written over" in done.err
    assert mine.read_bytes() == JPEG


async def test_a_call_that_fails_leaves_what_is_there(tmp_path: Path):
    out = tmp_path / "before.jpg"
    out.write_bytes(b"before")
    failing = await infer("fail", COFFEE, "--raw", "--out", out)
    assert failing.code == 1 and failing.err == f"{COFFEE}: too dark (INVALID_ARGUMENT)\n"
    unknown = await infer("nonsense", COFFEE, "--json", "--out", tmp_path / "before")
    nobody = await asyncio.to_thread(
        hearth, "infer", "ocr", PAGE, "--raw", "--out", out, "--node", "127.0.0.1:1"
    )
    assert unknown.code == nobody.code == 1
    assert out.read_bytes() == b"before" and names(tmp_path) == ["before.jpg"]


# --- pictures that come as answers --------------------------------------------------------------


async def test_a_pictures_ending_takes_one_answer_that_is_one(tmp_path: Path):
    out = tmp_path / "two.jpg"
    done = await infer("paint", COFFEE, "--out", out)
    assert (done.code, done.out, done.err) == (0, "", "") and out.read_bytes() == JPEG
    for arguments, words in (
        ((COFFEE, PAGE, "--raw"), "one picture, for 2 inputs; --raw --out two/ takes each"),
        ((COFFEE, "--json"), "lines of JSON are no picture"),
    ):
        done = await infer("paint", *arguments, "--out", out)
        assert done.code == 2 and words in done.err, done.err
    done = await infer("tell", COFFEE, "--out", out)
    assert done.code == 1 and "the answer is no picture: application/json" in done.err
    assert out.read_bytes() == JPEG
    done = await infer("paint", COFFEE, "--out", tmp_path / "odd.png")
    assert done.code == 0 and "odd.png: the answer is image/jpeg" in done.err


async def test_a_folder_takes_each_answer_in_a_file_of_its_own(tmp_path: Path):
    (tmp_path / "coffee.png").write_bytes(COFFEE.read_bytes())
    out = tmp_path / "new" / "folder"
    done = await infer("paint", COFFEE, tmp_path / "coffee.png", PAGE, "--raw", "--out", f"{out}/")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert names(out) == ["coffee-2.jpg", "coffee.jpg", "page.jpg"]
    assert {path.read_bytes() for path in out.iterdir()} == {JPEG}
    await infer("tell", COFFEE, "--raw", "--out", out)
    assert (out / "coffee.json").read_bytes() == b"{}"


async def test_a_terminal_is_spared_of_what_is_no_text():
    async with painter() as address:
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *HEARTH, "infer", "paint", str(COFFEE), "--raw", "--node", address,
            stdout=theirs, stderr=subprocess.PIPE, env=environment(),
        )  # fmt: skip
        _, said = await asyncio.wait_for(process.communicate(), 30)
        os.set_blocking(ours, False)
        with pytest.raises(BlockingIOError):
            os.read(ours, 1)
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 1 and b"no text: write them to a file with --out" in said


# --- options ----------------------------------------------------------------------------------


async def test_an_option_can_be_a_files_content(tmp_path: Path):
    (tmp_path / "note.txt").write_text("[1, 2]")
    (tmp_path / "sea.jpg").write_bytes(JPEG)
    done = await infer(
        "tell", COFFEE, "--json", "-o", "background=@sea.jpg", "-o", "a.b=@note.txt", cwd=tmp_path
    )
    told = done.lines[0]["result"]
    assert base64.b64decode(told["background"]) == JPEG
    assert told["a.b"] == "[1, 2]" and done.err == ""
    done = await infer("tell", COFFEE, "-o", "background=@nowhere.jpg")
    assert done.code == 2 and "no such file or directory" in done.err
    done = await infer("tell", COFFEE, "-o", f"background=@{COFFEE}")
    assert done.code == 2 and "too large for an option" in done.err


async def test_a_misspelt_option_is_told_and_those_that_nodes_know_are_not():
    done = await infer("tell", COFFEE, "-o", "min_confidense=0.3", "-o", "lumen.x=1")
    assert (done.code, done.err) == (
        0, "min_confidense isn't an option of tell here; did you mean min_confidence\n"
    )  # fmt: skip
    # What isn't an option is never meant.
    done = await infer("tell", COFFEE, "-o", "max_batsh=1")
    assert done.err == "max_batsh isn't an option of tell here\n"
    # Aliases are never listed, and known all the same.
    done = await infer("face_detect", COFFEE, "-o", "det_thresh=0.4", "-o", "qqq=1")
    assert done.err.splitlines()[0] == "qqq isn't an option of face_detect here"


# --- what another command is for ----------------------------------------------------------------


async def test_videos_are_sent_to_hearth_watch(tmp_path: Path):
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom\0\0\0\0")
    done = await infer("paint", "clip.mp4", cwd=tmp_path)
    assert done.code == 1
    assert "`hearth watch paint clip.mp4` takes videos" in done.out


# --- tasks that nobody does --------------------------------------------------------------------


def test_every_task_of_ours_is_known_by_its_service():
    assert all(service_of(name) == task.service for task in TASKS for name in task.names)
    assert service_of("nonsense") is None


def test_a_task_whose_service_is_not_served_says_which_one():
    absent = pb.Capability(service_name="clip", extra={"state": "absent", "reason": "no model"})
    here = pb.Capability(service_name="ocr", tasks=[pb.IOTask(name="ocr")])
    nodes = {"cellar:1": read([absent, here])}
    assert missing("face_recognition", nodes) == (
        "cellar:1 can't do 'face_recognition': it needs the service face, which isn't served "
        "there (the node's setting `services` lists what is)"
    )
    assert missing("clip_embed", nodes) == (
        "cellar:1 can't do 'clip_embed': clip at cellar:1 is absent: no model"
    )
    assert missing("ocrr", nodes) == (
        "cellar:1 can't do 'ocrr'; did you mean ocr; it can do: ocr"
    )  # fmt: skip
    assert missing("else", nodes).endswith("it can do: ocr; clip at cellar:1 is absent: no model")
