"""A toy text model, and catalogues for the tests of families/clip/labels."""

import hashlib
import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hearth.batching import NO_CONTEXT, RequestContext
from hearth.families.clip.labels.classifier import Classifier
from hearth.families.clip.labels.making.label_store import LabelStore
from hearth.families.clip.labels.sets.catalogue import Catalogue
from hearth.families.clip.labels.sets.source import LabelSet
from hearth.families.clip.labels.sets.taxonomy import TaxonomyBuilder
from hearth.families.clip.labels.sets.tree_of_life import label_of, prompt_of
from hearth.hub.progress import Progress, no_progress

DIM = 16
MADE_FROM = {"model_id": "toy", "runtime": "test", "files": {"model": {"size": 1}}}
MANY = 10_300
"""Labels that go through the disk and the queue."""


def unit(vectors: Any) -> Any:
    vectors = np.asarray(vectors, np.float64)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


@cache
def embedded(text: str, dim: int = DIM, seed: str = "") -> Any:
    """What the toy makes of a text: a unit vector that depends on all of it; not to be written."""
    digest = hashlib.sha512(f"{seed}{text}".encode()).digest()
    return unit(np.frombuffer(digest, np.int8)[:dim].astype(np.float64) + 0.5)


class Toy:
    """A text model that counts, and fails on request."""

    def __init__(self, dim: int = DIM, seed: str = "") -> None:
        self.dim, self.seed = dim, seed
        self.texts: list[str] = []
        self.fails_after: int | None = None
        self.error: Exception = RuntimeError("the process is killed")
        self.contexts: list[RequestContext] = []

    async def __call__(self, texts: Sequence[str], context: RequestContext = NO_CONTEXT, /) -> Any:
        if self.fails_after is not None and len(self.texts) >= self.fails_after:
            raise self.error
        self.texts += texts
        self.contexts.append(context)
        return np.stack([embedded(text, self.dim, self.seed) for text in texts])


def many(name: str = "many", count: int = MANY) -> LabelSet:
    labels = tuple(f"label {number}" for number in range(count))
    return LabelSet(name, labels, tuple((f"a {label}",) for label in labels), "test")


def expected(labels: LabelSet, dim: int = DIM) -> Any:
    """The vectors of a set, float64."""
    means = [np.mean([embedded(text, dim) for text in texts], axis=0) for texts in labels.texts]
    return np.stack([mean / np.linalg.norm(mean) for mean in means]).astype(np.float64)


def store(folder: Path, *older: Path, **changes: Any) -> LabelStore:
    return LabelStore(folder / "toy", {**MADE_FROM, **changes}, older)


def classifier(*sets: Any, embed: Any = None, **options: Any) -> Classifier:
    return Classifier(sets, embed=embed or Toy(), scale=10.0, batch=lambda: 256, **options)


def probabilities(vectors: Any, vector: Any, scale: float = 10.0) -> Any:
    """softmax(scale · cosine), float64, as the reference."""
    logits = scale * (np.asarray(vectors, np.float64) @ np.asarray(vector, np.float64))
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def species(count: int) -> list[Any]:
    """Rows as TreeOfLife has them: gaps, homonyms, names in several scripts."""
    rows: list[Any] = []
    for number in range(count):
        genus = number // 3
        kingdom = ("Animalia", "Plantae", "")[genus % 3]
        taxon = [kingdom, f"Phylum {genus % 4}", f"Class {genus % 9}", f"Order {genus % 20}",
                 f"Family {genus % 40}", f"Genus {genus // 2}", f"epithet{number}"]  # fmt: skip
        if number % 11 == 10:
            taxon[6] = ""
        if number % 13 == 12:
            taxon[1] = taxon[2] = ""
        rows.append([taxon, ("", f"common {number}", "鷺", "Häher")[number % 4]])
    return rows


def tree_files(rows: list[Any], *, dim: int = DIM, seed: str = "", stem: str = "species") -> Any:
    """The files of a data set, as the hub lists them, with vectors of the toy's."""
    vectors = np.stack([embedded(prompt_of(*row), dim, seed) for row in rows])
    buffer = io.BytesIO()
    # Not of length 1, and columns are labels.
    np.save(buffer, np.ascontiguousarray((3 * vectors).T.astype(np.float32)))
    return {
        f"embeddings/txt_emb_{stem}.json": json.dumps(rows, ensure_ascii=False).encode(),
        f"embeddings/txt_emb_{stem}.npy": buffer.getvalue(),
    }


def catalogue_of(rows: list[Any]) -> Catalogue:
    taxonomy = TaxonomyBuilder()
    for taxon, common in rows:
        taxonomy.add(taxon, common)
    return Catalogue(Catalogue.of(label_of(*row) for row in rows).labels, taxonomy.done())


def recorded() -> tuple[list[Any], Progress]:
    seen: list[Any] = []
    return seen, lambda *told: seen.append(told)


async def made(
    folder: Path,
    *sets: Any,
    embed: Any = None,
    kept: Any = None,
    dim: int = DIM,
    **options: Any,
) -> Any:
    """A classifier that has derived all, closed at once; what it used."""
    embed = embed or Toy(dim)
    made = classifier(*sets, embed=embed, store=kept or store(folder), **options)
    try:
        made.load(dim)
        await made.derive_artifacts(no_progress)
    finally:
        made.close()
    return embed


def present(
    folder: Path, *sets: Any, kept: Any = None, dim: int | None = DIM, **options: Any
) -> set[str]:
    """The sets that a start finds."""
    made = classifier(*sets, store=kept or store(folder), **options)
    try:
        made.load(dim)
        return {name for name in made.sets if made.missing(name) is None}
    finally:
        made.close()


def vectors_of(folder: Path, name: str) -> Any:
    return np.load(folder / "toy" / f"{name}.vectors.npy")
