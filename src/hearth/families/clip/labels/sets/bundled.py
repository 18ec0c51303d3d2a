"""Label sets that come with hearth: ImageNet's classes, and scenes of everyday photographs."""

import importlib.util
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

from hearth.errors import SettingsError, how_to_install
from hearth.families.clip.labels.sets.source import IMAGENET, PROMPT, SCENES, LabelSet
from hearth.families.clip.settings import Templates


def imagenet(templates: Templates) -> LabelSet:
    """Return ImageNet's 1000 classes.

    Names and prompts are open_clip's where it is installed (its file is read without
    importing the package, and so without torch), else the names of our data file.
    Raises SettingsError where the templates can't be had.
    """
    metadata = _open_clip_metadata()
    names = tuple(metadata.IMAGENET_CLASSNAMES) if metadata else tuple(_lines("imagenet_names.txt"))
    chosen = ("simple" if metadata else "single") if templates == "auto" else templates
    if chosen == "single":
        texts = tuple((PROMPT.format(name),) for name in names)
    elif metadata is None:
        raise SettingsError(
            f"clip.templates = {chosen} needs open_clip: {how_to_install('torch')}, "
            "or set it to single"
        )
    else:
        fill_in = _templates(metadata, chosen)
        texts = tuple(tuple(template(name) for template in fill_in) for name in names)
    return LabelSet(IMAGENET, names, texts, chosen)


def scenes() -> LabelSet:
    """Return everyday photographs' scenes; ``assets/scenes.txt`` lists them with prompts."""
    rows = [line.split("|") for line in _lines("scenes.txt")]
    labels = tuple(row[0].strip() for row in rows)
    texts = tuple(tuple(prompt.strip() for prompt in row[1:]) for row in rows)
    return LabelSet(SCENES, labels, texts, "scenes.txt")


def _lines(asset: str) -> list[str]:
    text = (resources.files("hearth") / "assets" / asset).read_text("utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]


def _open_clip_metadata() -> ModuleType | None:
    """Load open_clip's module of names and templates from its file alone."""
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).with_name("zero_shot_metadata.py")
    spec = importlib.util.spec_from_file_location("hearth_zero_shot_metadata", path)
    if spec is None or spec.loader is None or not path.is_file():
        return None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _templates(metadata: ModuleType, name: str) -> Sequence[Any]:
    attribute = f"{name.upper()}_IMAGENET_TEMPLATES"
    return tuple(getattr(metadata, attribute))
