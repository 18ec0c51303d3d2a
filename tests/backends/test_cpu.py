"""A CPU that lacks something is named, before an import ends the process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli_kit import HEARTH, Done, environment
from hearth.cpu import missing_features
from lan_kit import require, require_tools

# `flags` of QEMU's models of these names, as far as they matter here.
CORE_2 = "fpu sse sse2 ht lm pni ssse3 cx16 sse4_1 lahf_lm"
KVM64 = "fpu sse sse2 lm pni cx16"
NEHALEM = f"{CORE_2} sse4_2 popcnt"
SANDY_BRIDGE = f"{NEHALEM} avx"
HASWELL = f"{SANDY_BRIDGE} avx2 fma f16c"


def cpuinfo(folder: Path, *flags: str, name: str = "flags\t\t") -> Path:
    """A /proc/cpuinfo with a core for each of ``flags``."""
    path = folder / "cpuinfo"
    path.write_text("\n".join(f"model name\t: Old\n{name}: {each}\n" for each in flags))
    return path


@pytest.mark.parametrize(
    ("flags", "required", "fast"),
    [
        (KVM64, "LAHF POPCNT SSSE3 SSE4.1 SSE4.2", "AVX AVX2 FMA F16C"),
        (CORE_2, "POPCNT SSE4.2", "AVX AVX2 FMA F16C"),
        (NEHALEM, "", "AVX AVX2 FMA F16C"),
        (SANDY_BRIDGE, "", "AVX2 FMA F16C"),
        (HASWELL, "", ""),
    ],
)
def test_what_an_x86_lacks_is_named(tmp_path, flags, required, fast):
    missing = missing_features(cpuinfo(tmp_path, HASWELL, flags), "x86_64")
    assert missing == (tuple(required.split()), tuple(fast.split()))
    assert all(name in missing.sentence for name in (required or fast).split())


@pytest.mark.parametrize(
    ("features", "fast"),
    [("fp asimd evtstrm crc32 cpuid", ("DOTPROD",)), ("fp asimd asimdhp asimddp", ())],
)
def test_what_an_arm_lacks_is_named(tmp_path, features, fast):
    path = cpuinfo(tmp_path, features, name="Features\t")
    assert missing_features(path, "aarch64") == ((), fast)


def test_where_nothing_is_told_nothing_is_missing(tmp_path):
    assert missing_features(tmp_path / "none", "x86_64") == ((), ())
    assert missing_features(cpuinfo(tmp_path, "?", name="isa"), "riscv64") == ((), ())


def on_a_cpu(folder: Path, flags: str, *arguments: str) -> Done:
    """A command of `hearth` that sees another /proc/cpuinfo."""
    require(sys.platform == "linux" and os.uname().machine == "x86_64", "Linux on x86-64")
    require(os.geteuid() == 0, "root (mount namespaces)")
    require_tools("unshare", "mount")
    see = f'mount --bind {cpuinfo(folder, flags)} /proc/cpuinfo && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", see, "sh", *HEARTH, *arguments],
        capture_output=True, text=True, timeout=60, cwd=folder, env=environment(), check=False,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def test_doctor_says_what_is_missing_and_imports_no_engine(tmp_path):
    done = on_a_cpu(tmp_path, KVM64, "doctor", "--json", "--set", "mdns.enabled=false")
    assert done.code == 1, done.err
    checks = {(check["area"], check["name"]): check for check in done.lines}
    cpu = checks["machine", "cpu"]
    assert cpu["state"] == "bad"
    assert "SSE4.2" in cpu["what"]
    assert "host" in cpu["cure"]
    assert not [area for area, _ in checks if area in {"engine", "service", "speed"}]


def test_doctor_names_what_makes_models_slow(tmp_path):
    done = on_a_cpu(tmp_path, SANDY_BRIDGE, "doctor", "--json", "--set", "services=ocr",
                    "--set", "mdns.enabled=false", "--set", "port=0")  # fmt: skip
    assert done.code == 0, done.out
    [cpu] = [check for check in done.lines if check["name"] == "cpu"]
    assert (cpu["state"], "AVX2, FMA" in cpu["what"]) == ("note", True)


def test_a_node_does_not_start_where_its_packages_would_end_it(tmp_path):
    done = on_a_cpu(tmp_path, CORE_2, "serve", "--port", "0")
    assert done.code == 1
    [line] = done.err.splitlines()
    assert line.startswith("hearth: the CPU lacks POPCNT, SSE4.2")
