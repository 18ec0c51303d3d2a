"""Downloads from the hub: progress, resuming, verification, and starts without a network."""

import random
from pathlib import Path

import pytest

from hearth.errors import ModelUnavailable, SettingsError
from hearth.hub.progress import Progress
from hearth.hub.remote import CHUNK
from hearth.hub.store import HubStore
from hub_kit import HubServer

NAME = "org/name"
MODEL = random.Random(0).randbytes(2_000_000)
FILES = {
    "config.json": b'{"size": 1}',
    "visual/model.onnx": MODEL,
    "visual/model_fp16.onnx": b"another precision",
    "empty.txt": b"",
}
PATTERNS = ("visual/model.onnx", "*.json", "empty.txt")


@pytest.fixture
def store(hub: HubServer, tmp_path: Path) -> HubStore:
    hub.add_repository(NAME, FILES)
    return HubStore(tmp_path, endpoint=hub.url, timeout=2)


def stop_at(size: int) -> Progress:
    """A progress that ends the download, as a node does that shuts down."""

    def progress(what: str, done: int, total: int | None, unit: str = "steps") -> None:
        if done >= size:
            raise KeyboardInterrupt

    return progress


def test_a_download_brings_the_chosen_files_and_tells_how_far_it_is(
    hub: HubServer, store: HubStore
) -> None:
    heard: list[tuple[object, ...]] = []
    folder = store.download(NAME, PATTERNS, lambda *news: heard.append(news))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"config.json", "visual/model.onnx", "empty.txt"}
    assert (folder / "visual/model.onnx").read_bytes() == MODEL
    total = len(MODEL) + len(FILES["config.json"])
    assert heard[0] == (NAME, 0, total, "bytes")
    assert heard[-1] == (NAME, total, total, "bytes")
    assert [news[1] for news in heard] == sorted(news[1] for news in heard)
    assert len(heard) > 5
    assert not (folder.parent / ".partial").exists()


def test_a_full_cache_is_found_without_the_network(hub: HubServer, store: HubStore) -> None:
    assert store.find(NAME, PATTERNS) is None
    folder = store.download(NAME, PATTERNS)
    hub.forget()
    offline = HubStore(store.folder.parent, endpoint=hub.url, offline=True)
    for each in (store, offline):
        assert each.find(NAME, PATTERNS) == folder
        assert each.download(NAME, PATTERNS) == folder
        assert each.files(NAME) == sorted(FILES)
        assert each.choose(["org/other", NAME]) == NAME
    assert offline.find(NAME, ["visual/*"]) is None
    with pytest.raises(ModelUnavailable, match=r"org/name isn't in .* may not be asked"):
        offline.download(NAME, ["visual/*"])
    assert hub.count() == 0


def test_offline_can_be_asked_for_in_the_environment(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    store = HubStore(tmp_path, endpoint=hub.url)
    with pytest.raises(ModelUnavailable, match="HF_HUB_OFFLINE"):
        store.files(NAME)
    assert hub.count() == 0


def test_the_endpoint_can_come_from_the_environment(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repository(NAME, FILES)
    monkeypatch.setenv("HF_ENDPOINT", hub.url + "/")
    assert HubStore(tmp_path).files(NAME) == sorted(FILES)


def test_an_endpoint_that_is_no_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="http or https"):
        HubStore(tmp_path, endpoint="hub.example.org")


def test_a_cut_connection_is_resumed_within_the_download(hub: HubServer, store: HubStore) -> None:
    hub.cut(NAME, "visual/model.onnx", after=700_000)
    folder = store.download(NAME, PATTERNS)
    assert (folder / "visual/model.onnx").read_bytes() == MODEL
    first, second = hub.transfers(NAME, "visual/model.onnx")
    assert 700_000 - CHUNK < second.start <= 700_000
    assert second.sent == len(MODEL) - second.start
    assert first.start == 0


def test_a_stopped_download_is_resumed_by_the_next(hub: HubServer, store: HubStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        store.download(NAME, PATTERNS, stop_at(1_000_000))
    assert store.find(NAME, PATTERNS) is None
    hub.forget()
    heard: list[int] = []
    store.download(NAME, PATTERNS, lambda _, done, *__: heard.append(done))
    [transfer] = hub.transfers(NAME, "visual/model.onnx")
    assert transfer.start >= 1_000_000 - CHUNK
    assert transfer.sent == len(MODEL) - transfer.start
    # The small files that were whole already are not asked for again.
    assert not hub.transfers(NAME, "config.json")


def test_a_connection_that_keeps_breaking_is_given_up_and_what_came_is_kept(
    hub: HubServer, store: HubStore
) -> None:
    hub.cut(NAME, "visual/model.onnx", after=CHUNK + 1000, times=100)
    with pytest.raises(ModelUnavailable, match="can't reach the model hub for org/name"):
        store.download(NAME, PATTERNS)
    transfers = hub.transfers(NAME, "visual/model.onnx")
    assert [transfer.start for transfer in transfers] == [CHUNK * at for at in range(5)]
    hub.mend()
    folder = store.download(NAME, PATTERNS)
    assert (folder / "visual/model.onnx").read_bytes() == MODEL
    assert hub.transfers(NAME, "visual/model.onnx")[-1].start == CHUNK * 5


def test_a_hub_without_ranges_starts_the_file_again(hub: HubServer, store: HubStore) -> None:
    hub.ignore_ranges = True
    hub.cut(NAME, "visual/model.onnx", after=700_000)
    folder = store.download(NAME, PATTERNS)
    assert (folder / "visual/model.onnx").read_bytes() == MODEL


@pytest.mark.parametrize("path", ["visual/model.onnx", "config.json"])
def test_a_file_with_a_wrong_hash_is_refused_and_removed(
    hub: HubServer, store: HubStore, path: str
) -> None:
    hub.corrupt(NAME, path)
    with pytest.raises(ModelUnavailable, match=rf"^{path} of org/name came damaged .* try again$"):
        store.download(NAME, PATTERNS)
    assert store.find(NAME, PATTERNS) is None
    assert not list((store.folder / "org--name").rglob(Path(path).name))
    hub.mend()
    folder = store.download(NAME, PATTERNS)
    assert (folder / path).read_bytes() == FILES[path]


@pytest.mark.parametrize("path", ["visual/model.onnx", "config.json"])
def test_a_truncated_file_is_refused_and_removed(
    hub: HubServer, store: HubStore, path: str
) -> None:
    hub.truncate(NAME, path, 7)
    with pytest.raises(ModelUnavailable, match=r"is damaged: 7 bytes instead of \d+$"):
        store.download(NAME, PATTERNS)
    assert store.find(NAME, PATTERNS) is None
    assert not list((store.folder / "org--name").glob(".partial/*"))
    hub.mend()
    assert store.download(NAME, PATTERNS)


def test_remains_that_were_garbled_are_fetched_again_at_once(
    hub: HubServer, store: HubStore
) -> None:
    with pytest.raises(KeyboardInterrupt):
        store.download(NAME, PATTERNS, stop_at(1_000_000))
    [part] = (store.folder / "org--name" / ".partial").iterdir()
    part.write_bytes(bytes(part.stat().st_size))
    folder = store.download(NAME, PATTERNS)
    assert (folder / "visual/model.onnx").read_bytes() == MODEL


def test_a_file_that_lost_bytes_later_is_missed_and_mended(hub: HubServer, store: HubStore) -> None:
    folder = store.download(NAME, PATTERNS)
    (folder / "visual/model.onnx").write_bytes(MODEL[:-1])
    assert store.find(NAME, PATTERNS) is None
    hub.forget()
    assert store.download(NAME, PATTERNS) == folder
    assert (folder / "visual/model.onnx").read_bytes() == MODEL
    assert not hub.transfers(NAME, "config.json")


def test_files_whose_record_is_lost_are_verified_rather_than_fetched(
    hub: HubServer, store: HubStore
) -> None:
    folder = store.download(NAME, PATTERNS)
    (folder.parent / "main.json").write_text('{"files": 1')
    assert store.find(NAME, PATTERNS) is None
    hub.forget()
    assert store.download(NAME, PATTERNS) == folder
    assert not hub.transfers(NAME, "visual/model.onnx")


def test_files_that_go_together_come_from_one_commit(hub: HubServer, store: HubStore) -> None:
    folder = store.download(NAME, ["config.json"])
    hub.add_repository(NAME, {"config.json": b"newer", "visual/model.onnx": b"newer"})
    assert store.download(NAME, ["visual/model.onnx"]) == folder
    assert (folder / "visual/model.onnx").read_bytes() == MODEL
    assert store.find(NAME, ["config.json", "visual/model.onnx"]) == folder


def test_another_revision_is_kept_apart(hub: HubServer, store: HubStore) -> None:
    hub.add_repository(NAME, {"config.json": b"newer"}, revision="refs/pr/1")
    folder = store.download(NAME, ["config.json"], revision="refs/pr/1")
    assert (folder / "config.json").read_bytes() == b"newer"
    assert store.find(NAME, ["config.json"]) is None
    assert store.find(NAME, ["config.json"], revision="refs/pr/1") == folder


def test_a_file_that_the_repository_lacks_is_named(store: HubStore) -> None:
    with pytest.raises(ModelUnavailable, match=r"org/name has no textual/model.onnx"):
        store.download(NAME, ["visual/model.onnx", "textual/model.onnx"])
    with pytest.raises(ModelUnavailable, match="none of the files"):
        store.download(NAME, ["*.safetensors"])


def test_the_first_repository_that_exists_is_chosen(hub: HubServer, store: HubStore) -> None:
    assert store.choose(["org/missing", NAME, "org/too"]) == NAME
    with pytest.raises(ModelUnavailable, match="the hub has none of org/missing, org/too"):
        store.choose(["org/missing", "org/too"])
    hub.answer(503)
    with pytest.raises(ModelUnavailable, match="the hub answered 503"):
        store.choose(["org/missing", NAME])


def test_the_token_goes_to_the_hub_and_to_nobody_else(
    hub: HubServer, store: HubStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repository("org/private", FILES, token="hf_secret")
    with pytest.raises(ModelUnavailable, match=r"no such repository .* HF_TOKEN"):
        store.files("org/private")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.forget()
    store.download("org/private", PATTERNS)
    storage = [request for request in hub.requests if request.path.startswith("/cdn/")]
    assert storage
    assert all(request.token is None for request in storage)
    assert {request.token for request in hub.requests if request not in storage} == {"hf_secret"}


def test_a_gated_repository_says_what_is_to_be_done(hub: HubServer, store: HubStore) -> None:
    hub.add_repository("org/gated", FILES, gated=True)
    with pytest.raises(ModelUnavailable, match="its licence must be accepted on the hub first"):
        store.download("org/gated", PATTERNS)


def test_remains_of_a_commit_that_has_gone_are_cleared_away(
    hub: HubServer, store: HubStore
) -> None:
    with pytest.raises(KeyboardInterrupt):
        store.download(NAME, ["visual/model.onnx"], stop_at(1_000_000))
    hub.add_repository(NAME, {"visual/model.onnx": b"newer"})
    folder = store.download(NAME, ["visual/model.onnx"])
    assert (folder / "visual/model.onnx").read_bytes() == b"newer"
    assert not (folder.parent / ".partial").exists()


def test_the_hub_of_the_tests_serves_the_hub_library_as_well(
    hub: HubServer, store: HubStore, tmp_path: Path
) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    folder = Path(
        snapshot_download(
            NAME, endpoint=hub.url, cache_dir=tmp_path / "other", allow_patterns=list(PATTERNS)
        )
    )
    assert (folder / "visual/model.onnx").read_bytes() == MODEL
    assert not (folder / "visual/model_fp16.onnx").exists()


@pytest.mark.parametrize("path", ["../outside.json", "/outside.json", "a/../../outside.json"])
def test_a_listing_cannot_lead_out_of_its_folder(
    hub: HubServer, store: HubStore, path: str
) -> None:
    hub.add_repository("org/evil", {path: b"x"})
    with pytest.raises(ModelUnavailable, match="is no model hub"):
        store.download("org/evil", ["*"])


@pytest.mark.parametrize("name", ["name", "../name", "org/name/more", "org/..", "", "org/na me"])
def test_a_name_that_is_no_repository_is_refused(store: HubStore, name: str) -> None:
    with pytest.raises(SettingsError, match="ORG/NAME"):
        store.find(name, ["*"])
