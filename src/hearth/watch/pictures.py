"""Sources that are pictures: one file, or a folder of them."""

import re
from collections.abc import Sequence
from pathlib import Path

from hearth.client.mime import HEAD, guess
from hearth.errors import InvalidInput
from hearth.media import ImageReader, PixelForm
from hearth.watch.frames import Broken, Frame, Source

MOST_PIXELS = 1_000_000_000
"""Of a user's own picture: whether it is too large is for the node to say."""


class Pictures(Source):
    """Picture files, one after another; one that can't be read doesn't end it."""

    stills = True

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        self.name = name
        self.total = len(paths)
        self._paths = iter(enumerate(paths))
        self._reader = ImageReader(MOST_PIXELS)

    def read(self) -> Frame | Broken | None:
        number, path = next(self._paths, (0, None))
        if path is None:
            return None
        moment = float(number)
        try:
            file = path.read_bytes()
            pixels = self._reader.pixels(file, PixelForm.SRGB)
        except OSError as error:
            return Broken(number, moment, path.name, (error.strerror or str(error)).lower())
        except InvalidInput as error:
            return Broken(number, moment, path.name, str(error))
        return Frame(number, moment, pixels, path.name, file)


def in_folder(folder: Path) -> tuple[list[Path], list[str]]:
    """The pictures of a folder in their natural order, and the names of its other files.

    Folders in it, and files whose names begin with a dot, are no part of it. Raises OSError.
    """
    files = [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."]
    files.sort(key=lambda path: natural(path.name))
    kinds = [(path, is_picture(path)) for path in files]
    return [path for path, is_one in kinds if is_one], [
        path.name for path, is_one in kinds if not is_one
    ]


def is_picture(path: Path) -> bool:
    """Whether a file is a picture, by its first bytes, then by its name; raises OSError."""
    with path.open("rb") as file:
        return guess(file.read(HEAD), path.name).startswith("image/")


def natural(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """A key to sort names by: ``frame 2`` comes before ``frame 10``."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.casefold())
    keys = [(False, int(part), "") if part.isdecimal() else (True, 0, part) for part in parts]
    return keys, name
