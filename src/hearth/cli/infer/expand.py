"""From what a user names to files: folders are walked, globs are expanded."""

import errno
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from glob import glob, has_magic
from itertools import islice
from pathlib import Path, PurePath
from typing import Self

from hearth.cli.infer.inputs import STDIN
from hearth.client import TaskInfo
from hearth.client.sources import HEAD, PICTURE_ENDINGS, guess_mime, mime_by_name
from hearth.errors import InvalidInput

TEXT_ENDINGS = (".txt",)
"""Endings of a folder's files that are texts."""

_ENDINGS = {"image/": tuple(PICTURE_ENDINGS), "text/": TEXT_ENDINGS, "": ("",)}
"""Endings that are sent of a folder, by the first kind that the task takes; "" takes all."""

MOST_COUNTED = 10_000
"""Files that are counted of a folder that is left out: snapshots may hold millions."""

Note = Callable[[str], None]


def expand(names: Iterable[str], task: TaskInfo, note: Note) -> Iterator[str]:
    """Yield the files that are meant, in the order given; those of a folder or glob are sorted.

    Of a folder, and the folders in it, the files that suit the task by their ending, or, where
    they have none, by their first bytes; without hidden ones, those of a system, and links to
    folders. A file that is named stays in, whatever it is. What exists is never a glob; a name
    without a file stays in, to fail by itself. ``note`` gets a line for each thing that can't
    be read, and one for all else that was left out. Raises InvalidInput where nothing is found,
    and OSError.
    """
    left_out = SkippedFiles()
    for name in names:
        if name in (STDIN, ""):  # an empty name is no folder's, whatever Path makes of it
            yield name
        elif _is(Path.is_dir, name):
            walk = _Walk(name, task, note)
            yield from walk.files()
            left_out.update(walk.left_out)
        elif has_magic(name) and not _is(Path.exists, name):
            # Path.glob takes no pattern from the root, and hidden files as well.
            matches = sorted(glob(name, recursive=True))  # noqa: PTH207
            if not (files := [each for each in matches if _is(Path.is_file, each)]):
                raise InvalidInput(f"{name}: no file matches this")
            yield from files
        else:
            yield name
    if left_out:
        note(str(left_out))


class _Walk:
    """Walk through a folder, for the files that suit a task."""

    def __init__(self, top: str, task: TaskInfo, note: Note) -> None:
        self._top, self._note = top, note
        self._kind = next((kind for kind in _ENDINGS if _takes(task, kind)), "")
        self.left_out = SkippedFiles()

    def files(self) -> Iterator[str]:
        """Yield their paths, sorted; raises InvalidInput where there are none, and OSError."""
        empty = True
        for path in self._paths():
            empty = False
            yield path
        if empty:
            what = {"image/": "pictures", "text/": ".txt files"}.get(self._kind, "files")
            others = f" ({self.left_out})" if self.left_out else ""
            raise InvalidInput(f"{self._top}: no {what} in this folder{others}")

    def _paths(self) -> Iterator[str]:
        # Each folder's own files come before those of the folders in it.
        for folder, folders, files in os.walk(self._top, onerror=self._fail):
            folders[:] = sorted(each for each in folders if self._is_entered(folder, each))
            paths = (str(Path(folder, name)) for name in sorted(files))
            yield from filter(self._is_sent, paths)

    def _is_entered(self, folder: str, name: str) -> bool:
        path = Path(folder, name)
        if path.is_symlink():  # os.walk doesn't follow it
            self.left_out.add_link()
        elif is_skipped_folder(name):
            count = sum(1 for _ in islice(_files_in(path), MOST_COUNTED + 1))
            self.left_out.add_folder(name, min(count, MOST_COUNTED), has_more=count > MOST_COUNTED)
        else:
            return True
        return False

    def _is_sent(self, path: str) -> bool:
        """Tell whether a file is to be sent; where it isn't, count it, or say why."""
        name = Path(path).name
        try:
            if not is_skipped_file(name) and self._suits(path):
                return True
        except OSError as error:
            self._fail(error)
        else:
            self.left_out.add_file(name)
        return False

    def _suits(self, path: str) -> bool:
        """Tell whether a file is of the kind that the task takes; raises OSError."""
        if _is(_is_pipe_or_device, path):
            raise OSError(errno.ENXIO, "it is no plain file", path)
        ending = ending_of(path)
        if not self._kind or ending:
            return ending.endswith(_ENDINGS[self._kind])
        with Path(path).open("rb") as file:
            return guess_mime(file.read(HEAD)).startswith(self._kind)

    def _fail(self, error: OSError) -> None:
        if error.filename == self._top:
            raise error
        self._note(f"{error.filename}: left out: {(error.strerror or str(error)).lower()}")


def _files_in(folder: Path) -> Iterator[str]:
    """Yield the names of all files in a folder and those in it; none where it can't be read."""
    for _, _, files in os.walk(folder):
        yield from files


def _takes(task: TaskInfo, kind: str) -> bool:
    return any(mime.startswith(kind) for mime in task.inputs)


def _is_pipe_or_device(path: Path) -> bool:
    """Tell whether a read might wait for ever."""
    return not stat.S_ISREG(path.stat().st_mode)


def _is(kind: Callable[[Path], bool], name: str) -> bool:
    """Tell whether a name is of this kind; one that can't be looked up is of none."""
    with suppress(OSError, ValueError):
        return kind(Path(name))
    return False


SYSTEM_FOLDERS = frozenset({
    "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot",  # Synology, QNAP
    "$recycle.bin", "system volume information",  # Windows
    "__macosx", "network trash folder", "temporary items", "lost+found",  # macOS, Unix
})  # fmt: skip
"""Names, in lower case, of folders with thumbnails, deleted files, snapshots."""

SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
"""Names, in lower case, of files that Windows and macOS leave in folders."""

SIDECARS = (".aae", ".xmp")
"""Endings of files that tell of the picture beside them: a phone's edits, metadata."""

SHOWN_ENDINGS = 4
"""Endings of each kind that are shown."""

HIDDEN = "hidden"
LINK = "link to a folder"
_OF_SYSTEM, _SIDECAR, _OTHER = "of the system", "sidecar", "other"
_KINDS = {"image": "picture", "video": "video", "audio": "recording", "text": "text"}
_PLURALS = {LINK: "links to folders"} | {
    kind: f"{kind}s" for kind in (_SIDECAR, _OTHER, *_KINDS.values())
}


def is_skipped_folder(name: str) -> bool:
    """Tell whether a folder is hidden, or holds what a system keeps for itself."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def is_skipped_file(name: str) -> bool:
    """Tell whether a file is hidden (macOS's ``._*`` too), the system's, or a sidecar."""
    low = name.lower()
    return low.startswith(".") or low in SYSTEM_FILES or low.endswith(SIDECARS)


def ending_of(name: str) -> str:
    """Return the name's ending in lower case, with its dot; "" where it has none.

    "Scan 2024-05-01 at 10.20.30" has none: an ending has a letter, and no space.
    """
    ending = PurePath(name).suffix.lower()
    is_one = any(map(str.isalpha, ending)) and not any(map(str.isspace, ending))
    return ending if is_one else ""


class SkippedFiles:
    """Counts of what was left out of folders."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._endings: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._uncounted = False

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add_file(self, name: str) -> None:
        """Count a file by its name."""
        kind = _kind_of(name)
        self._counts[kind] += 1
        if kind not in (HIDDEN, _OF_SYSTEM):
            self._endings[kind][ending_of(name) or "no ending"] += 1

    def add_folder(self, name: str, files: int, *, has_more: bool = False) -> None:
        """Count the files in a folder; ``has_more`` where it has more of them than those."""
        if files:
            self._counts[HIDDEN if name.startswith(".") else f"in {name}"] += files
            self._uncounted |= has_more

    def add_link(self) -> None:
        """Count a link to a folder, which isn't followed: it may lead in a circle."""
        self._counts[LINK] += 1

    def update(self, other: Self) -> None:
        """Add the counts of another folder."""
        self._counts.update(other._counts)
        for kind, endings in other._endings.items():
            self._endings[kind].update(endings)
        self._uncounted |= other._uncounted

    def __str__(self) -> str:
        """Return one line: ``left out 14 files: 9 in @eaDir, 3 videos (.mov), 2 others (.pdf)``."""
        total = self._counts.total()
        more = "more than " if self._uncounted else ""
        parts = ", ".join(self._part(*each) for each in _most_common(self._counts))
        return f"left out {more}{total:,} file{'s' if total > 1 else ''}: {parts}"

    def _part(self, kind: str, count: int) -> str:
        named = kind if count == 1 else _PLURALS.get(kind, kind)
        endings = [ending for ending, _ in _most_common(self._endings.get(kind, Counter()))]
        if len(endings) > SHOWN_ENDINGS:
            endings[SHOWN_ENDINGS:] = ["…"]
        return f"{count:,} {named}" + (f" ({', '.join(endings)})" if endings else "")


def _most_common(counts: Counter[str]) -> list[tuple[str, int]]:
    """Sort counts, the largest first, equal ones by the alphabet."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _kind_of(name: str) -> str:
    low = name.lower()
    if low.startswith("."):
        return HIDDEN
    if low in SYSTEM_FILES:
        return _OF_SYSTEM
    if low.endswith(SIDECARS):
        return _SIDECAR
    return _KINDS.get((mime_by_name(name) or "").partition("/")[0], _OTHER)
