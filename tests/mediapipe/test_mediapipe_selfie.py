"""Masks of people: MediaPipe's own, in every format."""

import asyncio
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

import reference_kit as kit
from hearth.errors import InvalidInput
from hearth.families.mediapipe.frame import Frame
from hearth.media import Picture
from hearth.media.mask import SoftMask, runs, stretched
from hearth.media.strips import strips
from node_kit import stub_of
from vision_kit import Answer, answers, frame, mime_of, vision_node

TASK = "selfie_segmentation"


@pytest.fixture(scope="module")
def model(vision_model):
    return vision_model


async def mask_of(model, pixels: np.ndarray, which: str = "general") -> SoftMask:
    async with model.frame(Picture(pixels.tobytes(), mime_of(pixels))) as seen:
        return await model.selfie.find(seen, model=which)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


# --- against mp.solutions ---------------------------------------------------------------------


@pytest.mark.parametrize("which", ["general", "landscape"])
async def test_masks_are_those_of_mediapipe(model, which):
    overlaps, differences = [], []
    for name, pixels, answer in kit.compared(f"selfie_{which}"):
        mask = await mask_of(model, pixels, which)
        soft, coverage = mask.eight_bit()
        hard, _ = mask.eight_bit(0.5)
        front = kit.front_of(answer)
        overlaps.append(overlap(hard > 0, front))
        differences.append(np.abs(soft[::8, ::8] - kit.every_eighth_of(answer).astype(int)).mean())
        assert overlaps[-1] >= 0.99, name
        assert differences[-1] <= 0.4, name
        assert coverage == pytest.approx(front.mean(), abs=0.002), name
    assert len(overlaps) >= 30
    assert np.mean(overlaps) >= 0.999
    assert np.mean(differences) <= 0.05


async def test_the_astronaut_covers_half_of_her_picture(model):
    """0.545 in mp.solutions 0.10.21, measured apart from the kept answers."""
    _, coverage = (await mask_of(model, kit.picture("astronaut"))).eight_bit()
    assert coverage == pytest.approx(0.545, abs=0.001)


async def test_frames_of_several_clients_keep_their_masks_apart(model):
    pictures = [kit.picture(name) for name in ("astronaut", "grace", "camera", "black")] * 3
    together = await asyncio.gather(*(mask_of(model, pixels) for pixels in pictures))
    for pixels, mask in zip(pictures[:4], together[8:], strict=True):
        assert np.array_equal(mask.small, (await mask_of(model, pixels)).small)
        assert (mask.height, mask.width) == pixels.shape[:2]


# --- enlarging --------------------------------------------------------------------------------


@pytest.mark.parametrize("small", [(1, 1), (1, 5), (144, 256), (256, 256)])
@pytest.mark.parametrize("size", [(1, 1), (7, 300), (333, 200), (256, 256), (1000, 700)])
def test_masks_are_enlarged_in_strips_as_they_would_be_whole(small, size, monkeypatch):
    values = np.random.default_rng(1).random(small).astype(np.float32)
    whole = cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
    parts = [stretched(values, size, *strip) for strip in strips(*size)]
    assert np.abs(np.concatenate(parts) - whole).max() <= 1e-5
    monkeypatch.setattr("hearth.media.strips._STRIP_PIXELS", 5 * size[0])
    again = [stretched(values, size, *strip) for strip in strips(*size, 3)]
    assert np.abs(np.concatenate(again) - whole).max() <= 1e-5


@pytest.mark.parametrize("multiple", [1, 3, 100])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (4000, 131), (10**6, 3), (3, 10**5)])
def test_strips_cover_all_rows_once(width, height, multiple):
    covered = [row for top, bottom in strips(width, height, multiple) for row in range(top, bottom)]
    assert covered == list(range(height))
    assert all(top % multiple == 0 for top, _ in strips(width, height, multiple))


def test_coverage_and_threshold_mean_more_than():
    values = np.array([[0, 0.25, 0.5, 0.75, 1]], np.float32)
    mask = SoftMask(values, 5, 1)
    assert mask.eight_bit()[0].tolist() == [[0, 64, 128, 191, 255]]
    assert mask.eight_bit()[1] == pytest.approx(0.4)
    for threshold, share in ((0, 0.8), (0.25, 0.6), (0.5, 0.4), (0.75, 0.2), (1, 0)):
        hard, coverage = mask.eight_bit(threshold)
        assert hard.tolist() == [[255 * int(value > threshold) for value in values[0]]]
        assert coverage == pytest.approx(share)


# --- runs -------------------------------------------------------------------------------------


def unpacked(answer: dict) -> np.ndarray:
    """A mask from its runs, as a client would do it: (height, width), 0 and 255."""
    assert answer["order"] == "row-major, starting with background"
    pixels: list[int] = []
    for number, count in enumerate(answer["counts"]):
        pixels += [number % 2 * 255] * count
    return np.array(pixels, np.uint8).reshape(answer["height"], answer["width"])


@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (8, 1), (5, 7), (64, 48)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_runs_tell_the_whole_mask(shape, share):
    mask = (np.random.default_rng(3).random(shape) < share).astype(np.uint8) * 255
    counts = runs(mask).tolist()
    size = {"height": shape[0], "width": shape[1], "order": "row-major, starting with background"}
    assert np.array_equal(unpacked({**size, "counts": counts}), mask)
    assert all(counts[1:]), "only the first may be none"
    assert sum(counts) == mask.size


# --- the task ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def expected(model):
    """The astronaut's mask, soft."""

    async def find():
        return (await mask_of(model, kit.picture("astronaut"))).eight_bit()[0]

    return asyncio.run(find())


async def ask(*options: dict) -> list[Answer]:
    """Of the astronaut, one answer for each set of options, in their order."""
    pixels = kit.picture("astronaut")
    async with vision_node() as node, stub_of(node) as stub:
        asked = [frame(pixels, TASK, str(number), **each) for number, each in enumerate(options)]
        return sorted(await answers(stub, asked), key=lambda answer: int(answer.cid))


def png_of(answer: Answer) -> np.ndarray:
    assert answer.mime == "image/png", answer.error
    image = Image.open(BytesIO(answer.body))
    assert image.mode == "L"
    return np.asarray(image)


async def test_a_mask_comes_as_png_bytes_or_runs(expected):
    png, hard, raw, runs_of = await ask(
        {}, {"threshold": 0.5}, {"format": "raw"}, {"format": "rle"}
    )
    assert np.array_equal(png_of(png), expected)
    # A value at the threshold may be rounded to either side of it.
    assert set(np.unique(png_of(hard))) == {0, 255}
    assert np.count_nonzero((png_of(hard) > 0) != (expected > 127)) <= expected.size / 1000
    assert (raw.mime, raw.schema) == ("application/octet-stream", "")
    assert raw.body == expected.tobytes()
    assert runs_of.mime == "application/json;schema=selfie_segmentation_v1"
    assert runs_of.schema == "selfie_segmentation_v1"
    assert np.array_equal(unpacked(runs_of.json), png_of(hard))
    for answer, kind in ((png, "png"), (hard, "png"), (raw, "raw"), (runs_of, "rle")):
        assert (answer.meta["width"], answer.meta["height"]) == ("512", "512")
        assert float(answer.meta["coverage"]) == pytest.approx(0.545, abs=0.001)
        assert answer.meta["format"] == kind
        assert answer.meta["lumen.model.id"] == "mediapipe-0.10.21"
    assert runs_of.json["threshold"] == 0.5
    assert runs_of.json["coverage"] == pytest.approx(0.545, abs=0.001)


async def test_a_threshold_decides_who_is_in_front(expected):
    low, high = await ask({"threshold": 0.1}, {"threshold": 0.9, "format": "rle"})
    assert abs(np.count_nonzero(png_of(low)) - np.count_nonzero(expected > 25)) <= 300
    assert high.json["threshold"] == 0.9
    assert np.count_nonzero(unpacked(high.json)) < np.count_nonzero(png_of(low))
    assert float(low.meta["coverage"]) > high.json["coverage"]


JSON_MIME = "application/json;schema=selfie_segmentation_v1"
ACCEPTED = {
    "image/png": "image/png",
    "application/octet-stream": "application/octet-stream",
    "application/json": JSON_MIME,
    JSON_MIME: JSON_MIME,
    "text/plain, Application/JSON;q=0.5, image/png": JSON_MIME,
    "text/html": "image/png",
    "": "image/png",
}


async def test_accept_chooses_the_format_where_format_doesnt():
    by_accept = await ask(*({"accept": accept} for accept in ACCEPTED))
    assert [answer.mime for answer in by_accept] == list(ACCEPTED.values())
    [by_format] = await ask({"accept": "image/png", "format": "raw"})
    assert by_format.mime == "application/octet-stream"


async def test_the_landscape_model_is_another_one(expected):
    [landscape] = await ask({"model": "landscape", "format": "raw"})
    mask = np.frombuffer(landscape.body, np.uint8).reshape(512, 512)
    assert not np.array_equal(mask, expected)
    assert overlap(mask > 127, expected > 127) > 0.9


async def test_wrong_options_are_refused_and_spare_the_others():
    bad, worse, good = await ask({"format": "bmp"}, {"threshold": "1.5"}, {"format": "raw"})
    assert "choose from png, raw, rle" in bad.error
    assert "threshold" in worse.error
    assert len(good.body) == 512 * 512


async def test_nobody_is_found_where_nobody_is(model):
    mask, coverage = (await mask_of(model, kit.picture("rocket"))).eight_bit(0.5)
    assert not mask.any()
    assert coverage == 0
    assert runs(mask).tolist() == [mask.size]


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (700, 1), (2, 3)])
async def test_pictures_of_any_shape_have_a_mask(model, shape):
    mask = await mask_of(model, np.full((*shape, 3), 90, np.uint8))
    assert mask.eight_bit()[0].shape == shape


async def test_what_is_no_picture_is_refused(model):
    with pytest.raises(InvalidInput):
        async with model.frame(b"no picture") as seen:
            assert isinstance(seen, Frame)
