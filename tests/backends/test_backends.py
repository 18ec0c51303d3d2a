"""The contract of a session, the same for every engine, and what is peculiar to each."""

import logging
import os
import re
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from backend_kit import open_onnx
from checkout import KITS, ROOT
from hearth.backends import BatchSizes, Session, SessionOptions, TensorSpec, release_memory
from hearth.backends._memory import is_out_of_memory
from hearth.backends._onnx_providers import Providers
from hearth.backends._onnx_weights import weight_precision
from hearth.backends.litert_pool import LiteRtPool
from hearth.backends.litert_session import LiteRtSession
from hearth.backends.parallel import ParallelSession
from hearth.backends.registry import BACKENDS, require_backend
from hearth.backends.torch import TorchBackend, TorchSession
from hearth.errors import BackendUnavailable, ModelFailed, ModelUnavailable, OutOfMemory
from litert_kit import Op, Tensor, write_model
from toy_backend import ToyBackend, write_toy

WEIGHTS = np.arange(12, dtype=np.float32).reshape(3, 4) / 7


def write_graph(path: Path, *, batch: int | str = "batch", dtype: type = np.float32) -> Path:
    """y = x @ WEIGHTS and z = -x, at a free or a fixed batch."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Neg", ["x"], ["z"])],
        "test",
        [helper.make_tensor_value_info("x", kind, [batch, 3])],
        [
            helper.make_tensor_value_info("y", kind, [batch, 4]),
            helper.make_tensor_value_info("z", kind, [batch, 3]),
        ],
        [numpy_helper.from_array(WEIGHTS.astype(dtype), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"author": "hearth"})
    onnx.save(model, path)
    return path


def onnx_session(folder: Path) -> Session:
    return open_onnx(write_graph(folder / "model.onnx"))


def torch_session(_: Path) -> Session:
    import torch

    weights = torch.from_numpy(WEIGHTS)
    single = np.dtype(np.float32)
    return TorchSession(
        lambda x: (x @ weights, -x),
        inputs=[TensorSpec("x", (None, 3), single)],
        outputs=[TensorSpec("y", (None, 4), single), TensorSpec("z", (None, 3), single)],
        device="cpu",
        precision="fp32",
        metadata={"author": "hearth"},
    )


def write_tflite(path: Path) -> Path:
    """The same graph for one row."""
    tensors = [
        Tensor("x", (1, 3)),
        Tensor("w", (4, 3), data=WEIGHTS.T),
        Tensor("y", (1, 4)),
        Tensor("z", (1, 3)),
    ]
    fully_connected = Op("FULLY_CONNECTED", [0, 1, -1], [2], "FullyConnectedOptions")
    return write_model(path, tensors, [fully_connected, Op("NEG", [0], [3])])


def litert_session(folder: Path) -> Session:
    return LiteRtSession(write_tflite(folder / "model.tflite"))


def toy_session(folder: Path) -> Session:
    path = write_toy(folder / "model.toy", WEIGHTS, (3,))
    return ToyBackend().open(path)


def litert_pool(folder: Path) -> Session:
    return LiteRtPool(write_tflite(folder / "model.tflite"), width=2)


@pytest.fixture(params=[onnx_session, torch_session, litert_session, litert_pool, toy_session])
def session(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.close()


def onnx_filler(folder: Path, **options: bool) -> Session:
    """y = zeros of the shape that x says."""
    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["x"], ["y"])],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.INT64, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", "columns"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "filler.onnx")
    return open_onnx(folder / "filler.onnx", **options)


def onnx_filler_without_arena(folder: Path) -> Session:
    return onnx_filler(folder, keep_memory=False)


def torch_filler(_: Path) -> Session:
    import torch

    return TorchSession(
        lambda x: torch.zeros(x.tolist()),
        inputs=[TensorSpec("x", (2,), np.dtype(np.int64))],
        outputs=[TensorSpec("y", (None, None), np.dtype(np.float32))],
        device="cpu",
        precision="fp32",
    )


@pytest.fixture(params=[onnx_filler, onnx_filler_without_arena, torch_filler])
def filler(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.close()


# --- the contract ---------------------------------------------------------------------------


def keeps_denormals() -> bool:
    """Whether this thread computes with them, as Python's do."""
    return bool(np.full(8, 2e-38, np.float32) @ np.full(8, 0.01, np.float32))


@pytest.mark.parametrize("rows", [1, 3000])  # on the calling thread, and on the engine's own
def test_denormals_are_flushed_on_whatever_thread_and_there_alone(session, rows):
    x = np.zeros((rows, 3), np.float32)
    x[:, 0] = 2e-38  # normal; times a seventh it isn't any more
    assert (x @ WEIGHTS)[:, 1:].all()
    # Threads that nobody has had torch work in: its own take over the mode of the thread that
    # first gives them work. A node's sessions have threads of their own, too.
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as another:
        for thread in (one, another):
            assert not thread.submit(session.run, {"x": x}).result()["y"].any()
            assert thread.submit(keeps_denormals).result()
    if rows == 1:
        assert not session.run({"x": x})["y"].any()
        assert keeps_denormals()


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_every_output_comes_back_by_its_name(session, batch):
    x = np.random.default_rng(batch).normal(size=(batch, 3)).astype(np.float32)
    outputs = session.run({"x": x})
    assert list(outputs) == ["y", "z"]
    assert outputs["y"] == pytest.approx(x @ WEIGHTS, abs=1e-5)
    assert outputs["z"] == pytest.approx(-x)
    assert outputs["y"].dtype == np.float32


def test_inputs_and_outputs_are_described(session):
    assert session.inputs == (TensorSpec("x", (None, 3), np.dtype(np.float32)),)
    assert [(spec.name, spec.shape) for spec in session.outputs] == [
        ("y", (None, 4)),
        ("z", (None, 3)),
    ]
    assert session.batch_sizes.limit(32) == 32


@pytest.mark.parametrize("engine", [onnx_session, torch_session])
def test_what_is_told_of_the_model_is_kept(engine, tmp_path):
    assert engine(tmp_path).metadata["author"] == "hearth"


def test_what_is_in_use_is_told(session):
    assert session.runtime in {*BACKENDS, "toy"}
    assert session.device == "cpu"
    assert session.precision == "fp32"
    assert session.provider


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"unknown": np.zeros((1, 3), np.float32)},
        {"x": np.zeros((1, 3), np.float32), "more": np.zeros(1, np.float32)},
        {"x": np.zeros((1, 5), np.float32)},
        {"x": np.zeros((1, 3), np.float64)},
    ],
)
def test_wrong_feeds_fail_in_one_line_and_the_session_lives_on(session, feeds):
    with pytest.raises(ModelFailed) as failure:
        session.run(feeds)
    assert "\n" not in str(failure.value)
    assert session.run({"x": np.zeros((1, 3), np.float32)})["y"].shape == (1, 4)


def test_running_out_of_memory_is_told_apart_and_the_session_lives_on(filler):
    for _ in range(2):
        with pytest.raises(OutOfMemory) as failure:
            filler.run({"x": np.array([2**22, 2**22])})  # 64 TiB of float32
        assert "\n" not in str(failure.value)
        assert filler.run({"x": np.array([2, 3])})["y"].tolist() == [[0, 0, 0]] * 2


def test_what_cant_be_a_size_isnt_a_lack_of_memory(filler):
    with pytest.raises(ModelFailed) as failure:
        filler.run({"x": np.array([-1, 3])})
    assert not isinstance(failure.value, OutOfMemory)


def test_an_answer_isnt_overwritten_by_the_next_one(session):
    first = session.run({"x": np.ones((1, 3), np.float32)})["z"]
    session.run({"x": np.full((1, 3), 5, np.float32)})
    assert first.tolist() == [[-1, -1, -1]]


def test_a_closed_session_says_so(session):
    session.close()
    session.close()
    with pytest.raises(ModelFailed, match="closed"):
        session.run({"x": np.zeros((1, 3), np.float32)})


# --- ONNX Runtime ---------------------------------------------------------------------------


def test_a_fixed_batch_is_reported(tmp_path):
    session = open_onnx(write_graph(tmp_path / "one.onnx", batch=1))
    assert session.batch_sizes == BatchSizes(fixed=(1,))
    assert session.batch_sizes.limit(8) == 1
    with pytest.raises(ModelFailed):
        session.run({"x": np.zeros((2, 3), np.float32)})


def test_the_provider_is_the_one_that_was_taken(tmp_path):
    path = write_graph(tmp_path / "model.onnx")
    assert open_onnx(path, device="cpu").provider == "CPUExecutionProvider"
    assert open_onnx(path, providers=("cpu",)).provider == "CPUExecutionProvider"
    assert open_onnx(path, providers=("CPUExecutionProvider",)).device == "cpu"


def test_an_unknown_provider_is_an_error_that_names_those_there_are(tmp_path):
    path = write_graph(tmp_path / "model.onnx")
    with pytest.raises(BackendUnavailable, match=r"'abacus'.*CPUExecutionProvider"):
        open_onnx(path, providers=("abacus", "cpu"))


def test_an_unknown_device_is_an_error(tmp_path):
    path = write_graph(tmp_path / "model.onnx")
    with pytest.raises(BackendUnavailable, match="gpu7"):
        open_onnx(path, device="gpu7")


needs_no_cuda = pytest.mark.skipif(
    "CUDAExecutionProvider" in Providers().listed(), reason="this machine has CUDA"
)


@needs_no_cuda
@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:1", "mps"])
def test_a_device_that_is_required_and_isnt_there_is_an_error(tmp_path, device):
    path = write_graph(tmp_path / "model.onnx")
    with pytest.raises(BackendUnavailable):
        open_onnx(path, device=device, require_device=True)


@needs_no_cuda
def test_a_device_that_isnt_there_and_isnt_required_is_a_warning(tmp_path, caplog):
    path = write_graph(tmp_path / "model.onnx")
    with caplog.at_level(logging.WARNING):
        session = open_onnx(path, device="cuda")
    assert (session.provider, session.device) == ("CPUExecutionProvider", "cpu")
    assert "using the CPU" in caplog.text


def test_the_cpu_can_be_required(tmp_path):
    path = write_graph(tmp_path / "model.onnx")
    assert open_onnx(path, device="cpu", require_device=True).device == "cpu"


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07" * 40])
def test_a_broken_file_is_one_clear_line(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable) as failure:
        open_onnx(path)
    assert "broken.onnx" in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_file_cut_short_is_one_clear_line(tmp_path):
    path = write_graph(tmp_path / "short.onnx")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelUnavailable, match=r"short\.onnx"):
        open_onnx(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"nothing\.onnx"):
        open_onnx(tmp_path / "nothing.onnx")


def test_threads_and_arena_can_be_chosen(tmp_path):
    path = write_graph(tmp_path / "model.onnx")
    session = open_onnx(path, threads=1, keep_memory=False)
    assert session.run({"x": np.zeros((1, 3), np.float32)})["y"].shape == (1, 4)


@pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="needs Linux, and a core for a second thread",
)
def test_a_sessions_threads_may_run_on_every_core_that_the_process_may_use(tmp_path):
    path = write_graph(tmp_path / "model.onnx")
    before = set(Path("/proc/self/task").iterdir())
    session = open_onnx(path)
    own = set(Path("/proc/self/task").iterdir()) - before
    assert own
    assert all(os.sched_getaffinity(int(thread.name)) == os.sched_getaffinity(0) for thread in own)
    session.close()


def resident() -> int:
    """Megabytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_of_a_run_is_kept_until_it_is_asked_for(tmp_path):
    session = ParallelSession(onnx_filler(tmp_path), runs=1)
    small = {"x": np.array([1, 1])}
    session.run(small)
    before = resident()
    session.run({"x": np.array([50_000, 1000])})  # 190 MB
    kept = resident() - before
    release_memory(session, small)
    assert kept > 150
    assert resident() - before < 20
    session.close()


def test_a_session_that_keeps_no_memory_has_none_to_give_back(tmp_path):
    session = onnx_filler(tmp_path, keep_memory=False)
    release_memory(session, {"x": np.array([1, 1])})
    assert session.run({"x": np.array([2, 3])})["y"].shape == (2, 3)


def test_threads_that_wait_awake_sleep_once_the_run_is_over(tmp_path):
    path = write_graph(tmp_path / "model.onnx")
    session = open_onnx(path, device="cpu", threads=4, spin_us=1_000_000)
    rows = np.ones((30_000, 3), np.float32)  # enough for several threads

    def idle_cpu() -> float:
        session.run({"x": rows})
        before = time.process_time()
        time.sleep(0.05)
        return time.process_time() - before

    assert session.run({"x": rows})["y"] == pytest.approx(rows @ WEIGHTS)
    # Left to itself each of them would spin on for a second.
    assert min(idle_cpu() for _ in range(5)) < 0.01


@pytest.mark.parametrize(
    ("dtype", "precision"), [(np.float32, "fp32"), (np.float16, "fp16"), (np.float64, "fp64")]
)
def test_the_precision_is_that_of_the_weights(tmp_path, dtype, precision):
    path = write_graph(tmp_path / "model.onnx", dtype=dtype)
    assert weight_precision(path) == precision
    assert open_onnx(path, device="cpu").precision == precision


def test_a_file_in_another_precision_than_was_asked_for_is_refused(tmp_path):
    path = write_graph(tmp_path / "model.onnx")
    assert open_onnx(path, device="cpu", precision="fp32").precision == "fp32"
    with pytest.raises(ModelUnavailable, match=r"model\.onnx is fp32, not int8"):
        open_onnx(path, device="cpu", precision="int8")


def test_quantised_weights_are_told_from_the_floats_around_them(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [
            numpy_helper.from_array(np.zeros((9, 9), np.int8), "weights"),
            numpy_helper.from_array(np.zeros(9, np.float32), "scales"),
            numpy_helper.from_array(np.zeros((50, 50), np.int64), "indices"),
        ],
    )
    path = tmp_path / "quantised.onnx"
    onnx.save(helper.make_model(graph), path)
    assert weight_precision(path) == "int8"


def test_weights_beside_the_graph_count_as_well(tmp_path):
    path = write_graph(tmp_path / "model.onnx", dtype=np.float16)
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").is_file()
    assert weight_precision(path) == "fp16"
    assert open_onnx(path, device="cpu").precision == "fp16"


@pytest.mark.parametrize("content", [b"", b"text", b"\xff" * 100, bytes(100)])
def test_the_precision_of_what_is_no_model_is_unknown(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert weight_precision(path) is None


@pytest.mark.filterwarnings("ignore")
def test_half_precision_runs_on_a_cpu(tiny_export, tmp_path):
    # In a process of its own: at its default optimisation level ONNX Runtime crashes.
    from onnxruntime.transformers.float16 import convert_float_to_float16

    half = convert_float_to_float16(onnx.load(tiny_export / "visual" / "model.onnx"))
    onnx.save(half, tmp_path / "half.onnx")
    code = """
import sys
from pathlib import Path
import numpy as np
from hearth.backends import SessionOptions
from hearth.backends.registry import open_session
session = open_session(Path(sys.argv[1]), SessionOptions(device="cpu"))
assert session.precision == "fp16", session.precision
[vector] = session.run({"image": np.zeros((2, 3, 32, 32), np.float16)}).values()
assert np.isfinite(vector).all() and vector.dtype == np.float16
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "half.onnx")], check=True)


# --- torch ----------------------------------------------------------------------------------


def test_torch_takes_the_cpu_where_nothing_else_is():
    import torch

    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    engine = TorchBackend()
    assert (engine.place(SessionOptions()).device == "cpu") is not accelerated
    assert engine.place(SessionOptions(device="cpu", require_device=True)).device == "cpu"


@pytest.mark.parametrize("device", ["cuda:99", "cuda:98"])
def test_torch_names_the_devices_that_there_are(device, caplog):
    with pytest.raises(BackendUnavailable, match=r"here are .*cpu"):
        TorchBackend().place(SessionOptions(device=device, require_device=True))
    with caplog.at_level(logging.WARNING):
        assert TorchBackend().settle(SessionOptions(device=device)).device == "cpu"
    assert device in caplog.text


def test_torch_refuses_a_device_that_cant_be_meant():
    with pytest.raises(BackendUnavailable, match="tpu"):
        TorchBackend().place(SessionOptions(device="tpu"))


# --- out of memory --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sentence",
    [
        # ONNX Runtime: its arena on any device, with a limit of its own, and none at all
        "BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) "
        "Failed to allocate memory for requested buffer of size 4398046511104",
        "BFCArena::AllocateRawInternal Available memory of 0 is smaller than requested bytes "
        "of 135383040",
        "Non-zero status code returned while running MatMul node. Status Message: std::bad_alloc",
        # ONNX Runtime on CUDA
        "CUDA failure 2: out of memory ; GPU=0 ; expr=cudaStreamCreateWithFlags(&stream)",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; expr=cublasCreate(&handle);",
        # torch
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
        "memory: you tried to allocate 140737488355328 bytes. Error code 12",
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 31.7 GiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "MPS backend out of memory (MPS allocated: 17.2 GB, other allocations: 1.1 GB)",
    ],
)
def test_engines_are_understood_when_they_run_out_of_memory(sentence):
    assert is_out_of_memory(RuntimeError(sentence))


@pytest.mark.parametrize(
    "sentence",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ; GPU=0",
        "Got invalid dimensions for input: x for the following indices",
        "mat1 and mat2 shapes cannot be multiplied (1x5 and 3x4)",
    ],
)
def test_other_failures_arent_taken_for_a_lack_of_memory(sentence):
    assert not is_out_of_memory(RuntimeError(sentence))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the address space")
@pytest.mark.parametrize("engine", ["onnx_session", "torch_session", "litert_session"])
def test_a_batch_too_large_for_the_memory_fails_and_a_smaller_one_fits(engine, tmp_path):
    # In a process of its own, whose address space is bounded.
    code = """
import resource, sys
from pathlib import Path
import numpy as np
import test_backends
from hearth.errors import OutOfMemory
session = getattr(test_backends, sys.argv[1])(Path(sys.argv[2]))
run = lambda rows: session.run({"x": np.ones((rows, 3), np.float32)})["y"]
assert run(1).shape == (1, 4)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, used + 2**29))
rows = 25_000_000  # 300 MB fit, and what comes of them doesn't
try:
    run(rows)
except OutOfMemory:
    rows //= 32
    assert run(rows).shape == (rows, 4)
    sys.exit(0)
sys.exit("nothing failed")
"""
    subprocess.run(
        [sys.executable, "-c", code, engine, str(tmp_path)],
        check=True,
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(KITS)},
    )


# --- the registry ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["onnxrt", "torch", "litert"])
def test_installed_backends_are_usable(name):
    assert BACKENDS[name].unavailable() is None
    assert require_backend(name).name == name


def test_what_is_to_be_installed_is_one_of_our_extras():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    code = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    named = set(re.findall(r"how_to_install\(['\"](\w+)", code))
    assert {"server", "torch", "litert", "export", "watch"} <= named
    assert named <= set(project["optional-dependencies"])
    # The package index has somebody else's package under that name.
    assert not re.findall(r"pip install ['\"]?hearth", code)


def test_rknn_says_that_it_isnt_there_yet():
    with pytest.raises(BackendUnavailable, match="rknn"):
        require_backend("rknn")


def test_an_unknown_backend_is_an_error_that_names_those_there_are():
    with pytest.raises(BackendUnavailable, match="onnxrt, torch"):
        require_backend("abacus")
