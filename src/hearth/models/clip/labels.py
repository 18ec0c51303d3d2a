"""Label sets: what pictures are classified with, and the cache of their vectors."""

import hashlib
import importlib.util
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import resources
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hearth import __version__
from hearth.errors import SettingsError
from hearth.files import write_whole

log = logging.getLogger(__name__)

IMAGENET = "imagenet"
SCENES = "scenes"

Templates = Literal["auto", "single", "simple", "openai"]

SINGLE = ("a photo of a {}",)
"""One prompt for a name: where open_clip's sets of prompts aren't installed."""

_FORMAT = 1


@dataclass(frozen=True)
class LabelSet:
    """Labels, and for each of them the prompts that stand for it."""

    name: str
    labels: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    source: str
    """What the prompts were made from, for people."""

    @property
    def prompt_count(self) -> int:
        return sum(map(len, self.prompts))

    @cached_property
    def digest(self) -> str:
        """Changes with any label, any prompt, and their order."""
        content = json.dumps([self.labels, self.prompts], ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()


def label_sets(templates: Templates) -> tuple[LabelSet, ...]:
    """The label sets of the tasks; raises SettingsError where the templates can't be had."""
    return imagenet(templates), scenes()


def imagenet(templates: Templates) -> LabelSet:
    """ImageNet's 1000 classes.

    Names and prompts are open_clip's where it is installed (its file is read without
    importing the package, and so without torch), else the names of our data file.
    """
    metadata = _open_clip_metadata()
    names = tuple(metadata.IMAGENET_CLASSNAMES) if metadata else _imagenet_names()
    chosen = ("simple" if metadata else "single") if templates == "auto" else templates
    if chosen == "single":
        prompts = tuple(tuple(text.format(name) for text in SINGLE) for name in names)
    elif metadata is None:
        raise SettingsError(
            f"clip.templates = {chosen} needs open_clip: pip install 'hearth[torch]', "
            "or set it to single"
        )
    else:
        prompts = tuple(
            tuple(template(name) for template in _templates(metadata, chosen)) for name in names
        )
    return LabelSet(IMAGENET, names, prompts, chosen)


def scenes() -> LabelSet:
    """Scenes of everyday photographs; ``assets/scenes.txt`` lists them with their prompts."""
    rows = [line.split("|") for line in _lines("scenes.txt")]
    labels = tuple(row[0].strip() for row in rows)
    prompts = tuple(tuple(prompt.strip() for prompt in row[1:]) for row in rows)
    return LabelSet(SCENES, labels, prompts, "scenes.txt")


def _imagenet_names() -> tuple[str, ...]:
    return tuple(_lines("imagenet_names.txt"))


def _lines(asset: str) -> list[str]:
    text = (resources.files("hearth") / "assets" / asset).read_text("utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]


def _open_clip_metadata() -> ModuleType | None:
    """open_clip's module of names and templates, loaded from its file alone."""
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


class LabelCache:
    """The vectors of label sets on disk: ``text_vectors.npz`` and what they were made from.

    ``made_from`` is everything beside labels and prompts that the vectors depend on: the
    model's id, its files, the engine. A cache that was made from anything
    else counts as absent, and so does one that can't be read.
    """

    def __init__(self, folder: Path, made_from: Mapping[str, Any]) -> None:
        self.vectors_path = folder / "text_vectors.npz"
        self.meta_path = folder / "text_vectors.meta.json"
        # As it comes back from JSON, so that it can be compared.
        self._made_from = json.loads(json.dumps(made_from))

    def load(self, sets: Iterable[LabelSet]) -> dict[str, NDArray[np.float32]]:
        """The cached vectors, float32 (labels, dim), of those sets that are right."""
        try:
            meta = json.loads(self.meta_path.read_text("utf-8"))
            if meta["format"] != _FORMAT or meta["made_from"] != self._made_from:
                return {}
            known = meta["sets"]
            packed = self.vectors_path.read_bytes()
            if hashlib.sha256(packed).hexdigest() != meta["sha256"]:
                return {}
            with np.load(BytesIO(packed), allow_pickle=False) as arrays:
                return {
                    labels.name: vectors
                    for labels in sets
                    if known.get(labels.name, {}).get("sha256") == labels.digest
                    and _right(vectors := arrays[labels.name], labels)
                }
        except Exception as error:
            # Files that others may have garbled: whatever is wrong, they are made again.
            log.debug("the label vectors in %s are not used: %r", self.vectors_path, error)
            return {}

    def save(
        self, sets: Mapping[str, LabelSet], vectors: Mapping[str, NDArray[np.float32]]
    ) -> None:
        """Write vectors and meta, each in one step; the meta last, for it vouches."""
        self.vectors_path.parent.mkdir(parents=True, exist_ok=True)
        self.meta_path.unlink(missing_ok=True)
        buffer = BytesIO()
        np.savez(buffer, allow_pickle=False, **dict(vectors))
        packed = buffer.getvalue()
        write_whole(self.vectors_path, packed)
        meta = {
            "format": _FORMAT,
            "made_from": self._made_from,
            "sets": {name: _described(sets[name]) for name in vectors},
            "sha256": hashlib.sha256(packed).hexdigest(),
            "hearth": __version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_whole(self.meta_path, (json.dumps(meta, indent=2) + "\n").encode())


def _right(vectors: NDArray[Any], labels: LabelSet) -> bool:
    return (
        vectors.dtype == np.float32
        and vectors.ndim == 2
        and len(vectors) == len(labels.labels)
        and bool(np.isfinite(vectors).all())
    )


def _described(labels: LabelSet) -> dict[str, Any]:
    return {
        "labels": len(labels.labels),
        "prompts": labels.prompt_count,
        "templates": labels.source,
        "sha256": labels.digest,
    }
