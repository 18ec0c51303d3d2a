"""Pages of every shape and print, over the wire: each line is read, from the original pixels."""

import random
from collections.abc import Sequence

import numpy as np
import orjson
import pytest
from PIL import Image, ImageDraw, ImageFont
from rapidocr.ch_ppocr_det.utils import DBPostProcess

from checkout import CASES
from hearth.contract import ml_service_pb2 as pb
from hearth.families.ocr import parameters
from hearth.families.ocr.boxes import boxes_of, in_reading_order
from hearth.families.ocr.cutting import cut, cut_tightly
from hearth.families.ocr.detection import LineDetector
from hearth.families.ocr.page import page_of
from hearth.families.ocr.recognition import LineReading
from hearth.families.ocr.rereading import read_again
from hearth.families.ocr.scales import overview_scale, tiles, view_at
from hearth.families.ocr.search import Search
from node_kit import NodeThread, stub_of, talk
from ocr_kit import Watched, drawn, png, session

WORDS = (
    "Autumn", "balance", "carbon", "delivery", "energy", "forest", "garden", "harbor",
    "island", "kitchen", "market", "number", "orange", "packet", "record", "signal",
)  # fmt: skip


def words(rng: random.Random, count: int, size: int) -> str:
    # Figures of 9 pixels are misread by any pipeline now and then.
    number = [str(rng.randrange(100, 100_000))] if size > 9 else []
    return " ".join([*rng.sample(WORDS, count), *number])


def page(
    width: int, height: int, size: int, *, count: int = 3, step: float = 1.8
) -> tuple[Image.Image, list[str]]:
    """A page full of lines of ``size`` pixels, each of ``count`` words and a number."""
    rng, lines, top = random.Random(size), [], size
    image = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    while top < height - 2 * size:
        lines.append(words(rng, count, size))
        pen.text((size, top), lines[-1], "black", font=font)
        top += size * step
    return image, lines


async def read(node: NodeThread, payload: bytes) -> list[str]:
    request = pb.InferRequest(
        correlation_id="1", task="ocr", payload=payload, payload_mime="image/png"
    )
    async with stub_of(node.node) as stub:
        [answer] = await talk(stub, [request])
    assert not answer.error.code, answer.error.message
    return [item["text"] for item in orjson.loads(answer.result)["items"]]


def alike(texts: Sequence[str]) -> list[str]:
    return ["".join(text.split()) for text in texts]


async def test_a_long_receipt_is_read_to_its_last_line(node):
    lines = await read(node, (CASES / "receipt_400x8000.png").read_bytes())
    head = [f"Line {number:03} order {number * 7919 % 10007}" for number in range(120)]
    assert len(lines) == 120
    assert alike(lines) == alike(head)


@pytest.mark.parametrize(
    ("width", "height", "size", "step"),
    [
        (640, 11600, 17, 20),  # a screenshot of a long chat
        (3000, 4000, 60, 4),  # 12 megapixels
        (4000, 3000, 24, 30),  # in which print is small
        (330, 260, 9, 1.8),
        (1240, 400, 10, 3),
        (240, 9600, 20, 60),  # 1:40
    ],
)
async def test_every_line_of_a_page_is_read_once_and_in_order(node, width, height, size, step):
    image, lines = page(width, height, size, step=step, count=2)
    assert alike(await read(node, png(image))) == alike(lines)


async def test_small_print_on_a_very_large_sheet_is_found(node):
    block, lines = page(420, 180, 14)
    sheet = Image.new("RGB", (5000, 4600), "white")
    sheet.paste(block, (3100, 2700))  # 1.8 pixels high on the overview: nothing shows there
    assert alike(await read(node, png(sheet))) == alike(lines)


@pytest.mark.parametrize("word", ["STOP", "A", "EXIT"])
async def test_letters_over_half_the_picture_are_read_as_one_word(node, word):
    font = ImageFont.load_default(800)
    width = round(font.getlength(word)) + 160
    image = Image.new("RGB", (width, 1100), "#ffe060")
    ImageDraw.Draw(image).text((80, 60), word, "#102060", font=font)
    assert await read(node, png(image)) == [word]


async def test_a_page_on_its_head_is_read(node):
    image, lines = page(700, 500, 22, step=2.4)
    assert alike(await read(node, png(image.rotate(180)))) == alike(lines)[::-1]


async def test_a_line_on_its_head_among_upright_ones_is_read(node):
    image, lines = page(700, 300, 24, step=2.4)
    strip = image.crop((0, 72, 700, 120)).rotate(180)
    image.paste(strip, (0, 72))
    assert alike(await read(node, png(image))) == alike(lines)


async def test_good_upright_lines_are_never_turned(node):
    """The orientation model takes a third of such lines for upside down."""
    image, lines = page(1240, 500, 18, count=9, step=2)
    assert alike(await read(node, png(image))) == alike(lines)


async def test_numbers_that_read_either_way_are_left_as_they_stand(node):
    lines = ("906", "6", "9801", "SOS", "96")
    assert await read(node, png(drawn(lines, (300, 320), 30))) == list(lines)


def test_a_closer_look_shows_the_same_whatever_the_tiles(monkeypatch):
    """Lines that lie on the edges of tiles are neither lost nor doubled nor cut."""
    image, lines = page(1300, 300, 9, count=12, step=1.8)
    runs = []
    graph = Watched(session("detection"), lambda batch, _: runs.append(batch.shape))

    def found(shift: int) -> list:
        runs.clear()
        sheet = Image.new("RGB", (2600, 1100), "white")
        sheet.paste(image, (shift, shift))
        [answer] = LineDetector(graph)([page_of(np.asarray(sheet))])
        return [[(x - shift, y - shift) for x, y in box] for box in answer.boxes]

    whole = found(20)
    closer = len(runs)
    assert closer > 2  # for huge letters, the overview, and a closer look
    assert len(whole) == len(lines)
    for tile, shift in ((256, 61), (330, 43)):
        monkeypatch.setattr(parameters, "TILE", tile)
        moved = found(shift)
        assert len(runs) > closer + 3
        assert len(moved) == len(whole)
        assert np.abs(np.array(moved) - np.array(whole)).max() <= 8
    graph.close()


def test_tiles_cover_what_is_wanted_once():
    view = view_at(np.zeros((1500, 2100, 3), np.uint8), 1)
    wanted = np.zeros((150, 210), np.uint8)
    wanted[20:140, 5:200] = 1
    covered = np.zeros((1500, 2100), np.uint8)
    for tile in tiles(view, wanted):
        covered[tile.part] += 1
        for part, seen, edge in zip(tile.part, tile.seen, covered.shape, strict=True):
            assert max(0, part.start - parameters.TILE_MARGIN) == seen.start
            assert min(edge, part.stop + parameters.TILE_MARGIN) == seen.stop
    assert covered.max() == 1
    assert covered[200:1400, 50:2000].min() == 1


@pytest.mark.parametrize("angle", [0, 3, -8, 90])
def test_boxes_are_those_of_rapidocr(angle):
    heat = Image.new("L", (640, 480))
    pen = ImageDraw.Draw(heat)
    for number in range(6):
        pen.rectangle((90, 60 + 60 * number, 300 + 40 * number, 70 + 62 * number), fill=230)
    numbers = np.asarray(heat.rotate(angle))
    reference = DBPostProcess(
        thresh=parameters.DET_THRESH, box_thresh=parameters.DET_BOX_THRESH,
        unclip_ratio=parameters.DET_UNCLIP_RATIO, use_dilation=True, score_mode="fast",
    )  # fmt: skip
    theirs, _ = reference((numbers / 255).astype(np.float32)[None, None], numbers.shape)
    ours = np.array([box.corners for box in boxes_of(numbers)])
    theirs = np.clip(theirs, 0, (639, 479))
    assert len(ours) == len(theirs) == 6
    assert np.abs(np.sort(ours, axis=0) - np.sort(theirs, axis=0)).max() <= 3


def test_cells_of_a_row_are_read_from_the_left_however_large_the_print():
    heat = np.zeros((400, 800), np.uint8)
    for left, top in ((20, 22), (300, 10), (600, 30), (20, 200), (500, 190)):
        heat[top : top + 60, left : left + 160] = 255
    lefts = [round(float(box.corners[0, 0])) for box in in_reading_order(list(boxes_of(heat)))]
    assert lefts == sorted(lefts[:3]) + sorted(lefts[3:])


@pytest.mark.parametrize("angle", [0, 4, 90])
def test_a_line_is_cut_no_higher_than_it_is_read_and_without_aliasing(angle):
    """Stripes of single pixels average to grey; a filter that samples shows them as others."""
    pixels = np.zeros((1200, 1200, 3), np.uint8)
    pixels[::2] = pixels[:, ::2] = 255
    radians = np.deg2rad(angle)
    turn = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    square = np.array([(-400, -120), (400, -120), (400, 120), (-400, 120)])
    corners = (square @ turn + 600).astype(np.float32)
    if angle == 90:
        corners = corners[[1, 2, 3, 0]] if corners[0, 0] > 600 else corners[[3, 0, 1, 2]]
    line = cut(pixels, corners)
    assert line.shape[0] == parameters.REC_IMAGE_SHAPE[1]
    assert abs(line.shape[1] - 160) <= 2
    assert line[4:-4, 4:-4].std() < 25


def test_a_loose_box_is_cut_down_to_its_print():
    pixels = np.full((200, 600, 3), 255, np.uint8)
    pixels[90:110, 40:560:3] = 0
    corners = np.array([(20, 40), (580, 40), (580, 160), (20, 160)], np.float32)
    assert cut(pixels, corners).shape[1] < cut_tightly(pixels, corners).shape[1] <= 2.3 * 560


def test_what_reaches_into_a_box_from_other_lines_does_not_make_its_line_smaller():
    pixels = np.full((200, 600, 3), 255, np.uint8)
    for top, bottom in ((60, 84), (95, 105), (116, 140)):
        pixels[top:bottom, 40:560:3] = 0
    corners = np.array([(20, 80), (580, 80), (580, 120), (20, 120)], np.float32)
    assert cut(pixels, corners).shape[0] == 40
    assert cut_tightly(pixels, corners).shape[0] <= 26


def test_a_line_is_not_dropped_for_the_loose_boxes_of_its_neighbours():
    """Those of an overview reach into lines that only a closer look shows."""
    overview, closer = np.zeros((200, 800), np.uint8), np.zeros((400, 1600), np.uint8)
    for top in (20, 33):
        overview[top : top + 4, 40:700] = 255
    closer[55:60, 80:1400] = 255
    search = Search(np.full((400, 1600, 3), 255, np.uint8), overview.shape)
    search.take(overview, least=0)
    assert len(search.boxes) == 2
    for _ in range(2):  # the second time it is known
        search.take(closer, least=0)
        assert len(search.boxes) == 3


async def test_a_line_with_a_doubtful_letter_is_read_until_it_is_sure_and_the_surest_counts():
    lines = [np.zeros((20, width, 3), np.uint8) for width in (200, 300, 400, 500)]
    answers = {
        200: LineReading("sure", 0.99, 0.9), 300: LineReading("mattrer", 0.99, 0.55),
        321: LineReading("matter", 0.98, 0.9), 400: LineReading("wallet", 0.97, 0.5),
        428: LineReading("walet", 0.99, 0.45), 456: LineReading("walet", 0.99, 0.4),
        500: LineReading("7I", 0.4, 0.3),
    }  # fmt: skip
    asked = []

    async def recognise(lines):
        asked.append([line.shape[1] for line in lines])
        return [answers[line.shape[1]] for line in lines]

    readings = await read_again(lines, recognise)
    assert [reading.text for reading in readings] == ["sure", "matter", "wallet", "7I"]
    assert asked == [[200, 300, 400, 500], [321, 428], [456]]


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (20000, 10), (10, 20000), (1, 25_000_000), (5000, 5000)]
)
def test_no_shape_of_page_makes_a_run_that_is_large(width, height):
    runs = []
    graph = Watched(session("detection"), lambda batch, _: runs.append(batch.shape))
    page = page_of(np.full((height, width, 3), 255, np.uint8))
    assert page.pixels.shape[0] * page.pixels.shape[1] <= parameters.MOST_PIXELS
    assert (page.width, page.height) == (width, height)
    scale = overview_scale(*page.pixels.shape[1::-1])
    assert max(width, height) * scale <= max(parameters.LONGEST, 736 * 544)
    [found] = LineDetector(graph)([page])
    graph.close()
    assert found.lines == []
    assert all(high * wide <= 1024 * 1024 for *_, high, wide in runs)
    assert sum(high * wide for *_, high, wide in runs) <= 2_500_000
