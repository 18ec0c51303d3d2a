"""Files that phones, scanners and cameras make, over a real socket, with the real models."""

from collections.abc import Iterable
from io import BytesIO

import grpc
import numpy as np
import orjson
import pytest
import tifffile
from google.protobuf.empty_pb2 import Empty
from PIL import Image

from checkout import CASES
from clip_kit import cosine, reference_image_vectors
from hearth.contract import ml_service_pb2 as pb
from hearth.media import FilePage, Picture
from hearth.models.single_flight import key_of
from node_kit import NodeThread, stub_of, talk
from raw_kit import Inside, by_offset, camera_file, jpeg, photo, sensor, thumbnail

INVOICE = ["Invoice 48213", "Total amount 129.50", "Thank you very much"]
FIRST, SECOND = ["FIRST page one"], ["SECOND page two"]


def file(name: str) -> bytes:
    return (CASES / name).read_bytes()


def ask(payload: bytes, task: str = "ocr", cid: str = "1", **meta: object) -> pb.InferRequest:
    # The label is wrong on purpose, as clients of the field send it.
    return pb.InferRequest(correlation_id=cid, task=task, payload=payload,
                           payload_mime="image/jpeg",
                           meta={name: str(value) for name, value in meta.items()})  # fmt: skip


async def answers(node: NodeThread, requests: Iterable[pb.InferRequest]) -> list[pb.InferResponse]:
    async with stub_of(node.node) as stub:
        return await talk(stub, requests)


async def read(
    node: NodeThread, payload: bytes, **meta: object
) -> tuple[list[str], pb.InferResponse]:
    """The lines of a picture, and the whole answer."""
    [answer] = await answers(node, [ask(payload, **meta)])
    return [item["text"] for item in orjson.loads(answer.result)["items"]], answer


async def refusal(node: NodeThread, request: pb.InferRequest) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await answers(node, [request])
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    return str(caught.value.details())


@pytest.mark.parametrize("name", ["phone.heic", "phone_mif1.heic", "raw_with_thumbnail.dng"])
async def test_the_picture_in_the_file_is_the_one_that_is_read(node: NodeThread, name):
    lines, answer = await read(node, file(name))
    assert lines == INVOICE
    assert "pages" not in answer.meta


async def test_a_document_says_how_many_pages_it_has_and_each_is_read(node: NodeThread):
    payload = file("two_pages.tif")
    for meta, words in (
        ({}, FIRST),
        ({"page": 2}, SECOND),
        ({"page": "1"}, FIRST),
    ):
        # Twice: the answer that is kept is one of that page.
        for _ in range(2):
            lines, answer = await read(node, payload, **meta)
            assert lines == words
            assert (answer.meta["pages"], answer.meta["page"]) == ("2", str(meta.get("page", 1)))


@pytest.mark.parametrize(
    ("page", "message"),
    [("3", "page = 3: this TIFF has 2 pages"), ("0", "page = 0 is less than 1"), ("x", "page")],
)
async def test_a_page_that_is_not_there_is_refused(node: NodeThread, page, message):
    assert message in await refusal(node, ask(file("two_pages.tif"), page=page))


async def test_entries_of_a_composed_request_have_their_own_pages(node: NodeThread):
    entries = [
        "ocr",
        {"id": "second", "task": "ocr", "options": {"page": 2}},
        {"id": "third", "task": "ocr", "options": {"page": 3}},
        {"id": "vector", "task": "clip_image_embed", "options": {"page": 2}},
    ]
    text = orjson.dumps(entries).decode()
    for meta, first in (({}, FIRST), ({"page": 2}, SECOND)):
        got = {
            answer.meta["entry"]: answer
            for answer in await answers(
                node, [ask(file("two_pages.tif"), "compose", entries=text, **meta)]
            )
        }
        lines = {
            name: [item["text"] for item in orjson.loads(got[name].result)["items"]]
            for name in ("ocr", "second")
        }
        assert lines == {"ocr": first, "second": SECOND}
        assert got["second"].meta["pages"] == "2"
        assert got["third"].error.message == "page = 3: this TIFF has 2 pages"
        assert got["vector"].meta["pages"] == "2"


async def test_only_files_have_pages(node: NodeThread):
    """Whatever the pixels of a frame, or a text, happen to begin with."""
    payload = file("two_pages.tif")
    frame = ask(payload, "clip_image_embed")
    frame.payload_mime = f"image/x-raw;format=gray;width={len(payload) // 8};height=8"
    frame.payload = payload[: len(payload) // 8 * 8]
    text = ask(b"II*\0" + b"page" * 9, "clip_text_embed")
    text.payload_mime = "text/plain"
    for request in (frame, text):
        [answer] = await answers(node, [request])
        assert not answer.HasField("error") and "pages" not in answer.meta


def two_photos() -> tuple[bytes, list[Image.Image]]:
    photos = [photo(64, 48, 0), photo(48, 64, 3).rotate(180)]
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for image in photos:
            writer.write(np.asarray(image), metadata=None, photometric="rgb")
    return buffer.getvalue(), photos


async def test_vectors_are_those_of_their_pages(node: NodeThread, tiny_module):
    payload, photos = two_photos()
    requests = [ask(payload, "clip_image_embed", f"{page}.{turn}", page=page)
                for turn in range(2) for page in (1, 2)]  # fmt: skip
    right = dict(zip("12", reference_image_vectors(tiny_module, photos), strict=True))
    for answer in await answers(node, requests):
        vector = np.array(orjson.loads(answer.result)["vector"])
        assert cosine(vector, right[answer.correlation_id[0]]) >= 0.9999
        assert answer.meta["pages"] == "2"


@pytest.mark.parametrize("name", ["planar_16bit.tif", "float_rgb.tif"])
async def test_deep_colours_have_the_vector_of_their_picture(node: NodeThread, tiny_module, name):
    samples = tifffile.imread(BytesIO(file(name)))
    shares = samples if samples.dtype == np.float32 else np.moveaxis(samples, 0, -1) / 65535
    image = Image.fromarray(np.rint(shares * 255).astype(np.uint8))
    [answer] = await answers(node, [ask(file(name), "clip_image_embed")])
    vector = np.array(orjson.loads(answer.result)["vector"])
    assert cosine(vector, reference_image_vectors(tiny_module, [image])[0]) >= 0.9999


async def test_a_camera_file_is_read_from_its_preview_or_refused(node: NodeThread, tiny_module):
    def camera(width: int) -> bytes:
        inside = Inside((by_offset(jpeg(photo(width, width * 2 // 3))), sensor(600, 400)))
        return camera_file({**thumbnail(), 271: b"NIKON\0", 330: inside})

    [answer] = await answers(node, [ask(camera(300), "clip_image_embed")])
    preview = Image.open(BytesIO(jpeg(photo(300, 200))))
    vector = np.array(orjson.loads(answer.result)["vector"])
    assert cosine(vector, reference_image_vectors(tiny_module, [preview])[0]) >= 0.9999
    message = await refusal(node, ask(camera(240), "clip_image_embed"))
    assert message.startswith("a RAW file (NEF) without a preview")


async def test_capabilities_tell_what_is_read_and_that_there_are_pages(node: NodeThread):
    async with stub_of(node.node) as stub:
        tasks = {task.name: task for task in (await stub.GetCapabilities(Empty())).tasks}
    assert {"image/heic", "image/x-adobe-dng", "image/tiff"} <= set(tasks["ocr"].input_mimes)
    assert tasks["ocr"].limits["page"] == "int, default 1, at least 1"
    assert "page" not in tasks["clip_embed"].limits


async def test_a_page_is_another_picture_to_whatever_is_kept():
    payload = file("two_pages.tif")
    first, second = await key_of(payload), await key_of(FilePage(payload, 2))
    assert first != second
    assert await key_of(Picture(payload)) == first
    assert await key_of(Picture(FilePage(payload, 2))) == second


async def test_a_raw_frame_has_one_page(node: NodeThread):
    request = ask(bytes(12), "clip_image_embed", page=2)
    request.payload_mime = "image/x-raw;format=rgb;width=2;height=2"
    assert await refusal(node, request) == "page = 2: a raw frame has 1 page"
