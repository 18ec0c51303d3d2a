"""Write the lists that are made from the code: the README's tables, and hearth/known.py.

    tools/make_tables.py [--check]

The README's stand between its ``<!-- settings -->`` and ``<!-- /settings -->`` markers (and
``tasks``, ``schemas``). ``--check`` writes nothing, and exits 1 where something is stale.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from hearth.catalog import FieldInfo, SchemaInfo
from hearth.cli.help import Rows, setting_rows, task_rows
from hearth.families.tasks import SCHEMAS, TASKS
from hearth.settings import describe

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
KNOWN = ROOT / "src" / "hearth" / "known.py"


def schema_rows() -> Rows:
    """List every schema of an answer's JSON: name, fields, meaning."""
    return [
        ("schema", "fields", "what it tells"),
        *((each.name, _listed(each.fields), each.summary) for each in SCHEMAS.values()),
    ]


def _listed(told: tuple[FieldInfo, ...]) -> str:
    """Name fields, those of objects in braces; a field that may be missing has a ``?``.

    Shares of the picture stand for themselves beside their pixels: they aren't listed.
    """
    words = []
    for each in told:
        if each.name.endswith("_normalized"):
            continue
        inner = f" {{{_listed(each.fields)}}}" if each.fields else ""
        words.append(f"{each.name}{'?' if each.optional else ''}{inner}")
    return ", ".join(words)


def markdown(rows: Rows, *, code_columns: int = 1) -> str:
    """Make a Markdown table; what stands in the first columns is code."""
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in body:
        cells = [_code(cell) if at < code_columns else _escape(cell) for at, cell in enumerate(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def all_tables() -> Mapping[str, str]:
    """Make the README's tables, by the name of their markers."""
    return {
        "settings": markdown(setting_rows(), code_columns=3),
        "tasks": markdown(task_rows()),
        "schemas": markdown(schema_rows()),
    }


def filled(page: str) -> str:
    """Put the tables into a page; raises ValueError where markers are missing."""
    for name, table in all_tables().items():
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        between = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        if len(between.findall(page)) != 1:
            raise ValueError(f"the page needs {begin} and {end} once each")
        before, after = between.split(page)
        page = f"{before}{begin}\n{table}{end}{after}"
    return page


def _code(cell: str) -> str:
    return ", ".join(f"`{part}`" for part in cell.split(", ")) if cell else ""


def _escape(cell: str) -> str:
    return cell.replace("|", "\\|")


def known(_: str = "") -> str:
    """Write the module ``hearth.known``, as ruff formats it."""
    services: dict[str, tuple[str, ...]] = {}
    for task in TASKS:
        services[task.service] = (*services.get(task.service, ()), *task.names)
    meanings = {path: meaning for path, _, _, meaning in describe()}
    source = f'''"""Services, tasks, settings and schemas of hearth's own, without what they are of.

Written by `make tables` from their declarations.
"""

from hearth.catalog import FieldInfo, SchemaInfo

TASKS = {services!r}
"""All names of tasks, by service."""

SETTINGS = {meanings!r}
"""Meaning of each setting of a node."""

SCHEMAS = {{each.name: each for each in ({", ".join(map(_written, SCHEMAS.values()))},)}}
"""Fields of answers in JSON, by the schema's name."""
'''
    formatting = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(KNOWN), "-"]
    done = subprocess.run(
        formatting, input=source, capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout


def _written(info: Any) -> str:
    """Write a dataclass as Python, without what is as its defaults."""
    if isinstance(info, tuple):
        return f"({''.join(f'{_written(each)}, ' for each in info)})"
    if not isinstance(info, SchemaInfo | FieldInfo):
        return repr(info)
    told = (
        f"{each.name}={_written(value)}"
        for each in fields(info)
        if each.name != "summary" and (value := getattr(info, each.name)) != each.default
    )
    return f"{type(info).__name__}({', '.join(told)})"


WRITERS: Mapping[Path, Callable[[str], str]] = {README: filled, KNOWN: known}
"""By file: what it should hold, of what it holds."""


def main() -> int:
    """Write what isn't as it should be, or name it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    only_check = parser.parse_args().check
    stale = 0
    for file, writer in WRITERS.items():
        before = file.read_text(encoding="utf-8")
        if (after := writer(before)) != before:
            stale += 1
            print(f"{file.relative_to(ROOT)} {'is stale' if only_check else 'written'}")
            if not only_check:
                file.write_text(after, encoding="utf-8")
    if stale and not only_check:
        # Settings name services out of what was written just now.
        subprocess.run([sys.executable, __file__], check=True)
    return int(only_check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
