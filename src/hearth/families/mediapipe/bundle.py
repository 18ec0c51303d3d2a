"""Models of MediaPipe's that a user brings: ``.task`` bundles and single ``.tflite`` files.

A bundle is a zip file of tflite models. What is in it is known by its name there, as
MediaPipe's Tasks call it (hand_landmarker.task holds hand_detector.tflite, and so on), or
as our own file of that role is called. It takes the place of ours where it has the same
input and outputs, for those are what we know how to read.

    data/mediapipe/*.task                 bundles that are used
    data/mediapipe/.bundles/HASH.tflite   what was taken out of bundles
"""

import hashlib
import logging
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from hearth.errors import ModelUnavailable
from hearth.families.mediapipe.files import CACHE, FILES
from hearth.families.mediapipe.wheel import BROKEN_ZIP, read_member
from hearth.files import write_atomic

if TYPE_CHECKING:
    from hearth.backends import Session, TensorSpec

log = logging.getLogger(__name__)

ROLES = {
    **{file.name: file.name for file in FILES},
    "blaze_face_short_range": "face_detection_short_range",
    "face_detector": "face_detection_short_range",
    "face_landmarks_detector": "face_landmark",
    "hand_detector": "palm_detection_full",
    "hand_landmarks_detector": "hand_landmark_full",
    "hand_roi_refinement": "hand_recrop",
    "pose_detector": "pose_detection",
    "pose_landmarks_detector": "pose_landmark_full",
    "selfie_segmenter": "selfie_segmentation",
    "selfie_segmenter_landscape": "selfie_segmentation_landscape",
}
"""Role by a model's name without the ending: which of ours it can stand in for.

Source: the names in MediaPipe's Tasks (hand, pose, face and holistic landmarker) and of
their models that come as single files."""

LARGEST = 64 << 20
"""Bytes of a bundle, and of the models in it; the largest that is published has 31 MB."""
_MOST_MEMBERS = 64
_LONGEST_INDEX = 64 << 10
"""Bytes of a zip file's list of members."""

# The end of a zip file (APPNOTE 4.3.16) and what stands before it in a zip64 (4.3.15).
_END, _END_SIZE, _LONGEST_COMMENT = b"PK\x05\x06", 22, 0xFFFF
_ZIP64, _ZIP64_SIZE = b"PK\x06\x07", 20

_MAGIC = slice(4, 8), b"TFL3"
"""Place where a tflite file says that it is one (the schema's file_identifier)."""


class Brought(NamedTuple):
    """A model that a user brings."""

    role: str
    """The name of ours that it stands in for."""
    name: str
    """Name of its file, in the bundle."""
    content: bytes | None
    """None for a file that is used where it is."""
    path: Path
    """The bundle, or the file."""

    def placed(self, folder: Path) -> Path:
        """Give its file, taken out of the bundle where need be; raises OSError."""
        if self.content is None:
            return self.path
        digest = hashlib.sha256(self.content).hexdigest()
        path = folder / CACHE / f"{digest}.tflite"
        if not (path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest):
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, self.content)
        return path


class Replacement(NamedTuple):
    """Model that is used in the place of one of ours."""

    path: Path
    bundle: Path
    """Origin: the bundle, or the file itself."""


def bundles_in(folder: Path) -> list[Path]:
    """Find the bundles that a user has put into the models' folder."""
    return sorted(folder.glob("*.task"))


def chosen(
    folder: Path, named: Iterable[Path], open_session: Callable[[Path], "Session"]
) -> dict[str, Replacement]:
    """Choose the files to use instead of ours, by role; blocking.

    ``named`` are what the settings name; they go before the bundles in ``folder``. What
    can't be used is logged, with the reason. Raises ModelUnavailable where a named one
    can't be used at all, and where the disk refuses.
    """
    files: dict[str, Replacement] = {}
    for path in named:
        files = {**_usable(path, folder, open_session), **files}
    for path in bundles_in(folder):
        try:
            files = {**_usable(path, folder, open_session), **files}
        except ModelUnavailable as error:
            log.warning("%s", error)
    return files


def _usable(
    path: Path, folder: Path, open_session: Callable[[Path], "Session"]
) -> dict[str, Replacement]:
    """Find the files of one bundle, by role; raises ModelUnavailable where there are none."""
    files, refused = {}, []
    for model in brought_by(path):
        try:
            place = model.placed(folder)
        except OSError as error:
            why = error.strerror or error
            raise ModelUnavailable(f"can't take the models out of {path}: {why}") from error
        try:
            reason = _misfit(folder / f"{model.role}.tflite", place, open_session)
        except ModelUnavailable as error:
            # What the file is called that it was taken out to says nothing.
            reason = str(error).removeprefix(f"{place} ")
        if reason is None:
            files[model.role] = Replacement(place, path)
            log.info("%s: %s is used in the place of %s", path.name, model.name, model.role)
        else:
            refused.append(f"{model.name} doesn't fit in the place of {model.role}: {reason}")
    if not files:
        raise _refused(path, "; ".join(refused) or "it holds no model that is known by its name")
    for refusal in refused:
        log.warning("%s: %s", path.name, refusal)
    return files


def brought_by(path: Path) -> list[Brought]:
    """Find the models in a bundle (or the one that ``path`` is) that have a role.

    Raises ModelUnavailable, with one line, for what is no such file, or a hostile one.
    """
    try:
        if path.exists() and not path.is_file():
            raise _refused(path, "it is no plain file")  # a pipe would be waited for
        if path.stat().st_size > LARGEST:
            raise _refused(path, f"it is larger than {LARGEST >> 20} MiB")
        if path.suffix == ".tflite":
            return list(_single(path))
        _require_small(path)
        with zipfile.ZipFile(path) as archive:
            return list(_members(path, archive))
    except OSError as error:
        raise ModelUnavailable(f"can't read {path}: {error.strerror or error}") from error
    except (*BROKEN_ZIP, ValueError) as error:
        raise _refused(path, "it is no zip file, or a damaged one") from error


def _single(path: Path) -> Iterator[Brought]:
    with path.open("rb") as file:
        _require_tflite(path, file.read(8))
    if role := ROLES.get(path.stem):
        yield Brought(role, path.name, None, path)


def _members(path: Path, archive: zipfile.ZipFile) -> Iterator[Brought]:
    for member in archive.infolist():
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in member.filename:
            raise _refused(path, f"{member.filename!r} is no name within it")
    known = [member for member in archive.infolist() if _role_of(member) is not None]
    if sum(member.file_size for member in known) > LARGEST:
        raise _refused(path, f"its models are larger than {LARGEST >> 20} MiB")
    for member in known:
        name, role = PurePosixPath(member.filename), _role_of(member)
        assert role is not None
        content = read_member(archive, member.filename, member.file_size)
        _require_tflite(path, content)
        yield Brought(role, str(name), content, path)


def _role_of(member: zipfile.ZipInfo) -> str | None:
    name = PurePosixPath(member.filename)
    return ROLES.get(name.stem) if name.suffix == ".tflite" else None


def _require_small(path: Path) -> None:
    """Refuse a list of members that would take long to be read, before it is."""
    with path.open("rb") as file:
        size = path.stat().st_size
        file.seek(max(0, size - _END_SIZE - _LONGEST_COMMENT - _ZIP64_SIZE))
        tail = file.read()
    at = tail.rfind(_END)
    end = tail[at : at + _END_SIZE]
    if at < 0 or len(end) < _END_SIZE:
        raise _refused(path, "it is no zip file, or a damaged one")
    members, index = struct.unpack_from("<HI", end, 10)
    is_zip64 = tail[max(0, at - _ZIP64_SIZE) : at].startswith(_ZIP64)
    if is_zip64 or members > _MOST_MEMBERS or index > _LONGEST_INDEX:
        raise _refused(path, f"it holds more than {_MOST_MEMBERS} files")


def _require_tflite(path: Path, content: bytes) -> None:
    place, magic = _MAGIC
    if content[place] != magic:
        raise _refused(path, "what should be a model in it is none")


def _misfit(own: Path, other: Path, open_session: Callable[[Path], "Session"]) -> str | None:
    """Tell why a model can't stand in for ours; None where it can. Raises HearthError."""
    with closing(open_session(own)) as ours, closing(open_session(other)) as theirs:
        if _shapes(theirs.inputs) != _shapes(ours.inputs):
            return f"it takes {_words(theirs.inputs)} instead of {_words(ours.inputs)}"
        if _shapes(theirs.outputs) != _shapes(ours.outputs):
            return f"it gives {_words(theirs.outputs)} instead of {_words(ours.outputs)}"
        names = [[spec.name for spec in session.outputs] for session in (ours, theirs)]
        # We read outputs by their order: where two look alike, only names tell them apart.
        alike = len(set(_shapes(ours.outputs))) < len(ours.outputs)
        if alike and names[0] != names[1]:
            return f"its outputs are called {', '.join(names[1])} instead of {', '.join(names[0])}"
    return None


def _shapes(specs: "Sequence[TensorSpec]") -> list[tuple[object, ...]]:
    return [(spec.dtype, spec.shape[1:]) for spec in specs]


def _words(specs: "Sequence[TensorSpec]") -> str:
    return " and ".join(
        f"{spec.dtype} {'×'.join('?' if size is None else str(size) for size in spec.shape[1:])}"
        for spec in specs
    )


def _refused(path: Path, why: str) -> ModelUnavailable:
    return ModelUnavailable(f"{path} can't be used: {why}")
