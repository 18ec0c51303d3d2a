"""A classifier as a model uses it: sets, ranks, labels of a request, and the queue."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

import labels_kit as kit
from hearth.batching import NO_CONTEXT, RequestContext
from hearth.errors import InvalidInput, ModelUnavailable, NotReady, Overloaded
from hearth.families.clip.labels.sets.source import LabelSet
from hearth.families.clip.labels.sets.tree_of_life import label_of, prompt_of, tree_of_life
from hearth.hub.progress import no_progress
from hearth.hub.store import HubStore

FRUIT = LabelSet("fruit", ("apple", "pear"), (("an apple",), ("a pear", "one pear")), "test")
TOOLS = LabelSet("tools", ("saw", "axe", "rake"), (("saw",), ("axe",), ("rake",)), "test")
VECTOR = kit.embedded("a picture")


@pytest.fixture
async def classifier():
    made = kit.classifier(TOOLS, FRUIT)
    await made.derive_artifacts(no_progress)
    yield made
    made.close()


async def test_small_sets_need_no_store_and_no_queue(classifier):
    assert classifier.queues == ()
    reference = kit.probabilities(kit.expected(FRUIT), VECTOR)
    answer = dict(await classifier.classify(VECTOR, "fruit", 5))
    assert answer == pytest.approx(dict(zip(FRUIT.labels, reference, strict=True)), rel=1e-4)
    assert classifier.metadata == {"labels.tools": "3", "labels.fruit": "2"}


async def test_the_smallest_set_is_usable_first():
    classifier = kit.classifier(TOOLS, FRUIT)
    states = []

    def progress(what, done, total):
        states.append((what, done, total, classifier.missing("fruit") is None))

    assert "still being made (0 %)" in classifier.missing("tools")
    await classifier.derive_artifacts(progress)
    assert states[0] == ("fruit label vectors", 2, 2, False)
    assert states[-1] == ("tools label vectors", 3, 3, True)
    classifier.close()


async def test_while_vectors_are_made_the_reason_says_how_far_they_are():
    labels = kit.many()
    reasons = set()
    classifier = kit.classifier(labels)
    await classifier.derive_artifacts(lambda *_: reasons.add(classifier.missing("many")))
    assert {f"the label vectors are still being made ({n} %)" for n in (2, 49, 100)} <= reasons
    classifier.close()


async def test_what_is_missing_is_not_ready(classifier):
    with pytest.raises(NotReady, match="no label set 'birds'"):
        await classifier.classify(VECTOR, "birds", 1)
    fresh = kit.classifier(FRUIT)
    with pytest.raises(NotReady, match="still being made"):
        await fresh.classify(VECTOR, "fruit", 1)
    assert fresh.metadata["labels.fruit"] == fresh.missing("fruit")


async def test_ranks_are_refused_where_there_are_none(classifier):
    assert not classifier.has_ranks("fruit")
    with pytest.raises(InvalidInput, match="no ranks"):
        await classifier.classify(VECTOR, "fruit", 1, rank="genus")


async def test_a_full_queue_is_waited_for(monkeypatch):
    monkeypatch.setattr("hearth.families.clip.labels.making.embedding._BUSY_SECONDS", 0)
    toy, refused = kit.Toy(), []

    async def embed(texts, context=None, /):
        if len(refused) < 3:
            refused.append(1)
            raise Overloaded("full")
        return await toy(texts)

    classifier = kit.classifier(FRUIT, embed=embed)
    await classifier.derive_artifacts(no_progress)
    assert len(refused) == 3 and classifier.missing("fruit") is None


async def test_no_more_texts_are_asked_for_at_once_than_make_a_batch():
    sizes = []
    toy = kit.Toy()

    async def embed(texts, context=None, /):
        sizes.append(len(texts))
        return await toy(texts)

    texts = tuple(tuple(f"{a} {b}" for b in range(7)) for a in range(9))
    labels = LabelSet("seven", tuple(map(str, range(9))), texts, "test")
    classifier = kit.classifier(labels, embed=embed)
    classifier._builder._prompts._batch = lambda: 5
    await classifier.derive_artifacts(no_progress)
    assert max(sizes) == 5
    index = classifier._indexes["seven"]
    assert np.abs(index.vectors - kit.expected(labels)).max() < 1e-6


# --- large sets ----------------------------------------------------------


async def test_requests_for_a_large_set_share_a_product(tmp_path):
    labels = kit.many()
    classifier = kit.classifier(labels, store=kit.store(tmp_path), name="toy-labels")
    await classifier.derive_artifacts(no_progress)
    [queue] = classifier.queues
    vectors = [kit.embedded(f"picture {number}") for number in range(40)]
    answers = await asyncio.gather(*(classifier.classify(v, "many", 5) for v in vectors))
    reference = kit.expected(labels)
    for vector, answer in zip(vectors, answers, strict=True):
        shares = kit.probabilities(reference, vector)
        order = np.argsort(-shares)[:5]
        assert [name for name, _ in answer] == [labels.labels[one] for one in order]
        assert np.allclose([share for _, share in answer], shares[order], rtol=1e-4)
    statistics = queue.statistics()
    assert queue.name == "toy-labels"
    assert statistics.items == 40 and statistics.batches < 40
    classifier.close()


async def test_a_tree_can_be_asked_by_rank(tmp_path, hub):
    rows = kit.species(200)
    hub.add_repository("org/tree", kit.tree_files(rows))
    source = tree_of_life(HubStore(tmp_path, endpoint=hub.url), "org/tree", "org/m")
    classifier = kit.classifier(source, store=kit.store(tmp_path))
    assert classifier.has_ranks("tree_of_life")
    await classifier.derive_artifacts(no_progress)
    vectors = np.stack([kit.embedded(prompt_of(*row)) for row in rows])
    shares = kit.probabilities(vectors, VECTOR)
    [best] = await classifier.classify(VECTOR, "tree_of_life", 1)
    assert best[0] == label_of(*rows[int(np.argmax(shares))])
    kingdoms = dict(await classifier.classify(VECTOR, "tree_of_life", 9, rank="kingdom"))
    plants = sum(
        share for (taxon, _), share in zip(rows, shares, strict=True) if taxon[0] == "Plantae"
    )
    assert set(kingdoms) == {"Animalia", "Plantae"}
    assert kingdoms["Plantae"] == pytest.approx(plants, rel=1e-4)
    classifier.close()


async def test_what_cannot_be_downloaded_is_tried_again_by_the_next_derive(tmp_path, hub):
    source = tree_of_life(HubStore(tmp_path, endpoint=hub.url), "org/tree", "org/m")
    classifier = kit.classifier(source, FRUIT, store=kit.store(tmp_path))
    with pytest.raises(ModelUnavailable):
        await classifier.derive_artifacts(no_progress)
    hub.add_repository("org/tree", kit.tree_files(kit.species(20)))
    await classifier.derive_artifacts(no_progress)
    assert classifier.metadata == {"labels.tree_of_life": "20", "labels.fruit": "2"}
    classifier.close()


# --- labels that a request brings ----------------------------------------------------------


async def test_any_labels_can_be_asked_for(classifier):
    chosen = ["heron", "duck", "鷺"]
    answer = await classifier.classify_among(VECTOR, chosen, 9)
    vectors = [kit.embedded(f"a photo of a {label}") for label in chosen]
    reference = dict(zip(chosen, kit.probabilities(vectors, VECTOR), strict=True))
    assert dict(answer) == pytest.approx(reference, rel=1e-4)
    assert [name for name, _ in answer] == sorted(chosen, key=lambda one: -reference[one])
    assert len(await classifier.classify_among(VECTOR, chosen, 2)) == 2


async def test_the_same_labels_are_embedded_once_where_results_are_kept():
    toy = kit.Toy()
    classifier = kit.classifier(embed=toy, cache_entries=10, name="toy")
    labels = [f"label {number}" for number in range(6)]
    context = RequestContext(source="somebody")
    both = (classifier.classify_among(VECTOR, labels, 1, context=context) for _ in range(2))
    first, second = await asyncio.gather(*both)
    assert first == second and len(toy.texts) == 6
    assert toy.contexts == [context]
    await classifier.classify_among(VECTOR, labels[::-1], 1)
    assert len(toy.texts) == 12
    counts = classifier.cache_statistics["toy"]
    assert (counts.misses, counts.hits + counts.joined) == (2, 1)
    assert (counts.entries, counts.capacity) == (6, 10)


async def test_nothing_is_kept_where_nothing_is_to_be():
    toy = kit.Toy()
    classifier = kit.classifier(embed=toy)
    for _ in range(2):
        await classifier.classify_among(VECTOR, ["a", "b"], 1)
    assert len(toy.texts) == 4


async def test_a_full_queue_is_told_to_who_brings_labels():
    toy = kit.Toy()
    toy.fails_after, toy.error = 0, Overloaded("full")
    classifier = kit.classifier(embed=toy)
    with pytest.raises(Overloaded):
        await classifier.classify_among(VECTOR, ["a"], 1)


class Held(kit.Toy):
    """Embeds texts once it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self, texts, context=NO_CONTEXT):
        self.entered.set()
        await self.go.wait()
        return await super().__call__(texts, context)


async def labels_of(classifier):
    return {label for label, _ in await classifier.classify(VECTOR, classifier.main, 9)}


@pytest.mark.parametrize("name", ["tools", "fruit"])
async def test_other_labels_answer_once_they_have_vectors_and_the_old_ones_until_then(name):
    held = Held()
    classifier = kit.classifier(TOOLS, embed=held)
    held.go.set()
    await classifier.derive_artifacts(no_progress)
    held.go.clear()
    held.entered.clear()
    assert classifier.replace([LabelSet(name, ("nail",), (("a nail",),), "test")])
    making = asyncio.create_task(classifier.derive_artifacts(no_progress))
    await held.entered.wait()
    assert classifier.main == "tools" and classifier.missing("tools") is None
    assert await labels_of(classifier) == set(TOOLS.labels)
    held.go.set()
    await making
    assert classifier.main == name and await labels_of(classifier) == {"nail"}
    assert (classifier.missing("tools") is None) == (name == "tools")
    classifier.close()


async def test_vectors_of_labels_that_were_replaced_meanwhile_are_of_no_use():
    held = Held()
    classifier = kit.classifier(TOOLS, embed=held)
    making = asyncio.create_task(classifier.derive_artifacts(no_progress))
    await held.entered.wait()
    assert classifier.replace([LabelSet("tools", ("nail",), (("a nail",),), "test")])
    held.go.set()
    await making
    assert classifier.missing("tools")
    await classifier.derive_artifacts(no_progress)
    assert await labels_of(classifier) == {"nail"}
    classifier.close()


async def test_the_same_labels_need_no_vectors(classifier):
    assert not classifier.replace([TOOLS, replace(FRUIT)])
    assert classifier.missing("tools") is None and classifier.missing("fruit") is None
