"""For the examples' tests: a node as a process of its own, and the examples, ready to be run.

``python example_kit.py`` is the node: the lab with two more tasks. ``busy`` refuses each payload
once and says when to come again; ``hold`` says on standard output that it has one, and keeps it.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from checkout import ROOT
from hearth.errors import Overloaded
from lan_kit import require, require_tools

GOCODE = Path("/usr/share/gocode")
"""Where Debian keeps packages of Go."""
BUSY = 0.7
"""Seconds after which ``busy`` wants to be asked again; more than a client waits of itself."""

# --- the node -----------------------------------------------------------------------------------


async def serve() -> None:
    """Print the port, and serve until the process ends."""
    from node_kit import LAB_TASKS, lab_node

    refused = set()

    def busy(_: Any, call: Any) -> bytes:
        payload: bytes = call.request.data
        if payload not in refused:
            refused.add(payload)
            raise Overloaded("too busy", retry_after=BUSY)
        return payload

    async def hold(*_: Any) -> bytes:
        print("held", flush=True)
        await asyncio.Event().wait()
        raise AssertionError

    upper = LAB_TASKS[0]
    tasks = [
        *LAB_TASKS,
        replace(upper, name="busy", parse=busy, aliases=()),
        replace(upper, name="hold", call=hold, aliases=()),
    ]
    async with lab_node(tasks=tasks) as node:
        print(node.port, flush=True)
        await asyncio.Event().wait()


class LabProcess:
    """A node that can be killed."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.target = f"127.0.0.1:{self._line()}"

    def until_held(self) -> None:
        """Wait for a request of the task ``hold`` to be there."""
        assert self._line() == "held"

    def kill(self) -> None:
        """With SIGKILL: no goodbye."""
        self._process.kill()
        self._process.wait(10)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def lab_process() -> Iterator[LabProcess]:
    """The node of this file, once its port is open and its model ready."""
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield LabProcess(process)
        finally:
            process.kill()


# --- the examples -------------------------------------------------------------------------------


class Answers(NamedTuple):
    """What an example printed."""

    code: int
    results: dict[str, Any]
    """By file; None where it failed."""
    errors: dict[str, str | None]


@dataclass
class Example:
    """A client that isn't ours: a command and its environment."""

    command: Sequence[str]
    environment: dict[str, str]
    takes_one: bool = False
    """File, which comes before the options; it prints the bare result."""

    def start(self, target: str, *words: object) -> "subprocess.Popen[str]":
        """Its process."""
        return subprocess.Popen(
            [*self.command, target, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def run(self, target: str, *words: object) -> "subprocess.CompletedProcess[str]":
        """Its process, at its end."""
        with self.start(target, *words) as process:
            return finish(process)

    def ask(self, target: str, task: str, *files: Path, **options: object) -> Answers:
        """What becomes of the files."""
        told = [f"{name}={value}" for name, value in options.items()]
        if not self.takes_one:
            done = self.run(target, task, *told, *files)
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            assert sorted(line["file"] for line in lines) == sorted(map(str, files)), done.stderr
            return Answers(
                done.returncode,
                {Path(line["file"]).name: line["result"] for line in lines},
                {Path(line["file"]).name: line["error"] for line in lines},
            )
        runs = {file.name: self.run(target, task, file, *told) for file in files}
        return Answers(
            max(done.returncode for done in runs.values()),
            {name: json.loads(done.stdout or "null") for name, done in runs.items()},
            {name: done.stderr or None for name, done in runs.items()},
        )


def finish(process: "subprocess.Popen[str]") -> "subprocess.CompletedProcess[str]":
    """Wait for the end, for a minute at most."""
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def go_example(folder: Path) -> Example:
    """Build examples/go in ``folder``, from Debian's packages: without modules to fetch."""
    require_tools("go")
    # gRPC is there with either; our stubs need the second.
    for package, file in {
        "golang-google-grpc-dev": "google.golang.org/grpc/dialoptions.go",
        "golang-github-golang-protobuf-1-5-dev": "github.com/golang/protobuf/proto/buffer.go",
    }.items():
        require((GOCODE / "src" / file).exists(), f"Debian's package {package}")
    source = folder / "src" / "example.com" / "hearth"
    shutil.copytree(ROOT / "examples" / "go", source)
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": f"{folder}:{GOCODE}"}
    program = folder / "infer"
    build = ["go", "build", "-o", str(program), "."]
    done = subprocess.run(
        build, cwd=source, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Example([str(program)], dict(os.environ))


def node_js_example(folder: Path) -> Example:
    """Install examples/node in ``folder``."""
    require_tools("node", "npm")
    example = folder / "examples" / "node"
    ignore = shutil.ignore_patterns("node_modules")
    shutil.copytree(ROOT / "examples" / "node", example, ignore=ignore)
    shutil.copytree(ROOT / "proto", folder / "proto")
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(
        install, cwd=example, capture_output=True, text=True, timeout=90, check=False
    )
    require(done.returncode == 0, f"npm's registry ({done.stderr.strip()[-200:]})")
    return Example(["node", str(example / "infer.mjs")], dict(os.environ))


def shell_example(folder: Path, tool: str) -> Example:
    """examples/shell, with no program to be found but ``tool`` and what every system has."""
    ours = Path(sys.executable).with_name(tool)
    found = ours if ours.exists() else shutil.which(tool)
    if tool == "grpcurl" and not found:
        pytest.skip("needs the program grpcurl, of which there is no package")  # in CI neither
    require(found, f"the program {tool} (pip install buf-bin)")
    programs = {tool: str(found)}
    for name in ("sh", "awk", "base64", "cat", "dirname", "grep", "mktemp", "rm", "sed", "tr"):
        require_tools(name)
        programs[name] = str(shutil.which(name))
    for name, path in programs.items():
        (folder / name).symlink_to(path)
    # buf keeps its own configuration; nothing of the user's is touched.
    environment = {"PATH": str(folder), "HOME": "/nonexistent"}
    script = ROOT / "examples" / "shell" / "infer.sh"
    return Example(["/bin/sh", str(script)], environment, takes_one=True)


EXAMPLES: Mapping[str, Callable[[Path], Example]] = {
    "go": go_example,
    "node": node_js_example,
    "buf": lambda folder: shell_example(folder, "buf"),
    "grpcurl": lambda folder: shell_example(folder, "grpcurl"),
}


if __name__ == "__main__":
    asyncio.run(serve())
