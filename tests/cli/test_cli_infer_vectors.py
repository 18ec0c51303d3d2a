"""`hearth infer --out vectors.npz`: the vectors of many inputs for numpy."""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import orjson
import pytest
import skimage

from cli_kit import HEARTH, Done, environment
from cli_kit import hearth_here as hearth
from client_kit import Requests, ScriptedNode, echo, serving
from disk_kit import small_disk
from hearth.contract import ml_service_pb2 as pb
from node_kit import NodeThread

PICTURES = Path(skimage.__file__).parent / "data"
RAW = "application/octet-stream"


def infer(node: NodeThread, *arguments: object, cwd: Path) -> Done:
    return hearth("infer", "clip_image_embed", *arguments, "--node", node.target, cwd=cwd)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("astronaut.png", "coffee.png", "page.png"):
        shutil.copyfile(PICTURES / name, folder / name)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_becomes_a_numpy_file(node: NodeThread, photos: Path):
    done = infer(node, "photos", "--out", "v.npz", cwd=photos.parent)
    assert (done.code, done.out, done.err) == (0, "", "")
    told = infer(node, "photos", "--json", cwd=photos.parent).lines
    with np.load(photos.parent / "v.npz", allow_pickle=False) as file:
        assert file["vectors"].shape == (3, 16) and file["vectors"].dtype == np.float32
        assert list(file["names"]) == [line["file"] for line in told]
        assert str(file["model_id"]) == told[0]["result"]["model_id"]
        for vector, line in zip(file["vectors"], told, strict=True):
            assert vector == pytest.approx(line["result"]["vector"], abs=1e-5)
    assert infer(node, "photos", "--out", "v.npy", cwd=photos.parent).code == 0
    assert np.load(photos.parent / "v.npy").shape == (3, 16)
    assert names(photos.parent) == ["photos", "v.npy", "v.npz"]


def test_what_fails_is_left_out_told_and_tried_again(node: NodeThread, photos: Path):
    broken = photos / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no picture")
    out = photos.parent / "v.npz"
    done = infer(node, "photos", "--out", "v.npz", cwd=photos.parent)
    assert done.code == 1
    why, summary = done.err.splitlines()
    assert why.startswith("photos/broken.jpg: ")
    assert summary == (
        "v.npz: 1 of 4 failed: they are left out, and the same command with --resume tries "
        "them again"
    )
    before = np.load(out)["vectors"]
    assert len(before) == 3
    shutil.copyfile(photos / "page.png", broken)
    done = infer(node, "photos", "--out", "v.npz", "--resume", cwd=photos.parent)
    assert (done.code, done.err) == (0, "")
    with np.load(out) as file:
        assert np.array_equal(file["vectors"][:3], before) and len(file["vectors"]) == 4
        assert file["names"][3] == "photos/broken.jpg"
    # Nothing is left to do; another task, or another file, is refused.
    whole = out.read_bytes()
    assert infer(node, "photos", "--out", "v.npz", "--resume", cwd=photos.parent).code == 0
    done = hearth("infer", "clip_embed", "-t", "a dog", "--out", out, "--resume",
                  "--node", node.target)  # fmt: skip
    assert done.code == 2 and "it holds vectors of clip_image_embed; name another" in done.err
    assert out.read_bytes() == whole
    out.write_bytes(b"a shopping list")
    done = infer(node, "photos", "--out", "v.npz", "--resume", cwd=photos.parent)
    assert done.code == 2 and "--resume can't go on with this file" in done.err
    assert out.read_bytes() == b"a shopping list"


def test_of_rows_without_names_it_says_that_some_are_missing(node: NodeThread, photos: Path):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    done = infer(node, "photos", "--out", "v.npy", cwd=photos.parent)
    assert done.code == 1 and len(np.load(photos.parent / "v.npy")) == 3
    assert done.err.splitlines()[1] == (
        "v.npy: 1 of 4 failed: they are left out: rows are missing, and nothing says whose; "
        "a .npz has the names as well"
    )


def test_answers_that_are_no_vectors_are_refused(node: NodeThread, photos: Path):
    out = photos.parent / "v.npz"
    out.write_bytes(b"before")
    done = hearth("infer", "clip_classify", photos, "--out", out, "--node", node.target)
    assert (done.code, done.err) == (
        2,
        f"hearth: --out {out}: clip_classify answers with labels_v1, and no vectors: "
        "name a .jsonl\n",
    )
    for how, reason in (("--json", "lines of JSON are no vectors"), ("--raw", "no file of numpy")):
        done = infer(node, "photos", "--out", out, how, cwd=photos.parent)
        assert done.code == 2 and reason in done.err
    assert out.read_bytes() == b"before"


# --- nodes that say what came, and when ---------------------------------------------------------


@asynccontextmanager
async def embedder(
    size: int, *, is_raw: bool, most: int = 1000, ninth: asyncio.Event | None = None
) -> AsyncIterator[str]:
    """A node: vectors of the text's length, as JSON or raw; ``most`` answers, and then none.

    ``ninth`` is set with the ninth request.
    """

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        count = 0
        async for request in requests:
            count += 1
            if count == 9 and ninth is not None:
                ninth.set()
            if count > most:
                continue
            vector = np.full(size, len(request.payload), "<f4")
            told = orjson.dumps({"vector": vector.tolist(), "dim": size, "model_id": "m-1"})
            raw = request.meta.get("accept") == RAW
            assert raw == is_raw
            kind = RAW if raw else "application/json;schema=embedding_v1"
            yield echo(
                request,
                result=vector.tobytes() if raw else told,
                result_mime=kind,
                result_schema="" if raw else "embedding_v1",
                meta={"lumen.model.id": "m-1", "dim": str(size)},
            )

    limits = {"accept": "text"} if is_raw else {}
    task = pb.IOTask(name="embed", input_mimes=["text/plain"], limits=limits)
    service = pb.Capability(
        service_name="any", tasks=[task], model_ids=["m-1"], protocol_version="1.0.0"
    )
    async with serving(ScriptedNode(infer, (service,))) as address:
        yield address


@pytest.mark.parametrize("is_raw", [True, False])
async def test_vectors_are_asked_for_raw_where_a_node_can(is_raw: bool, tmp_path: Path):
    out = tmp_path / "v.npz"
    async with embedder(8, is_raw=is_raw) as address:
        done = await asyncio.to_thread(
            hearth, "infer", "embed", "-t", "a", "-t", "long", "--out", out, "--node", address
        )
    assert done.code == 0, done.err
    with np.load(out) as file:
        assert file["vectors"][:, 0].tolist() == [1, 4] and str(file["model_id"]) == "m-1"
        assert file["names"].tolist() == ["a", "long"]


async def test_ctrl_c_keeps_what_is_done_and_resume_does_the_rest(tmp_path: Path):
    out = tmp_path / "v.npz"
    texts = [word for length in range(1, 10) for word in ("-t", "x" * length)]
    command = ("infer", "embed", *texts, "-j", "4", "--out", str(out), "--node")
    ninth = asyncio.Event()
    async with embedder(8, is_raw=True, most=5, ninth=ninth) as address:
        process = await asyncio.create_subprocess_exec(
            *HEARTH, *command, address, stderr=subprocess.PIPE, env=environment(),
        )  # fmt: skip
        # With four in flight, the ninth is sent once five are answered.
        await asyncio.wait_for(ninth.wait(), 20)
        process.send_signal(signal.SIGINT)
        _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 130
    assert said.decode() == (
        "hearth: interrupted: 5 of 9 done; the same command with --resume goes on "
        f"({out} has what is done)\n"
    )
    assert np.load(out)["vectors"][:, 0].tolist() == [1, 2, 3, 4, 5]
    async with embedder(8, is_raw=True) as address:
        done = await asyncio.to_thread(hearth, *command, address, "--resume")
    assert done.code == 0, done.err
    assert np.load(out)["vectors"][:, 0].tolist() == list(range(1, 10))
    assert names(tmp_path) == ["v.npz"]


async def test_a_disk_without_room_for_the_vectors_is_told_before_the_work(tmp_path: Path):
    with small_disk(tmp_path / "disk", "64k") as disk:
        texts = [word for number in range(30) for word in ("-t", str(number))]
        async with embedder(1000, is_raw=True) as address:
            done = await asyncio.to_thread(
                hearth, "infer", "embed", *texts, "--out", disk / "v.npz", "--node", address
            )
        assert done.code == 1 and done.err.count("\n") == 1
        assert "the vectors take 120.0 kB, and only 65.5 kB are free there" in done.err
        assert names(disk) == []
