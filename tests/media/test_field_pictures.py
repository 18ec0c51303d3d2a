"""Files of the field over the wire: each is answered as the picture in it looks."""

import base64
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import orjson
import pytest
from PIL import Image

from checkout import CASES
from damage_kit import FILM, encoded, segment
from hearth.client import Connection, Job
from hearth.families.compose.tasks import COMPOSE_TASKS
from hearth.families.mediapipe.tasks import MEDIAPIPE_TASKS
from hearth.families.ocr.loader import OcrLoader
from hearth.families.ocr.settings import OcrSettings
from hearth.families.ocr.tasks import OCR_TASKS
from hearth.media import ImageReader
from hearth.node import InferenceNode
from node_kit import NodeThread
from vision_kit import READER, VisionLoader, new_model

PAGE = ["Invoice 48213", "Total amount 129.50", "Thank you very much"]


def case(name: str) -> bytes:
    return (CASES / name).read_bytes()


class EyesThread(NodeThread):
    """A node with OCR and MediaPipe's models."""

    async def _start(self) -> None:
        self.node = InferenceNode(
            self._settings,
            loaders=[OcrLoader(OcrSettings(), reader=READER), VisionLoader(new_model())],
            tasks=(*OCR_TASKS, *MEDIAPIPE_TASKS, *COMPOSE_TASKS),
        )
        await self.node.start()
        await self.node.wait_until(lambda: self.node.status == "ready")


@pytest.fixture(scope="module")
def node() -> Iterator[NodeThread]:
    with EyesThread(grace_seconds=2) as running:
        yield running


async def answers(node: NodeThread, *jobs: Job) -> list:
    """Their outcomes in the jobs' order."""
    async with Connection(node.target) as client:
        outcomes = {outcome.job.tag: outcome async for outcome in client.infer_many(jobs)}
    return [outcomes[job.tag] for job in jobs]


def texts(outcome) -> list[str]:
    assert outcome.error is None, outcome.error
    return [item["text"] for item in outcome.json()["items"]]


def shown(outcome) -> np.ndarray:
    assert outcome.error is None, outcome.error
    return np.asarray(Image.open(BytesIO(outcome.body))).astype(int)


def plain_pages() -> dict[str, bytes]:
    """One page, with all that the field puts around its pixels."""
    plain, rng = case("plain.jpg"), np.random.default_rng(2)
    return {
        "plain": plain,
        "motion photo": plain + FILM + rng.bytes(12_000_000),
        "thermal camera": plain[:2] + segment(0xE3, rng.bytes(65_000)) * 160 + plain[2:],
        "no end": plain[:-2],
        "no end, zeros": plain[:-2] + bytes(70_000),
        "no end, film": plain[:-2] + FILM + rng.bytes(70_000),
    }


def test_a_page_has_its_pixels_whatever_stands_around_them():
    with Image.open(CASES / "plain.jpg") as image:
        expected = np.asarray(image)
    for what, file in plain_pages().items():
        assert np.array_equal(READER.pixels(file), expected), what
    for name in ("long_ztxt.png", "bad_crc_in_text_chunk.png"):
        assert READER.pixels(case(name)).shape == (240, 640, 3)


async def test_pages_are_read_with_films_behind_and_texts_within_and_through_glass(node):
    with Image.open(CASES / "white_text_on_transparent.png") as white:
        white.load()
    files = {
        "motion photo": plain_pages()["motion photo"],
        "no end, film": plain_pages()["no end, film"],
        "long zTXt": case("long_ztxt.png"),
        "dark text": case("text_on_transparent.png"),
        "grey text": case("text_on_transparent_grey.png"),
        "white text": encoded(white, "WEBP"),
        "white text, palette": encoded(white, "GIF"),
    }
    outcomes = await answers(node, *(Job("ocr", file, tag=what) for what, file in files.items()))
    assert {outcome.job.tag: texts(outcome) for outcome in outcomes} == dict.fromkeys(files, PAGE)


async def test_pages_that_lack_pixels_are_refused(node):
    plain = case("plain.jpg")
    rng = np.random.default_rng(4)
    png = case("long_ztxt.png")
    at = png.index(b"IDAT") + 100
    files = [
        plain[:-200],
        plain[:-200] + FILM + rng.bytes(70_000),
        plain[: len(plain) // 2],
        plain[: len(plain) // 2] + bytes(70_000),
        png[:at] + bytes([png[at] ^ 1]) + png[at + 1 :],
        png[:at],
    ]
    jobs = [Job("ocr", file, tag=number) for number, file in enumerate(files)]
    for outcome in await answers(node, *jobs):
        assert outcome.error is not None, outcome.job.tag
        assert outcome.error.code == "INVALID_ARGUMENT"
        assert "the image is broken or cut short" in str(outcome.error)


@pytest.mark.parametrize("options", [{"format": "png"}, {"effect": "cutout"}], ids=str)
async def test_a_portrait_has_its_colours_with_every_profile(node, options):
    names = ("portrait_p3.jpg", "portrait_srgb.jpg")
    jobs = [Job("segmentation_effect", case(name), meta=options, tag=name) for name in names]
    one, other = map(shown, await answers(node, *jobs))
    if one.shape[2] == 4:
        person = (one[..., 3] > 250) & (other[..., 3] > 250)
        assert person.mean() > 0.2
        one, other = one[person], other[person]
    assert np.abs(one - other).mean() < 2
    means = [pixels[..., :3].reshape(-1, 3).mean(0) for pixels in (one, other)]
    assert np.abs(means[0] - means[1]).max() < 1


async def test_a_background_has_its_colours_as_well(node):
    backgrounds = [
        base64.b64encode(case(f"portrait_{name}.jpg")).decode() for name in ("p3", "srgb")
    ]
    grey = encoded(Image.new("RGB", (256, 256), "grey"), "PNG")
    jobs = [
        Job("segmentation_effect", grey, tag=number,
            meta={"effect": "replace", "format": "png", "background": background})
        for number, background in enumerate(backgrounds)
    ]  # fmt: skip
    one, other = map(shown, await answers(node, *jobs))
    assert np.ptp(one) > 100
    assert np.abs(one - other).mean() < 2


async def test_a_composed_request_decodes_once_and_gives_each_task_its_pixels(node, monkeypatch):
    opened = []
    open_file = ImageReader._open
    monkeypatch.setattr(
        ImageReader, "_open", lambda reader, file: opened.append(1) or open_file(reader, file)
    )
    with Image.open(CASES / "portrait_p3.jpg") as portrait:
        profile = portrait.info["icc_profile"]
    with Image.open(CASES / "white_text_on_transparent.png") as white:
        file = encoded(white, "PNG", icc_profile=profile)
    entries = orjson.dumps(["ocr", "face_detection", "segmentation_effect"]).decode()
    [outcome] = await answers(node, Job("compose", file, meta={"entries": entries}))
    assert texts(outcome.parts["ocr"]) == PAGE
    assert outcome.parts["face_detection"].json()["count"] == 0
    assert shown(outcome.parts["segmentation_effect"]).shape == (240, 640, 3)
    assert len(opened) == 1
