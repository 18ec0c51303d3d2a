"""A device is proved and not only listed; where it can't be had, it is said why."""

import asyncio
import logging
import platform
import struct
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.protobuf.empty_pb2 import Empty

from hearth.backends import SessionOptions
from hearth.backends._device_proofs import DeviceProofs
from hearth.backends._onnx_providers import FRONT, Providers, missing_library
from hearth.backends.onnx import OnnxBackend
from hearth.backends.registry import BACKENDS, register
from hearth.backends.torch import TorchBackend
from hearth.cli.checks import State, _devices, services
from hearth.errors import BackendUnavailable
from hearth.settings import load
from node_kit import NodeThread, stub_of

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

# The ONNX Runtime of the tests was built for the CPU alone: asked for CUDA, it takes the CPU
# without a word, as one does that was built for CUDA where CUDA's libraries are missing.
pytestmark = [
    pytest.mark.skipif(CUDA in Providers().listed(), reason="this machine has CUDA"),
    pytest.mark.filterwarnings("ignore:Specified provider 'CUDA:UserWarning"),
]


def engine(libraries: Path | None = None) -> OnnxBackend:
    """An ONNX Runtime that lists CUDA, with the providers' own libraries in this folder."""
    return OnnxBackend(Providers(lambda: (CUDA, CPU), libraries))


def library_that_needs(name: str, path: Path) -> Path:
    """A shared library, with no content but that it needs another one."""
    strings = b"\0" + name.encode() + b"\0"
    head, start = 64 + 2 * 56, 0x200
    symbols, table = start, start + 24
    dynamic = table + len(strings) + -len(strings) % 8
    # DT_NEEDED, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_NULL (System V ABI, chapter 5)
    entries = [(1, 1), (5, table), (6, symbols), (10, len(strings)), (11, 24), (0, 0)]
    size = dynamic + 16 * len(entries)
    machine = {"x86_64": 62, "aarch64": 183}[platform.machine()]
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0
    )
    loaded = struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, size, size, 0x1000)
    linked = struct.pack(
        "<IIQQQQQQ", 2, 6, dynamic, dynamic, dynamic, size - dynamic, size - dynamic, 8
    )
    content = (header + loaded + linked).ljust(head, b"\0").ljust(start, b"\0")
    content += bytes(24) + strings
    content = content.ljust(dynamic, b"\0")
    content += b"".join(struct.pack("<QQ", *entry) for entry in entries)
    path.write_bytes(content)
    return path


def test_a_provider_that_is_listed_and_cant_run_is_told_from_one_that_can():
    cuda, cpu = engine().devices()
    assert (cpu.name, cpu.label, cpu.fault) == ("cpu", "CPU", "")
    assert (cuda.name, cuda.label) == ("cuda:0", "CUDA")
    assert cuda.fault.startswith(f"{CUDA} is listed and can't run: ")


@pytest.mark.skipif(sys.platform != "linux", reason="writes a library for Linux")
def test_the_library_that_is_missing_is_named(tmp_path):
    library_that_needs("libcudnn.so.9", tmp_path / "libonnxruntime_providers_cuda.so")
    expected = f"{CUDA} is listed and can't run: libcudnn.so.9 is missing"
    assert engine(tmp_path).devices()[0].fault == expected


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        (
            "/onnxruntime/core/session/provider_bridge_ort.cc:2195 Failed to load library "
            "libonnxruntime_providers_cuda.so with error: libcublasLt.so.12: cannot open shared "
            "object file: No such file or directory",
            "libcublasLt.so.12 is missing",
        ),
        (
            'Error loading "C:\\hearth\\onnxruntime_providers_cuda.dll" which depends on '
            '"cudnn64_9.dll" which is missing. (Error 126)',
            "cudnn64_9.dll is missing",
        ),
        ("CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version", ""),
    ],
)
def test_a_loaders_message_is_understood(said, missing):
    assert missing_library(said) == missing


def test_a_device_that_was_asked_for_says_why_it_isnt_used_once_for_all_sessions(caplog):
    backend, options = engine(), SessionOptions(device="cuda:0")
    with caplog.at_level(logging.WARNING):
        one, another = backend.open(FRONT, options), backend.open(FRONT, options)
    assert (one.device, one.provider) == ("cpu", CPU)
    assert one.fallback == another.fallback
    assert one.fallback.startswith(f"{CUDA} is listed and can't run")
    assert one.fallback.endswith(": using the CPU")
    assert caplog.messages == [one.fallback]


def test_with_auto_the_cpu_is_taken_and_one_line_says_so(caplog):
    backend = engine()
    with caplog.at_level(logging.WARNING):
        one, another = backend.open(FRONT), backend.open(FRONT)
    assert (one.device, one.fallback, another.fallback) == ("cpu", "", "")
    [line] = caplog.messages
    assert "is listed and can't run" in line and line.endswith("using the CPU")


def test_a_device_that_is_asked_for_and_nothing_else_isnt_proved(caplog):
    with caplog.at_level(logging.WARNING):
        assert engine().open(FRONT, SessionOptions(device="cpu")).fallback == ""
    assert caplog.messages == []


@pytest.mark.parametrize(
    "options",
    [
        SessionOptions(require_device=True),
        SessionOptions(device="cuda", require_device=True),
        SessionOptions(providers=("cuda", "cpu"), require_device=True),
    ],
)
def test_a_device_that_is_required_and_cant_run_is_an_error(options):
    with pytest.raises(BackendUnavailable, match="is listed and can't run"):
        engine().open(FRONT, options)


def test_where_the_first_provider_cant_run_the_next_is_taken():
    session = engine().open(FRONT, SessionOptions(providers=("cuda", "cpu")))
    assert session.provider == CPU
    assert session.fallback.startswith(f"{CUDA} is listed and can't run")


def test_torch_says_which_device_cant_run():
    backend = TorchBackend(lambda: ("cuda:7", "cpu"))
    placement = backend.place(SessionOptions(device="cuda:7"))
    assert placement.device == "cpu"
    assert placement.fallback.startswith("torch lists cuda:7, and it can't run: ")
    assert backend.place(SessionOptions()).device == "cpu"
    with pytest.raises(BackendUnavailable, match="torch lists cuda:7, and it can't run"):
        backend.place(SessionOptions(device="cuda:7", require_device=True))


def test_a_device_is_proved_once_however_many_ask():
    proved: list[str] = []

    def prove(device: str) -> str:
        proved.append(device)
        return f"{device} is broken"

    proofs = DeviceProofs(prove)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(proofs.fault, ["a"] * 20)) == {"a is broken"}
    assert proved == ["a"]


# --- as people see it -------------------------------------------------------------------------


@pytest.fixture
def listing_cuda() -> Iterator[None]:
    """The registered ONNX Runtime lists CUDA."""
    own = BACKENDS["onnxrt"]
    register(engine())
    yield
    register(own)


@pytest.mark.usefixtures("listing_cuda")
def test_the_capabilities_tell_why_a_model_isnt_where_it_was_asked_to_be(tiny_export):
    async def extra(node: NodeThread) -> dict[str, str]:
        async with stub_of(node.node) as stub:
            return dict((await stub.GetCapabilities(Empty())).extra)

    flags = {"services": "clip", "clip.model": str(tiny_export)}
    with NodeThread(**flags, **{"clip.device": "cuda"}) as node:
        told = asyncio.run(extra(node))
    assert (told["clip.state"], told["clip.device"]) == ("ready", "cpu")
    assert told["clip.reason"].startswith(f"{CUDA} is listed and can't run")
    with NodeThread(**flags) as node:
        told = asyncio.run(extra(node))
    assert (told["clip.state"], told["clip.device"]) == ("ready", "cpu")
    assert "can't run" not in told.get("clip.reason", "")


@pytest.mark.usefixtures("listing_cuda")
def test_the_doctor_tells_of_it(tiny_export):
    listed, fault = _devices(BACKENDS["onnxrt"])
    assert (listed.state, fault.state) == (State.OK, State.NOTE)
    assert listed.what.endswith(": CPU")
    assert fault.what.startswith(f"{CUDA} is listed and can't run")
    flags = {"services": "clip", "clip.model": str(tiny_export)}
    config = Path("/dev/null")
    [here] = services(load(flags, environment={}, config=config))
    assert here.state is State.OK
    flags["clip.device"] = "cuda"
    _, device = services(load(flags, environment={}, config=config))
    assert (device.name, device.state) == ("clip", State.BAD)
    assert device.what.startswith(f"{CUDA} is listed and can't run")
