"""Label sets: what vectors of pictures are classified with, however many labels there are.

Names are imported when they are asked for: who wants the ranks alone needs no numpy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hearth.models.labels.classifier import Classifier
    from hearth.models.labels.index import LabelIndex, Query, Scored
    from hearth.models.labels.limits import MOST_ANSWERS, MOST_LABELS
    from hearth.models.labels.making.checks import verify_folder
    from hearth.models.labels.making.store import LabelStore
    from hearth.models.labels.ranks import RANKS
    from hearth.models.labels.sets.bundled import imagenet, scenes
    from hearth.models.labels.sets.own import own_labels
    from hearth.models.labels.sets.source import (
        IMAGENET,
        OWN,
        PROMPT,
        SCENES,
        TREE_OF_LIFE,
        LabelSet,
        LabelSource,
    )
    from hearth.models.labels.sets.tree_of_life import tree_of_life

__all__ = [
    "IMAGENET",
    "MOST_ANSWERS",
    "MOST_LABELS",
    "OWN",
    "PROMPT",
    "RANKS",
    "SCENES",
    "TREE_OF_LIFE",
    "Classifier",
    "LabelIndex",
    "LabelSet",
    "LabelSource",
    "LabelStore",
    "Query",
    "Scored",
    "imagenet",
    "own_labels",
    "scenes",
    "tree_of_life",
    "verify_folder",
]

_HOMES = {
    "classifier": ("Classifier",),
    "index": ("LabelIndex", "Query", "Scored"),
    "limits": ("MOST_ANSWERS", "MOST_LABELS"),
    "making.checks": ("verify_folder",),
    "making.store": ("LabelStore",),
    "ranks": ("RANKS",),
    "sets.bundled": ("imagenet", "scenes"),
    "sets.own": ("own_labels",),
    "sets.source": (
        "IMAGENET", "OWN", "PROMPT", "SCENES", "TREE_OF_LIFE", "LabelSet", "LabelSource",
    ),
    "sets.tree_of_life": ("tree_of_life",),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
