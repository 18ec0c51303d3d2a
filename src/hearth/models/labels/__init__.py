"""Label sets: what vectors of pictures are classified with, however many labels there are."""

from hearth.models.labels.bundled import Templates, imagenet, scenes
from hearth.models.labels.classifier import MOST_LABELS, Classifier
from hearth.models.labels.index import LabelIndex, Query, Scored
from hearth.models.labels.own import own_labels
from hearth.models.labels.source import IMAGENET, OWN, SCENES, TREE_OF_LIFE, LabelSet, LabelSource
from hearth.models.labels.store import LabelStore, verify_folder
from hearth.models.labels.taxonomy import RANKS
from hearth.models.labels.tree_of_life import tree_of_life

__all__ = [
    "IMAGENET",
    "MOST_LABELS",
    "OWN",
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
    "Templates",
    "imagenet",
    "own_labels",
    "scenes",
    "tree_of_life",
    "verify_folder",
]
