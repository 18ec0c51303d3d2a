"""A recogniser that answers with its best characters alone answers what it did before."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import rapidocr
from onnx import TensorProto, helper

from backend_kit import open_onnx
from hearth.backends.parallel import ParallelSession
from hearth.families.ocr.loader import RECOGNITION
from hearth.families.ocr.readers import LineReader
from hearth.families.ocr.recognition import LineRecogniser
from hearth.graphs.best_class import CLASSES, with_best_class
from ocr_kit import TEXT, drawn

GRAPH = Path(rapidocr.__file__).parent / "models" / RECOGNITION


def lines():
    return [np.asarray(drawn((text,), (24 * len(text), 60)))[..., ::-1] for text in TEXT]


def test_the_best_class_and_its_value_are_those_of_all():
    whole, best = (
        open_onnx(GRAPH, threads=1, content=graph) for graph in (None, with_best_class(GRAPH))
    )
    batch = np.random.default_rng(0).random((2, 3, 48, 256), np.float32)
    [numbers], [chosen] = (session.run({"x": batch}).values() for session in (whole, best))
    assert best.metadata == {**whole.metadata, CLASSES: str(numbers.shape[2])}
    assert chosen.shape == (*numbers.shape[:2], 2)
    assert np.array_equal(chosen[..., 0], numbers.argmax(axis=2))
    assert np.array_equal(chosen[..., 1], numbers.max(axis=2))


def test_runs_side_by_side_read_what_one_after_the_other_does():
    session = open_onnx(GRAPH, threads=1, content=with_best_class(GRAPH))
    plain = LineReader([LineRecogniser(open_onnx(GRAPH, threads=1))], None)
    one_by_one = [plain([line])[0] for line in lines() * 2]
    parallel = ParallelSession(session, runs=3)
    together = LineReader([LineRecogniser(parallel)], None)(lines() * 2)
    parallel.close()
    assert together[0].text == TEXT[0]
    assert together == one_by_one


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_graph_of_another_form_is_left_alone(tmp_path, outputs):
    names = [f"out{number}" for number in range(outputs)]
    kind = TensorProto.INT64 if outputs == 1 else TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Identity", ["in"], [name]) for name in names], "g",
        [helper.make_tensor_value_info("in", kind, [1, 5])],
        [helper.make_tensor_value_info(name, kind, [1, 5]) for name in names],
    )  # fmt: skip
    onnx.save(helper.make_model(graph), tmp_path / "g.onnx")
    assert with_best_class(tmp_path / "g.onnx") is None
