"""Real photographs, films and recordings for tests, out of ordinary packages; never committed.

    fetched("hand.jpg")    # its path, in the project's build folder, which git doesn't track

Each package is fetched once, by its exact version and by its registry's own client (nothing of
it is installed or run); what is taken out of it is proved by its SHA-256. Processes that want
the same take turns. Needs nothing of hearth, so that tools/mediapipe_reference.py can use it.
"""

import fcntl
import hashlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, NamedTuple

from checkout import BUILD

FOLDER = BUILD / "media"

SECONDS = 55
"""How long a package may take to come: whoever waits for another process's, and then asks for
it too, is still done before pytest gives a test up."""


class Unavailable(Exception):
    """A registry, or its client, is out of reach; says which package and why."""


class Package(NamedTuple):
    """A package of a registry."""

    registry: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} from {self.registry}"


PYPI, NPM, DEBIAN = "PyPI", "npm", "Debian"

OPENCV = Package(DEBIAN, "opencv-doc", "4.6.0+dfsg-12")
FACES = Package(NPM, "@vladmandic/face-api", "1.7.15")
GRADIO = Package(PYPI, "gradio", "6.0.0")


class Medium(NamedTuple):
    """A file of a package."""

    package: Package
    member: str
    """Its path in there."""
    sha256: str


_DOC = "./usr/share/doc/opencv-doc"

MEDIA: Mapping[str, Medium] = {
    "hand.jpg": Medium(
        OPENCV,
        f"{_DOC}/opencv4/html/handSrc.jpg",
        "088532ab39ada21d9e332fa576d01d516bf4b8999c54a2c75665b35989f197fd",
    ),
    "group_1.jpg": Medium(
        FACES,
        "package/demo/sample1.jpg",
        "8ecae4b267b2d3169e06e00c7dee97097aa2a94635d45216f7732a5f4943cb51",
    ),
    "group_2.jpg": Medium(
        FACES,
        "package/demo/sample2.jpg",
        "7d2b60ae6f13bf30f422e04df87451081a02c83de469056f25afb44b7000c691",
    ),
    "group_3.jpg": Medium(
        FACES,
        "package/demo/sample3.jpg",
        "8eb081c9efb14370fa94d9feab9e5fbeafd19a627491853a80c2bf67f7ffa936",
    ),
    "group_4.jpg": Medium(
        FACES,
        "package/demo/sample4.jpg",
        "729efa5923061d40eb4ed5f267a18cc7b8ba6f852bb2757b16d8b7e4937476fc",
    ),
    "group_5.jpg": Medium(
        FACES,
        "package/demo/sample5.jpg",
        "6d45095ebb182d8f975c0790e0e4eefd86fbb40609cf4b271776d92e12662938",
    ),
    "group_6.jpg": Medium(
        FACES,
        "package/demo/sample6.jpg",
        "9baad80f9d5e306fb9b8c0913d44445f1e95848df317530efb03d0934c57ba87",
    ),
    "pedestrians.avi": Medium(
        OPENCV,
        f"{_DOC}/examples/data/vtest.avi",
        "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf",
    ),
    "film_with_sound.mp4": Medium(
        GRADIO,
        "gradio/media_assets/videos/b.mp4",
        "fc7e05ed802c94d74e9005e3bc53d5abfd36ab4b63be1602f6cfe697b789c418",
    ),
    "recording.wav": Medium(
        GRADIO,
        "gradio/media_assets/audio/audio_sample.wav",
        "aef3762a0211afcb761013a7e253dda1c600a2d812133d2ab333efc5a3a5966d",
    ),
}
"""An open palm before a wall; parties of three to five people, who look here and there;
pedestrians, seen from above by a camera without sound; a film with a sound track; a recording."""


def fetched(name: str) -> Path:
    """The path of one of MEDIA; not to be written to. Raises Unavailable."""
    medium = MEDIA[name]
    if reason := _why_not(medium.package):
        raise Unavailable(f"{medium.package} ({reason})")
    return _place(name)


def _place(name: str) -> Path:
    return FOLDER / f"{MEDIA[name].sha256[:8]}-{name}"


@cache
def _why_not(package: Package) -> str:
    """Have all media of a package here: "", or why they can't be had, which is asked once."""
    with _in_turn(package):
        missing = {
            medium.member: name
            for name, medium in MEDIA.items()
            if medium.package == package and not _is_whole(name)
        }
        try:
            if missing:
                _fetch(package, missing)
        except subprocess.CalledProcessError as error:
            lines = (error.stderr or b"").decode(errors="replace").split("\n")
            said = [line.strip() for line in lines if line.strip()]
            return said[-1] if said else f"{error.cmd[0]} fails"
        except subprocess.TimeoutExpired:
            return f"nothing whole after {SECONDS} s"
        except FileNotFoundError as error:
            return f"no program {error.filename}"
    return ""


def _is_whole(name: str) -> bool:
    path = _place(name)
    if not path.is_file():
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == MEDIA[name].sha256


@contextmanager
def _in_turn(package: Package) -> Iterator[None]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f".{package.name.replace('/', '-')}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go of when it is closed
        yield


def _fetch(package: Package, missing: Mapping[str, str]) -> None:
    """Take these members out of a package into files of these names."""
    command, read = _REGISTRIES[package.registry]
    with TemporaryDirectory(dir=FOLDER) as work:
        subprocess.run(
            [*command, f"{package.name}{_MARKS[package.registry]}{package.version}"],
            cwd=work, check=True, timeout=SECONDS, stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip
        [archive] = Path(work).iterdir()
        left = dict(missing)
        with closing(read(archive)) as members:
            for member, content in members:
                if (name := left.pop(member, None)) is not None:
                    _keep(name, content, Path(work))
                if not left:
                    return
    raise AssertionError(f"{package} has no {', '.join(left)}")


def _keep(name: str, content: IO[bytes], work: Path) -> None:
    medium, path = MEDIA[name], work / name
    path.write_bytes(content.read())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert sha256 == medium.sha256, f"{medium.package}: {medium.member} is another: {sha256}"
    path.replace(_place(name))


Members = Iterator[tuple[str, IO[bytes]]]


def _of_zip(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as content:
                yield name, content


def _of_tar(path: Path) -> Members:
    with path.open("rb") as file:
        yield from _of_stream(file)


def _of_deb(path: Path) -> Members:
    unpacking = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", path], stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL)  # fmt: skip
    assert unpacking.stdout is not None
    try:
        yield from _of_stream(unpacking.stdout)
    finally:
        unpacking.kill()
        unpacking.communicate()


def _of_stream(stream: IO[bytes]) -> Members:
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for entry in archive:
            if (content := archive.extractfile(entry)) is not None:
                yield entry.name, content


_REGISTRIES: Mapping[str, tuple[Sequence[str], Callable[[Path], Members]]] = {
    PYPI: (
        (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input",
         "--only-binary=:all:", "--disable-pip-version-check", "--retries=1", "--timeout=15"),
        _of_zip,
    ),
    NPM: (
        ("npm", "pack", "--silent", "--ignore-scripts", "--fetch-retries=1",
         "--fetch-timeout=15000"),
        _of_tar,
    ),
    DEBIAN: (
        ("apt-get", "download", "--quiet=2", "--option=Acquire::Retries=1",
         "--option=Acquire::http::Timeout=15", "--option=APT::Sandbox::User=root"),
        _of_deb,
    ),
}  # fmt: skip
"""How to fetch a package into the working directory, and how to read it. ``pip download`` would
run what isn't a wheel, so it gets none."""

_MARKS = {PYPI: "==", NPM: "@", DEBIAN: "="}
