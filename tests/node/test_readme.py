"""The README's tables and hearth/known.py are what the code says."""

import make_tables as tables
import pytest

from hearth.families.tasks import TASKS
from hearth.settings import describe


@pytest.mark.parametrize("file", tables.WRITERS, ids=lambda file: file.name)
def test_what_is_made_from_the_code_is_what_the_code_says(file):
    text = file.read_text(encoding="utf-8")
    assert tables.WRITERS[file](text) == text, "run `make tables`"


def test_every_setting_and_every_task_has_its_row():
    settings, tasks = tables.all_tables()["settings"], tables.all_tables()["tasks"]
    assert len(settings.splitlines()) - 2 == len(list(describe()))
    assert len(tasks.splitlines()) - 2 == len(TASKS)
    for task in TASKS:
        for name in task.names:
            assert f"`{name}`" in tasks


def test_only_what_is_between_the_markers_is_replaced():
    stale = "<!-- settings -->\nstale rows\n<!-- /settings -->"
    page = f"a\n{stale}\nb\n<!-- tasks --><!-- /tasks -->\n<!-- schemas --><!-- /schemas -->\nc\n"
    filled = tables.filled(page)
    assert filled.startswith("a\n<!-- settings -->\n| setting |") and filled.endswith("\nc\n")
    assert "stale" not in filled and "\n<!-- /settings -->\nb\n" in filled
    assert tables.filled(filled) == filled
    with pytest.raises(ValueError, match="once each"):
        tables.filled("no markers")
