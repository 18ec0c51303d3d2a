"""The model files of MediaPipe 0.10.21: what they are called, and what proves them.

Source: the wheel named below, the last line of releases that carries its models. MediaPipe
and its models are under the Apache License 2.0. Only the 14 ``.tflite`` files are taken out
of the wheel; the package is never installed, for it pins protobuf < 5 and numpy < 2.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hearth.hub.repository_listing import SHA256, RemoteFile

VERSION = "0.10.21"
MODEL_ID = f"mediapipe-{VERSION}"

WHEEL = RemoteFile(
    f"mediapipe-{VERSION}-cp311-cp311-manylinux_2_28_x86_64.whl",
    35_622_638,
    SHA256,
    "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
)
"""Wheel that is taken on every machine, whatever it is: the models in it are the same files
everywhere."""

FOLDER = "mediapipe"
"""Folder of the models, in the data folder and (with ``modules``) in the wheel."""

CACHE = ".bundles"
"""Folder in that one: what was taken out of a user's bundles."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One of the files."""

    name: str
    """Name without the ending: what MediaPipeModel asks for."""
    module: str
    """Name of its folder among the wheel's modules."""
    size: int
    digest: str
    """SHA-256 of its content."""

    @property
    def member(self) -> str:
        """Path in the wheel."""
        return f"{FOLDER}/modules/{self.module}/{self.name}.tflite"

    @property
    def local(self) -> RemoteFile:
        """The file in its folder here, as it can be checked."""
        return RemoteFile(f"{self.name}.tflite", self.size, SHA256, self.digest)


FILES = (
    # Faces within five metres.
    ModelFile(
        "face_detection_full_range_sparse",
        "face_detection",
        676_746,
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    ),
    # Faces within two metres.
    ModelFile(
        "face_detection_short_range",
        "face_detection",
        229_714,
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    # 468 points of a face.
    ModelFile(
        "face_landmark",
        "face_landmark",
        1_242_398,
        "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
    ),
    # 478 points of a face; not used: it needs an operator that LiteRT lacks.
    ModelFile(
        "face_landmark_with_attention",
        "face_landmark",
        2_495_106,
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
    ),
    # 21 points of a hand.
    ModelFile(
        "hand_landmark_full",
        "hand_landmark",
        5_478_917,
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
    # 21 points of a hand, the smaller model.
    ModelFile(
        "hand_landmark_lite",
        "hand_landmark",
        2_071_597,
        "048edd3645c9bf7397d19a9f6e3a42957d6e414c9bea6598030a2e9b624156e6",
    ),
    # Where the hand is in a crop at the end of a posed arm.
    ModelFile(
        "hand_recrop",
        "holistic_landmark",
        123_792,
        "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
    ),
    # An eye's contour, and 5 points of its iris.
    ModelFile(
        "iris_landmark",
        "iris_landmark",
        2_640_568,
        "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
    ),
    # Palms.
    ModelFile(
        "palm_detection_full",
        "palm_detection",
        2_339_846,
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    ),
    # Palms, the smaller model.
    ModelFile(
        "palm_detection_lite",
        "palm_detection",
        1_985_440,
        "e9a4aaddf90dda56a87235303cf00e4c2d3fb28725f68fd88772997dac905c18",
    ),
    # People.
    ModelFile(
        "pose_detection",
        "pose_detection",
        2_959_046,
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    # 33 points of a body.
    ModelFile(
        "pose_landmark_full",
        "pose_landmark",
        6_440_512,
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    # Who stands in front, from a square picture.
    ModelFile(
        "selfie_segmentation",
        "selfie_segmentation",
        249_505,
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
    # Who stands in front, from a wide picture.
    ModelFile(
        "selfie_segmentation_landscape",
        "selfie_segmentation",
        250_145,
        "a77d03f4659b9f6b6c1f5106947bf40e99d7655094b6527f214ea7d451106edd",
    ),
)


def missing_in(folder: Path) -> list[ModelFile]:
    """List the files that aren't in a folder, going by their sizes."""
    return [file for file in FILES if not _has_size(folder / file.local.path, file.size)]


def damaged_in(folder: Path) -> Iterator[ModelFile]:
    """List the files in a folder that are there and wrong; reads them all, 29 MB."""
    for file in FILES:
        path = folder / file.local.path
        if path.exists() and not file.local.matches(path):
            yield file


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.is_file() and path.stat().st_size == size
    except OSError:
        return False
