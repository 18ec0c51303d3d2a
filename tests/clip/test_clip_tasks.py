"""The tasks of the service ``clip``: what a client sends and what it gets."""

import codecs
import math
from typing import Any

import numpy as np
import orjson
import pytest

import clip_kit
from clip_kit import call_of, cosine, decoded, pictures
from hearth.errors import InvalidInput, NotReady
from hearth.families.clip.labels.sets.source import IMAGENET, SCENES, LabelSet
from hearth.families.clip.tasks.clip import CLIP_TASKS
from hearth.families.clip.tasks.vectors import LONGEST_NAME
from hearth.hub.progress import no_progress
from hearth.tasks.answer import Result
from hearth.tasks.charset import CODECS, charset_of, decode

TASKS = {name: task for task in CLIP_TASKS for name in task.names}
PICTURES = pictures()
PHOTO = PICTURES["photo.jpg"]

NAMES = tuple(f"thing {n}" for n in range(12))


@pytest.fixture(scope="module")
def model(tiny_export, tmp_path_factory):
    labels = [
        LabelSet(name, NAMES, tuple((f"a photo of {text}",) for text in NAMES), "test")
        for name in (IMAGENET, SCENES)
    ]
    data = tmp_path_factory.mktemp("data")
    with clip_kit.loaded(data, model=str(tiny_export), labels=labels) as made:
        yield made


async def answer(model: Any, name: str, payload: bytes, **sent: str) -> Result:
    task = TASKS[name]
    call = call_of(task, payload, mime=sent.pop("mime", ""), **sent)
    return task.render(model, await task.call(model, task.parse(model, call), call), call)


def content(result: Result) -> Any:
    assert result.mime == f"application/json;schema={result.schema}"
    return orjson.loads(result.body)


async def test_a_picture_comes_back_as_an_embedding(model, tiny_module):
    result = await answer(model, "clip_image_embed", PHOTO, mime="image/jpeg")
    body = content(result)
    assert list(body) == ["vector", "dim", "model_id"]
    assert (body["dim"], len(body["vector"]), body["model_id"]) == (16, 16, "tiny")
    assert isinstance(body["dim"], int)
    assert result.schema == "embedding_v1"
    assert result.meta == {"dim": "16", "lumen.model.id": "tiny"}
    [expected] = clip_kit.reference_image_vectors(tiny_module, [decoded(PHOTO)])
    assert cosine(np.array(body["vector"]), expected) > 0.9999


@pytest.mark.parametrize("name", ["clip_embed", "clip_text_embed"])
async def test_a_text_goes_into_its_prompt(model, tiny_module, name):
    body = content(await answer(model, name, "a {} cat — 😀".encode(), mime="text/plain"))
    texts = ("a photo of a a {} cat — 😀",)
    [expected] = clip_kit.reference_text_vectors(tiny_module, texts)
    assert cosine(np.array(body["vector"]), expected) > 0.9999
    assert body["model_id"] == "tiny"


async def test_the_empty_text_has_a_vector(model):
    assert content(await answer(model, "clip_embed", b""))["dim"] == 16


@pytest.mark.parametrize("accept", ["application/octet-stream", "application/octet-stream, */*"])
@pytest.mark.parametrize(("name", "payload"), [("clip_image_embed", PHOTO), ("clip_embed", b"x")])
async def test_a_raw_vector_is_little_endian_float32(model, name, payload, accept):
    result = await answer(model, name, payload, accept=accept)
    assert result.mime == "application/octet-stream"
    raw = np.frombuffer(result.body, "<f4")
    assert len(raw) == int(result.meta["dim"]) == 16
    json = content(await answer(model, name, payload))
    assert raw.tolist() == pytest.approx(json["vector"], abs=1e-6)


@pytest.mark.parametrize("accept", ["", "*/*", "application/json", "text/html", "anything"])
async def test_any_other_accept_means_json(model, accept):
    assert content(await answer(model, "clip_embed", b"x", accept=accept))["dim"] == 16


@pytest.mark.parametrize("name", ["clip_classify", "clip_scene_classify"])
async def test_labels_are_not_ready_before_their_vectors_are(tiny_export, tmp_path, name):
    with clip_kit.loaded(tmp_path, model=str(tiny_export)) as new:
        assert "being made (0 %)" in (TASKS[name].missing(new, {}) or "")
        assert TASKS["clip_image_embed"].missing(new, {}) is None
        with pytest.raises(NotReady, match="being made"):
            await answer(new, name, PHOTO)


@pytest.mark.parametrize(("name", "default"), [("clip_classify", 5), ("clip_scene_classify", 3)])
async def test_labels_come_best_first_as_many_as_are_asked_for(model, name, default):
    await model.derive_artifacts(no_progress)
    assert TASKS[name].missing(model, {}) is None
    result = await answer(model, name, PHOTO)
    body = content(result)
    assert list(body) == ["labels", "model_id"]
    scores = [label["score"] for label in body["labels"]]
    assert len(scores) == default
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 and math.isfinite(score) for score in scores)
    assert result.schema == "labels_v1"
    assert result.meta == {"labels_count": str(default), "lumen.model.id": "tiny"}

    for meta in ({"topk": "7"}, {"top_k": "7.0"}, {"lumen.top_k": "7"}):
        assert len(content(await answer(model, name, PHOTO, **meta))["labels"]) == 7
    everything = content(await answer(model, name, PHOTO, topk="1000"))["labels"]
    assert sorted(label["label"] for label in everything) == sorted(NAMES)
    assert sum(label["score"] for label in everything) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("topk", ["0", "-1", "many", "1.5", "nan"])
async def test_a_wrong_number_of_labels_is_the_requests_fault(model, topk):
    with pytest.raises(InvalidInput, match="topk"):
        await answer(model, "clip_classify", PHOTO, topk=topk)


@pytest.mark.parametrize("mime", ["text/plain", "image/png", "application/octet-stream", ""])
async def test_a_picture_is_known_by_its_bytes(model, mime):
    assert content(await answer(model, "clip_image_embed", PHOTO, mime=mime))["dim"] == 16


@pytest.mark.parametrize("payload", [b"", b"just text", b"\xff\xd8\xff broken", PHOTO[:500]])
async def test_what_is_no_picture_is_refused(model, payload):
    with pytest.raises(InvalidInput):
        await answer(model, "clip_image_embed", payload, mime="image/jpeg")


@pytest.mark.parametrize(
    "mime",
    [
        "",
        "text/plain",
        "text/plain;charset=utf-8",
        "text/plain; charset=utf-8",
        "TEXT/PLAIN",
        "text/plain;charset=",
        'text/plain;charset=""',
        "text/plain;",
    ],
)
async def test_a_text_may_be_labelled_as_clients_do(model, mime):
    assert content(await answer(model, "clip_embed", b"a cat", mime=mime))["dim"] == 16


CAFE = "Café, Ολα, żółw"


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        ("a café", "iso-8859-1"),
        ("a “café”: 5 €", "Windows-1252"),
        ("żółw", '"ISO-8859-2"'),
        ("кот", "koi8-r"),
        ("кот", "windows-1251"),
        ("猫がいる", "shift_jis"),
        ("一只猫", "gb18030"),
        ("고양이", "euc-kr"),
        *((CAFE, f"UTF-{code}") for code in ("8", "16", "16LE", "16BE", "32", "32LE", "32BE")),
    ],
)
async def test_a_text_is_read_in_the_charset_of_its_mime(model, text, charset):
    payload = text.encode(charset.strip('"'))
    mime = f"text/plain; format=flowed; charset={charset}"
    body = content(await answer(model, "clip_embed", payload, mime=mime))
    assert body == content(await answer(model, "clip_embed", text.encode()))


@pytest.mark.parametrize("mime", ["", "text/plain", "text/plain;charset={}"])
@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
async def test_a_byte_order_mark_is_no_part_of_a_text(model, codec, mime):
    body = content(
        await answer(model, "clip_embed", CAFE.encode(codec), mime=mime.format(codec[:6]))
    )
    assert body == content(await answer(model, "clip_embed", CAFE.encode()))


async def test_the_longest_text_may_be_in_any_encoding(model):
    text = "\N{GRINNING FACE}" * LONGEST_NAME
    for codec in ("utf-8-sig", "utf-16", "utf-32"):
        mime = f"text/plain;charset={codec}"
        assert await answer(model, "clip_text_embed", text.encode(codec), mime=mime)
        with pytest.raises(InvalidInput, match="at most"):
            await answer(model, "clip_text_embed", (text + "xx").encode(codec), mime=mime)


@pytest.mark.parametrize(
    "charset",
    ["base64", "zlib", "bz2", "zip", "hex", "rot13", "quopri", "uu", "idna", "punycode", "utf-7",
     "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "charmap", "os.path", "../x"],
)  # fmt: skip
async def test_what_is_no_encoding_of_texts_is_no_charset(model, charset):
    with pytest.raises(InvalidInput, match="no charset"):
        await answer(model, "clip_embed", b"a", mime=f"text/plain; charset={charset}")


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_charsets_are_texts_encodings_and_add_no_characters(codec):
    assert codecs.lookup(codec)._is_text_encoding
    assert decode("a cat".encode(codec), codec) == "a cat"


@pytest.mark.parametrize(
    ("label", "codec"),
    [("x-sjis", "cp932"), ("x-mac-roman", "mac_roman"), ("X-GBK", "gbk"), ("x-cp1252", "cp1252"),
     ("unicode", "utf-16"), ("ucs-2", "utf-16-le"), ("iso-8859-8-i", "iso8859-8"),
     ("'utf-8'", "utf-8")],
)  # fmt: skip
def test_charsets_may_have_the_names_that_browsers_know(label, codec):
    text = {"cp932": "①猫", "gbk": "猫", "iso8859-8": "חתול", "utf-8": "猫"}.get(codec, "café")
    assert decode(text.encode(codec), charset_of(f"text/plain;charset={label}")) == text


@pytest.mark.parametrize(
    ("payload", "mime", "reason"),
    [
        (b"a cat", "image/jpeg", "not image/jpeg"),
        (PHOTO, "text/plain", "isn't UTF-8: byte 0 is 0xff"),
        (b"caf\xe9", "", "byte 3 is 0xe9"),
        (b"x" * 70_000, "text/plain", "characters"),
        (b"caf\xe9", "text/plain; charset=utf-8", "isn't utf-8: byte 3 is 0xe9"),
        (b"a cat", "text/plain; charset=utf-16", "isn't utf-16: byte 4 is 0x74"),
        (b"caf\x81", "text/plain; charset=windows-1252", "isn't windows-1252: byte 3 is 0x81"),
        (b"a", "text/plain; charset=klingon", "no charset 'klingon'"),
        ("x".encode("utf-32") * 70_000, "text/plain; charset=utf-32", "characters"),
    ],
)
async def test_what_is_no_text_is_refused(model, payload, mime, reason):
    with pytest.raises(InvalidInput, match=reason):
        await answer(model, "clip_embed", payload, mime=mime)


def test_declarations_are_whole():
    assert set(TASKS) == {
        "clip_classify", "clip_scene_classify", "clip_image_embed", "clip_embed", "clip_text_embed",
        "smartclip_scene_classify", "smartclip_image_embed", "smartclip_text_embed",
    }  # fmt: skip
    for task in CLIP_TASKS:
        assert task.service == "clip"
        assert task.summary and task.inputs and task.outputs
