"""The species of TreeOfLife, as the hub has them: their names, and text vectors made for them.

``embeddings/txt_emb_species.json`` lists ``[[kingdom, …, species epithet], common name]``,
and the columns of ``embeddings/txt_emb_species.npy`` are the vectors. For newer models the
same pair is there under the model's name.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from hearth.errors import ModelUnavailable, one_line
from hearth.families.clip.labels.limits import LONGEST_NAME
from hearth.families.clip.labels.matrices import Matrix, NpyMatrix
from hearth.families.clip.labels.ranks import RANKS
from hearth.families.clip.labels.sets.catalogue import Catalogue
from hearth.families.clip.labels.sets.names import Names
from hearth.families.clip.labels.sets.rows_of_json import rows_of
from hearth.families.clip.labels.sets.source import TREE_OF_LIFE, LabelSource
from hearth.families.clip.labels.sets.taxonomy import TaxonomyBuilder
from hearth.hub import manifest, repository_names
from hearth.hub.progress import Progress
from hearth.hub.store import HubStore

Row = tuple[list[str], str]
"""The names at the seven ranks, "" for none, and the common name or ""."""

_SPECIES = "embeddings/txt_emb_species"
_NAMELESS = "unnamed"


def tree_of_life(hub: HubStore, repository: str, model_id: str) -> LabelSource:
    """Return a source of the species in a data set of the hub, for one model; nothing is read or
    fetched until it is asked.
    """
    return _TreeOfLife(hub, repository, model_id)


class _TreeOfLife:
    """Species with their taxonomy."""

    name = TREE_OF_LIFE
    ranked = True
    count = None

    def __init__(self, hub: HubStore, repository: str, model_id: str) -> None:
        self._hub = hub
        self._repository = repository
        self._own = f"embeddings/txt_emb_{model_id.rpartition('/')[2]}"
        self.key = f"{repository} for {model_id}"
        self.origin = repository

    @property
    def version(self) -> str | None:
        """Digest of the names that are here, as the hub lists it."""
        found = manifest.load(
            self._hub.folder / repository_names.folder_name(self._repository), "main"
        )
        if found is None or not found.begun:
            return None
        listed = found.listing.files.get(self._files_of(found.listing.files)[0])
        return listed.digest if listed is not None and found.has(listed) else None

    def is_local(self) -> bool:
        """Tell whether the names are here, and the vectors that were listed with them."""
        return self._folder() is not None

    def download(self, progress: Progress) -> None:
        """Fetch names and vectors; raises ModelUnavailable."""
        self._hub.download(self._repository, self._wanted(), progress)

    def catalogue(self) -> Catalogue:
        """See ``LabelSource``."""
        taxonomy = TaxonomyBuilder()

        def labels() -> Iterator[str]:
            for taxon, common in self._rows():
                taxonomy.add(taxon, common)
                yield label_of(taxon, common)

        listed = Names.of(labels())
        if not len(listed):
            raise ModelUnavailable(f"{self._repository} lists no species")
        return Catalogue(listed, taxonomy.done())

    def prompts(self, start: int = 0) -> Iterator[Sequence[str]]:
        """See ``LabelSource``."""
        rows = self._rows()
        for _ in islice(rows, start):
            pass
        return ([prompt_of(taxon, common)] for taxon, common in rows)

    def shipped(self) -> Matrix | None:
        """See ``LabelSource``."""
        path = self._names().with_suffix(".npy")
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return None
        try:
            matrix = NpyMatrix(file, columns=True)
            if path.stat().st_size < matrix.ends_at:
                raise ValueError("the file is cut short")
        except BaseException:
            file.close()
            raise
        return matrix

    def _wanted(self) -> list[str]:
        """List the files of names and, where they are listed, of vectors; asks the hub if nothing
        is here.
        """
        return self._files_of(self._hub.files(self._repository))

    def _files_of(self, paths: Iterable[str]) -> list[str]:
        listed = set(paths)
        stem = self._own if {f"{self._own}.json", f"{self._own}.npy"} <= listed else _SPECIES
        vectors = f"{stem}.npy"
        return [f"{stem}.json", *([vectors] if vectors in listed else [])]

    def _folder(self) -> Path | None:
        """Find the folder where all that is wanted is; never touches the network."""
        stems = (self._own, _SPECIES)
        if all(self._hub.find(self._repository, [f"{stem}.json"]) is None for stem in stems):
            return None
        return self._hub.find(self._repository, self._wanted())

    def _names(self) -> Path:
        folder = self._folder()
        if folder is None:
            raise ModelUnavailable(f"{self._repository} isn't downloaded yet")
        return folder / self._wanted()[0]

    def _rows(self) -> Iterator[Row]:
        path = self._names()
        try:
            for row in rows_of(path):
                yield _checked(row)
        except (OSError, ValueError, RecursionError) as error:
            raise ModelUnavailable(
                f"the names in {path} can't be read: {one_line(error)}"
            ) from error


def label_of(taxon: Sequence[str], common: str) -> str:
    """Word a label for people: ``Genus epithet (common name)``, or what is most specific of the
    rest.
    """
    *above, genus, epithet = taxon
    name = " ".join(part for part in (genus, epithet) if part)
    name = name or next((part for part in reversed(above) if part), "")
    if not name:
        return common or _NAMELESS
    return f"{name} ({common})" if common else name


def prompt_of(taxon: Sequence[str], common: str) -> str:
    """Word a prompt about a species: all that BioCLIP is trained with, as one sentence."""
    name = " ".join(part for part in taxon if part)
    if not name:
        return f"a photo of {common or _NAMELESS}."
    return f"a photo of {name} with common name {common}." if common else f"a photo of {name}."


def _checked(row: object) -> Row:
    """Check a row of the list; raises ValueError for anything else."""
    if isinstance(row, list | tuple) and len(row) == 2:
        taxon, common = row
        if isinstance(taxon, list | tuple) and len(taxon) == len(RANKS):
            return [_text(part) for part in taxon], _text(common)
    raise ValueError(f"there is a row that isn't a species with its names at {len(RANKS)} ranks")


def _text(name: object) -> str:
    if name is None:
        return ""
    if not isinstance(name, str):
        raise ValueError(f"there is a name of type {type(name).__name__}")
    return " ".join(name[:LONGEST_NAME].split())
