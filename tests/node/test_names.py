"""Names: one thing has one, one name means one thing, and docstrings make sense in a tooltip."""

import ast
from collections import defaultdict
from pathlib import Path

import hearth

ROOT = Path(hearth.__file__).parent


def parsed() -> dict[Path, ast.Module]:
    """Parse every module of the house but the generated ones, by its path from there."""
    paths = sorted(path for path in ROOT.rglob("*.py") if "_pb2" not in path.name)
    return {path.relative_to(ROOT): ast.parse(path.read_text()) for path in paths}


def test_one_class_name_is_one_thing():
    homes: dict[str, list[str]] = defaultdict(list)
    for path, module in parsed().items():
        for part in ast.walk(module):
            if isinstance(part, ast.ClassDef):
                homes[part.name].append(str(path))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}
