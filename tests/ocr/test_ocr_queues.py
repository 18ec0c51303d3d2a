"""How pages and lines share OCR's queues: what one costs another, and what it costs the node."""

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from batch_kit import until, until_measured
from hearth.batching import BatchQueue, LatencyProfile, Limit, RequestContext, Timings
from hearth.errors import ModelFailed
from hearth.families.ocr.detection import LineDetector
from hearth.families.ocr.model import PAGES_AHEAD
from hearth.families.ocr.orientation import Orienter
from hearth.families.ocr.page import page_of
from hearth.families.ocr.readers import LineReader
from hearth.families.ocr.recognition import LineRecogniser
from hearth.models.options import QueueOptions
from hearth.models.tuning import FILE, ProfileCache
from ocr_kit import TEXT, Watched, drawn, loaded, png, session, watched

LINES = [np.asarray(drawn((text,), (200, 60)))[..., ::-1] for text in ("one", "two")]
BLACK = np.zeros((60, 200, 3), np.uint8)
MANY = tuple(
    f"line {number} of a page that has many" + number % 5 * " more" for number in range(24)
)


class Spoils:
    """Looks on at a graph, and spoils one of the numbers that it gives for anything black."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, batch, numbers):
        black = batch.max(axis=(1, 2, 3)) <= 0
        numbers.reshape(len(batch), -1)[black, -1] = self.value


# --- numbers that aren't finite -------------------------------------------------------------


def reader_over(graph):
    return LineReader([LineRecogniser(graph)], None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("step", "make", "right"),
    [("orientation", Orienter, [False, False]), ("recognition", reader_over, ["one", "two"])],
)
def test_a_line_whose_numbers_arent_finite_fails_alone(step, make, right, value):
    graph = session(step)
    first, black, last = make(Watched(graph, Spoils(value)))([LINES[0], BLACK, LINES[1]])
    graph.close()
    assert [getattr(answer, "text", answer) for answer in (first, last)] == right
    assert isinstance(black, ModelFailed)
    assert str(black) == f"the {step} model gave numbers that aren't finite"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_page_whose_numbers_arent_finite_fails_alone(value):
    graph = session("detection")
    pages = [
        page_of(np.asarray(image))
        for image in (drawn(), Image.new("RGB", (300, 300)), drawn(TEXT[:2]))
    ]
    first, black, last = LineDetector(Watched(graph, Spoils(value)))(pages)
    graph.close()
    assert (len(first.lines), len(last.lines)) == (4, 2)
    assert isinstance(black, ModelFailed)
    assert str(black) == "the detection model gave numbers that aren't finite"


@pytest.mark.parametrize("step", ["orientation", "recognition"])
async def test_a_page_with_a_line_that_fails_fails_and_no_other(step):
    with watched(**{step: Spoils(np.nan)}) as model:
        good, bad, also_good = await asyncio.gather(
            model.read_lines(LINES), model.read_lines([*LINES, BLACK]), model.read(png(drawn())),
            return_exceptions=True,
        )  # fmt: skip
    assert [reading.text for reading in good] == ["one", "two"]
    assert isinstance(bad, ModelFailed)
    assert [line.text for line in also_good] == list(TEXT)


async def test_a_picture_in_which_nothing_can_be_detected_fails_and_no_other():
    with watched(detection=Spoils(np.nan)) as model:
        good, bad = await asyncio.gather(
            model.read(png(drawn())), model.read(png(Image.new("RGB", (300, 300)))),
            return_exceptions=True,
        )  # fmt: skip
    assert [line.text for line in good] == list(TEXT)
    assert isinstance(bad, ModelFailed)


# --- pages and lines in their queues --------------------------------------------------------


def under_way(queue: BatchQueue) -> int:
    state = queue.statistics()
    return state.waiting + state.running


async def test_the_lines_of_a_page_wait_for_no_company():
    lines = [np.asarray(drawn((text,), (30 * len(text), 60)))[..., ::-1] for text in TEXT * 2]
    with loaded(QueueOptions(max_delay=90)) as model:
        for queue in model.queues[1:]:
            # By this, a batch of 8 would save more than the longest delay there may be.
            queue.tune(LatencyProfile({1: 100.0, 8: 100.0}), 8)
        async with asyncio.timeout(60):
            readings = await model.read_lines(lines)
    assert len(readings) == len(lines)
    assert readings[0].text == TEXT[0]


async def test_no_more_pages_are_under_way_than_reading_keeps_up_with():
    """The others wait as files; and a client that comes later needn't wait for them."""
    gate = threading.Event()
    late, detected = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def looks(batch, _):
        if batch.shape[2] < 200:
            return  # the first of two looks at a page
        detected.append(batch.shape)
        if detected[-1] != detected[0]:
            loop.call_soon_threadsafe(late.set)

    flood = png(drawn(("many", "pages"), (300, 300)))
    with watched(detection=looks, recognition=lambda *_: gate.wait(60)) as model:
        many = [
            asyncio.create_task(model.read(flood, context=RequestContext(source="many")))
            for _ in range(PAGES_AHEAD + 3)
        ]
        await until(lambda: len(detected) == PAGES_AHEAD)
        other = asyncio.create_task(
            model.read(
                png(drawn(("another",), (300, 280))), context=RequestContext(source="another")
            )
        )
        await asyncio.wait_for(late.wait(), 20)
        assert len(detected) == PAGES_AHEAD + 1
        assert model.queues[0].statistics().waiting == len(many) - PAGES_AHEAD
        gate.set()
        assert [line.text for line in await other] == ["another"]
        for lines in await asyncio.gather(*many):
            assert [line.text for line in lines] == ["many", "pages"]


async def test_pages_that_are_given_up_make_room_for_others():
    gate = threading.Event()
    page = png(drawn(("a page",), (300, 300)))
    with watched(recognition=lambda *_: gate.wait(60)) as model:
        pages, reading = model.queues[0], model.queues[2]
        given_up = [asyncio.create_task(model.read(page)) for _ in range(PAGES_AHEAD)]
        await until(lambda: under_way(reading) == PAGES_AHEAD)
        more = [asyncio.create_task(model.read(page)) for _ in range(PAGES_AHEAD)]
        for task in given_up:
            task.cancel()
        await until(lambda: pages.statistics().items == 2 * PAGES_AHEAD)
        gate.set()
        for lines in await asyncio.gather(*more):
            assert [line.text for line in lines] == ["a page"]


async def test_the_times_of_a_page_of_many_lines_come_to_no_more_than_it_took():
    page = png(drawn(MANY, (800, 1240)))
    with loaded() as model:
        await model.read(png(drawn()))
        timings, began = Timings(), time.monotonic()
        lines = await model.read(page, context=RequestContext(timings=timings))
        took = time.monotonic() - began
    assert len(lines) == len(MANY)
    assert timings.wait > 0 and timings.run > 0 and timings.preprocess > 0
    # They are parts of it, one after the other; a little is for what each clock leaves out.
    assert timings.wait + timings.run + timings.preprocess <= 1.2 * took + 0.05


# --- what is kept ---------------------------------------------------------------------------


async def test_pages_are_kept_by_the_lines_they_have():
    four, two, blank = png(drawn()), png(drawn(TEXT[:2])), png(Image.new("RGB", (99, 99), "white"))
    with loaded(QueueOptions(cache_entries=Limit(6))) as model:

        async def entries_after(page: bytes) -> int:
            await model.read(page)
            return model.cache_statistics["ocr"].entries

        # A page without a line counts as well; it drives the eldest one out.
        assert [await entries_after(page) for page in (four, two, blank)] == [4, 6, 3]


async def test_a_page_of_more_lines_than_are_kept_isnt_kept():
    with loaded(QueueOptions(cache_entries=Limit(3))) as model:
        page = png(drawn())
        assert await model.read(page) == await model.read(page)
        assert model.cache_statistics["ocr"].hits == model.cache_statistics["ocr"].entries == 0


async def test_a_curve_counts_for_the_threads_that_it_was_measured_with(tmp_path: Path):
    cache = ProfileCache(tmp_path / FILE)
    for threads in (None, 1, None, 1):
        with loaded(QueueOptions(profiles=cache, max_batch=1), threads=threads) as model:
            await model.warm_up()
            await until_measured(*model.queues)
    measured = [(kept.key, kept.facts["threads"], kept.facts["item"]) for kept in cache]
    assert sorted(measured, key=str) == [
        ("ocr-orientation", 1, [48, 320, 3]), ("ocr-orientation", None, [48, 320, 3]),
        ("ocr-recognition", 1, [48, 320, 3]), ("ocr-recognition", None, [48, 320, 3]),
    ]  # fmt: skip
