"""Sources of labels: where those of a set come from."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Protocol

from hearth.families.clip.labels.matrices import Matrix
from hearth.families.clip.labels.sets.catalogue import Catalogue
from hearth.hub.progress import Progress

IMAGENET = "imagenet"
SCENES = "scenes"
OWN = "own"
TREE_OF_LIFE = "tree_of_life"

PROMPT = "a photo of a {}"
"""Prompt for a name that comes without prompts."""


class LabelSource(Protocol):
    """A set of labels. What it costs to ask is said; methods block."""

    @property
    def name(self) -> str:
        """Name of the set, also in names of files."""
        ...

    @property
    def key(self) -> str:
        """Key that tells which labels and prompts are meant; cheap, and without the network."""
        ...

    @property
    def version(self) -> str | None:
        """Tells states of the labels with one ``key`` apart; None where that isn't known now.

        As cheap as ``key``. With the two of them goes all that the vectors depend on beside
        the model.
        """
        ...

    @property
    def origin(self) -> str:
        """Origin of the prompts, for people."""
        ...

    @property
    def count(self) -> int | None:
        """Number of labels, where that is known without reading files."""
        ...

    @property
    def ranked(self) -> bool:
        """Whether the labels have a taxonomy."""
        ...

    def is_local(self) -> bool:
        """Tell whether ``catalogue`` and ``prompts`` need no download."""
        ...

    def download(self, progress: Progress) -> None:
        """Fetch what is missing; raises ModelUnavailable."""
        ...

    def catalogue(self) -> Catalogue:
        """Read the labels; takes seconds for large sets. Raises ModelUnavailable."""
        ...

    def prompts(self, start: int = 0) -> Iterator[Sequence[str]]:
        """Return the texts that stand for each label, from label ``start`` on, at least one each.

        What is skipped is read before this returns. Raises ModelUnavailable.
        """
        ...

    def shipped(self) -> Matrix | None:
        """Open the vectors that came with the labels, in their order; it is to be closed.

        Raises whatever stands in the way: files may come from anywhere.
        """
        ...


@dataclass(frozen=True)
class LabelSet:
    """Labels in memory, and for each of them the prompts that stand for it."""

    name: str
    labels: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    origin: str
    """Origin of the prompts, for people."""

    version = None
    """The key says all."""
    ranked = False
    """Empty: there is no taxonomy."""

    @property
    def count(self) -> int:
        """Number of labels."""
        return len(self.labels)

    @cached_property
    def key(self) -> str:
        """A digest of labels, prompts, and their order."""
        content = json.dumps([self.labels, self.texts], ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def is_local(self) -> bool:
        """Return True: the labels are here."""
        return True

    def download(self, progress: Progress) -> None:
        """Do nothing: there is nothing to fetch."""

    def catalogue(self) -> Catalogue:
        """See ``LabelSource``."""
        return Catalogue.of(self.labels)

    def prompts(self, start: int = 0) -> Iterator[Sequence[str]]:
        """See ``LabelSource``."""
        return islice(self.texts, start, None)

    def shipped(self) -> Matrix | None:
        """Return None: no vectors come with them."""
        return None
