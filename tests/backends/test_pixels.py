"""Pictures go into a model as pixels, and come out as if they had been prepared outside it."""

import runpy
from io import BytesIO

import numpy as np
import onnx
import pytest
import skimage.data
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import clip_kit
from backend_kit import open_onnx
from checkout import ROOT
from clip_kit import cosine
from hearth.backends import BatchSizes, Placement, TensorSpec
from hearth.backends.onnx import OnnxSession
from hearth.backends.onnx_pixels import PixelSession, taking_pixels
from hearth.errors import InvalidInput, ModelFailed, ModelUnavailable
from hearth.families.clip import openclip
from hearth.families.clip.files import GraphFiles
from hearth.families.clip.preprocess import TowerPreprocessor
from hearth.families.clip.settings import ClipSettings
from hearth.families.clip.tower import Tower
from hearth.families.clip.transform import ImageTransform
from hearth.media import ImageReader
from hearth.models.rows import BatchRow

HEIGHT, WIDTH = 8, 12
TRANSFORM = ImageTransform(HEIGHT, WIDTH)
READER = ImageReader(10_000_000)
TOOL = ROOT / "tools" / "make_front.py"
NHWC, NCHW = ("b", HEIGHT, WIDTH, 3), ("b", 3, HEIGHT, WIDTH)


def write_model(path, *, shape=NCHW, dtype=np.float32, more_inputs=()):
    """An ONNX file from pictures of any layout and type to the first six of their numbers.

    The numbers are those of (n, 3, height, width), doubled, whatever the layout.
    """
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    perm = [0, 3, 1, 2] if shape[-1] == 3 else [0, 1, 2, 3]
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=perm),
        helper.make_node("Flatten", ["planes"], ["flat"]),
        helper.make_node("Slice", ["flat", "first", "last", "axis"], ["sliced"]),
        helper.make_node("Mul", ["sliced", "two"], ["embedding"]),
    ]
    constants = {"first": [0], "last": [6], "axis": [1]}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name in ("image", *more_inputs)],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [shape[0], 6])],
        [
            *(numpy_helper.from_array(np.array(v, np.int64), k) for k, v in constants.items()),
            numpy_helper.from_array(np.full(6, 2, np.float32), "two"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def session_of(path, transform=TRANSFORM):
    return taking_pixels(
        open_onnx(path, device="cpu"),
        height=transform.height,
        width=transform.width,
        scale=transform.scale,
        offset=transform.offset,
    )


def random_pictures(count, height=HEIGHT, width=WIDTH):
    random = np.random.default_rng(count)
    pixels = random.integers(0, 256, (count, height, width, 3), np.uint8)
    return [Image.fromarray(picture) for picture in pixels]


def expected(pictures):
    prepared = np.stack([TRANSFORM.prepare(picture) for picture in pictures])
    return 2 * prepared.reshape(len(pictures), -1)[:, :6]


@pytest.fixture
def session(tmp_path):
    made = session_of(write_model(tmp_path / "model.onnx"))
    yield made
    made.close()


# --- nodes in front of a model --------------------------------------------------------------


def test_the_graph_in_front_is_what_the_tool_writes():
    tool = runpy.run_path(str(TOOL))
    kept = onnx.load(tool["TARGET"])
    made = onnx.load_from_string(tool["front"]())
    for model in (kept, made):
        model.ClearField("producer_version")
    assert kept == made


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_model_of_floats_takes_pixels_and_gives_the_same(session, count):
    pictures = random_pictures(count)
    assert session.inputs == (TensorSpec("pixels", (None, HEIGHT, WIDTH, 3), np.dtype(np.uint8)),)
    assert session.inputs[0].is_pixels
    outputs = session.run({"pixels": np.stack([np.asarray(picture) for picture in pictures])})
    assert list(outputs) == ["embedding"]
    assert np.abs(outputs["embedding"] - expected(pictures)).max() < 2e-6


def test_the_model_behind_is_described_as_it_is(session):
    assert (session.runtime, session.device) == ("onnxrt", "cpu")
    assert (session.provider, session.precision) == ("CPUExecutionProvider", "fp32")
    assert session.batch_sizes == BatchSizes()


def test_every_value_a_pixel_can_have_is_right(tmp_path):
    path = write_model(tmp_path / "model.onnx", shape=("b", 3, 2, 1))
    values = np.arange(256, dtype=np.uint8)
    pixels = np.broadcast_to(values[:, None, None, None], (256, 2, 1, 3))
    session = session_of(path, ImageTransform(2, 1))
    [numbers] = session.run({"pixels": np.ascontiguousarray(pixels)}).values()
    mean, std = np.array(TRANSFORM.mean), np.array(TRANSFORM.std)
    exact = 2 * ((values[:, None] / 255 - mean) / std).repeat(2, axis=1)
    assert np.abs(numbers - exact).max() < 2e-6


@pytest.mark.parametrize(
    "shape", [(4, 3, HEIGHT, WIDTH), ("b", 3, "h", "w"), ("b", "c", "h", "w")], ids=str
)
def test_fixed_batches_and_free_sizes_take_pixels_too(tmp_path, shape):
    session = session_of(write_model(tmp_path / "model.onnx", shape=shape))
    assert session.inputs[0].shape[1:] == (HEIGHT, WIDTH, 3)
    pictures = random_pictures(4)
    tower = Tower(session, "image")
    vectors = tower.run([np.asarray(picture) for picture in pictures[:3]])
    assert session.batch_sizes.fixed == ((4,) if shape[0] == 4 else ())
    for vector, numbers in zip(vectors, expected(pictures), strict=False):
        assert np.abs(vector - numbers / np.linalg.norm(numbers)).max() < 1e-6


def test_weights_beside_the_graph_come_along(tmp_path):
    path = write_model(tmp_path / "model.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w", size_threshold=50)
    assert (tmp_path / "w").is_file()
    pictures = random_pictures(2)
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    assert np.allclose(session_of(path).run({"pixels": pixels})["embedding"], expected(pictures))


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": np.float16},
        {"dtype": np.float64},
        {"dtype": np.uint8, "shape": NHWC},
        {"shape": NHWC},
        {"shape": ("b", 3, HEIGHT, WIDTH + 1)},
        {"shape": ("b", 4, HEIGHT, WIDTH)},
        {"more_inputs": ["mask"]},
    ],
    ids=str,
)
def test_other_models_stay_as_they_are(tmp_path, changes):
    session = session_of(write_model(tmp_path / "model.onnx", **changes))
    assert isinstance(session, OnnxSession)
    assert session.inputs[0].is_pixels is (changes.get("dtype") is np.uint8)


PIXELS = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"image": PIXELS},
        {"pixels": PIXELS, "more": PIXELS},
        {"pixels": PIXELS.astype(np.float32)},
        {"pixels": PIXELS[..., :2].copy()},
        {"pixels": PIXELS[:, 1:].copy()},
        {"pixels": PIXELS[0]},
    ],
    ids=lambda feeds: " ".join(f"{k}{v.dtype}{v.shape}" for k, v in feeds.items()) or "none",
)
def test_wrong_feeds_fail_in_one_line_and_the_session_lives_on(session, feeds):
    with pytest.raises(ModelFailed) as failure:
        session.run(feeds)
    assert "\n" not in str(failure.value)
    assert session.run({"pixels": PIXELS})["embedding"].shape == (2, 6)


def test_an_answer_isnt_overwritten_by_the_next_one(session):
    first = session.run({"pixels": PIXELS})["embedding"]
    before = first.copy()
    session.run({"pixels": PIXELS + np.uint8(200)})
    assert np.array_equal(first, before)


def test_a_closed_session_says_so(session):
    session.close()
    session.close()
    with pytest.raises(ModelFailed, match="closed"):
        session.run({"pixels": PIXELS})


# --- a tower and its pictures ---------------------------------------------------------------

KINDS = {
    "nodes in front": {},
    "a fixed batch": {"shape": (4, 3, HEIGHT, WIDTH)},
    "pixels": {"shape": NHWC, "dtype": np.uint8},
    "floats, channels last": {"shape": NHWC},
    "half floats": {"dtype": np.float16},
    "half floats, channels last": {"shape": NHWC, "dtype": np.float16},
    "doubles": {"dtype": np.float64},
}


def saved(picture, kind="PNG", **options):
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width, height):
    return Image.fromarray(skimage.data.astronaut()).resize((width, height))


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_fit_whatever_the_model_takes(tmp_path, kind):
    session = session_of(write_model(tmp_path / "model.onnx", **KINDS[kind]))
    tower = Tower(session, "image")
    assert tower.takes((3, HEIGHT, WIDTH))
    assert not tower.takes((3, WIDTH, HEIGHT))
    pictures = TowerPreprocessor(tower, TRANSFORM)
    images = random_pictures(3)
    rows = [pictures.prepare(READER, saved(image)) for image in images]
    wanted = expected(images)
    if kind == "pixels":
        wanted = [
            2 * np.asarray(i).transpose(2, 0, 1).reshape(-1)[:6].astype(float) for i in images
        ]
    for vector, numbers in zip(tower.run(rows), wanted, strict=True):
        assert np.abs(vector - numbers / np.linalg.norm(numbers)).max() < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_blank_picture_is_one_like_any_other(tmp_path, kind):
    tower = Tower(session_of(write_model(tmp_path / "model.onnx", **KINDS[kind])), "image")
    pictures = TowerPreprocessor(tower, TRANSFORM)
    blank, black = (
        pictures.blank(),
        pictures.prepare(READER, saved(Image.new("RGB", (WIDTH, HEIGHT)))),
    )
    assert isinstance(blank, BatchRow)
    assert np.array_equal(blank.array, black.array)
    assert blank.array.dtype == tower.dtype


def upright(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def shown(value):
    """A test's name, the same in every process: without addresses of objects."""
    if not isinstance(value, dict):
        return str(value)
    return str({k: dict(v) if isinstance(v, Image.Exif) else v for k, v in value.items()})


@pytest.mark.parametrize(
    ("size", "kind", "options"),
    [
        ((WIDTH, HEIGHT), "JPEG", {"quality": 95}),
        ((WIDTH, HEIGHT), "JPEG", {"progressive": True}),
        ((WIDTH, HEIGHT), "JPEG", {"exif": upright(1)}),
        ((WIDTH, HEIGHT), "JPEG", {"exif": upright(3)}),
        ((HEIGHT, WIDTH), "JPEG", {"exif": upright(6)}),
        ((200, 131), "JPEG", {}),
        ((131, 200), "JPEG", {"exif": upright(8)}),
        ((WIDTH, HEIGHT), "PNG", {}),
        ((100, 7), "WEBP", {}),
    ],
    ids=shown,
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_rows_hold_the_pixels_that_the_transform_makes(session, mode, size, kind, options):
    payload = saved(photo(*size).convert(mode), kind, **options)
    row = TowerPreprocessor(Tower(session, "image"), TRANSFORM).prepare(READER, payload)
    image = READER.read(payload, at_least=TRANSFORM.at_least)
    assert np.array_equal(row.array, np.asarray(TRANSFORM.resized(image)))


def test_a_broken_picture_gives_its_row_back(session):
    pictures = TowerPreprocessor(Tower(session, "image"), TRANSFORM)
    whole = saved(photo(WIDTH, HEIGHT), "JPEG")
    for payload in (b"", b"no picture", whole[:-20], whole[:200]):
        with pytest.raises(InvalidInput):
            pictures.prepare(READER, payload)
    assert pictures.prepare(READER, whole).index == 0


def test_only_the_item_whose_numbers_arent_finite_fails(tmp_path):
    tower = Tower(open_onnx(write_model(tmp_path / "model.onnx"), device="cpu"), "image")
    items = [np.full((3, HEIGHT, WIDTH), value, np.float32) for value in (1, np.nan, 2, np.inf)]
    answers = tower.run(items)
    assert [isinstance(answer, ModelFailed) for answer in answers] == [False, True, False, True]
    assert "finite" in str(answers[1])
    assert answers[0] == pytest.approx(np.full(6, 1 / np.sqrt(6)))


def test_vectors_cant_be_written_to_and_keep_no_batch_alive(session):
    rows = [np.asarray(picture) for picture in random_pictures(3)]
    for vector in Tower(session, "image").run(rows):
        assert not vector.flags.writeable
        assert vector.base is None
        assert vector.dtype == np.float32


def test_pixels_by_planes_are_refused(tmp_path):
    path = write_model(tmp_path / "model.onnx", dtype=np.uint8)
    with pytest.raises(ModelUnavailable, match="n×3×8×12 of uint8"):
        Tower(session_of(path), "image")


# --- CLIP itself, against open_clip ---------------------------------------------------------


@pytest.fixture(scope="module")
def photographs():
    names = ("astronaut", "chelsea", "coffee", "rocket")
    pictures = [Image.fromarray(getattr(skimage.data, name)()) for name in names]
    return [saved(picture, "JPEG", quality=90) for picture in pictures]


def older_export(tiny_module, tiny_export, folder):
    """As exports were for a while: pixels go in, and the graph itself normalises."""
    from hearth.export.clip_graphs import _write_graph

    (folder / "visual").mkdir()
    sample = np.zeros((2, 32, 32, 3), np.uint8)
    path = folder / "visual" / "model.onnx"
    normalise = openclip.normaliser(ImageTransform(32, 32), "cpu")
    _write_graph(
        path,
        tiny_module,
        "pixels",
        lambda t: tiny_module.encode_image(normalise(t), normalize=True),
        sample,
    )
    return GraphFiles(path, None, "older").load(ClipSettings(device="cpu"))


def our_export(tiny_module, tiny_export, folder):
    return GraphFiles(tiny_export / "visual" / "model.onnx", None, "new").load(
        ClipSettings(device="cpu")
    )


def torch_model(tiny_module, tiny_export, folder):
    folder = clip_kit.write_open_clip(folder / "torch", tiny_module)
    model = openclip.load(openclip.Checkpoint.in_folder(folder))
    return openclip.torch_parts(model, "tiny", Placement("cpu", "torch"), ())


@pytest.mark.parametrize("made_by", [older_export, our_export, torch_model])
def test_photographs_are_embedded_as_by_open_clip(
    tiny_module, tiny_export, tmp_path, photographs, made_by
):
    parts = made_by(tiny_module, tiny_export, tmp_path)
    assert parts.image.inputs[0].shape == (None, 32, 32, 3)
    assert isinstance(parts.image, PixelSession) is (made_by is our_export)
    tower = Tower(parts.image, "image")
    pictures = TowerPreprocessor(tower, parts.transform)
    vectors = tower.run([pictures.prepare(READER, payload) for payload in photographs])
    images = [clip_kit.decoded(payload) for payload in photographs]
    reference = clip_kit.reference_image_vectors(tiny_module, images)
    for vector, theirs in zip(vectors, reference, strict=True):
        assert cosine(vector, theirs) > 0.9999
    parts.close()
