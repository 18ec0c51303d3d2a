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
from hearth.cli.infer.expand import MOST_COUNTED, expand
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
    assert len(found) == 3 and told[0] == f"{photos}/2024: left out: permission denied"


# --- folders as phones, NAS boxes and desktops leave them -----------------------------------------


def fill(folder: Path, *names: str, content: bytes = JPEG) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def named(paths: Iterable[str], folder: Path) -> list[str]:
    return [str(Path(path).relative_to(folder)) for path in paths]


@pytest.mark.parametrize(
    "ending", ["jfif", "jpe", "heic", "heif", "dng", "nef", "cr2", "arw", "jxl", "avif"]
)
def test_every_ending_of_a_picture_is_one_in_any_case(ending: str, tmp_path: Path):
    names = [f"1.{ending}", f"2.{ending.upper()}", f"3.{ending.title()}"]
    fill(tmp_path, *names)
    assert named(meant([str(tmp_path)]), tmp_path) == names


HEADS = {
    "jpeg": b"\xff\xd8\xff\xe1\0\x10Exif\0\0",
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "heif": b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
    "avif": b"\0\0\0\x18ftypavif\0\0\0\0avifmif1",
    "webp": b"RIFF\x24\0\0\0WEBPVP8 ",
    "tiff": b"II*\0\x08\0\0\0",
    "jxl": b"\xff\x0a\xfa\x1f",
    "jxl in a box": b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ",
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ",
}


def test_what_has_no_ending_is_known_by_its_bytes(tmp_path: Path):
    for name, head in HEADS.items():
        fill(tmp_path, name, content=head + b"\1" * 100)
    fill(tmp_path, "Scan 2024-05-01 at 10.20.30", "1.2. 3")  # dots, and no ending
    fill(tmp_path, "README", content=b"a text\n")
    fill(tmp_path, "core", content=b"\x7fELF" + bytes(100))
    fill(tmp_path, "clip", content=b"\0\0\0\x20ftypisom" + bytes(100))
    fill(tmp_path, "nothing", content=b"")
    told: list[str] = []
    pictures = named(expand([str(tmp_path)], SEE, told.append), tmp_path)
    assert pictures == sorted([*HEADS, "Scan 2024-05-01 at 10.20.30", "1.2. 3"])
    assert told == ["left out 4 files: 4 others (no ending)"]
    told.clear()
    texts = named(expand([str(tmp_path)], READ, told.append), tmp_path)
    assert texts == ["README", "nothing"]


CLUTTER = (
    "@eaDir/IMG_1.JPG/SYNOPHOTO_THUMB_XL.jpg", "@eaDir/IMG_2.JPG/SYNOPHOTO_THUMB_M.jpg",
    "2023/@eaDir/IMG_2.JPG@SynoEAStream", "#recycle/old.jpg", "$RECYCLE.BIN/S-1-5/$R1.jpg",
    "System Volume Information/x.jpg", "lost+found/#12.jpg", "__MACOSX/._IMG_1.jpg",
    ".thumbnails/1.jpg", "2023/.@__thumb/s800IMG_1.jpg", "._IMG_1.JPG", ".DS_Store",
    "Thumbs.db", "2023/desktop.ini", "IMG_1.AAE", "IMG_2.xmp", "IMG_2.JPG.xmp",
)  # fmt: skip
PLAIN = ("IMG_3.MOV", "2023/IMG_4.mov", "invoice.pdf", "note.m4a", "archive.zip")
PICTURES = ("IMG_1.JPG", "2023/IMG_2.heic")
LEFT_OUT = (
    "4 hidden, 3 in @eaDir, 3 sidecars (.xmp, .aae), 2 of the system,{} 1 in #recycle, "
    "1 in $RECYCLE.BIN, 1 in System Volume Information, 1 in __MACOSX, 1 in lost+found{}"
)
PLAIN_LEFT_OUT = " 2 others (.pdf, .zip), 2 videos (.mov),", ", 1 recording (.m4a)"


def test_clutter_is_left_out_and_told_in_one_line(tmp_path: Path):
    fill(tmp_path, *CLUTTER, *PLAIN, *PICTURES)
    told: list[str] = []
    assert named(expand([str(tmp_path)], SEE, told.append), tmp_path) == [*PICTURES]
    assert told.pop() == f"left out 22 files: {LEFT_OUT.format(*PLAIN_LEFT_OUT)}"
    found = named(expand([str(tmp_path)], ANY, told.append), tmp_path)
    assert set(found) == {*PLAIN, *PICTURES}
    assert told == [f"left out 17 files: {LEFT_OUT.format('', '')}"]


def test_what_is_named_is_sent_whatever_it_is(tmp_path: Path):
    fill(tmp_path, "@eaDir/thumb.jpg", ".hidden.jpg", "Thumbs.db", "IMG_1.AAE", "clip.mov")
    named_files = [str(tmp_path / name) for name in (".hidden.jpg", "Thumbs.db", "IMG_1.AAE")]
    assert meant(named_files) == named_files
    assert named(meant([f"{tmp_path}/@eaDir", f"{tmp_path}/*.mov"]), tmp_path) == [
        "@eaDir/thumb.jpg", "clip.mov"
    ]  # fmt: skip


async def test_a_folder_without_a_picture_says_what_is_there_instead(tmp_path: Path):
    fill(tmp_path, "clips/a.mov", "clips/b.MOV", "clips/@eaDir/a.jpg")
    done = await infer("see", "clips", cwd=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "hearth: clips: no pictures in this folder "
        "(left out 3 files: 2 videos (.mov), 1 in @eaDir)\n"
    )


async def test_of_several_folders_one_line_tells_what_was_left_out(photos: Path):
    fill(photos.parent, "more/a.jpg", "more/b.MOV", "more/Thumbs.db")
    done = await infer("see", "photos", "more", "--json", cwd=photos.parent)
    assert done.code == 0 and done.lines[-1]["file"] == "more/a.jpg"
    assert done.err == (
        "left out 7 files: 2 hidden, 2 texts (.txt), 2 videos (.mov, .mp4), 1 of the system\n"
    )


def test_snapshots_of_millions_of_files_are_not_counted_to_the_end(tmp_path: Path):
    fill(tmp_path, "a.jpg")
    (tmp_path / "#snapshot").mkdir()
    for number in range(MOST_COUNTED + 5):
        (tmp_path / "#snapshot" / str(number)).symlink_to("nowhere")
    told: list[str] = []
    assert len(list(expand([str(tmp_path)], SEE, told.append))) == 1
    assert told == ["left out more than 10,000 files: 10,000 in #snapshot"]


async def test_what_cannot_be_read_in_a_folder_is_told_or_fails_by_itself(tmp_path: Path):
    fill(tmp_path, "in/a.jpg")
    (tmp_path / "in" / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "in" / "circle").symlink_to("circle")
    os.mkfifo(tmp_path / "in" / "pipe")
    done = await infer("see", "in", "--json", cwd=tmp_path)
    assert done.code == 1
    assert [(line["file"], line["error"] is None) for line in done.lines] == [
        ("in/a.jpg", True), ("in/gone.jpg", False)
    ]  # fmt: skip
    assert done.err.splitlines()[:2] == [
        "in/circle: left out: too many levels of symbolic links",
        "in/pipe: left out: it is no plain file",
    ]


async def test_a_link_in_a_circle_is_not_followed_and_odd_names_are_written(photos: Path):
    (photos / "2024" / "again").symlink_to(photos)
    (photos / "2024" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(JPEG)
    done = await infer("see", "2024", "--json", cwd=photos)
    assert done.code == 0, done.err
    assert [line["file"] for line in done.lines] == [
        r"2024/caf\udce9.jpg", "2024/sea.heic", "2024/deep/z.webp"
    ]  # fmt: skip
    assert done.err == "left out 2 files: 1 link to a folder, 1 text (.txt)\n"
    table = await infer("see", "2024", cwd=photos)
    assert table.code == 0 and r"2024/caf\udce9.jpg" in table.out


async def test_a_text_that_is_taken_for_a_file_is_told_how_to_be_given(photos: Path):
    done = await infer("read", "a dog", cwd=photos)
    assert done.code == 1 and "no such file or directory (a text is given with --text)" in done.out
