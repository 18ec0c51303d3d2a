"""Names: one name means one thing, and a docstring makes sense in a tooltip, alone."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import hearth

ROOT = Path(hearth.__file__).parent
REPOSITORY = Path(__file__).parents[2]

REFERS_ELSEWHERE = {
    "as", "both", "each", "either", "everybody", "everything", "he", "his", "i", "it", "its", "my",
    "neither", "nothing", "of", "other", "others", "our", "same", "she", "somebody", "something",
    "such", "that", "their", "theirs", "them", "these", "they", "this", "those", "we", "what",
    "whatever", "whoever", "you", "your",
}  # fmt: skip
"""First words of a docstring whose subject stands somewhere else."""

NO_VERB = {
    "0", "1", "a", "all", "also", "an", "any", "at", "by", "every", "false", "for", "from",
    "further", "how", "in", "no", "none", "on", "one", "only", "some", "the", "to", "true", "two",
    "until", "when", "where", "whether", "which", "who", "whose", "why", "with", "without",
}  # fmt: skip
"""First words that say what a function's result is, and not what the function does."""

QUESTIONS = {"how", "when", "where", "which", "who", "whose", "why"}
"""First words that ask for a thing instead of naming it."""

HELP = {("cli/app.py", "root")}
"""Docstrings that people read as the help of a command."""

ALIKE = {
    "answer.py": "answers to a request, as a node makes them and as a client has them",
    "app.py": "typer apps",
    "capabilities.py": "what a node offers, written by a door and read by a client",
    "command.py": "the typer command of a folder",
    "faces.py": "faces as a family sees them, and the tasks that answer with them",
    "family.py": "the declaration of a family; in families/, what one is",
    "files.py": "the files that a family's model is opened from; at the top, how files are written",
    "frames.py": "frames of a film: of a request, of a viewer's source",
    "framing.py": "messages of the wire, read and written at its two ends",
    "hands.py": "a model, and its tasks",
    "health.py": "the wire's health service, answered by a door and asked by a client",
    "holistic.py": "a model, and its tasks",
    "images.py": "images out of payloads",
    "inventory.py": "model files on the disk: a hub's, a family's",
    "iris.py": "a model, and its tasks",
    "limits.py": "bounds that nothing exceeds",
    "loader.py": "the loader of a family; in models/, its protocol",
    "mesh.py": "a model, and its tasks",
    "model.py": "the model of a family; in models/, its protocol",
    "options.py": "options of commands, tasks, queues and requests",
    "orientation.py": "which way up a picture is",
    "parameters.py": "constants of a family's reference implementation",
    "pose.py": "a model, and its tasks",
    "preprocess.py": "the way of raw items to a session, on worker threads",
    "progress.py": "how far a piece of work is, told by the hub and drawn by the cli",
    "recognition.py": "the step of a family that recognises",
    "registry.py": "what there is of a kind, a line each",
    "run.py": "the work behind a command",
    "server.py": "servers on a port",
    "settings.py": "sections of settings; at the top, all of them",
    "sources.py": "where the input of a client or a viewer comes from",
    "status.py": "status codes: errors to codes, codes to errors",
    "tasks.py": "the tasks of a family; in families/, all of them",
    "tensors.py": "pictures that clients prepare, and the tasks that take them",
    "vectors.py": "unit vectors: computed, compared, answered",
}
"""Names of files that stand in several folders, and the one kind of thing that each holds."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Yield every module of the house but the generated ones, with its path."""
    for path in sorted(ROOT.rglob("*.py")):
        if "_pb2" not in path.name:
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def scripts() -> Iterator[tuple[str, ast.Module]]:
    """Yield every module that stands beside the house: benchmarks, tools and examples."""
    for folder in ("benchmarks", "tools", "examples"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            yield str(path.relative_to(REPOSITORY)), ast.parse(path.read_text())


def documented(module: ast.Module) -> Iterator[tuple[ast.AST, str, str]]:
    """Yield what has a docstring, with its name and the docstring."""
    for part in ast.walk(module):
        if not isinstance(part, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if text := ast.get_docstring(part):
            yield part, getattr(part, "name", ""), text
        for one, after in zip(part.body, part.body[1:], strict=False):
            if not isinstance(one, ast.Assign | ast.AnnAssign) or not isinstance(after, ast.Expr):
                continue
            if isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
                yield one, ast.unparse(one).split("=")[0], after.value.value


def is_plain_function(part: ast.AST) -> bool:
    """Tell whether it is a function, and no property."""
    return isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and not any(
        "property" in ast.unparse(each) for each in part.decorator_list
    )


def first_word(text: str) -> str:
    found = re.match(r"[\w]+", text)
    return found.group().lower() if found else ""


def test_one_class_name_is_one_thing():
    homes: dict[str, list[str]] = defaultdict(list)
    for path, module in modules():
        for part in ast.walk(module):
            if isinstance(part, ast.ClassDef):
                homes[part.name].append(path)
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_one_file_name_is_one_kind_of_thing():
    homes: dict[str, list[str]] = defaultdict(list)
    for path, _ in modules():
        homes[Path(path).name].append(path)
    shared = {name for name, paths in homes.items() if len(paths) > 1} - {"__init__.py"}
    assert shared == set(ALIKE)


def test_no_docstring_is_about_something_that_stands_elsewhere():
    assert [
        f"{path} {name}: {text.splitlines()[0]}"
        for path, module in chain(modules(), scripts())
        for _, name, text in documented(module)
        if first_word(text) in REFERS_ELSEWHERE or text.startswith("The same")
    ] == []


def test_a_functions_docstring_begins_with_what_it_does():
    assert [
        f"{path} {name}: {text.splitlines()[0]}"
        for path, module in chain(modules(), scripts())
        for part, name, text in documented(module)
        if is_plain_function(part) and first_word(text) in NO_VERB and (path, name) not in HELP
    ] == []


def test_the_docstring_of_a_class_or_attribute_names_a_thing():
    assert [
        f"{path} {name}: {text.splitlines()[0]}"
        for path, module in modules()
        for part, name, text in documented(module)
        if not isinstance(part, ast.Module) and first_word(text) in QUESTIONS
    ] == []
