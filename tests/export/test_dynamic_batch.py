"""A graph of one sample is rewritten for any number of them, or left as it is."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

import clip_kit
import graphs_kit
from hearth.errors import ModelUnavailable
from hearth.export.batch_axis import BatchAxis, after_reshape
from hearth.export.dynamic_batch import has_fixed_batch, make_batch_dynamic

make = helper.make_node


def session_of(path):
    """ONNX Runtime without any of our code."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(session, samples):
    """Its first output."""
    return session.run(None, {session.get_inputs()[0].name: samples})[0]


def one_by_one(path, samples):
    session = session_of(path)
    return np.concatenate([run(session, sample[None]) for sample in samples])


BUILDS = {
    "clip": {},
    "custom-text": {"custom_text": True},
    "quick-gelu": {"quick_gelu": True},
    "resnet": {"vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}},
    "attention-pool": {
        "custom_text": True,
        "vision_cfg": {
            **clip_kit.TINY["vision_cfg"], "attentional_pool": True, "attn_pooler_heads": 2
        },
    },
    "siglip": graphs_kit.SIGLIP,
}  # fmt: skip


@pytest.fixture(scope="module", params=BUILDS)
def built(request):
    """A model of each build, and what its images and texts are like: float32 and int32."""
    changes = BUILDS[request.param]
    module = clip_kit.tiny_module(**changes)
    size = module.visual.image_size
    height, width = size if isinstance(size, tuple) else (size, size)
    random = np.random.default_rng(1)
    images = random.normal(size=(5, 3, height, width)).astype(np.float32)
    context = changes.get("text_cfg", clip_kit.TINY["text_cfg"])["context_length"]
    return module, {"image": images, "text": some_tokens(random, context)}


@pytest.mark.parametrize("tower", ["image", "text"])
def test_what_torch_exports_for_one_sample_runs_many(tmp_path, built, tower):
    import torch

    module, samples = built[0], built[1][tower]
    encode = module.encode_image if tower == "image" else module.encode_text
    exported = tmp_path / "model.onnx"
    graphs_kit.write_graph(module, encode, torch.from_numpy(samples[:1]), exported)
    # The samples are told apart, or all of this would show nothing.
    expected = one_by_one(exported, samples)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    for path in (exported, fold(exported)):
        assert has_fixed_batch(path)
        before = path.read_bytes()
        freed = tmp_path / f"freed-{path.name}"
        make_batch_dynamic(path, freed, samples)
        assert path.read_bytes() == before
        assert not has_fixed_batch(freed)
        onnx.checker.check_model(onnx.load(freed), full_check=True)
        session = session_of(freed)
        for batch in (1, 2, 5):
            assert np.allclose(run(session, samples[:batch]), expected[:batch], atol=1e-5)


def some_tokens(random, context):
    """Texts of several lengths: int32 (5, context), each with an end of text."""
    tokens = np.zeros((5, context), np.int32)
    for row in tokens:
        length = int(random.integers(3, context))
        row[:length] = random.integers(1, 40_000, length)
        row[length - 1] = 49407
    return tokens


def fold(path):
    """The graph as ONNX Runtime simplifies it: constants folded, sums and products merged."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path.with_name("folded.onnx"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return path.with_name("folded.onnx")


def freed(tmp_path, nodes, shape, constants=None, **more):
    """Both files of a small graph, with samples of its input."""
    constants = {k: np.asarray(v) for k, v in (constants or {}).items()}
    path = graphs_kit.write_nodes(tmp_path / "one.onnx", nodes, shape, constants, **more)
    samples = np.random.default_rng(2).normal(size=(5, *shape[1:])).astype(np.float32)
    make_batch_dynamic(path, tmp_path / "many.onnx", samples)
    return path, tmp_path / "many.onnx", samples


@pytest.mark.parametrize(
    ("nodes", "constants", "output"),
    [
        # A class token in front of what a sample brings.
        ([make("Concat", ["token", "x"], ["y"], axis=1)],
         {"token": np.ones((1, 1, 6), np.float32)}, [1, 5, 6]),
        # A row of each sample, by an index that names the sample as well.
        ([make("ReduceSum", ["x", "last"], ["sums"], keepdims=0),
          make("ArgMax", ["sums"], ["at"], axis=1),
          make("Concat", ["zero", "at"], ["where"], axis=1),
          make("GatherND", ["x", "where"], ["y"])],
         {"zero": np.zeros((1, 1), np.int64), "last": [-1]}, [1, 6]),
        # Squeezed without saying what.
        ([make("Unsqueeze", ["x", "at"], ["more"]), make("Squeeze", ["more"], ["rest"]),
          make("Reshape", ["rest", "shape"], ["y"])],
         {"at": [2], "shape": [1, 24]}, [1, 24]),
        # Heads beside the batch, behind the positions.
        ([make("Transpose", ["x"], ["first"], perm=[1, 0, 2]),
          make("Reshape", ["first", "heads"], ["split"]),
          make("Transpose", ["split"], ["q"], perm=[1, 0, 2]),
          make("Transpose", ["split"], ["k"], perm=[1, 2, 0]),
          make("MatMul", ["q", "k"], ["scores"]), make("Softmax", ["scores"], ["weights"], axis=-1),
          make("MatMul", ["weights", "q"], ["mixed"]),
          make("Transpose", ["mixed"], ["back"], perm=[1, 0, 2]),
          make("Reshape", ["back", "flat"], ["rows"]), make("Gemm", ["rows", "w"], ["out"]),
          make("Reshape", ["out", "shape"], ["thin"]),
          make("Transpose", ["thin"], ["y"], perm=[1, 0, 2])],
         {"heads": [4, 2, 3], "flat": [4, 6], "shape": [4, 1, 6],
          "w": np.random.default_rng(0).normal(size=(6, 6)).astype(np.float32)}, [1, 4, 6]),
        # Repeated to a shape that was known once.
        ([make("ReduceMean", ["x"], ["mean"], axes=[2]),
          make("Expand", ["mean", "shape"], ["wide"]), make("Sub", ["x", "wide"], ["y"])],
         {"shape": [1, 4, 6]}, [1, 4, 6]),
        # A shape worked out while it runs.
        ([make("Shape", ["x"], ["shape"]), make("Slice", ["shape", "b", "e"], ["some"]),
          make("Concat", ["some", "rest"], ["target"], axis=0),
          make("Reshape", ["x", "target"], ["y"])],
         {"b": [0], "e": [1], "rest": [-1]}, [1, 24]),
    ],
    ids=["class-token", "pooling", "squeeze", "heads", "expand", "shape"],
)  # fmt: skip
def test_constants_that_hold_the_batch_are_mended(tmp_path, nodes, constants, output):
    constants = {k: np.asarray(v) for k, v in constants.items()}
    one, many, samples = freed(tmp_path, nodes, (1, 4, 6), constants, output=output)
    found = run(session_of(many), samples)
    assert np.allclose(found, one_by_one(one, samples), atol=1e-5)
    assert found.shape == (5, *output[1:])


@pytest.mark.parametrize(
    ("nodes", "constants", "output", "reason"),
    [
        ([make("Softmax", ["x"], ["y"], axis=0)], {}, [1, 4, 6], "Softmax"),
        ([make("ReduceMean", ["x"], ["m"], axes=[0]), make("Add", ["x", "m"], ["y"])],
         {}, [1, 4, 6], "ReduceMean"),
        ([make("Add", ["x", "more"], ["z"]), make("ReduceSum", ["z", "first"], ["y"])],
         {"more": np.ones((3, 1, 1), np.float32), "first": [0]}, [1, 4, 6], "Add"),
        ([make("Trilu", ["x"], ["y"])], {}, [1, 4, 6], "Trilu"),
        ([make("Transpose", ["x"], ["y"], perm=[1, 0, 2])], {}, [4, 1, 6], "batch isn't 1"),
        ([make("Mul", ["c", "c"], ["y"])], {"c": np.ones((1, 4), np.float32)}, [1, 4], "output y"),
    ],
    ids=["softmax", "mean", "broadcast", "unknown", "moved", "constant"],
)  # fmt: skip
def test_what_would_mix_samples_is_refused(tmp_path, nodes, constants, output, reason):
    with pytest.raises(ModelUnavailable, match=reason) as failure:
        freed(tmp_path, nodes, (1, 4, 6), constants, output=output)
    assert "\n" not in str(failure.value)
    assert not (tmp_path / "many.onnx").exists()


def test_a_graph_that_gives_other_numbers_in_a_batch_is_refused(tmp_path):
    # Dropout as in training: never the same twice.
    nodes = [make("Dropout", ["x", "ratio", "on"], ["y"])]
    constants = {"ratio": np.float32(0.5), "on": np.array(True)}
    with pytest.raises(ModelUnavailable, match="other numbers in a batch of 1"):
        freed(tmp_path, nodes, (1, 4, 6), constants, output=[1, 4, 6])


def test_weights_beside_the_graph_come_along(tmp_path, tiny_module):
    import torch

    source = tmp_path / "source" / "model.onnx"
    image = torch.zeros(1, 3, 32, 32)
    graphs_kit.write_graph(tiny_module, tiny_module.encode_image, image, source)
    graphs_kit.put_weights_outside(source)
    before = graphs_kit.contents(source.parent)
    target = tmp_path / "target" / "model.onnx"
    target.parent.mkdir()
    samples = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
    make_batch_dynamic(source, target, samples)
    assert np.allclose(run(session_of(target), samples), one_by_one(source, samples), atol=1e-5)
    assert graphs_kit.contents(source.parent) == before
    assert sorted(path.name for path in target.parent.iterdir()) == ["model.onnx", "weights.bin"]


def test_weights_outside_the_folder_are_refused(tmp_path):
    path = graphs_kit.write_nodes(
        tmp_path / "one.onnx", [make("Add", ["x", "w"], ["y"])], (1, 4),
        {"w": np.ones((1, 4), np.float32)}, output=[1, 4],
    )  # fmt: skip
    model = onnx.load(path)
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "../secret"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelUnavailable, match="outside its folder"):
        make_batch_dynamic(path, tmp_path / "many.onnx", np.zeros((4, 4), np.float32))


@pytest.mark.parametrize("content", [b"", b"broken", b"\x0a\xff\xff"])
def test_a_broken_file_is_one_clear_line(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable, match=r"broken\.onnx") as failure:
        has_fixed_batch(path)
    assert "\n" not in str(failure.value)


def test_a_free_batch_is_seen_and_left_alone(tiny_export, tmp_path):
    path = tiny_export / "visual" / "model.onnx"
    assert not has_fixed_batch(path)
    with pytest.raises(ModelUnavailable, match="batch isn't 1"):
        make_batch_dynamic(path, tmp_path / "model.onnx", np.zeros((4, 3, 32, 32), np.float32))


@pytest.mark.parametrize(
    ("spot", "old", "new", "first"),
    [
        (BatchAxis(0), (1, 50, 768), (1, 50, 3, 256), BatchAxis(0)),
        (BatchAxis(1), (50, 1, 768), (50, 12, 64), BatchAxis(1, 1, 12)),
        (BatchAxis(1), (50, 1, 768), (50, 768), BatchAxis(0, 50, 1)),
        (BatchAxis(0, 50, 1), (50, 768), (50, 1, 768), BatchAxis(1)),
        (BatchAxis(0, 1, 12), (12, 50, 64), (1, 12, 50, 64), BatchAxis(0)),
        (BatchAxis(0), (1, 12, 50, 64), (12, 50, 64), BatchAxis(0, 1, 12)),
    ],
)
def test_a_reshape_takes_the_batch_where_its_elements_go(spot, old, new, first):
    assert after_reshape(spot, old, new)[0] == first
