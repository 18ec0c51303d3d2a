"""What a shell completes: tasks and options by name, files by itself."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli_kit import HEARTH, environment
from hearth.cli.options import complete_task as tasks
from hearth.families.tasks import TASKS

HEAVY = ("grpc", "zeroconf", "numpy", "pydantic_settings", "orjson", "onnxruntime", "torch", "PIL")
PROGRAM = Path(sys.executable).with_name("hearth")


def told(shell: str, line: str) -> list[str]:
    """What hearth tells a shell, as the shell's own script asks it."""
    words = line.split(" ")
    asked = {
        "_HEARTH_COMPLETE": f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        HEARTH, capture_output=True, text=True, timeout=30, env=environment(**asked), check=True
    )
    assert not done.stderr
    return [line for line in done.stdout.splitlines() if line]


def test_every_task_of_hearth_is_completed():
    assert set(tasks("")) == {name for task in TASKS for name in task.names}
    assert tasks("semantic_") == ["semantic_image_embed", "semantic_text_embed"]
    assert tasks("lost") == []


@pytest.mark.parametrize("command", ["infer", "bench"])
def test_a_task_is_completed_where_one_is_due(command: str):
    assert told("bash", f"hearth {command} semantic_") == tasks("semantic_")
    assert told("bash", f"hearth {command} -n nas:50051 iris") == ["iris_tracking"]


def test_files_are_left_to_the_shell():
    assert told("bash", "hearth bench ocr pag") == []
    assert told("zsh", "hearth bench ocr pag") == ["_files"]


@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_each_line_is_one_word_with_its_help(shell: str):
    lines = told(shell, "hearth bench --")
    told_of = [line for line in lines if "--concurrency" in line]
    assert len(told_of) == 1 and "the most in flight" in told_of[0]
    assert all("--" in line for line in lines)


def test_completing_imports_nothing_heavy():
    script = (
        "import sys\nfrom hearth.cli.main import main\n"
        "try: main([])\n"
        f"finally: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    asked = {
        "_HEARTH_COMPLETE": "complete_bash",
        "COMP_WORDS": "hearth\nbench\noc",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, timeout=30, env=environment(**asked), check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("ocr\n", "[]\n")


def run_in_bash(script: str, home: Path) -> str:
    """What a bash prints that finds our command; it asks as one that a user types into."""
    path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True, text=True, timeout=30, check=True,
        env=environment(PATH=path, HOME=str(home)),
    )  # fmt: skip
    return done.stdout


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_a_bash_completes_with_what_show_completion_prints(tmp_path: Path):
    script = """
        eval "$(hearth --show-completion; true)"
        COMP_WORDS=(hearth bench semantic_t); COMP_CWORD=2
        _hearth_completion hearth
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    assert run_in_bash(script, tmp_path) == "semantic_text_embed\n"


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_install_completion_writes_what_the_next_bash_reads(tmp_path: Path):
    run_in_bash("hearth --install-completion; true", tmp_path)
    assert "source " in (tmp_path / ".bashrc").read_text()
    assert (
        run_in_bash(f". {tmp_path}/.bashrc; complete -p hearth", tmp_path).split()[-1] == "hearth"
    )
