"""The OCR pipeline on our own sessions reads what rapidocr's own pipeline reads."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from omegaconf import OmegaConf
from PIL import Image, ImageOps
from rapidocr import RapidOCR

from hearth.batching import Limit, RequestContext
from hearth.errors import DeadlinePassed, InvalidInput, NotReady, Overloaded
from hearth.families.ocr import parameters
from hearth.families.ocr.memory import IdleTrim
from hearth.families.ocr.model import Line, OcrModel
from hearth.families.ocr.recognition import padded_width
from hearth.families.ocr.tasks import OCR_TASKS
from hearth.models.options import QueueOptions
from hearth.tasks.answer import Result
from hearth.tasks.options import read_all
from hearth.tasks.task import Call, Request
from ocr_kit import TEXT, drawn, loaded, png

[TASK] = OCR_TASKS


@pytest.fixture(scope="module")
def model() -> Iterator[OcrModel]:
    with loaded() as made:
        yield made


@pytest.fixture(scope="module")
def reference() -> RapidOCR:
    return RapidOCR(params={"Global.log_level": "error"})


async def read(model: OcrModel, image: Image.Image) -> list[Line]:
    return await model.read(png(image))


PAGE = Image.fromarray(skimage.data.page()).convert("RGB")
PICTURES = {
    "drawn": drawn(),
    "upside down": drawn().rotate(180),
    "on its side": drawn().rotate(90, expand=True),
    "tilted": drawn().rotate(5, fillcolor="white"),
    "small print": drawn(size=(240, 230), height=13),
    "one long line": drawn((" ".join(TEXT),), (1100, 600)),
    "larger than detection takes": drawn(TEXT[:2], (2200, 900), 120),
    "blank": Image.new("RGB", (300, 200), "white"),
    "a few pixels": Image.new("RGB", (5, 4), "white"),
}


@pytest.mark.parametrize("name", PICTURES)
async def test_a_picture_reads_as_with_rapidocr(
    name: str, model: OcrModel, reference: RapidOCR
) -> None:
    picture = PICTURES[name]
    theirs = reference(np.ascontiguousarray(np.asarray(picture)[..., ::-1]))
    ours = await read(model, picture)
    assert len(ours) == len(theirs)
    if not ours:
        return
    by_text = {line.text: line for line in ours}
    for text, box, confidence in zip(theirs.txts, theirs.boxes, theirs.scores, strict=True):
        # rapidocr looks at a page at another scale, which is what a box's edges are as exact
        # as; and it pads a line to the longest of its batch, we pad it by its own length.
        line, height = by_text[text], min(np.ptp(box[:, 0]), np.ptp(box[:, 1]))
        assert np.abs(np.array(line.box) - box).max() <= 2 + 0.2 * height
        assert abs(line.confidence - confidence) < 0.05


async def test_a_photographed_page_is_read(model: OcrModel) -> None:
    """rapidocr turns one of its lines round, and answers with nonsense."""
    lines = await read(model, PAGE)
    assert [line.text for line in lines[:-1]] == [
        "Region-based segmentation",
        "Let us first determine markers of the coins and the",
        "background. These markers are pixels that we can label",
        "unambiguously as either object or background. Here,",
        "the markers are found at the two extreme parts of the",
        "histogram of grey values:",
    ]
    assert lines[-1].text.endswith("> markers = np.zeros_like(coins)")
    assert min(line.confidence for line in lines) > 0.95


async def test_short_lines_are_read_as_with_rapidocr(model: OcrModel, reference: RapidOCR) -> None:
    """rapidocr pads them to 320 pixels, which takes longer and says the same."""
    picture = drawn(("Hello", "World", "4711", "EUR"), (300, 290))
    theirs = reference(np.ascontiguousarray(np.asarray(picture)[..., ::-1]))
    ours = await read(model, picture)
    assert [line.text for line in ours] == list(theirs.txts) == ["Hello", "World", "4711", "EUR"]
    assert np.allclose([line.confidence for line in ours], theirs.scores, atol=0.01)


async def test_a_line_reads_alike_alone_and_among_others(model: OcrModel) -> None:
    lines = [np.asarray(drawn((text,), (30 * len(text), 60)))[..., ::-1] for text in TEXT * 3]
    together = await model.read_lines(lines)
    alone = [(await model.read_lines([line]))[0] for line in lines]
    assert together[0].text == TEXT[0]
    assert [reading.text for reading in together] == [reading.text for reading in alone]
    assert np.allclose([r.confidence for r in together], [r.confidence for r in alone], atol=1e-4)


async def test_lines_are_recognised_in_batches(model: OcrModel) -> None:
    recognition = model.queues[2]
    before = recognition.statistics()
    lines = [np.asarray(drawn((text,), (200, 60)))[..., ::-1] for text in ("one", "three") * 8]
    readings = await model.read_lines(lines)
    after = recognition.statistics()
    assert [reading.text for reading in readings] == ["one", "three"] * 8
    assert after.items - before.items == 16
    assert after.batches - before.batches == 16 // recognition.max_batch


@pytest.mark.parametrize("width", [1, 100, 127, 128, 129, 384, 385, 9000])
def test_lines_are_padded_to_few_widths_and_never_cut(width: int) -> None:
    padded = padded_width(np.zeros((48, width, 3), np.uint8))
    assert padded >= max(parameters.LEAST_WIDTH, width)
    assert padded < max(parameters.LEAST_WIDTH, width) + parameters.WIDTH_STEP
    assert padded % parameters.WIDTH_STEP == 0


async def test_boxes_are_in_pixels_of_the_upright_image(model: OcrModel) -> None:
    upright = await read(model, drawn())
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = drawn().transpose(Image.Transpose.ROTATE_90)
    turned = await model.read(png(stored, exif=exif))
    assert [line.text for line in upright] == list(TEXT)
    assert turned == upright
    for number, line in enumerate(upright):
        (left, top), (right, _), (_, bottom), _ = line.box
        assert all(isinstance(value, int) for point in line.box for value in point)
        assert abs(left - 20) < 8
        assert right > 180
        assert top < 20 + number * 28 * 1.7 + 14 < bottom


async def test_boxes_of_an_image_that_was_scaled_are_scaled_back(model: OcrModel) -> None:
    picture = drawn(("Huge",), (3000, 1500), 400)
    [line] = await read(model, picture)
    assert line.text == "Huge"
    ink = ImageOps.invert(picture).getbbox()
    assert ink is not None
    (left, top), _, (right, bottom), _ = line.box
    # A box leaves room around its line, about half its height on every side.
    assert left <= ink[0] < ink[2] <= right
    assert top <= ink[1] < ink[3] <= bottom
    assert right - left < ink[2] - ink[0] + (ink[3] - ink[1])
    assert bottom - top < 2.5 * (ink[3] - ink[1])


@pytest.mark.parametrize("size", [(20000, 10), (1, 1)])
async def test_odd_shapes_have_no_text_and_fail_nothing(
    size: tuple[int, int], model: OcrModel
) -> None:
    assert await read(model, Image.new("RGB", size, "white")) == []


async def test_pictures_at_once_get_their_own_answers(model: OcrModel) -> None:
    words = [(f"Number {n}", f"Page {n * 111}") for n in range(4)]
    pictures = [drawn(pair, (220, 200)) for pair in words]
    answers = await asyncio.gather(*(read(model, picture) for picture in pictures))
    assert [tuple(line.text for line in lines) for lines in answers] == words


async def test_what_waits_too_long_is_dropped(model: OcrModel) -> None:
    page = png(drawn())
    with pytest.raises(DeadlinePassed):
        await model.read(page, context=RequestContext(time.monotonic() - 1))
    assert [line.text for line in await model.read(page)] == list(TEXT)


async def test_pages_past_the_queue_are_refused_at_once() -> None:
    page = png(Image.new("RGB", (700, 700), "white"))
    with loaded(QueueOptions(capacity=Limit(1))) as small:
        pages = (small.read(page) for _ in range(6))
        outcomes = await asyncio.gather(*pages, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
    assert refused
    assert [outcome for outcome in outcomes if outcome not in refused] == [[]] * (6 - len(refused))
    with pytest.raises(NotReady):
        await small.read(page)


async def ask(model: OcrModel, payload: bytes, **meta: str) -> Result:
    request = Request("ocr", payload, "image/jpeg", meta)
    call = Call(request, read_all(TASK.options, meta), RequestContext())
    return TASK.render(model, await TASK.call(model, TASK.parse(model, call), call), call)


async def test_the_task_answers_in_the_schema_of_the_contract(model: OcrModel) -> None:
    result = await ask(model, png(drawn()))
    assert result.mime == "application/json;schema=ocr_v1"
    assert result.schema == "ocr_v1"
    assert result.meta == {"count": "4", "lumen.model.id": "PP-OCRv6-small"}
    answer = json.loads(result.body)
    assert list(answer) == ["items", "count", "model_id"]
    assert answer["count"] == 4
    assert answer["model_id"] == "PP-OCRv6-small"
    assert [item["text"] for item in answer["items"]] == list(TEXT)
    for item in answer["items"]:
        assert list(item) == ["box", "text", "confidence"]
        assert 0 <= item["confidence"] <= 1
        assert len(item["box"]) == 4
        assert all(isinstance(value, int) for point in item["box"] for value in point)


async def test_an_image_without_text_is_no_error(model: OcrModel) -> None:
    result = await ask(model, png(Image.new("RGB", (100, 100))))
    assert json.loads(result.body) == {"items": [], "count": 0, "model_id": "PP-OCRv6-small"}
    assert result.meta["count"] == "0"


async def test_a_request_may_ask_for_other_than_the_usual_certainty(model: OcrModel) -> None:
    payload = png(PAGE.crop((0, 0, 191, 191)))
    counts = []
    for least in ("0", "0.5", "0.985"):
        answer = json.loads((await ask(model, payload, min_confidence=least)).body)
        assert all(item["confidence"] >= float(least) for item in answer["items"])
        counts.append(answer["count"])
    assert counts[0] >= counts[1] > counts[2] > 0


@pytest.mark.parametrize("name", ["min_confidence", "recognition_threshold", "text_score"])
def test_the_least_confidence_goes_by_several_names(name: str) -> None:
    assert read_all(TASK.options, {name: "0.700"}) == {"min_confidence": 0.7}
    assert read_all(TASK.options, {}) == {"min_confidence": 0.5}


@pytest.mark.parametrize("value", ["1.5", "-0.1", "nan", "much", ""])
async def test_a_confidence_that_is_none_is_refused(value: str, model: OcrModel) -> None:
    with pytest.raises(InvalidInput, match="min_confidence"):
        await ask(model, png(drawn()), min_confidence=value)


async def test_what_is_no_image_is_refused(model: OcrModel) -> None:
    with pytest.raises(InvalidInput):
        await ask(model, b"no image")


def test_the_manager_says_what_is_in_use(model: OcrModel) -> None:
    assert (model.service, model.model_id) == ("ocr", "PP-OCRv6-small")
    assert (model.runtime, model.device, model.precisions[0]) == ("onnxrt", "cpu", "fp32")
    assert set(model.precisions) <= {"fp32", "int8"}  # by what this CPU is good at
    assert model.metadata["provider"] == "CPUExecutionProvider"
    assert [queue.max_batch for queue in model.queues] == [1, 8, 8]


def test_our_parameters_are_those_of_the_package() -> None:
    import rapidocr

    config = OmegaConf.load(Path(rapidocr.__file__).with_name("config.yaml"))
    for section, prefix in (("Global", ""), ("Det", "DET_"), ("Cls", "CLS_"), ("Rec", "REC_")):
        for name, value in config[section].items():
            ours = getattr(parameters, prefix + name.upper(), None)
            if ours is not None:
                assert (list(ours) if isinstance(ours, tuple) else ours) == value, name
    assert tuple(config.Cls.label_list) == parameters.CLS_LABELS
    assert tuple(config.Rec.rec_img_shape) == parameters.REC_IMAGE_SHAPE
    assert tuple(config.Cls.cls_image_shape) == parameters.CLS_IMAGE_SHAPE
    assert config.Cls.cls_thresh == parameters.CLS_THRESH
    assert (config.Det.ocr_version, config.Rec.model_type) == ("PP-OCRv6", "small")


async def test_memory_is_given_back_once_after_the_last_work() -> None:
    trimmed: list[int] = []
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def trim() -> None:
        trimmed.append(busy)
        loop.call_soon_threadsafe(done.set)

    rest, busy = IdleTrim(0, trim), 0
    with rest.busy():
        busy += 1
        with rest.busy():
            busy += 1
        busy -= 1
        await asyncio.sleep(0)
    busy -= 1
    await asyncio.wait_for(done.wait(), 5)
    assert trimmed == [0]


def python(code: str, **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def test_a_package_without_its_models_is_unavailable_with_a_cure(tmp_path: Path) -> None:
    (tmp_path / "rapidocr").mkdir()
    (tmp_path / "rapidocr" / "__init__.py").touch()
    code = """
from hearth.errors import ModelUnavailable
from hearth.media import ImageReader
from hearth.hub.progress import no_progress
from hearth.families.ocr.loader import OcrLoader
from hearth.families.ocr.settings import OcrSettings
source = OcrLoader(OcrSettings(), reader=ImageReader(1))
assert not source.is_local()
for step in (source.load, lambda: source.download(no_progress)):
    try:
        step()
    except ModelUnavailable as error:
        print(error)
"""
    lines = python(code, PYTHONPATH=str(tmp_path)).splitlines()
    assert len(lines) == 2
    assert all("PP-OCRv6_det_small.onnx" in line for line in lines)
    assert all("pip install '.[server]'" in line for line in lines)


def test_nothing_heavy_is_imported_before_the_model_is_loaded() -> None:
    code = """
import sys
import hearth.families.ocr.loader, hearth.families.ocr.tasks
from hearth.media import ImageReader
from hearth.families.ocr.settings import OcrSettings
assert hearth.families.ocr.loader.OcrLoader(OcrSettings(), reader=ImageReader(1)).is_local()
print(*({"cv2", "rapidocr", "onnxruntime", "shapely", "omegaconf", "torch"} & set(sys.modules)))
"""
    assert python(code) == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_idle_model_stays_small_after_pages() -> None:
    code = """
import asyncio, io, time
from PIL import Image
from hearth.media import ImageReader
from hearth.families.ocr.loader import OcrLoader
from hearth.families.ocr.settings import OcrSettings

def resident():
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmRSS")]
    return int(line.split()[1]) // 1024

model = OcrLoader(OcrSettings(), reader=ImageReader(10**8)).load()
loaded = resident()
image = io.BytesIO()
Image.effect_noise((1500, 1000), 80).save(image, "PNG")

async def main():
    for _ in range(2):
        await model.read(image.getvalue())
    deadline = time.monotonic() + 20
    while resident() > 280 and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
asyncio.run(main())
print(loaded, resident())
model.close()
"""
    loaded, idle = map(int, python(code).split())
    assert loaded < 250
    assert idle <= 280
