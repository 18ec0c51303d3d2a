"""MediaPipe's real model files for tests, fetched once with our own code.

They are kept in the project's build folder, which git doesn't track.

    model_path("face_detection_short_range")    # its file
    place(tmp_path / "data")                    # a data folder that has them all
    wheel_path()                                # the wheel that they are from
"""

import os
import zipfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from checkout import BUILD
from hearth.families.mediapipe.files import FILES, FOLDER, VERSION, WHEEL
from hearth.families.mediapipe.wheel import WheelModels
from hearth.hub import pip


@cache
def wheel_path() -> Path:
    """The wheel of MediaPipe, 36 MB; not to be written to."""
    kept = BUILD / WHEEL.path
    if not WHEEL.matches(kept):
        BUILD.mkdir(exist_ok=True)
        with TemporaryDirectory(dir=BUILD) as work:
            requirement = f"mediapipe=={VERSION}"
            pip.download(WHEEL, requirement, Path(work), lambda _: None).replace(kept)
    return kept


@cache
def mediapipe_folder() -> Path:
    """A folder with all 14 files, whole; not to be written to."""
    folder = BUILD / FOLDER
    WheelModels(folder).fetch(wheel=wheel_path())
    return folder


def model_path(name: str) -> Path:
    """A model's file by its name without the ending; not to be written to."""
    path = mediapipe_folder() / f"{name}.tflite"
    assert path.is_file(), f"no model is called {name}"
    return path


def place(data_dir: Path) -> Path:
    """Have the files in a data folder, as links; returns their folder there.

    A test that damages a file must unlink it first: the content is shared.
    """
    folder = data_dir / FOLDER
    folder.mkdir(parents=True)
    for file in FILES:
        source, target = mediapipe_folder() / file.local.path, folder / file.local.path
        try:
            os.link(source, target)
        except OSError:  # another file system
            target.write_bytes(source.read_bytes())
    return folder


def damage(path: Path) -> None:
    """Change one byte in the middle of a file; its links elsewhere keep theirs."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def bundle(path: Path, **models: str) -> Path:
    """A ``.task`` bundle of ours: names within it, and which of our files they are."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, own in models.items():
            archive.write(model_path(own), f"{name}.tflite")
    return path
