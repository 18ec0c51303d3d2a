"""Folders and globs that are given to `hearth infer`."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli_kit import Done
from cli_kit import hearth_here as hearth
from client_kit import Requests, ScriptedNode, echo, serving
from hearth.cli.files import expand
from hearth.client import TaskInfo
from hearth.contract import ml_service_pb2 as pb

JPEG = b"\xff\xd8\xff\xe0 \0 a picture"
SEE = TaskInfo("see", ("image/jpeg", "image/png"), ())
READ = TaskInfo("read", ("text/plain",), ())
ANY = TaskInfo("any", ("application/octet-stream",), ())


@asynccontextmanager
async def node() -> AsyncIterator[str]:
    """``see`` takes pictures and ``read`` texts; both answer with what they were given."""

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            yield echo(request)

    tasks = [pb.IOTask(name=each.name, input_mimes=each.inputs) for each in (SEE, READ)]
    capability = pb.Capability(service_name="any", tasks=tasks, protocol_version="1.0.0")
    async with serving(ScriptedNode(infer, (capability,))) as address:
        yield address


async def infer(*arguments: object, cwd: Path) -> Done:
    async with node() as address:
        return await asyncio.to_thread(hearth, "infer", *arguments, "--node", address, cwd=cwd)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder as they are: pictures at two depths, and much else."""
    for name in (
        "b.JPG", "a.png", "notes.txt", "clip.mp4", ".hidden.jpg", "2024/sea.heic",
        "2024/deep/z.webp", "2024/deep/read me.txt", ".cache/thumb.jpg", "odd[1].jpg",
    ):  # fmt: skip
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG)
    return tmp_path / "photos"


def meant(given: Iterable[str], task: TaskInfo = SEE) -> list[str]:
    return list(expand(given, task, pytest.fail))


async def test_of_a_folder_all_that_suits_the_task_is_done_in_order(photos: Path):
    done = await infer("see", "photos", "--json", cwd=photos.parent)
    assert done.code == 0, done.err
    assert [line["file"] for line in done.lines] == [
        "photos/a.png", "photos/b.JPG", "photos/odd[1].jpg", "photos/2024/sea.heic",
        "photos/2024/deep/z.webp",
    ]  # fmt: skip
    done = await infer("read", "photos", "--text", "first", "--json", cwd=photos.parent)
    assert [line["file"] for line in done.lines] == [
        None, "photos/notes.txt", "photos/2024/deep/read me.txt"
    ]  # fmt: skip


async def test_a_glob_in_quotes_is_expanded(photos: Path):
    done = await infer("see", "**/*.[Jj][Pp]*", "2024/*.heic", "--json", cwd=photos)
    assert done.code == 0, done.err
    assert [line["file"] for line in done.lines] == ["b.JPG", "odd[1].jpg", "2024/sea.heic"]


def test_what_exists_is_no_glob_and_what_does_not_stays_to_fail_by_itself(photos: Path):
    odd = str(photos / "odd[1].jpg")
    assert meant(["-", odd, str(photos / "gone.jpg")]) == ["-", odd, str(photos / "gone.jpg")]
    assert meant([f"{photos}/*"]) == [
        f"{photos}/{name}" for name in ("a.png", "b.JPG", "clip.mp4", "notes.txt", "odd[1].jpg")
    ]


def test_a_task_that_takes_neither_gets_every_file_that_is_not_hidden(photos: Path):
    assert meant([str(photos / "2024")], ANY) == [
        f"{photos}/2024/{name}" for name in ("sea.heic", "deep/read me.txt", "deep/z.webp")
    ]


@pytest.mark.parametrize(
    ("task", "given", "complaint"),
    [
        ("see", "photos/*.nef", "photos/*.nef: no file matches this"),
        ("see", "photos/**/", "photos/**/: no file matches this"),
        ("see", "empty", "empty: no pictures in this folder"),
        ("read", "empty", "empty: no .txt files in this folder"),
    ],
)
async def test_nothing_found_is_one_clear_line(photos: Path, task: str, given: str, complaint: str):
    (photos.parent / "empty").mkdir()
    done = await infer(task, "photos", given, "--json", cwd=photos.parent)
    assert (done.code, done.out, done.err) == (1, "", f"hearth: {complaint}\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_told_and_left_out(photos: Path):
    (photos / "2024").chmod(0)
    told: list[str] = []
    found = list(expand([str(photos)], SEE, told.append))
    (photos / "2024").chmod(0o755)
    assert len(found) == 3 and told == [f"{photos}/2024: left out: permission denied"]


async def test_a_link_in_a_circle_is_not_followed_and_odd_names_are_written(photos: Path):
    (photos / "2024" / "again").symlink_to(photos)
    (photos / "2024" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(JPEG)
    done = await infer("see", "2024", "--json", cwd=photos)
    assert done.code == 0, done.err
    assert [line["file"] for line in done.lines] == [
        r"2024/caf\udce9.jpg", "2024/sea.heic", "2024/deep/z.webp"
    ]  # fmt: skip
    table = await infer("see", "2024", cwd=photos)
    assert table.code == 0 and r"2024/caf\udce9.jpg" in table.out


async def test_a_text_that_is_taken_for_a_file_is_told_how_to_be_given(photos: Path):
    done = await infer("read", "a dog", cwd=photos)
    assert done.code == 1 and "no such file or directory (a text is given with --text)" in done.out
