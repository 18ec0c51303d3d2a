"""Cost to find the likeliest of 450,000 labels.

A catalogue of 450,000 × 768 (species in threes, near to their genus), kept by a LabelStore and
mapped, as float32 and as float16. The time of whole answers (product, softmax over all labels,
top five) against numpy's plain matrix product of the same mapped vectors with one query,
measured in turns; through the queue with 1 and with 16 requests in flight; by rank; and the
memory of a process of its own that does all that. For float16 also how often its top five
are those of float32, and by how much a probability differs at most.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import _kit as kit
from _models import FOLDER
from hearth.families.clip.labels.classifier import Classifier
from hearth.families.clip.labels.index import LabelIndex, Query
from hearth.families.clip.labels.making.label_store import LabelStore
from hearth.families.clip.labels.sets.catalogue import Catalogue
from hearth.families.clip.labels.sets.names import Names
from hearth.families.clip.labels.sets.source import TREE_OF_LIFE
from hearth.families.clip.labels.sets.taxonomy import TaxonomyBuilder
from hearth.families.clip.labels.vectors import Dtype

LABELS, WIDTH, TOP = 450_000, 768, 5
SCALE = 100.0
BLOCK = 30_000
DTYPES: tuple[Dtype, Dtype] = ("float32", "float16")


class Species:
    """A set of so many labels, as far as a start needs it."""

    name, key, origin = TREE_OF_LIFE, "benchmark", "benchmark"
    version, count, ranked = None, None, True

    def catalogue(self) -> Catalogue:
        """Names as long as real ones, and a taxonomy of real proportions."""
        taxonomy = TaxonomyBuilder()

        def labels() -> Iterator[str]:
            for number in range(LABELS):
                genus = number // 3
                upper = [f"{rank}{genus % groups}" for rank, groups in
                         (("Regnum", 5), ("Phylum", 60), ("Classis", 200), ("Ordo", 900),
                          ("Familia", 6000))]  # fmt: skip
                common = f"common name {number}" if number % 2 else ""
                taxonomy.add([*upper, f"Genusname{genus}", f"epitheton{number}"], common)
                label = f"Genusname{genus} epitheton{number}"
                yield f"{label} ({common})" if common else label

        return Catalogue(Names.of(labels()), taxonomy.done())


def store_of(folder: Path, dtype: Dtype) -> LabelStore:
    """Tell where the index of one kind is."""
    return LabelStore(folder / dtype, {"benchmark": 1})


def write(folder: Path) -> None:
    """Make both indexes."""
    source: Any = Species()
    catalogue = source.catalogue()
    for dtype in DTYPES:
        store = store_of(folder, dtype)
        random = np.random.default_rng(0)
        growing = store.grow(source, "benchmark", rows=LABELS, dim=WIDTH, dtype=dtype)
        for _ in range(0, LABELS, BLOCK):
            genera = random.standard_normal((BLOCK // 3, WIDTH), dtype=np.float32)
            block = np.repeat(genera, 3, axis=0)
            block += 0.5 * random.standard_normal(block.shape, dtype=np.float32)
            block /= np.linalg.norm(block, axis=1, keepdims=True)
            growing.append(block)
        store.keep(source, catalogue, growing, "benchmark")


def queries_of(vectors: NDArray[Any], count: int) -> NDArray[np.float32]:
    """Vectors as pictures of some of the labels would have: near to theirs, but not very."""
    random = np.random.default_rng(1)
    near = vectors[np.sort(random.integers(0, LABELS, count))].astype(np.float32)
    near += 0.05 * random.standard_normal(near.shape, dtype=np.float32)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    return near


def classifier_of(folder: Path, dtype: Dtype) -> Classifier:
    """Make a classifier as a node has it after its start."""

    async def embed(texts: Sequence[str], context: Any = None, /) -> Any:
        raise AssertionError("nothing is to be embedded")

    source: Any = Species()
    made = Classifier(
        [source], embed=embed, scale=SCALE, store=store_of(folder, dtype), dtype=dtype
    )
    made.load(WIDTH)
    return made


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    started = kit.now()
    work()
    return kit.now() - started


def index_of(classifier: Classifier) -> LabelIndex:
    """Return the index itself, without the queue."""
    return classifier._indexes[TREE_OF_LIFE]


async def in_flight(
    classifier: Classifier, queries: Sequence[Any], many: int, rounds: int
) -> float:
    """Seconds for each request, with so many in flight through the queue."""

    async def client(mine: Sequence[Any]) -> None:
        for query in mine:
            await classifier.classify(query, TREE_OF_LIFE, TOP)

    total = [queries[at % len(queries)] for at in range(many * rounds)]
    started = kit.now()
    await asyncio.gather(*(client(total[first::many]) for first in range(many)))
    return (kit.now() - started) / len(total)


def resident(folder: Path, dtype: Dtype) -> dict[str, float]:
    """Measure the memory of a process that loads the index and answers in all the ways there
    are.
    """
    command = [sys.executable, __file__, "--child", str(folder), dtype]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def child(folder: Path, dtype: Dtype) -> None:
    """Run the process that ``resident`` starts."""
    import psutil

    before = psutil.Process().memory_info().rss
    started = kit.now()
    classifier = classifier_of(folder, dtype)
    loaded = kit.now() - started
    index = index_of(classifier)
    queries = queries_of(index.vectors, 16)

    async def ask() -> None:
        await in_flight(classifier, list(queries), 16, 2)
        await classifier.classify(queries[0], TREE_OF_LIFE, TOP)
        for rank in ("species", "family"):
            await classifier.classify(queries[0], TREE_OF_LIFE, TOP, rank=rank)

    asyncio.run(ask())
    rss = psutil.Process().memory_info().rss
    classifier.close()
    print(json.dumps({"rss": rss, "before": before, "vectors": index.vectors.nbytes,
                      "load_seconds": loaded}))  # fmt: skip


def same_answers(whole: LabelIndex, halves: LabelIndex, queries: Any) -> tuple[float, float]:
    """Compute the share of queries with the same top five, and the largest difference of a
    probability.
    """
    same, largest = 0, 0.0
    for start in range(0, len(queries), 16):
        asked = [Query(query, TOP) for query in queries[start : start + 16]]
        for ours, theirs in zip(halves.answers(asked), whole.answers(asked), strict=True):
            same += [name for name, _ in ours] == [name for name, _ in theirs]
            exact = dict(theirs)
            differences = [abs(share - exact[name]) for name, share in ours if name in exact]
            largest = max(largest, *differences)
    return same / len(queries), largest


def measure(folder: Path, rounds: int, samples: int) -> tuple[list[list[Any]], list[kit.Goal], Any]:
    """Measure everything; rows, goals and facts."""
    classifiers = {dtype: classifier_of(folder, dtype) for dtype in DTYPES}
    indexes = {dtype: index_of(made) for dtype, made in classifiers.items()}
    whole, halves = (indexes[dtype] for dtype in DTYPES)
    queries = queries_of(whole.vectors, samples)
    cases: dict[str, Callable[[], object]] = {
        "plain product, 1": lambda: whole.vectors @ queries[0]
    }
    for dtype, index in indexes.items():
        for size in (1, 8, 16):
            asked = [Query(query, TOP) for query in queries[:size]]
            cases[f"{dtype}, {size}"] = lambda index=index, asked=asked: index.answers(asked)
        by_rank = [Query(queries[0], TOP, "family")]
        cases[f"{dtype}, 1 by family"] = lambda index=index, asked=by_rank: index.answers(asked)
    times: dict[str, list[float]] = {name: [] for name in cases}
    for work in cases.values():
        work()  # the pages are mapped once
    for _ in range(rounds):
        for name, work in cases.items():
            times[name].append(seconds(work))
    plain = times["plain product, 1"]
    rows: list[list[Any]] = []
    for name, took in times.items():
        size = int(name.split(",")[1].split()[0])
        middle = statistics.median(took)
        speedup = size / kit.median_ratio(took, plain)
        rows.append([name, 1e3 * middle, 1e3 * middle / size, speedup])
    for dtype, classifier in classifiers.items():
        for many in (1, 16):
            each = asyncio.run(in_flight(classifier, list(queries), many, 4 if many > 1 else 10))
            gained = statistics.median(plain) / each
            rows.append([f"{dtype}, queue, {many} in flight", "", 1e3 * each, gained])
    same, largest = same_answers(whole, halves, queries)
    for classifier in classifiers.values():
        classifier.close()
    memory = {dtype: resident(folder, dtype) for dtype in DTYPES}
    goals = [
        kit.Goal("batch 1: time against the plain product",
                 kit.median_ratio(times["float32, 1"], plain), most=1.1),
        kit.Goal("batch 8: throughput against the plain product",
                 8 / kit.median_ratio(times["float32, 8"], plain), least=3),
        kit.Goal("resident memory against the vectors",
                 memory["float32"]["rss"] / memory["float32"]["vectors"], most=1.1),
    ]  # fmt: skip
    facts = {
        "memory": memory,
        "float16_same_top_five": same,
        "float16_largest_difference": largest,
        "queries": samples,
    }
    return rows, goals, facts


def main() -> int:
    """Make the catalogue, measure, report."""
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), "float16" if sys.argv[3] == "float16" else "float32")
        return 0
    options = kit.options(__doc__ or "")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        folder = Path(scratch)
        write(folder)
        rounds, samples = (15, 160) if options.quick else (50, 800)
        rows, goals, facts = measure(folder, rounds, samples)
    memory = facts["memory"]
    for dtype in DTYPES:
        found = memory[dtype]
        resident_mb, share = found["rss"] / 1e6, found["rss"] / found["vectors"]
        print(f"{dtype}: loaded in {1e3 * found['load_seconds']:.0f} ms; "
              f"resident {resident_mb:.0f} MB, {share:.3f} × its vectors")  # fmt: skip
    print(f"float16: the same top five for {100 * facts['float16_same_top_five']:.1f} % of "
          f"{facts['queries']} queries; a probability differs by "
          f"{facts['float16_largest_difference']:.1e} at most")  # fmt: skip
    return kit.report(
        "labels",
        ["what, queries", "ms", "ms a query", "throughput / plain"],
        rows,
        goals,
        check=options.check,
        **facts,
    )


if __name__ == "__main__":
    sys.exit(main())
