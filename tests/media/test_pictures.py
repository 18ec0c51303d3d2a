"""Work on whole pictures, in the threads that decode them."""

import asyncio
import threading
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from batch_kit import until
from hearth.batching import RequestContext, Workers
from hearth.errors import InvalidInput, ModelFailed
from hearth.families.mediapipe.tasks import MEDIAPIPE_TASKS
from hearth.families.tasks import TASKS
from hearth.media import ImageReader, Picture, images
from hearth.media.formats import IMAGES, PICTURES
from hearth.models.media_work import MediaWork
from hearth.models.options import QueueOptions
from hearth.tasks.task import Call, Request

pytestmark = pytest.mark.timeout(20)

READER = ImageReader(10**6)


def file_of(width=40, height=25) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def work():
    workers = Workers(2)
    made = MediaWork("pictures", READER, QueueOptions(workers=workers), ahead=2)
    yield made
    made.close()
    workers.close()


async def test_a_picture_is_decoded_and_held_until_it_was_worked_on(work):
    further_on, entered = asyncio.Event(), []

    async def visit() -> None:
        async with work.decoded(Picture(file_of()), RequestContext(source="a")) as picture:
            entered.append(picture.decode(READER).shape)
            await further_on.wait()

    tasks = [asyncio.create_task(visit()) for _ in range(5)]
    await until(lambda: len(entered) == 2)
    assert work.queue.statistics().waiting == 3
    further_on.set()
    await asyncio.gather(*tasks)
    assert entered == [(25, 40, 3)] * 5


async def test_what_is_ready_waits_for_nobody(work):
    shared = Picture(file_of())
    shared.decode(READER)
    for picture in (shared, Picture(bytes(12), "image/x-raw;format=rgb;width=2;height=2")):
        async with work.decoded(picture) as ready:
            assert ready is picture
    assert work.queue.statistics().items == 0


@pytest.mark.parametrize(
    "file", [Picture(b"no picture"), Picture(b"x", "image/x-raw;format=rgb;width=2;height=2")]
)
async def test_what_is_no_picture_is_refused(work, file):
    with pytest.raises(InvalidInput):
        async with work.decoded(file):
            pytest.fail("it was let in")


async def test_work_gives_its_answer_or_its_error(work):
    assert await work.made(lambda reader: reader.read(file_of()).size) == (40, 25)
    with pytest.raises(ModelFailed, match="division"):
        await work.made(lambda _: 1 // 0)
    async with work.held(lambda _: "held") as answer:
        assert answer == "held"


async def test_work_on_a_heavy_picture_is_begun_anew_where_it_is_in_nobodys_way(work, monkeypatch):
    monkeypatch.setattr(images, "_HEAVY_PIXELS", 999)
    threads = []

    def shape(reader):
        threads.append(threading.current_thread().name)
        return reader.pixels(file_of()).shape

    assert await work.made(shape) == (25, 40, 3)
    assert len(threads) == 2 and "exclusive" in threads[1] and "exclusive" not in threads[0]
    async with work.decoded(Picture(file_of())) as picture:
        assert np.all(picture.decode(READER.light) == (255, 0, 0))


def test_every_task_of_pictures_takes_files_and_frames():
    looking = [task for task in TASKS if set(task.inputs) & set(IMAGES)]
    assert len(looking) > 15
    assert [task.name for task in looking if not set(PICTURES) <= set(task.inputs)] == []


@pytest.mark.parametrize("task", MEDIAPIPE_TASKS, ids=lambda task: task.name)
def test_what_looks_at_frames_takes_no_tensors(task):
    request = Request(task.name, b"", meta={"lumen.input.kind": "tensor"})
    with pytest.raises(InvalidInput, match="no tensors"):
        task.parse(None, Call(request, {}, RequestContext()))
