"""Data sets of the hub, ``datasets/ORG/NAME``: as models, at addresses of their own."""

import random
from pathlib import Path

import pytest

from hearth.errors import ModelUnavailable, SettingsError
from hearth.hub.store import HubStore, RepositoryMissing
from hub_kit import HubServer

NAME = "datasets/org/name"
VECTORS = random.Random(1).randbytes(1_500_000)
FILES = {
    "embeddings/vectors.npy": VECTORS,
    "embeddings/names.json": b'["a", "b"]',
    "data/train-0.parquet": b"a terabyte, were it real",
}
WANTED = ["embeddings/*"]


@pytest.fixture
def store(hub: HubServer, tmp_path: Path) -> HubStore:
    hub.add_repository(NAME, FILES)
    # A model of the same name: neither may be taken for the other.
    hub.add_repository("org/name", {"embeddings/vectors.npy": b"a model's"})
    return HubStore(tmp_path, endpoint=hub.url, timeout=2)


def test_the_chosen_files_of_a_data_set_are_fetched(hub: HubServer, store: HubStore) -> None:
    assert store.find(NAME, WANTED) is None
    assert store.files(NAME) == sorted(FILES)
    assert store.choose(["datasets/org/other", NAME]) == NAME
    folder = store.download(NAME, WANTED)
    assert folder.parent == store.folder / "datasets--org--name"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"embeddings/vectors.npy", "embeddings/names.json"}
    assert (folder / "embeddings/vectors.npy").read_bytes() == VECTORS
    asked = {request.path.split("/")[1] for request in hub.requests}
    assert asked == {"api", "datasets", "cdn"}
    assert all("org/name" not in request.path.replace(NAME, "") for request in hub.requests)


def test_a_data_set_and_a_model_of_one_name_are_two(store: HubStore) -> None:
    ours = store.download(NAME, WANTED) / "embeddings/vectors.npy"
    other = store.download("org/name", WANTED) / "embeddings/vectors.npy"
    assert ours.read_bytes() == VECTORS
    assert other.read_bytes() == b"a model's"


def test_a_data_set_that_is_here_needs_no_network(hub: HubServer, store: HubStore) -> None:
    folder = store.download(NAME, WANTED)
    hub.forget()
    offline = HubStore(store.folder.parent, endpoint=hub.url, offline=True)
    assert offline.find(NAME, WANTED) == offline.download(NAME, WANTED) == folder
    with pytest.raises(ModelUnavailable, match=r"datasets/org/name isn't in .* may not be asked"):
        offline.download(NAME, ["data/*"])
    assert hub.count() == 0


def test_a_download_that_was_cut_off_is_resumed(hub: HubServer, store: HubStore) -> None:
    hub.cut(NAME, "embeddings/vectors.npy", after=700_000)
    folder = store.download(NAME, WANTED)
    assert (folder / "embeddings/vectors.npy").read_bytes() == VECTORS
    _, second = hub.transfers(NAME, "embeddings/vectors.npy")
    assert 0 < second.start <= 700_000
    assert second.sent == len(VECTORS) - second.start


@pytest.mark.parametrize("path", ["embeddings/vectors.npy", "embeddings/names.json"])
def test_a_file_that_came_wrong_or_short_is_refused(
    hub: HubServer, store: HubStore, path: str
) -> None:
    hub.corrupt(NAME, path)
    with pytest.raises(ModelUnavailable, match=rf"^{path} of {NAME} came damaged"):
        store.download(NAME, WANTED)
    hub.mend()
    hub.truncate(NAME, path, 5)
    with pytest.raises(ModelUnavailable, match="is damaged: 5 bytes instead of"):
        store.download(NAME, WANTED)
    assert store.find(NAME, WANTED) is None
    hub.mend()
    assert (store.download(NAME, WANTED) / path).read_bytes() == FILES[path]


def test_a_data_set_that_the_hub_lacks_is_named(hub: HubServer, store: HubStore) -> None:
    with pytest.raises(RepositoryMissing, match="can't fetch datasets/org/lost: the hub has no"):
        store.download("datasets/org/lost", WANTED)
    hub.add_repository("datasets/org/gated", FILES, gated=True)
    with pytest.raises(ModelUnavailable, match="its licence must be accepted on the hub first"):
        store.download("datasets/org/gated", WANTED)


@pytest.mark.parametrize(
    "name",
    [
        "datasets/name",
        "datasets//name",
        "datasets/../name",
        "datasets/org/..",
        "datasets/org/name/more",
        "datasets/datasets/name",
        "spaces/org/name",
        "datasets--org/name",  # the folder of another
        "org/na--me",
        "org/na..me",
    ],
)
def test_a_name_that_could_mean_another_place_is_refused(store: HubStore, name: str) -> None:
    for ask in (store.files, store.verify, store.remove):
        with pytest.raises(SettingsError, match="datasets/ORG/NAME"):
            ask(name)
