"""Which files of a folder are never sent, and how all that weren't are told in one line."""

from collections import Counter, defaultdict
from pathlib import PurePath
from typing import Self

from hearth.client.mime import by_name

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
"""How many endings of each kind are shown."""

HIDDEN = "hidden"
LINK = "link to a folder"
_OF_SYSTEM, _SIDECAR, _OTHER = "of the system", "sidecar", "other"
_KINDS = {"image": "picture", "video": "video", "audio": "recording", "text": "text"}
_PLURALS = {LINK: "links to folders"} | {
    kind: f"{kind}s" for kind in (_SIDECAR, _OTHER, *_KINDS.values())
}


def is_left_out_folder(name: str) -> bool:
    """Whether a folder is hidden, or holds what a system keeps for itself."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def is_left_out_file(name: str) -> bool:
    """Whether a file is hidden (macOS's ``._*`` are, too), of the system's, or a sidecar."""
    low = name.lower()
    return low.startswith(".") or low in SYSTEM_FILES or low.endswith(SIDECARS)


def ending_of(name: str) -> str:
    """The name's ending in lower case, with its dot; "" where it has none.

    "Scan 2024-05-01 at 10.20.30" has none: an ending has a letter, and no space.
    """
    ending = PurePath(name).suffix.lower()
    is_one = any(map(str.isalpha, ending)) and not any(map(str.isspace, ending))
    return ending if is_one else ""


class LeftOut:
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
        """One line: ``left out 14 files: 9 in @eaDir, 3 videos (.mov), 2 sidecars (.xmp)``."""
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
    """All counts, the largest first; of equal ones those come first that the alphabet has first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _kind_of(name: str) -> str:
    low = name.lower()
    if low.startswith("."):
        return HIDDEN
    if low in SYSTEM_FILES:
        return _OF_SYSTEM
    if low.endswith(SIDECARS):
        return _SIDECAR
    return _KINDS.get((by_name(name) or "").partition("/")[0], _OTHER)
