"""The whole way from a phone: a folder of what phones keep, asked for text, vectors and faces."""

import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from PIL import Image, ImageDraw, ImageFont

from checkout import CASES
from cli_kit import hearth_here as hearth
from clip_kit import cosine
from mediapipe_kit import place
from node_kit import NodeThread

PHOTOS = Path(skimage.__file__).parent / "data"
P = ["Invoice 48213", "Total amount 129.50", "Thank you very much"]
PAGES = ("motion.MP.jfif", "no ending", "phone.heic", "phone_mif1.heic", "raw_with_thumbnail.dng")
"""Files that show the page P."""
LONG = {"receipt.PNG": 120, "screenshot.png": 116}
"""Long ones, and how many lines are on them."""
TASKS = ("ocr", "clip_image_embed", "face_detection")


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _film() -> bytes:
    """Twelve megabytes as a film behind a photograph has them; seeded."""
    return b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + np.random.default_rng(7).bytes(12_000_000)


def _screenshot() -> bytes:
    """A page of a browser, 640 × 11,600: a message every hundred pixels."""
    image = Image.new("RGB", (640, 11_600), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(22)
    for number in range(116):
        pen.text((24, 100 * number + 36), f"Message number {number:03d}", "black", font=font)
    return _saved(image, "PNG")


def _panorama() -> bytes:
    """A landscape of 6,000 × 1,500."""
    image = Image.new("RGB", (6_000, 1_500), (120, 150, 90))
    return _saved(image, "JPEG")


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phone") / "DCIM"
    (folder / "@eaDir").mkdir(parents=True)
    for name in ("phone.heic", "phone_mif1.heic", "raw_with_thumbnail.dng"):
        shutil.copyfile(CASES / name, folder / name)
    shutil.copyfile(CASES / "receipt_400x8000.png", folder / "receipt.PNG")
    plain = (CASES / "plain.jpg").read_bytes()
    (folder / "motion.MP.jfif").write_bytes(plain + _film())
    (folder / "no ending").write_bytes(plain)
    (folder / "panorama.JPG").write_bytes(_panorama())
    Image.open(PHOTOS / "astronaut.png").save(folder / "selfie.jpeg")
    (folder / "screenshot.png").write_bytes(_screenshot())
    (folder / "broken.jpg").write_bytes(plain[: len(plain) // 2])
    (folder / "@eaDir" / "thumb.jpg").write_bytes(plain)
    (folder / "._motion.MP.jfif").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    (folder / "clip.mp4").write_bytes(_film()[:4096])
    return folder


@pytest.fixture(scope="module")
def node(tiny_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeThread]:
    data = tmp_path_factory.mktemp("data")
    place(data)
    flags = {"services": "clip,ocr,mediapipe", "clip.model": str(tiny_export),
             "clip.templates": "single", "batch_size": 4}  # fmt: skip
    with NodeThread(**flags, data_dir=data) as started:
        yield started


@pytest.fixture(scope="module", params=TASKS)
def answers(request: pytest.FixtureRequest, phone: Path, node: NodeThread) -> dict[str, Any]:
    """What comes of the folder, by the files' names; "task" is which was asked for."""
    done = hearth("infer", request.param, phone, "--node", node.target, "--json", cwd=phone.parent)
    assert done.code == 1  # for one of them is broken
    assert done.err == "left out 3 files: 1 hidden, 1 in @eaDir, 1 video (.mp4)\n"
    return {"task": request.param} | {Path(line["file"]).name: line for line in done.lines}


def test_all_of_a_phones_folder_is_answered_or_refused_by_name(answers: dict[str, Any]):
    task = answers.pop("task")
    assert sorted(answers) == sorted([*PAGES, "broken.jpg", "panorama.JPG", "selfie.jpeg", *LONG])
    broken = answers.pop("broken.jpg")["error"]
    assert broken["code"] == "INVALID_ARGUMENT"
    assert "broken or cut short" in broken["message"]
    results = {name: answer["result"] for name, answer in answers.items()}
    assert all(results.values()), answers
    if task == "ocr":
        texts = {name: [line["text"] for line in results[name]["items"]] for name in results}
        assert {name: texts[name] for name in PAGES} == dict.fromkeys(PAGES, P)
        assert {name: len(texts[name]) for name in LONG} == LONG
    elif task == "face_detection":
        assert {name: result["count"] for name, result in results.items()} == {
            name: int(name == "selfie.jpeg") for name in results
        }
    else:
        first = np.array(results["no ending"]["vector"])
        for name in PAGES:  # one page, coded in four ways
            assert cosine(np.array(results[name]["vector"]), first) > 0.999, name
