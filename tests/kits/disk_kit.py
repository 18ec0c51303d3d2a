"""A disk that is soon full: a file system in memory, of the size that a test wants.

with small_disk(tmp_path / "disk", "3m") as folder: ...
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """An empty file system at ``folder``; the test is skipped where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        mounted = os.geteuid() == 0 and not subprocess.run(command, check=False).returncode
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small file system can only be mounted by root, with mount(8)")
    try:
        yield folder
    finally:
        # Lazily: where a test has failed, its traceback holds what is open or mapped.
        subprocess.run(["umount", "-l", str(folder)], check=True)
