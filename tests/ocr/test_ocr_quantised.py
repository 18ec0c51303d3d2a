"""Lines read in 8 bits: like float32 where that is sure, by float32 where it isn't."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import rapidocr
from onnx import TensorProto, helper, numpy_helper

from hearth.backends import SessionOptions
from hearth.backends.registry import open_session
from hearth.errors import ModelUnavailable
from hearth.families.ocr.loader import RECOGNITION
from hearth.families.ocr.quantised import RIVAL, QuantisedSession, prove_equal
from hearth.families.ocr.recognition import LineRecogniser, batch_of, padded_width
from hearth.graphs.best_class import with_best_class
from hearth.graphs.int8_products import with_int8_products
from ocr_kit import TEXT, drawn, loaded, png

GRAPH = Path(rapidocr.__file__).parent / "models" / RECOGNITION


def opened(graph):
    return open_session(GRAPH, SessionOptions(device="cpu", threads=1, content=graph))


@pytest.fixture(scope="module")
def full():
    session = opened(with_best_class(GRAPH))
    yield session
    session.close()


@pytest.fixture(scope="module")
def quick():
    session = opened(with_int8_products(with_best_class(GRAPH, ranks=2)))
    yield session
    session.close()


def lines():
    return [np.asarray(drawn((text,), (24 * len(text), 60)))[..., ::-1] for text in TEXT]


def batch(line):
    return batch_of([line], padded_width(line))


def test_the_numbers_of_two_ranks_are_those_of_all_classes():
    whole, ranked = opened(None), opened(with_best_class(GRAPH, ranks=2))
    [numbers], [two] = (one.run({"x": batch(lines()[0])}).values() for one in (whole, ranked))
    assert np.array_equal(two[..., 0], numbers.argmax(axis=2))
    assert np.array_equal(two[..., 2:], -np.sort(-numbers, axis=2)[..., :2])
    assert np.array_equal(np.take_along_axis(numbers, two[..., 1:2].astype(int), 2), two[..., 3:])


def test_lines_say_in_8_bits_what_they_say_in_float32(quick, full):
    prove_equal(quick, full, faster=False)
    exact, reader = LineRecogniser(full), LineRecogniser(QuantisedSession(quick, full))
    read, expected = ([one.read(batch(line))[0] for line in lines()] for one in (reader, exact))
    assert read[0].text == TEXT[0]
    assert [draft.text for draft in read] == [draft.text for draft in expected]
    for draft, of_full in zip(read, expected, strict=True):
        assert draft.confidence == pytest.approx(of_full.confidence, abs=0.02)


class Written:
    """A session that answers what it is made with, and counts the rows that it is asked for."""

    runtime, device, provider, precision, threads = "onnxrt", "cpu", "CPU", "fp32", 1
    batch_sizes = outputs = metadata = None

    def __init__(self, answers, inputs):
        self.answers, self.inputs, self.asked = answers, inputs, 0

    def run(self, feeds):
        [rows] = feeds.values()
        self.asked += len(rows)
        return {"best": self.answers[: len(rows)].copy()}


@pytest.mark.parametrize(
    ("classes", "rival", "place", "share", "is_read_in_full"),
    [
        ([0, 7, 0, 8], 9, 1, RIVAL + 0.05, True),  # another letter
        ([0, 7, 0, 8], 9, 1, RIVAL - 0.05, False),
        ([0, 7, 0, 7], 7, 2, RIVAL + 0.05, True),  # two letters or one
        ([0, 7, 0, 8], 0, 3, RIVAL + 0.05, True),  # a letter or none
        ([0, 7, 7, 8], 0, 2, RIVAL + 0.05, False),  # the letter is there in either case
        ([0, 7, 0, 8], 7, 2, RIVAL + 0.05, False),
        ([0, 7, 0, 8], 8, 2, RIVAL + 0.05, False),
        ([0, 7, 7, 8], 8, 2, RIVAL + 0.05, False),
        ([0, 7, 0, 8], 9, 1, np.nan, True),
    ],
)
def test_a_line_is_read_in_full_where_a_close_runner_up_makes_it_another(
    full, classes, rival, place, share, is_read_in_full
):
    ranked = np.zeros((2, len(classes), 4), np.float32)
    ranked[..., 0], ranked[..., 2] = classes, 0.9
    ranked[..., 1] = 5
    ranked[1, place, 1], ranked[1, place, 3] = rival, 0.9 * share
    exact = np.full((1, len(classes), 2), 3, np.float32)
    careful = Written(exact, full.inputs)
    session = QuantisedSession(Written(ranked, full.inputs), careful)
    [answer] = session.run({"x": np.zeros((2, 3, 48, 32), np.float32)}).values()
    assert careful.asked == is_read_in_full
    assert np.array_equal(answer[0], ranked[0, :, ::2])
    assert np.array_equal(answer[1], exact[0] if is_read_in_full else ranked[1, :, ::2])


def test_weights_that_lost_more_than_8_bits_keep_are_found_out(full):
    model = onnx.load_model_from_string(with_int8_products(with_best_class(GRAPH, ranks=2)))
    for tensor in model.graph.initializer:
        if tensor.name.endswith("_weights"):  # 3 bits of them
            coarse = numpy_helper.to_array(tensor) // 32 * 32
            tensor.CopyFrom(numpy_helper.from_array(coarse, tensor.name))
    coarse = opened(model.SerializeToString())
    with pytest.raises(ModelUnavailable, match="8 bits"):
        prove_equal(coarse, full, faster=False)


def test_what_is_no_faster_is_no_gain(quick, full):
    slow = opened(with_best_class(GRAPH, ranks=2))
    with pytest.raises(ModelUnavailable, match="times as long"):
        prove_equal(slow, full, faster=True)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_model_reads_in_the_precision_that_was_asked_for(precision):
    with loaded(precision=precision) as model:
        assert ("int8" in model.precisions) == (precision == "int8")


def conv(weights, **attributes):
    """A graph of a convolution with a bias, float32 (1, 32, 4, 6) to (1, 64, …)."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["product"], **attributes),
        helper.make_node("Add", ["product", "b"], ["y"]),
    ]
    bias = np.random.default_rng(1).normal(size=(1, len(weights), 1, 1)).astype(np.float32)
    tensors = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32, 4, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, len(weights), None, None])],
        tensors,
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def test_a_pointwise_convolution_gives_nearly_the_same_in_8_bits():
    random = np.random.default_rng(0)
    graph = conv(random.normal(size=(64, 32, 1, 1)).astype(np.float32))
    rewritten = with_int8_products(graph)
    x = random.normal(size=(1, 32, 4, 6)).astype(np.float32)
    [exact], [found] = (opened(one).run({"x": x}).values() for one in (graph, rewritten))
    assert found.shape == exact.shape
    assert 0 < np.abs(found - exact).std() < 0.02 * exact.std()
    kinds = [node.op_type for node in onnx.load_model_from_string(rewritten).graph.node]
    assert kinds == ["Transpose", "DynamicQuantizeMatMul", "Transpose"]


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((64, 32, 3, 3), {}),
        ((64, 16, 1, 1), {"group": 2}),
        ((64, 32, 1, 1), {"strides": [2, 1]}),
        ((64, 32, 1, 1), {"pads": [1, 1, 1, 1]}),
        ((8, 32, 1, 1), {}),
    ],
)
def test_other_convolutions_stay_as_they_are(shape, attributes):
    assert with_int8_products(conv(np.ones(shape, np.float32), **attributes)) is None


async def test_a_page_is_read_in_8_bits():
    with loaded(precision="int8") as model:
        assert [line.text for line in await model.read(png(drawn()))] == list(TEXT)
