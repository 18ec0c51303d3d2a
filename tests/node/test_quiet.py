"""Other people's packages are kept from leaving things, however many models load at once."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hearth.backends.quiet import no_compiler_cache

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def test_models_that_load_at_once_leave_no_folder_and_no_variable(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)

    def load(_: int) -> str:
        with no_compiler_cache():
            # A turn for the others; whoever imports something has many of them.
            for _ in range(100):
                folder = os.environ[VARIABLE]
                assert Path(folder).is_dir()
            return folder

    with ThreadPoolExecutor(8) as threads:
        folders = list(threads.map(load, range(50)))
    assert VARIABLE not in os.environ
    assert not any(Path(folder).exists() for folder in folders)


def test_a_folder_that_was_chosen_is_left_alone(monkeypatch, tmp_path):
    chosen = str(tmp_path)
    monkeypatch.setenv(VARIABLE, chosen)
    with no_compiler_cache():
        assert os.environ[VARIABLE] == chosen
    assert os.environ[VARIABLE] == chosen
