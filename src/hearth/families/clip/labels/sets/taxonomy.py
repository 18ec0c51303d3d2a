"""Places of labels in the tree of life, so that answers can be summed by rank."""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hearth.families.clip.labels.ranks import RANKS
from hearth.families.clip.labels.sets.names import Arrays, Names

_NAMED = RANKS[:-1]
"""The ranks whose names are kept in tables; a species is named by one of its labels."""


class Rank(NamedTuple):
    """The groups of one rank."""

    codes: NDArray[Any]
    """Group of each label, unsigned (labels,): 0 where it has none at this rank, else 1 and up."""
    names: Names | None
    """The groups' names; None: ``labels`` names them."""
    labels: NDArray[Any]
    """The label that names each group, (groups,); empty where there are ``names``."""

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.labels) if self.names is None else len(self.names)


class Taxonomy:
    """The seven ranks of a set of labels."""

    def __init__(self, ranks: Mapping[str, Rank]) -> None:
        """Raises ValueError where a rank is missing or its arrays don't go together."""
        self._ranks = ranks
        labels = {len(ranks[name].codes) for name in RANKS if name in ranks}
        if set(ranks) != set(RANKS) or len(labels) != 1:
            raise ValueError("this is no taxonomy")

    def __len__(self) -> int:
        return len(self._ranks["species"].codes)

    def sums(self, rank: str, probabilities: NDArray[Any]) -> NDArray[np.float64]:
        """Sum over the labels of each group: (labels,) to float64 (groups,).

        Labels that have no name at this rank count for nobody.
        """
        chosen = self._ranks[rank]
        sums = np.bincount(chosen.codes, probabilities, minlength=chosen.groups + 1)
        return np.asarray(sums[1:], np.float64)

    def name(self, rank: str, group: int, labels: Names) -> str:
        """Find the name of a group, by its index in ``sums``."""
        chosen = self._ranks[rank]
        if chosen.names is None:
            return labels[int(chosen.labels[group])]
        return chosen.names[group]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays for an npz file."""
        made: dict[str, NDArray[Any]] = {}
        for name, rank in self._ranks.items():
            made[f"{name}_codes"] = rank.codes
            made |= {f"{name}_labels": rank.labels} if rank.names is None else {}
            made |= rank.names.arrays(name) if rank.names is not None else {}
        return made

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Taxonomy":
        """Read what ``arrays`` gave; raises KeyError or ValueError for anything else."""
        nobody = np.zeros(0, np.uint8)
        ranks = {
            name: Rank(arrays[f"{name}_codes"], Names.from_arrays(arrays, name), nobody)
            for name in _NAMED
        }
        ranks["species"] = Rank(arrays["species_codes"], None, arrays["species_labels"])
        return cls(ranks)


class TaxonomyBuilder:
    """Takes the labels one by one, and keeps numbers of them instead of strings."""

    def __init__(self) -> None:
        # Within a kingdom a name means one taxon (the codes of nomenclature see to that);
        # Oenanthe is a bird in one kingdom and a herb in another.
        self._tables: list[dict[tuple[int, str], int]] = [{} for _ in _NAMED]
        self._codes = [array("I") for _ in _NAMED]
        self._epithets: dict[str, int] = {}
        self._epithet_codes = array("I")
        self._has_common = bytearray()

    def add(self, taxon: Sequence[str], common: str) -> None:
        """Add one label: its names at the seven ranks (the last is the epithet), "" for none."""
        kingdom = 0  # of the kingdom itself, and where none is named
        for table, codes, name in zip(self._tables, self._codes, taxon[:-1], strict=True):
            code = table.setdefault((kingdom, name), len(table) + 1) if name else 0
            codes.append(code)
            kingdom = kingdom or self._codes[0][-1]
        epithet = taxon[-1]
        known = self._epithets
        self._epithet_codes.append(known.setdefault(epithet, len(known) + 1) if epithet else 0)
        self._has_common.append(bool(common))

    def done(self) -> Taxonomy:
        """Make the taxonomy of all labels added."""
        nobody = np.zeros(0, np.uint8)
        ranks = {}
        for name, table, codes in zip(_NAMED, self._tables, self._codes, strict=True):
            short = np.min_scalar_type(len(table))
            names = Names.of(own for _, own in table)
            ranks[name] = Rank(np.array(codes, short), names, nobody)
        ranks["species"] = self._species()
        return Taxonomy(ranks)

    def _species(self) -> Rank:
        """Join labels of one genus and epithet to a species; one with a common name names it."""
        genus = np.array(self._codes[-1], np.uint64)
        kingdom = np.array(self._codes[0], np.uint64)
        epithet = np.array(self._epithet_codes, np.uint64)
        # An epithet without a genus stands for itself, in its kingdom.
        owner = np.where(genus > 0, genus, np.uint64(len(self._tables[-1]) + 1) + kingdom)
        [named] = np.nonzero(epithet)
        keys = owner[named] * np.uint64(len(self._epithets) + 1) + epithet[named]
        found, groups = np.unique(keys, return_inverse=True)
        codes = np.zeros(len(epithet), np.min_scalar_type(len(found)))
        codes[named] = groups + 1
        count = len(epithet)
        common = np.frombuffer(bytes(self._has_common), np.bool_)[named]
        first = np.full(len(found), 2 * count, np.int64)
        np.minimum.at(first, groups, named + np.where(common, 0, count))
        return Rank(codes, None, (first % max(count, 1)).astype(np.min_scalar_type(count)))
