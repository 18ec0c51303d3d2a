"""What a task is done to, and with which options: from Python's values to the wire's."""

import io
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from client_kit import Script, capability, client_of
from hearth.client.addresses import named
from hearth.client.capabilities import TaskInfo
from hearth.client.options import to_meta
from hearth.client.sources import Payload, load

IMAGES = TaskInfo("embed", ("image/jpeg", "image/png"), ())
TEXTS = TaskInfo("embed_text", ("text/plain",), ())
MIXED = TaskInfo("mixed", ("text/plain", "image/jpeg"), ())


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"  # mislabelled, as in the field
    path.write_bytes(png())
    return path


def test_a_file_is_read_and_its_bytes_say_what_it_is(picture: Path) -> None:
    for source in (picture, str(picture)):
        assert load(source, IMAGES) == Payload(png(), "image/png")


def test_what_the_caller_says_that_it_is_goes_before_what_the_bytes_say(picture: Path) -> None:
    assert load(picture, IMAGES, "image/webp").mime == "image/webp"
    assert load(png(), IMAGES, "image/webp").mime == "image/webp"


def test_bytes_of_any_kind_are_a_file(picture: Path) -> None:
    for kind in (bytes, bytearray, memoryview):
        payload = load(kind(png()), IMAGES)
        assert payload == Payload(png(), "image/png") and type(payload.content) is bytes


def test_a_text_is_itself_for_a_task_of_texts_and_a_files_name_for_others(tmp_path: Path) -> None:
    assert load("grüße", TEXTS) == Payload("grüße".encode(), "text/plain;charset=utf-8")
    with pytest.raises(FileNotFoundError):
        load(str(tmp_path / "a photo of a cat"), MIXED)


def test_a_text_file_is_a_text_without_its_last_line_end(tmp_path: Path) -> None:
    for end in ("", "\n", "\r\n"):
        path = tmp_path / "text"
        path.write_bytes(b"two\nlines" + end.encode())
        assert load(path, TEXTS) == Payload(b"two\nlines", "text/plain;charset=utf-8")


def test_pixels_are_raw_frames_with_their_size() -> None:
    for shape, kind in (((2, 3, 3), "rgb"), ((2, 3, 4), "rgba"), ((2, 3), "gray"),
                        ((2, 3, 1), "gray")):  # fmt: skip
        pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
        payload = load(pixels, IMAGES)
        assert payload.mime == f"image/x-raw;format={kind};width=3;height=2"
        assert payload.content == pixels.tobytes()


def test_pixels_that_do_not_lie_in_a_row_are_sent_as_they_are_seen() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)[::2, ::-3]
    payload = load(pixels, IMAGES)
    assert payload.content == bytes(pixels.ravel().tolist())
    assert payload.mime.endswith("width=2;height=2")


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 3, 3), np.float32),
        np.zeros((2, 3, 3), np.int64),
        np.zeros((2, 3, 2), np.uint8),
        np.zeros((3, 2, 30), np.uint8),
        np.zeros((1, 2, 3, 3), np.uint8),
        np.zeros(6, np.uint8),
        np.zeros((), np.uint8),
        np.zeros((0, 3, 3), np.uint8),
    ],
)
def test_an_array_that_is_no_picture_is_said_to_be_none(pixels: Any) -> None:
    with pytest.raises(ValueError, match="uint8"):
        load(pixels, IMAGES)


def test_a_pillow_image_is_refused_with_what_to_give_instead() -> None:
    with pytest.raises(TypeError, match="array"):
        load(Image.new("RGB", (3, 2)), IMAGES)


@pytest.mark.parametrize("source", [None, 5, 1.5, object(), ["a.jpg"], {"a": 1}, Decimal(1)])
def test_what_is_no_source_is_said_to_be_none(source: Any) -> None:
    with pytest.raises(TypeError, match=f"{type(source).__name__} is no source"):
        load(source, IMAGES)


def test_a_file_that_cannot_be_read_raises_its_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "missing.jpg", IMAGES)
    with pytest.raises(IsADirectoryError):
        load(tmp_path, IMAGES)


async def test_an_empty_file_reaches_the_node_which_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    async with client_of(node := Script()) as client:
        assert (await client.infer("echo", path)).body == b""
    assert node.seen[0].payload == b""


def test_options_are_written_as_the_wire_has_them() -> None:
    options = {
        "text": "as it is",
        "yes": True,
        "no": False,
        "whole": 5,
        "part": 0.25,
        "list": ["a", "ü"],
        "mapping": {"a": 1},
        "tuple": (1, 2),
        "f32": np.float32(0.5),
        "i64": np.int64(7),
        "bool": np.bool_(True),
        "array": np.array([1, 2]),
        "none": None,
    }
    assert to_meta(options) == {
        "text": "as it is",
        "yes": "true",
        "no": "false",
        "whole": "5",
        "part": "0.25",
        "list": '["a","ü"]',
        "mapping": '{"a":1}',
        "tuple": "[1,2]",
        "f32": "0.5",
        "i64": "7",
        "bool": "true",
        "array": "[1,2]",
    }


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", Path("x"), object(), 1 << 70])
def test_an_option_that_has_no_word_names_itself(value: Any) -> None:
    with pytest.raises(TypeError, match="labels"):
        to_meta({"labels": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan")])
def test_a_number_that_is_none_is_no_option(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="labels"):
        to_meta({"labels": value})


async def test_options_and_mime_reach_the_node(picture: Path) -> None:
    async with client_of(node := Script()) as client:
        await client.infer("echo", picture, topk=3, labels=["a", "b"], accept=None)
        async for _ in client.map("echo", [b"x"], topk=4, options={"a-b": True}):
            pass
    one, other = node.seen
    assert dict(one.meta) == {"topk": "3", "labels": '["a","b"]'}
    assert one.payload_mime == "image/png"
    assert dict(other.meta) == {"topk": "4", "a-b": "true"}


async def test_what_protobuf_cannot_write_fails_alone() -> None:
    async with client_of(Script(echoing_text, capability(inputs=("text/plain",)))) as client:
        with pytest.raises((ValueError, TypeError)):
            await client.infer("echo", "x", timeout=3, note=os.fsdecode(b"\xff.jpg"))
        with pytest.raises((ValueError, TypeError)):
            await client.infer("echo", os.fsdecode(b"\xff.jpg"), timeout=3)
        assert (await client.infer("echo", "x", timeout=3)).body == b"x"


async def echoing_text(request: Any) -> Any:
    from client_kit import echo

    return echo(request)


@pytest.mark.parametrize(
    ("nodes", "environment", "expected"),
    [
        ("a", {}, ["a:50051"]),
        ("a,b:1", {}, ["a:50051", "b:1"]),
        (["a", "b c"], {}, ["a:50051", "b:50051", "c:50051"]),
        (["a", "a:50051"], {}, ["a:50051"]),
        ((), {"HEARTH_NODES": "a, b:2\n[::1]:3"}, ["a:50051", "b:2", "[::1]:3"]),
        ("", {"HEARTH_NODES": "a"}, ["a:50051"]),
        ([""], {"HEARTH_NODES": "a"}, ["a:50051"]),
        ((), {"HEARTH_NODE": "a:7"}, ["a:7"]),
        ((), {"HEARTH_NODES": "a", "HEARTH_NODE": "b"}, ["a:50051"]),
        ((), {"HEARTH_NODES": " ", "HEARTH_NODE": "b"}, ["b:50051"]),
        ((), {"HEARTH_NODES": ","}, []),
        ("c", {"HEARTH_NODES": "a"}, ["c:50051"]),
        ("::1", {}, ["[::1]:50051"]),
        (":7", {}, ["localhost:7"]),
        ("fe80::1%eth0", {}, ["[fe80::1%eth0]:50051"]),
        ((), {}, []),
    ],
)
def test_nodes_are_named_in_many_ways(
    nodes: Any, environment: dict[str, str], expected: list[str]
) -> None:
    assert named(nodes, environment) == expected
