"""The README's tables are what the code says."""

import pytest

from checkout import ROOT
from hearth.cli import tables
from hearth.settings import describe
from hearth.tasks.registry import TASKS

README = ROOT / "README.md"


def test_the_readme_lists_the_settings_and_tasks_there_are():
    page = README.read_text(encoding="utf-8")
    assert tables.filled(page) == page, "run `make tables`"


def test_every_setting_and_every_task_has_its_row():
    settings, tasks = tables.all_tables()["settings"], tables.all_tables()["tasks"]
    assert len(settings.splitlines()) - 2 == len(list(describe()))
    assert len(tasks.splitlines()) - 2 == len(TASKS)
    for task in TASKS:
        for name in task.names:
            assert f"`{name}`" in tasks


def test_only_what_is_between_the_markers_is_replaced():
    stale = "<!-- settings -->\nstale rows\n<!-- /settings -->"
    page = f"a\n{stale}\nb\n<!-- tasks --><!-- /tasks -->\nc\n"
    filled = tables.filled(page)
    assert filled.startswith("a\n<!-- settings -->\n| setting |") and filled.endswith("\nc\n")
    assert "stale" not in filled and "\n<!-- /settings -->\nb\n" in filled
    assert tables.filled(filled) == filled
    with pytest.raises(ValueError, match="once each"):
        tables.filled("no markers")
