"""Scoring against plain float64 references, small and at full size."""

import numpy as np
import pytest

import labels_kit as kit
from hearth.families.clip.labels.index import LabelIndex, Query, best
from hearth.families.clip.labels.limits import MOST_ANSWERS
from hearth.families.clip.labels.ranks import RANKS
from hearth.families.clip.labels.sets.catalogue import Catalogue
from hearth.families.clip.labels.sets.names import Names
from hearth.families.clip.labels.sets.tree_of_life import label_of
from hearth.families.clip.labels.vectors import products, stored

RANDOM = np.random.default_rng(7)


def random_units(count, dim):
    return kit.unit(RANDOM.standard_normal((count, dim)))


# --- top-k ----------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, 63, 64, 65, 1000, 5003])
@pytest.mark.parametrize("count", [0, 1, 3, 70, 10_000])
@pytest.mark.parametrize("kinds", [2, 50, 10**9])
def test_the_best_are_those_of_a_stable_sort(size, count, kinds):
    scores = RANDOM.integers(0, kinds, size).astype(np.float32)
    assert list(best(scores, count)) == list(np.argsort(-scores, kind="stable")[:count])


def test_all_equal_come_in_their_order():
    assert list(best(np.zeros(1000, np.float32), 3)) == [0, 1, 2]


# --- products ----------------------------------------------------------


@pytest.mark.parametrize("queries", [1, 2, 8, 16, 17])
@pytest.mark.parametrize("rows", [1, 63, 1999, 3000])
def test_products_are_those_of_float64(rows, queries):
    vectors, asked = random_units(rows, 48), random_units(queries, 48)
    reference = asked.astype(np.float64) @ vectors.astype(np.float64).T
    assert np.abs(products(vectors, asked) - reference).max() < 1e-6


@pytest.mark.parametrize("queries", [1, 3, 16])
def test_halves_are_multiplied_as_what_they_are(queries):
    # Every finite half below 2, in both signs.
    bits = np.arange(0x4000, dtype=np.uint16)
    every = np.concatenate([bits, bits | 0x8000]).view(np.float16).reshape(-1, 32)
    asked = random_units(queries, 32)
    reference = asked.astype(np.float64) @ every.astype(np.float64).T
    assert np.abs(products(every, asked) - reference).max() < 2e-6


def test_stored_halves_are_rounded_and_the_smallest_are_zero():
    vectors = random_units(100, 64)
    halves = stored(vectors, "float16")
    assert halves.dtype == np.float16
    assert np.abs(halves.astype(np.float64) - vectors).max() < 2**-12
    assert not ((halves != 0) & (np.abs(halves) < 2.0**-14)).any()


# --- names ----------------------------------------------------------


def test_names_come_back_as_they_went_in():
    strings = ["", "Ardea cinerea", "鷺 🐦", "", "Häher\n"]
    names = Names.of(strings)
    assert list(names) == strings and len(names) == 5
    again = Names.from_arrays(names.arrays("a"), "a")
    assert list(again) == strings


def test_what_is_no_text_becomes_a_question_mark():
    assert list(Names.of(["a\ud800b", "c"])) == ["a?b", "c"]


def test_names_that_a_disk_has_garbled_are_read_all_the_same():
    names = Names(np.frombuffer("Häher\xff".encode("latin-1"), np.uint8), np.array([0, 6]))
    assert list(names) == ["H\ufffdher\ufffd"]


def test_half_a_million_names_take_little_more_than_their_bytes():
    names = Names.of(f"Genus{number % 999} epithet{number}" for number in range(500_000))
    size = sum(array.nbytes for array in names.arrays("a").values())
    assert size < 1.2 * sum(len(name) for name in names)


@pytest.mark.parametrize("offsets", [[], [0, 2], [[0, 3]]])
def test_names_that_do_not_go_together_are_refused(offsets):
    with pytest.raises(ValueError, match="no names"):
        Names(np.frombuffer(b"abc", np.uint8), np.array(offsets))


# --- probabilities and ranks ----------------------------------------------------------


def index_of(rows, dim=24, dtype="float32", **options):
    vectors = random_units(len(rows), dim)
    catalogue = kit.catalogue_of(rows)
    return LabelIndex(stored(vectors, dtype), catalogue, scale=10.0, **options), vectors


@pytest.mark.parametrize("bias", [None, -10.0])
def test_probabilities_are_a_softmax_over_all_labels(bias):
    rows = kit.species(2000)
    index, vectors = index_of(rows, bias=bias)
    asked = random_units(3, 24)
    for vector, answer in zip(asked, index.answers([Query(v, 7) for v in asked]), strict=True):
        reference = kit.probabilities(vectors, vector)
        order = np.argsort(-reference)[:7]
        assert [name for name, _ in answer] == [label_of(*rows[one]) for one in order]
        assert np.allclose([share for _, share in answer], reference[order], rtol=1e-4)


def test_all_labels_together_come_to_one():
    index, _ = index_of(kit.species(500))
    [answer] = index.answers([Query(random_units(1, 24)[0], 10_000)])
    assert len(answer) == 500
    assert sum(share for _, share in answer) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("rank", [None, "species"])
def test_no_answer_names_more_than_a_thousand(rank):
    index, _ = index_of(kit.species(2500))
    vector = random_units(1, 24)[0]
    [answer] = index.answers([Query(vector, 1_000_000, rank)])
    assert len(answer) == MOST_ANSWERS == 1000
    [fewer] = index.answers([Query(vector, 5, rank)])
    assert answer[:5] == fewer


def plain_sums(rows, probabilities, rank):
    """By hand: name (of its kingdom) to the sum of its labels' probabilities."""
    at = RANKS.index(rank)
    sums, named = {}, {}
    for (taxon, common), share in zip(rows, probabilities, strict=True):
        if not taxon[at]:
            continue
        key = (taxon[0], taxon[5], taxon[6]) if rank == "species" else (taxon[0], taxon[at])
        sums[key] = sums.get(key, 0) + share
        label = label_of(taxon, common) if rank == "species" else taxon[at]
        if key not in named or (common and not named[key][1]):
            named[key] = (label, common)
    return sorted(((named[key][0], share) for key, share in sums.items()), key=lambda one: -one[1])


@pytest.mark.parametrize("rank", RANKS)
def test_ranks_sum_what_belongs_together(rank):
    rows = kit.species(900)
    # Species that are there twice: without a common name first.
    rows += [[taxon, "the common name"] for taxon, _ in rows[:400:4]]
    index, vectors = index_of(rows)
    vector = random_units(1, 24)[0]
    reference = plain_sums(rows, kit.probabilities(vectors, vector), rank)
    [answer] = index.answers([Query(vector, 6, rank)])
    assert [name for name, _ in answer] == [name for name, _ in reference[:6]]
    assert np.allclose(
        [share for _, share in answer], [share for _, share in reference[:6]], rtol=1e-4
    )
    [everything] = index.answers([Query(vector, 10_000, rank)])
    assert len(everything) == len(reference)


def test_one_name_in_two_kingdoms_is_two_taxa():
    bird = ["Animalia", "", "", "", "", "Oenanthe", "oenanthe"]
    herb = ["Plantae", "", "", "", "", "Oenanthe", "crocata"]
    index, _ = index_of([[bird, ""], [herb, ""], [bird, "wheatear"]])
    [answer] = index.answers([Query(random_units(1, 24)[0], 9, "genus")])
    assert [name for name, _ in answer] == ["Oenanthe", "Oenanthe"]
    [answer] = index.answers([Query(random_units(1, 24)[0], 9, "species")])
    assert {name for name, _ in answer} == {"Oenanthe oenanthe (wheatear)", "Oenanthe crocata"}


def test_a_taxonomy_comes_back_from_its_arrays():
    rows = kit.species(700)
    catalogue = kit.catalogue_of(rows)
    again = Catalogue.from_arrays(catalogue.arrays())
    vectors = random_units(700, 24)
    vector = random_units(1, 24)[0]
    both = [LabelIndex(vectors, one, scale=10.0) for one in (catalogue, again)]
    for rank in RANKS:
        first, second = (one.answers([Query(vector, 9, rank)]) for one in both)
        assert first == second


def test_one_vector_for_each_label_or_nothing():
    with pytest.raises(ValueError, match="2 labels"):
        LabelIndex(random_units(3, 4), Catalogue.of(["a", "b"]), scale=1)


# --- at full size ----------------------------------------------------------

FULL = 450_000
WIDE = 768
BLOCK = 2_500
"""Rows at once: few enough that their memory is used again, and not asked for anew."""


@pytest.fixture(scope="module")
def full():
    """450,000 × 768 unit vectors, and queries near some of them with their float64 scores."""
    random = np.random.default_rng(1)
    vectors = np.empty((FULL, WIDE), np.float32)
    base, other = random.standard_normal((2, BLOCK, WIDE), dtype=np.float32)
    picks = random.integers(0, FULL, 10)
    for start in range(0, FULL, BLOCK):
        # Random enough, and a tenth of the time: one block, turned, times another.
        block = vectors[start : start + BLOCK]
        np.multiply(np.roll(base, start // BLOCK, axis=1), other, out=block)
        block /= np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
    queries = kit.unit(vectors[picks] + 0.02 * random.standard_normal((10, WIDE)))
    exact = np.empty((10, FULL))
    part = np.empty((BLOCK, WIDE))
    for start in range(0, FULL, BLOCK):
        part[:] = vectors[start : start + BLOCK]
        exact[:, start : start + BLOCK] = queries.astype(np.float64) @ part.T
    yield vectors, queries, exact
    del vectors


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_top_five_of_a_full_catalogue_are_those_of_float64(full, dtype):
    vectors, queries, exact = full
    catalogue = Catalogue.of(map(str, range(FULL)))
    if dtype == "float16":
        halves = np.empty(vectors.shape, np.float16)
        for start in range(0, FULL, BLOCK):
            halves[start : start + BLOCK] = stored(vectors[start : start + BLOCK], dtype)
        vectors = halves
    index = LabelIndex(vectors, catalogue, scale=100.0)
    alone = index.answers([Query(queries[0], 5)])
    together = index.answers([Query(query, 5) for query in queries])
    for scores, answer in zip(exact, together, strict=True):
        order = np.argpartition(-scores, 5)[:6]
        order = order[np.argsort(-scores[order])]
        weights = np.exp(100.0 * (scores - scores.max()))
        shares = weights[order] / weights.sum()
        if dtype == "float32":
            assert [int(name) for name, _ in answer] == list(order[:5])
            assert np.allclose([share for _, share in answer], shares[:5], rtol=1e-3)
        else:
            assert int(answer[0][0]) == order[0]
            assert answer[0][1] == pytest.approx(shares[0], rel=0.05)
    assert [name for name, _ in alone[0]] == [name for name, _ in together[0]]
