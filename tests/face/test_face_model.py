"""The faces of pictures through the model: the right pixels, the right vectors, shared work."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from batch_kit import until, until_measured
from face_kit import PATTERN, READER, Mark, drawn, expected, file, loaded, pack, shrunk
from hearth.batching import BatchQueue, Limit, RequestContext
from hearth.errors import InvalidInput, ModelFailed, ModelUnavailable
from hearth.families.face import preprocess
from hearth.families.face.alignment import aligned
from hearth.families.face.faces import Kept, Wanted
from hearth.families.face.model import FaceModel
from hearth.families.face.preprocess import PICTURES_AHEAD
from hearth.media import ImageReader, Picture
from hearth.models.model import TakesTensors
from hearth.models.options import QueueOptions
from hearth.models.tuning import FILE, ProfileCache

KEEPING = QueueOptions(cache_entries=Limit(1000), max_batch=16)
MARKS = (Mark(3, 3, 2), Mark(12, 5, 3), Mark(6, 10, 2.5))
SIZE = (800, 600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return pack(tmp_path_factory.mktemp("faces") / "toy_l", recognition={"spoils": np.nan})


@pytest.fixture(scope="module")
def model(folder) -> Iterator[FaceModel]:
    with loaded(folder, QueueOptions(max_batch=16)) as made:
        yield made


@cache
def picture(marks=MARKS, noise=1) -> bytes:
    return file(drawn(SIZE, marks, noise=noise), "BMP")


def ran(model: FaceModel) -> list[int]:
    """Items that each queue has run."""
    return [queue.statistics().items for queue in model.queues]


# --- where faces are ------------------------------------------------------------------------

SIZES = [(640, 640), (1280, 960), (960, 1280), (100, 80), (2000, 313), (313, 2000), (4032, 3024),
         (1000, 667), (64, 64)]  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
async def test_faces_are_found_in_pixels_of_the_picture(model, size):
    wide, high = (edge // 32 for edge in shrunk(size))
    mark = Mark(wide // 2, high // 3, 1.0)
    [found] = await model.detect(file(drawn(size, [mark]), "BMP"))
    should = expected(size, mark)
    assert found.confidence > 0.7
    off = np.abs(np.reshape(found.box, (2, 2)) - should.box.clip(0, size)).max()
    assert off < 0.05 * max(1, max(size) / 640)
    assert np.abs(np.reshape(found.landmarks, (5, 2)) - should.landmarks).max() < 0.1 * max(
        1, max(size) / 640
    )


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_a_picture_that_lies_on_its_side_is_looked_at_upright(model, orientation):
    upright = drawn((640, 400), [Mark(4, 6, 2)], noise=5)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    stored = upright if back is None else upright.transpose(Image.Transpose(back))
    exif = Image.Exif()
    exif[0x0112] = orientation
    [found] = await model.recognise(file(stored, "TIFF", exif=exif))
    [plain] = await model.recognise(file(upright, "BMP"))
    assert found.face == plain.face
    assert np.array_equal(found.vector, plain.vector)


async def test_boxes_end_at_the_picture_and_landmarks_dont(model):
    corner = Mark(0, 0, 3)
    [found] = await model.detect(picture((corner,)))
    should = expected(SIZE, corner)
    assert found.box[:2] == (0, 0)
    assert min(found.landmarks) < 0
    assert np.abs(np.reshape(found.landmarks, (5, 2)) - should.landmarks).max() < 0.5


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (30_000, 20), (20, 30_000)])
async def test_odd_shapes_have_no_faces_and_fail_nothing(model, size):
    assert await model.detect(file(Image.new("RGB", size))) == ()
    assert await model.recognise(file(Image.new("RGB", size))) == []


# --- whose they are -------------------------------------------------------------------------


def directly(folder: Path, crops: list[Any]) -> Any:
    """The vectors of aligned faces by ONNX Runtime alone, one at a time."""
    session = onnxruntime.InferenceSession(folder / "recognition/model.onnx")
    rows = []
    for crop in crops:
        taken = (crop.astype(np.float64).transpose(2, 0, 1)[None] - 127.5) / 127.5
        [[row]] = session.run(None, {"input.1": taken.astype(np.float32)})
        rows.append(row.astype(np.float64) / np.linalg.norm(row.astype(np.float64)))
    return np.array(rows)


async def test_vectors_are_those_of_the_graph_for_the_aligned_faces(model, folder):
    payload = picture()
    found = await model.recognise(payload)
    pixels = np.asarray(drawn(SIZE, MARKS, noise=1))
    assert [embedded.face for embedded in found] == list(await model.detect(payload))
    crops = [aligned(pixels, embedded.face.landmarks) for embedded in found]
    mine = np.array([embedded.vector for embedded in found])
    assert mine.shape == (3, 512) and mine.dtype == np.float32
    assert np.abs(mine - directly(folder, crops)).max() < 1e-6
    assert np.allclose(np.linalg.norm(mine.astype(np.float64), axis=1), 1, atol=1e-6)
    assert not found[0].vector.flags.writeable


async def test_faces_that_are_told_get_the_vectors_of_those_that_are_found(model):
    payload = picture()
    found = await model.recognise(payload)
    told = await model.embed(payload, [embedded.face.landmarks for embedded in found[::-1]])
    for mine, theirs in zip(found[::-1], told, strict=True):
        assert np.array_equal(mine.vector, theirs.vector)
        assert theirs.face.landmarks == mine.face.landmarks and theirs.face.confidence == 1


async def test_an_aligned_face_is_taken_as_it_is(model, folder):
    pixels = np.asarray(drawn(SIZE, MARKS, noise=1))
    [*_, last] = await model.recognise(picture())
    crop = aligned(pixels, last.face.landmarks)
    [embedded] = await model.embed(file(Image.fromarray(crop)), None)
    assert np.array_equal(embedded.vector, last.vector)
    assert embedded.face.box == (0, 0, 112, 112)
    assert embedded.face.landmarks[:2] == (38.295, 51.696)
    large = Image.fromarray(crop).resize((224, 224), Image.Resampling.NEAREST)
    [double] = await model.embed(file(large), None)
    assert double.vector @ last.vector > 0.9999
    assert double.face.box == (0, 0, 224, 224)
    with pytest.raises(InvalidInput, match="square"):
        await model.embed(picture(), None)


async def test_landmarks_that_are_no_face_are_refused(model):
    with pytest.raises(InvalidInput, match="can't be aligned"):
        await model.embed(picture(), [(5.0,) * 10])
    assert await model.embed(picture(), []) == []


async def test_a_raw_frame_and_a_shared_picture_give_what_the_file_gives(model):
    image = drawn((640, 480), MARKS[:2], noise=3)
    [one, other] = await model.recognise(file(image))
    raw = Picture(image.tobytes(), "image/x-raw;format=rgb;width=640;height=480")
    shared = Picture(file(image))
    for kind in (raw, shared):
        again = await model.recognise(kind)
        assert [each.face for each in again] == [one.face, other.face]
        assert np.array_equal(again[0].vector, one.vector)
    assert shared.decode(READER).shape == (480, 640, 3)


async def test_a_graph_of_one_face_at_a_time_gives_the_same(model, tmp_path):
    with loaded(pack(tmp_path / "one", recognition={"batch": 1})) as single:
        assert single.queues[2].max_batch == 1
        for mine, theirs in zip(await single.recognise(picture()),
                                await model.recognise(picture()), strict=True):  # fmt: skip
            assert mine.face == theirs.face
            assert np.allclose(mine.vector, theirs.vector, atol=1e-6)


async def test_a_picture_too_large_to_be_kept_is_decoded_again_for_its_faces(model, monkeypatch):
    decode, decoded = ImageReader.pixels, []

    def counting(reader, payload):
        decoded.append(payload)
        return decode(reader, payload)

    monkeypatch.setattr(ImageReader, "pixels", counting)
    expectation = await model.recognise(picture())
    assert len(decoded) == 1
    monkeypatch.setattr(preprocess, "LARGEST_KEPT", 100_000)
    found = await model.recognise(picture())
    assert len(decoded) == 3
    for mine, theirs in zip(found, expectation, strict=True):
        assert np.array_equal(mine.vector, theirs.vector)


# --- work that is shared --------------------------------------------------------------------


async def test_a_picture_is_looked_at_once_however_it_is_asked_about(folder):
    payload = picture()
    with loaded(folder, KEEPING) as model:
        found = await model.recognise(payload)
        assert ran(model) == [1, 1, 3]
        faces = await model.detect(payload)
        assert await model.detect(payload, Wanted(0.7)) == faces
        assert [embedded.face for embedded in found] == list(faces)
        again = await model.recognise(payload)
        assert again[0].vector is found[0].vector
        await model.embed(payload, [face.landmarks for face in faces])
        assert ran(model) == [1, 1, 3]
        # Others of its faces need the picture once more, but no other look.
        [most] = await model.recognise(payload, Wanted(max_faces=1))
        assert most.face == max(faces, key=lambda face: face.prominence)
        assert ran(model) == [1, 2, 4]
        await model.detect(payload, Wanted(nms_threshold=0.6))
        assert ran(model) == [2, 2, 4]


async def test_the_same_picture_from_several_at_once_is_looked_at_and_recognised_once(folder):
    payload = picture()
    with loaded(folder, KEEPING) as model:
        answers = await asyncio.gather(
            *(model.recognise(payload, context=RequestContext(source=n)) for n in range(5)),
            model.detect(payload),
        )
        assert (ran(model)[0], ran(model)[2]) == (1, 3)
        assert model.cache_statistics["face-detection"].misses == 1
        assert model.cache_statistics["face-recognition"].misses == 1
    assert all(len(answer) == 3 for answer in answers)


async def test_the_faces_of_ten_clients_meet_in_one_batch(folder):
    """Those of the first picture run alone, and while they do, all the others come."""
    gate, batches = threading.Event(), []

    def watch(batch, _):
        batches.append(len(batch))
        gate.wait(30)

    with loaded(folder, QueueOptions(max_batch=16), recognition=watch) as model:
        queue = model.queues[2]
        payloads = [picture(MARKS[:1], noise=n) for n in range(1, 11)]
        first = asyncio.create_task(model.recognise(payloads[0], context=RequestContext(source=0)))
        await until(lambda: bool(batches))
        others = [
            asyncio.create_task(model.recognise(payload, context=RequestContext(source=n)))
            for n, payload in enumerate(payloads[1:], 1)
        ]
        # Never more than twice the pictures ahead are under way; the first is one of them.
        await until(lambda: queue.statistics().ready == 2 * PICTURES_AHEAD - 1)
        gate.set()
        answers = [await first, *await asyncio.gather(*others)]
        assert queue.statistics().items == 10
    assert batches[:2] == [1, 2 * PICTURES_AHEAD - 1] and len(batches) <= 4
    vectors = np.array([answer[0].vector for answer in answers])
    assert len(np.unique(vectors.round(5), axis=0)) == 10


async def test_a_picture_is_gone_from_memory_once_its_faces_are_cut_out(folder):
    gate, entered = threading.Event(), threading.Event()

    def watch(*_: Any) -> None:
        entered.set()
        gate.wait(30)

    with loaded(folder, recognition=watch) as model:
        many = [asyncio.create_task(model.recognise(picture(noise=n))) for n in range(1, 13)]
        await until(lambda: model.queues[0].statistics().items == PICTURES_AHEAD)
        await asyncio.to_thread(entered.wait, 20)
        await until(lambda: model.queues[1].statistics().items == PICTURES_AHEAD)
        held = [thing for thing in gc.get_objects() if type(thing) is Kept]
        assert not [kept for kept in held if kept.take() is not None]
        # The others wait as files, however many there are.
        assert model.queues[0].statistics().waiting == len(many) - PICTURES_AHEAD
        gate.set()
        assert [len(answer) for answer in await asyncio.gather(*many)] == [3] * len(many)


async def test_pictures_that_are_given_up_make_room_for_others(folder):
    gate = threading.Event()
    with loaded(folder, recognition=lambda *_: gate.wait(30)) as model:
        looks = model.queues[0]
        given_up = [
            asyncio.create_task(model.recognise(picture(noise=n))) for n in range(PICTURES_AHEAD)
        ]
        await until(lambda: looks.statistics().items == PICTURES_AHEAD)
        more = [asyncio.create_task(model.recognise(picture(noise=50 + n))) for n in range(4)]
        for task in given_up:
            task.cancel()
        await until(lambda: looks.statistics().items == PICTURES_AHEAD + 4)
        gate.set()
        assert [len(answer) for answer in await asyncio.gather(*more)] == [3] * 4


# --- what fails, fails alone ----------------------------------------------------------------


async def test_a_face_without_a_vector_fails_its_picture_and_no_other(model, monkeypatch):
    good = picture(MARKS[:2])
    # Landmarks far from anything: a crop that is all black, which this graph makes NaN of.
    nowhere = tuple((np.array(PATTERN) * 40 + (-300, -300)).reshape(-1))
    face = (await model.recognise(good))[0].face.landmarks
    first, bad, last = await asyncio.gather(
        model.recognise(good), model.embed(good, [face, nowhere]), model.embed(good, [face]),
        return_exceptions=True,
    )  # fmt: skip
    assert isinstance(bad, ModelFailed)
    assert str(bad) == "the recognition model gave numbers that make no vector"
    assert len(first) == 2 and np.array_equal(last[0].vector, first[0].vector)


async def test_a_face_of_all_zeros_has_no_vector(tmp_path):
    with loaded(pack(tmp_path / "zeros", recognition={"spoils": 0.0})) as zeros:
        with pytest.raises(ModelFailed, match="make no vector"):
            await zeros.embed(file(Image.new("RGB", (112, 112))), None)
        assert len(await zeros.recognise(picture())) == 3


@pytest.mark.parametrize("bad", [b"", b"no picture", file(drawn(SIZE, MARKS), "JPEG")[:3000]])
async def test_a_file_that_is_no_picture_fails_alone(model, bad):
    good, failed, told = await asyncio.gather(
        model.recognise(picture()), model.recognise(bad), model.embed(bad, None),
        return_exceptions=True,
    )  # fmt: skip
    assert len(good) == 3
    assert isinstance(failed, InvalidInput) and isinstance(told, InvalidInput)


# --- the start ------------------------------------------------------------------------------


async def test_curves_are_measured_and_kept(folder, tmp_path):
    cache = ProfileCache(tmp_path / FILE)
    with loaded(folder, QueueOptions(profiles=cache)) as model:
        await model.warm_up()
        await until_measured(*model.queues)
        detection, _, recognition = model.queues
        assert list(detection.profile.times) == [1] and detection.max_batch == 1
        assert len(recognition.profile.times) > 2 and recognition.max_batch > 1
    kept = {curve.key: curve.facts["item"] for curve in cache}
    assert kept == {"face-detection": [640, 640, 3], "face-recognition": [112, 112, 3]}


@pytest.mark.parametrize("role", ["detection", "recognition"])
async def test_a_model_whose_numbers_are_wrong_isnt_taken_for_ready(folder, role):
    def spoil(_: Any, answers: Any) -> None:
        for name in answers:
            answers[name] = np.full_like(answers[name], np.nan)

    reason = f"toy_l doesn't work: the {role} model"
    with loaded(folder, **{role: spoil}) as broken, pytest.raises(ModelUnavailable, match=reason):
        await broken.warm_up()


def test_the_manager_says_what_is_in_use(model):
    assert (model.service, model.model_id, model.runtime) == ("face", "toy_l", "onnxrt")
    assert (model.device, model.precisions) == ("cpu", ("fp32",))
    assert not isinstance(model, TakesTensors)
    assert model.metadata == {
        "provider": "CPUExecutionProvider", "detection_size": "640x640", "embedding_dim": "512",
    }  # fmt: skip
    assert [queue.name for queue in model.queues] == [
        "face-detection", "face-crops", "face-recognition"
    ]  # fmt: skip
    assert all(isinstance(queue, BatchQueue) for queue in model.queues)
