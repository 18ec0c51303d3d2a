"""The tables of settings and tasks: for the help, and as Markdown for the README.

``python -m hearth.cli.tables`` prints them, ``--write README.md`` puts them between the
page's ``<!-- settings -->`` and ``<!-- /settings -->`` (and ``tasks``) markers.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

Rows = list[tuple[str, ...]]
"""The first row is the head."""


def settings() -> Rows:
    """Every setting: name, environment, default, meaning."""
    from hearth.settings import describe

    return [("setting", "environment", "default", "meaning"), *describe()]


def tasks() -> Rows:
    """Every task: name and aliases, service, input, options, result, meaning."""
    from hearth.tasks.registry import TASKS

    head = ("task", "service", "takes", "gives", "options", "what it does")
    return [
        head,
        *(
            (
                ", ".join(task.names),
                task.service,
                _kinds(task.inputs),
                task.schema.name if task.schema else "each entry's own",
                ", ".join(option.name for option in task.options),
                task.summary,
            )
            for task in TASKS
        ),
    ]


def _kinds(mimes: tuple[str, ...]) -> str:
    """``image`` for all image types there are, ``text`` for texts, others as they are."""
    names = dict.fromkeys(
        mime.split("/")[0] if mime.startswith(("image/", "text/")) else mime for mime in mimes
    )
    return ", ".join(names)


def markdown(rows: Rows, *, code_columns: int = 1) -> str:
    """A Markdown table; what stands in the first columns is code."""
    head, *body = rows
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in body:
        cells = [_code(cell) if at < code_columns else _escape(cell) for at, cell in enumerate(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def all_tables() -> Mapping[str, str]:
    """The README's tables by the name of their markers."""
    return {
        "settings": markdown(settings(), code_columns=3),
        "tasks": markdown(tasks()),
    }


def filled(page: str) -> str:
    """``page`` with its tables as they should be; raises ValueError where markers are missing."""
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


def main() -> None:
    """Print the tables, or write them into a page."""
    parser = argparse.ArgumentParser(prog="python -m hearth.cli.tables", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="the page to put them into")
    page = parser.parse_args().write
    if page is None:
        print("\n".join(all_tables().values()))
        return
    page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
