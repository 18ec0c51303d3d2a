"""LiteRT: batches that are proved, quantised ends, damaged files, and rows side by side.

The contract that it shares with the other engines is tested in test_backends.py.
"""

import logging
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from hearth.backends import BatchSizes, TensorSpec
from hearth.backends.litert_pool import LiteRtPool
from hearth.backends.litert_session import LiteRtSession
from hearth.backends.registry import BACKENDS
from hearth.cli.checks import _devices
from hearth.errors import BackendUnavailable, ModelFailed, ModelUnavailable
from litert_kit import Op, Tensor, write_model
from mediapipe_kit import model_path

SHORT_RANGE, MESH = "face_detection_short_range", "face_landmark"


def negative(folder: Path, shape: tuple[int, ...] = (1, 3)) -> Path:
    """z = -x"""
    tensors = [Tensor("x", shape), Tensor("z", shape)]
    return write_model(folder / "negative.tflite", tensors, [Op("NEG", [0], [1])])


def reshaped(folder: Path, *ends: Tensor) -> Path:
    """The second tensor holds the numbers of the first."""
    tensors = [*ends, Tensor("shape", (2,), np.int32, data=[1, ends[1].shape[1]])]
    return write_model(folder / "model.tflite", tensors, [Op("RESHAPE", [0, 2], [1])])


def picker(folder: Path) -> Path:
    """y = the numbers 0, 10, 20 at x; fails where there is no such number."""
    tensors = [
        Tensor("numbers", (3,), data=[0, 10, 20]),
        Tensor("x", (1,), np.int32),
        Tensor("y", (1,)),
    ]
    gather = Op("GATHER", [0, 1], [2], "GatherOptions")
    return write_model(folder / "picker.tflite", tensors, [gather])


def pictures(session: LiteRtSession | LiteRtPool, count: int) -> np.ndarray:
    shape = (count, *session.inputs[0].shape[1:])
    return np.random.default_rng(count).random(shape, dtype=np.float32)


def run_each(name: str, images: np.ndarray) -> dict[str, np.ndarray]:
    """Every row by itself, put together."""
    session = LiteRtSession(model_path(name), batched=False)
    rows = [session.run({session.inputs[0].name: images[at : at + 1]}) for at in range(len(images))]
    session.close()
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"not a model at all", b"\0\0\0\0TFL3", b"\0\0\0\0TFL3" * 99]
)
def test_a_broken_file_is_one_clear_line(tmp_path, content):
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    for engine in (LiteRtSession, lambda path: LiteRtPool(path, width=2)):
        with pytest.raises(ModelUnavailable, match=r"broken\.tflite") as failure:
            engine(path)
        assert "\n" not in str(failure.value)


def test_a_file_cut_short_anywhere_is_one_clear_line(tmp_path):
    whole = model_path(SHORT_RANGE).read_bytes()
    path = tmp_path / "short.tflite"
    for length in (8, *range(9, len(whole), 4999), len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelUnavailable, match=r"short\.tflite") as failure:
            LiteRtSession(path)
        assert "\n" not in str(failure.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"nothing\.tflite"):
        LiteRtSession(tmp_path / "nothing.tflite")
    with pytest.raises(ModelUnavailable, match="no such file"):
        LiteRtPool(tmp_path, width=2)


def test_an_operation_that_litert_lacks_is_named():
    with pytest.raises(ModelUnavailable, match=r"needs the operation Landmarks2TransformMatrix"):
        LiteRtSession(model_path("face_landmark_with_attention"))


def test_a_file_may_be_overwritten_while_it_is_in_use(tmp_path):
    path = negative(tmp_path)
    session, pool = LiteRtSession(path), LiteRtPool(path, width=2)
    path.write_bytes(b"")
    x = np.ones((4, 3), np.float32)
    assert session.run({"x": x})["z"].tolist() == (-x).tolist()
    assert pool.run({"x": x})["z"].tolist() == (-x).tolist()
    assert pool.interpreters == 2
    pool.close()


def test_without_its_package_the_engine_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(BackendUnavailable, match=r"pip install '\.\[litert\]'"):
        LiteRtSession(negative(tmp_path))


def test_the_doctor_knows_the_engine():
    [check] = _devices(BACKENDS["litert"])
    assert re.fullmatch(r"LiteRT \d+\.\d+\.\d+: cpu \(XNNPACK\)", check.what)


# --- what is told of a model -----------------------------------------------------------------


def test_the_graph_runs_on_xnnpack():
    session = LiteRtSession(model_path(SHORT_RANGE), batched=False)
    assert (session.runtime, session.device, session.provider) == ("litert", "cpu", "XNNPACK")
    assert session.inputs[0].shape == (1, 128, 128, 3)
    assert [spec.shape for spec in session.outputs] == [(1, 896, 16), (1, 896, 1)]
    assert session.metadata == {}


def test_a_graph_that_xnnpack_doesnt_take_runs_on_the_cpu(tmp_path):
    assert LiteRtSession(picker(tmp_path)).provider == "CPU"


@pytest.mark.parametrize(("name", "precision"), [(SHORT_RANGE, "fp16"), ("iris_landmark", "fp32")])
def test_the_precision_is_that_of_the_weights(name, precision):
    assert LiteRtSession(model_path(name), batched=False).precision == precision


def test_quantised_weights_are_told(tmp_path):
    ends = [Tensor(name, (1, 4), np.int8, scale=0.5) for name in "xy"]
    weights = Tensor("w", (1, 4), np.int8, scale=0.5, data=[1, 2, 3, 4])
    path = write_model(
        tmp_path / "sum.tflite", [*ends, weights], [Op("ADD", [0, 2], [1], "AddOptions")]
    )
    assert LiteRtSession(path).precision == "int8"
    assert LiteRtSession(negative(tmp_path)).precision == "fp32"


def test_tensors_without_names_of_their_own_get_some(tmp_path):
    tensors = [Tensor("", (1, 2)), Tensor("y", (1, 2)), Tensor("y", (1, 2))]
    ops = [Op("NEG", [0], [1]), Op("ABS", [0], [2])]
    session = LiteRtSession(write_model(tmp_path / "model.tflite", tensors, ops))
    outputs = session.run({"tensor_0": np.array([[-1, 2]], np.float32)})
    assert {name: array.tolist() for name, array in outputs.items()} == {
        "tensor_0": [[1, -2]],
        "tensor_1": [[1, 2]],
    }


def test_free_sizes_are_free(tmp_path):
    session = LiteRtSession(negative(tmp_path, (1, -1)))
    assert session.inputs == (TensorSpec("x", (None, None), np.dtype(np.float32)),)
    for shape in ((1, 5), (1, 2), (3, 7)):
        assert session.run({"x": np.ones(shape, np.float32)})["z"].shape == shape


# --- batches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [MESH, "selfie_segmentation_landscape"])
def test_rows_of_a_batch_are_what_they_are_alone(name):
    session = LiteRtSession(model_path(name))
    assert session.batch_sizes == BatchSizes()
    assert session.inputs[0].shape[0] is None
    images = pictures(session, 3)
    alone = run_each(name, images)
    for count in (3, 1, 2):  # it is fitted to each size anew
        together = session.run({session.inputs[0].name: images[:count]})
        for spec in session.outputs:
            assert spec.shape[0] is None
            assert np.allclose(together[spec.name], alone[spec.name][:count], atol=1e-4)


@pytest.mark.parametrize("name", [SHORT_RANGE, "hand_recrop", "iris_landmark"])
def test_a_model_that_mixes_rows_up_runs_them_one_by_one(name):
    # The detector and the iris give the rows in one; hand_recrop only gets them wrong.
    session = LiteRtSession(model_path(name))
    assert session.batch_sizes == BatchSizes(fixed=(1,))
    assert session.batch_sizes.limit(8) == 1
    images = pictures(session, 2)
    [wanted] = session.inputs
    with pytest.raises(ModelFailed, match="takes float32"):
        session.run({wanted.name: images})
    again = session.run({wanted.name: images[:1]})
    for name_, alone in run_each(name, images[:1]).items():
        assert np.array_equal(again[name_], alone)


def test_rows_that_come_out_alike_prove_nothing(tmp_path):
    tensors = [Tensor("x", (1, 3)), Tensor("nothing", (), data=0), Tensor("y", (1, 3))]
    ops = [Op("MUL", [0, 1], [2], "MulOptions")]
    session = LiteRtSession(write_model(tmp_path / "model.tflite", tensors, ops))
    assert session.batch_sizes == BatchSizes(fixed=(1,))


def test_a_batch_that_is_written_in_the_file_is_reported(tmp_path):
    path = negative(tmp_path, (2, 3))
    assert LiteRtSession(path).batch_sizes == BatchSizes(fixed=(2,))
    with pytest.raises(ModelUnavailable, match="one row at a time"):
        LiteRtPool(path, width=2)


def test_a_batch_that_the_file_leaves_free_is_free(tmp_path):
    path = negative(tmp_path, (-1, 3))
    pool = LiteRtPool(path, width=2)
    for session in (LiteRtSession(path), pool):
        assert session.batch_sizes == BatchSizes()
        assert session.run({"x": np.ones((3, 3), np.float32)})["z"].tolist() == [[-1] * 3] * 3
    pool.close()


def test_two_inputs_have_as_many_rows(tmp_path):
    tensors = [Tensor("a", (1, 3)), Tensor("b", (1, 3)), Tensor("y", (1, 3))]
    path = write_model(tmp_path / "model.tflite", tensors, [Op("ADD", [0, 1], [2], "AddOptions")])
    pool = LiteRtPool(path, width=2)
    for session in (LiteRtSession(path), pool):
        ones = np.ones((3, 3), np.float32)
        assert session.run({"a": ones, "b": ones})["y"].tolist() == [[2] * 3] * 3
        with pytest.raises(ModelFailed, match="rows"):
            session.run({"a": ones, "b": ones[:2]})
        with pytest.raises(ModelFailed):
            session.run({"a": ones[:0], "b": ones[:0]})
    pool.close()


# --- quantised inputs and outputs -------------------------------------------------------------

SCALE = float(np.float32(0.1))  # as the file keeps it
VALUES = np.array([[-0.4, 0, 0.05, 0.149, 0.15, -0.05, 3.21, 1e9, -1e9, np.inf]], np.float32)


@pytest.mark.parametrize(("dtype", "zero_point"), [(np.uint8, 128), (np.int8, -3), (np.int16, 0)])
def test_quantised_ends_take_and_give_floats(tmp_path, dtype, zero_point):
    ends = [Tensor(n, (1, 10), dtype, scale=SCALE, zero_point=zero_point) for n in "xy"]
    session = LiteRtSession(reshaped(tmp_path, *ends))
    assert session.inputs[0].dtype == session.outputs[0].dtype == np.float32
    answer = session.run({"x": VALUES})["y"]
    # Halves go away from zero; what is out of range becomes the last number there is.
    away = np.floor(np.abs(VALUES.astype(np.float64) / SCALE) + 0.5) * np.sign(VALUES)
    bounds = np.iinfo(dtype)
    numbers = np.clip(away + zero_point, bounds.min, bounds.max)
    assert answer.dtype == np.float32
    assert answer.tolist() == ((numbers - zero_point) * SCALE).astype(np.float32).tolist()


def test_the_numbers_themselves_can_be_asked_for(tmp_path):
    ends = [Tensor(n, (1, 3), np.uint8, scale=SCALE, zero_point=128) for n in "xy"]
    path = reshaped(tmp_path, *ends)
    numbers = np.array([[0, 128, 255]], np.uint8)
    session = LiteRtSession(path, raw=True)
    assert session.inputs[0].dtype == np.uint8
    assert session.run({"x": numbers})["y"].tolist() == numbers.tolist()
    with pytest.raises(ModelFailed, match="uint8"):
        session.run({"x": numbers.astype(np.float32)})
    session.close()


def test_whole_numbers_without_a_scale_stay_what_they_are(tmp_path):
    ends = [Tensor(n, (1, 3), np.uint8) for n in "xy"]
    session = LiteRtSession(reshaped(tmp_path, *ends))
    numbers = np.array([[0, 128, 255]], np.uint8)
    assert session.run({"x": numbers})["y"].tolist() == numbers.tolist()


def test_quantised_arithmetic_is_that_of_floats(tmp_path):
    # Both ends and the constant with scales of their own: the sum is right to half a step.
    tensors = [
        Tensor("x", (1, 4), np.int8, scale=0.05, zero_point=10),
        Tensor("c", (1, 4), np.int8, data=[40, -40, 0, 100], scale=0.02),
        Tensor("y", (1, 4), np.int8, scale=0.08, zero_point=-7),
    ]
    path = write_model(tmp_path / "sum.tflite", tensors, [Op("ADD", [0, 1], [2], "AddOptions")])
    session = LiteRtSession(path)
    assert session.batch_sizes == BatchSizes()
    x = np.array([[1, 2, 3, 4], [-1.5, 0, 0.05, 5]], np.float32)
    expected = x + np.array([0.8, -0.8, 0, 2])
    assert session.run({"x": x})["y"] == pytest.approx(expected, abs=0.08 / 2 + 0.05 / 2)


def test_no_whole_number_stands_for_nan(tmp_path):
    ends = [Tensor(n, (1, 2), np.uint8, scale=1.0) for n in "xy"]
    session = LiteRtSession(reshaped(tmp_path, *ends))
    with pytest.raises(ModelFailed, match="NaN"):
        session.run({"x": np.array([[1, np.nan]], np.float32)})
    assert session.run({"x": np.array([[1, 2]], np.float32)})["y"].tolist() == [[1, 2]]


# --- threads ----------------------------------------------------------------------------------


def litert_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("litert-")]


@pytest.mark.parametrize("engine", [LiteRtSession, lambda path: LiteRtPool(path, width=2)])
def test_threads_that_meet_in_a_session_take_turns(engine):
    session = engine(model_path(MESH))
    images = pictures(session, 6)
    alone = run_each(MESH, images)
    answers: dict[int, dict[str, np.ndarray]] = {}

    def work(start: int) -> None:
        for row in range(start, 6, 3):
            answers[row] = session.run({session.inputs[0].name: images[row : row + 1]})

    threads = [threading.Thread(target=work, args=[start]) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    session.close()
    for row, answer in answers.items():
        for name, array in answer.items():
            assert np.allclose(array[0], alone[name][row], atol=1e-4)


def test_a_run_may_use_several_threads():
    one, two = (LiteRtSession(model_path(MESH), threads=n, batched=False) for n in (1, 2))
    assert (one.threads, two.threads) == (1, 2)
    image = {one.inputs[0].name: pictures(one, 1)}
    for name, array in one.run(image).items():
        assert np.allclose(two.run(image)[name], array, atol=1e-4)


# --- the pool -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [SHORT_RANGE, MESH, "hand_recrop"])
def test_rows_of_a_pool_are_what_they_are_alone(name):
    pool = LiteRtPool(model_path(name), width=2)
    images = pictures(pool, 5)
    together = pool.run({pool.inputs[0].name: images})
    pool.close()
    alone = run_each(name, images)
    assert pool.batch_sizes == BatchSizes()
    for spec in pool.outputs:
        assert spec.shape == (None, *together[spec.name].shape[1:])
        assert together[spec.name].shape[0] == 5
        assert np.array_equal(together[spec.name], alone[spec.name])


def test_interpreters_and_threads_are_made_when_there_are_rows_for_them(tmp_path):
    pool = LiteRtPool(negative(tmp_path), width=3)
    assert (pool.threads, pool.interpreters, litert_threads()) == (3, 1, [])
    for rows, expected in ((1, 1), (2, 2), (1, 2), (9, 3)):
        pool.run({"x": np.ones((rows, 3), np.float32)})
        assert pool.interpreters == expected
        assert len(litert_threads()) == expected - 1
    pool.close()
    assert (pool.interpreters, litert_threads()) == (0, [])


def test_a_row_that_fails_fails_the_run_and_the_pool_lives_on(tmp_path):
    pool = LiteRtPool(picker(tmp_path), width=2)
    assert pool.run({"x": np.array([2, 0, 1], np.int32)})["y"].tolist() == [20, 0, 10]
    for wrong in ([99, 0, 1], [0, 1, 99], [99, 99, 99]):
        with pytest.raises(ModelFailed, match="LiteRT: gather index out of bounds"):
            pool.run({"x": np.array(wrong, np.int32)})
        assert pool.run({"x": np.array([1, 2], np.int32)})["y"].tolist() == [10, 20]
    pool.close()


def test_where_there_is_no_room_for_more_interpreters_the_first_runs_all_rows(
    tmp_path, monkeypatch, caplog
):
    pool = LiteRtPool(negative(tmp_path), width=2)

    def no_room() -> LiteRtSession:
        raise ModelUnavailable("no room")

    monkeypatch.setattr(pool, "_open", no_room)
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert pool.run({"x": x})["z"].tolist() == (-x).tolist()
        pool.close()
    assert "goes without this interpreter: no room" in caplog.text
    assert litert_threads() == []
