"""A hub that is out of reach, or answers with something else: one clear line, within seconds."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hearth.errors import ModelUnavailable, SettingsError
from hearth.hub.store import HubStore
from hub_kit import HubServer

NAME = "immich-app/ViT-B-32__openai"
HINT = "; a local folder with its files will do as well"


def failure(endpoint: str, folder: Path, timeout: float = 1) -> str:
    """The error of a download, which must be one line and come soon."""
    start = time.monotonic()
    with pytest.raises(ModelUnavailable) as caught:
        HubStore(folder, endpoint=endpoint, timeout=timeout).download(NAME, ["*"])
    assert time.monotonic() - start < 10 * timeout
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_connection_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert failure(f"http://127.0.0.1:{port}", tmp_path) == (
        f"can't reach the model hub for {NAME}: connection refused{HINT}"
    )


def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    message = failure("http://hub.invalid", tmp_path)
    # A resolver that is itself out of reach says nothing in time.
    assert "its name isn't known" in message or "no answer in time" in message


def test_a_hub_that_hangs(hub: HubServer, tmp_path: Path) -> None:
    hub.hang()
    expected = f"can't reach the model hub for {NAME}: no answer in time{HINT}"
    assert failure(hub.url, tmp_path, timeout=0.2) == expected


def test_a_hub_that_hangs_in_the_middle_of_a_file(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repository(NAME, {"model.onnx": bytes(2_000_000)})
    hub.pause(NAME, "model.onnx", after=300_000)
    assert "no answer in time" in failure(hub.url, tmp_path, timeout=0.2)
    hub.mend()
    hub.forget()
    HubStore(tmp_path, endpoint=hub.url).download(NAME, ["*"])
    assert hub.transfers(NAME, "model.onnx")[0].start > 0


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (401, "the hub denies access (401); check HF_TOKEN"),
        (403, "the hub denies access (403); check HF_TOKEN"),
        (404, "the hub answered 404"),
        (429, "the hub asks to come back later (429)"),
        (500, "the hub answered 500"),
    ],
)
def test_a_hub_that_answers_with_an_error(
    hub: HubServer, tmp_path: Path, status: int, reason: str
) -> None:
    hub.answer(status)
    assert failure(hub.url, tmp_path) == f"can't fetch {NAME}: {reason}"
    assert hub.count() == 1


def test_a_repository_that_does_not_exist(hub: HubServer, tmp_path: Path) -> None:
    assert failure(hub.url, tmp_path).startswith(
        f"can't fetch {NAME}: the hub has no such repository"
    )


def test_a_revision_that_does_not_exist(hub: HubServer, tmp_path: Path) -> None:
    hub.add_repository(NAME, {"config.json": b"{}"})
    with pytest.raises(ModelUnavailable, match="has no such revision"):
        HubStore(tmp_path, endpoint=hub.url).download(NAME, ["*"], revision="other")


def test_a_page_that_is_no_hub(hub: HubServer, tmp_path: Path) -> None:
    hub.answer(200)
    assert "what answers there is no model hub" in failure(hub.url, tmp_path)


def test_nothing_is_left_behind_that_could_count_as_a_model(hub: HubServer, tmp_path: Path) -> None:
    hub.answer(500)
    failure(hub.url, tmp_path)
    store = HubStore(tmp_path, endpoint=hub.url)
    assert store.find(NAME, ["*"]) is None


def test_a_wrong_address_is_named_by_where_it_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "hub.example")
    with pytest.raises(SettingsError, match=r"^HF_ENDPOINT = 'hub\.example': an http"):
        HubStore(tmp_path)
    with pytest.raises(SettingsError, match=r"^hub\.endpoint = 'ftp://hub': an http"):
        HubStore(tmp_path, endpoint="ftp://hub")


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_address_counts_as_none(value: str) -> None:
    code = "from hearth.hub.remote import Remote; print(Remote(None, 1).endpoint)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HF_ENDPOINT": value},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.startswith("https://"), done.stderr
