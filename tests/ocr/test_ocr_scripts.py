"""Which scripts OCR can read: what it says of them, and which recogniser reads a line."""

import difflib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.empty_pb2 import Empty
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import hearth
from backend_kit import open_onnx
from hearth.contract import ml_service_pb2 as pb
from hearth.families.ocr.readers import LineReader
from hearth.families.ocr.recognition import LineRecogniser, in_logical_order
from hearth.families.ocr.scripts import ScriptClassifier, scripts_of
from node_kit import NodeThread, stub_of, talk
from ocr_kit import TEXT, Watched, drawn, png, session
from script_kit import ALPHABET, CASES, cyrillic_recogniser

SCRIPTS = Path(hearth.__file__).parent / "assets" / "scripts.onnx"


@pytest.fixture(scope="module")
def cyrillic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cyrillic_recogniser(tmp_path_factory.mktemp("models") / "cyrillic_tests.onnx")


@contextmanager
def node(recognition: str, data_dir: Path) -> Iterator[NodeThread]:
    flags = {"services": "ocr", "ocr.recognition": recognition, "batch_size": 4}
    with NodeThread(**flags, data_dir=data_dir) as running:
        yield running


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeThread]:
    """A node as it is without settings."""
    with node("PP-OCRv6_small", tmp_path_factory.mktemp("alone")) as running:
        yield running


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, cyrillic: Path) -> Iterator[NodeThread]:
    """A node with a second recogniser."""
    with node(f"PP-OCRv6_small, {cyrillic}", tmp_path_factory.mktemp("both")) as running:
        yield running


async def asked(node: NodeThread, picture: bytes, **meta: str) -> pb.InferResponse:
    request = pb.InferRequest(
        correlation_id="1", task="ocr", payload=picture, payload_mime="image/png", meta=meta
    )
    async with stub_of(node.node) as stub:
        [answer] = await talk(stub, [request])
    assert not answer.error.code, answer.error.message
    return answer


async def read(node: NodeThread, picture: bytes, **meta: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((await asked(node, picture, **meta)).result)
    return content


async def said_of(node: NodeThread) -> pb.Capability:
    async with stub_of(node.node) as stub:
        said = [part async for part in stub.StreamCapabilities(Empty())]
    return next(part for part in said if part.service_name == "ocr")


def alike(said: str, text: str) -> bool:
    """But for a letter or two: the tests' recogniser has learned for seconds."""
    return difflib.SequenceMatcher(None, said, text).ratio() > 0.85


# --- over the wire --------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["cyrillic", "greek", "arabic"])
async def test_lines_that_cant_be_written_are_left_out_unless_asked_for(case, alone):
    picture = (CASES / f"{case}.png").read_bytes()
    assert await read(alone, picture) == {
        "items": [], "count": 0, "model_id": "PP-OCRv6-small"
    }  # fmt: skip
    lines = 2 if case != "cyrillic" else 3
    assert (await asked(alone, picture)).meta["unread"] == str(lines)
    uncertain = await read(alone, picture, min_confidence="0")
    assert all(item["confidence"] < 0.5 for item in uncertain["items"])
    if case != "arabic":  # of which the recogniser makes blanks
        assert uncertain["items"]


async def test_each_line_of_a_page_is_read_by_the_model_that_can_write_it(alone, both):
    page = drawn(("Invoice No. 4711-0815", "Total: 99 EUR"), (420, 260))
    russian = Image.open(CASES / "cyrillic.png").crop((0, 110, 400, 160))
    page.paste(russian, (0, 130))
    latin = ["Invoice No. 4711-0815", "Total: 99 EUR"]
    assert [item["text"] for item in (await read(alone, png(page)))["items"]] == latin
    answer = await read(both, png(page))
    *others, last = (item["text"] for item in answer["items"])
    assert others == latin and alike(last, "Спасибо большое")
    assert answer["model_id"] == "PP-OCRv6-small+cyrillic_tests"


async def test_a_page_of_the_second_script_is_read(both):
    answer = await read(both, (CASES / "cyrillic.png").read_bytes())
    right = ("Привет, как дела", "Счёт на оплату 482", "Спасибо большое")
    assert all(
        alike(item["text"], text) and item["confidence"] > 0.5
        for item, text in zip(answer["items"], right, strict=True)
    )


async def test_capabilities_list_the_scripts(alone, both):
    assert (await said_of(alone)).extra["scripts"] == "Latin, Han, Hiragana, Katakana"
    assert (await said_of(both)).extra["scripts"] == "Latin, Han, Hiragana, Katakana, Cyrillic"


# --- which lines are written in what --------------------------------------------------------


def classifier() -> ScriptClassifier:
    return ScriptClassifier(open_onnx(SCRIPTS, device="cpu"))


FAMILIAR = (
    "The quick brown fox", "ÜBERSICHT DER GRÖSSEN", "Où êtes-vous passés ?", "¿Qué tal, señor?",
    "Zażółć gęślą jaźń", "Příliš žluťoučký kůň", "A1B2-C3D4-E5F6", "DE89 3704 0044 0532 0130 00",
    "iPhone 15 Pro Max", "RTX 4090 Ti", "$1,299.00", "12,50 €", "CHECK-IN 14:00 / OUT 11:00",
    "WWW.EXAMPLE.COM", "kontakt@example.org", "XK-47 B", "OHM", "PETROL", "BOPTAX", "HAKKEM",
    "i = i + 1; return x[i]", "+49 (0)30 901820", "31.12.2026", "1:0", "3/4", "=====", "· · ·",
    "NOTHING TO DECLARE", "E = m c ²", "10 µm", "R = 47 kΩ", "Total incl. 19% VAT", "McDonald's",
)  # fmt: skip
"""Lines that PP-OCR can write."""


@pytest.mark.parametrize("style", ["plain", "small", "inverted", "blurred", "jpeg"])
def test_nothing_that_can_be_written_is_disbelieved(style):
    reader = LineReader([LineRecogniser(session("recognition"))], classifier())
    readings = {text: reader([styled(text, style)])[0] for text in FAMILIAR}
    assert not {
        text: said
        for text, said in readings.items()
        if said.text.strip() and said.confidence <= 0.25
    }
    right = sum(said.text == text for text, said in readings.items())
    assert right > len(FAMILIAR) / 2


def styled(text: str, style: str) -> np.ndarray:
    """A line cut as detection cuts: BGR."""
    size = 13 if style == "small" else 32
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text)
    room = size // 4
    ground, ink = ("black", "white") if style == "inverted" else ("white", "black")
    image = Image.new(
        "RGB", (int(right - left) + 2 * room, max(int(bottom - top), size) + room), ground
    )
    ImageDraw.Draw(image).text((room - left, room // 2 - top), text, ink, font=font)
    if style == "blurred":
        image = image.filter(ImageFilter.GaussianBlur(1.2))
    if style == "jpeg":
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=30)
        image = Image.open(buffer)
    return np.asarray(image)[..., ::-1].copy()


class Counted(Watched):
    """A recogniser that counts the lines it gets."""

    def __init__(self, graph: Any) -> None:
        self.lines = 0
        super().__init__(graph, self._count)

    def _count(self, batch: np.ndarray, _: np.ndarray) -> None:
        self.lines += len(batch)


def test_a_line_is_read_once_where_its_script_is_clear(cyrillic):
    first, second = Counted(session("recognition")), Counted(open_onnx(cyrillic))
    reader = LineReader([LineRecogniser(first), LineRecogniser(second)], classifier())
    first.lines = second.lines = 0
    latin = [styled(text, "plain") for text in TEXT]
    russian = np.asarray(Image.open(CASES / "cyrillic.png").crop((12, 112, 328, 156)))[..., ::-1]
    for line in latin:
        reader([line])
    assert (first.lines, second.lines) == (len(TEXT), 0)
    [reading] = reader([russian])
    assert reading.confidence > 0.5
    assert first.lines + second.lines == len(TEXT) + 1


# --- alphabets ------------------------------------------------------------------------------


def test_the_scripts_of_an_alphabet_are_those_of_which_the_basic_letters_are_there():
    assert scripts_of(ALPHABET) == ("Cyrillic",)
    assert scripts_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ("Latin",)
    assert scripts_of("abcαβγδπωΩµжאก0123456789%") == ()
    greek = "αβγδεζηθικλμνξοπρστυφχψω"
    assert scripts_of(greek) == ()  # without accents, no text can be written
    assert scripts_of(greek + "ςάέήίόύώ") == ("Greek",)


@pytest.mark.parametrize(
    ("seen", "spoken"),
    [
        ("Hello 12", "Hello 12"),
        ("םולש", "שלום"),
        ("482 ةروتاف", "فاتورة 482"),
        ("12.50 EUR ךס", "סך 12.50 EUR"),
    ],
)
def test_what_runs_from_right_to_left_comes_as_it_is_spoken(seen, spoken):
    assert in_logical_order(seen) == spoken
