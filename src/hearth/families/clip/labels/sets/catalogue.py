"""The labels of one set and what is known of them, without their vectors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from hearth.families.clip.labels.sets.names import Arrays, Names
from hearth.families.clip.labels.sets.taxonomy import Taxonomy


@dataclass(frozen=True)
class Catalogue:
    """The names of labels, in the order of their vectors, and their taxonomy if they have one.

    Raises ValueError where the two are not of the same labels.
    """

    labels: Names
    taxonomy: Taxonomy | None = None

    def __post_init__(self) -> None:
        if self.taxonomy is not None and len(self.taxonomy) != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels, a taxonomy of {len(self.taxonomy)}")

    @classmethod
    def of(cls, labels: Iterable[str]) -> "Catalogue":
        """Make labels without a taxonomy."""
        return cls(Names.of(labels))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays for an npz file."""
        taxonomy = self.taxonomy.arrays() if self.taxonomy is not None else {}
        return {**self.labels.arrays("label"), **taxonomy}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Catalogue":
        """Read what ``arrays`` gave; raises KeyError or ValueError for anything else."""
        taxonomy = Taxonomy.from_arrays(arrays) if "species_codes" in arrays else None
        return cls(Names.from_arrays(arrays, "label"), taxonomy)
