"""Models that a user brings to MediaPipe's: used where they fit, refused with a reason."""

import asyncio
import logging
import os
import shutil
import struct
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from hearth.errors import ModelUnavailable, NotReady
from hearth.families.mediapipe import bundle as bundles
from hearth.families.mediapipe.bundle import brought_by
from hearth.families.mediapipe.files import FOLDER
from hearth.families.mediapipe.loader import MediaPipeLoader
from hearth.families.mediapipe.model import MediaPipeModel
from hearth.families.mediapipe.settings import MediapipeSettings
from hearth.families.mediapipe.wheel import WheelModels
from hearth.media import ImageReader
from mediapipe_kit import bundle, damage, model_path, place

HAND = {"hand_detector": "palm_detection_lite", "hand_landmarks_detector": "hand_landmark_lite"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The models' folder of a data folder."""
    return place(tmp_path / "data")


def source(folder: Path, **settings: object) -> MediaPipeLoader:
    return MediaPipeLoader(
        MediapipeSettings(**settings),
        data_dir=folder.parent,
        offline=True,
        reader=ImageReader(1_000_000),
    )


@contextmanager
def loaded(folder: Path, **settings: object) -> Iterator[MediaPipeModel]:
    with closing(source(folder, **settings).load()) as model:
        yield model


def chosen(folder: Path, *named: Path) -> dict[str, bytes]:
    """By role: the content of what is used instead of ours."""
    from hearth.backends.litert_session import LiteRtSession

    found = bundles.chosen(folder, named, lambda path: LiteRtSession(path, batched=False))
    return {role: instead.path.read_bytes() for role, instead in found.items()}


def content(name: str) -> bytes:
    return model_path(name).read_bytes()


# --- the source ----------------------------------------------------------------------------


def test_the_models_are_loaded_from_the_data_folder(folder: Path) -> None:
    here = source(folder)
    assert here.is_local()
    here.download(lambda *_: None)
    with loaded(folder) as model:
        assert (model.service, model.model_id) == ("mediapipe", "mediapipe-0.10.21")


def test_without_files_it_is_not_local_and_offline_says_so(tmp_path: Path) -> None:
    nowhere = source(tmp_path / "data" / FOLDER)
    assert not nowhere.is_local()
    with pytest.raises(ModelUnavailable, match=r"hub\.offline or HF_HUB_OFFLINE"):
        nowhere.download(lambda *_: None)


def test_a_damaged_file_is_found_at_the_start_and_fetched_anew(folder: Path) -> None:
    damage(folder / "face_landmark.tflite")
    damaged = source(folder)
    assert damaged.is_local()
    with pytest.raises(ModelUnavailable, match=r"face_landmark\.tflite has a wrong sha256"):
        damaged.load()
    assert not damaged.is_local()


def test_a_file_that_is_taken_away_meanwhile_is_asked_for(folder: Path) -> None:
    proof = folder / "face_detection_short_range.tflite"

    async def run() -> None:
        with loaded(folder) as model:
            WheelModels(folder).remove()
            with pytest.raises(NotReady, match=r"short_range\.tflite; `hearth models pull media"):
                await model.warm_up()
            proof.parent.mkdir()
            shutil.copyfile(model_path(proof.stem), proof)
            await model.warm_up()

    asyncio.run(run())


def test_a_file_of_the_users_that_is_taken_away_meanwhile_is_told(
    folder: Path, tmp_path: Path
) -> None:
    own = tmp_path / "face_detection_short_range.tflite"
    shutil.copyfile(model_path(own.stem), own)
    with loaded(folder, bundles=[own]) as model:
        own.unlink()
        with pytest.raises(NotReady, match="put it back"):
            asyncio.run(model.warm_up())


def test_a_bundle_in_the_folder_is_used_and_named(folder: Path) -> None:
    bundle(folder / "hand_landmarker.task", **HAND)
    with loaded(folder) as model:
        assert model.model_id == "mediapipe-0.10.21+hand_landmarker"


# --- what is used --------------------------------------------------------------------------


def test_models_of_a_bundle_take_the_place_of_ours(folder: Path) -> None:
    bundle(folder / "hand_landmarker.task", **HAND)
    expected = {
        "palm_detection_full": content("palm_detection_lite"),
        "hand_landmark_full": content("hand_landmark_lite"),
    }
    assert chosen(folder) == expected
    # Ours are as they were, and what was taken out is used again, or mended.
    assert (folder / "palm_detection_full.tflite").read_bytes() == content("palm_detection_full")
    [first, *_] = (folder / ".bundles").iterdir()
    damage(first)
    assert chosen(folder) == expected


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("pose_landmarker_full", {"pose_detector": "pose_detection",
                                  "pose_landmarks_detector": "pose_landmark_full"}),
        ("holistic_landmarker", {"hand_roi_refinement": "hand_recrop",
                                 "face_detector": "face_detection_short_range"}),
        ("selfie", {"selfie_segmenter": "selfie_segmentation"}),
    ],
)  # fmt: skip
def test_the_names_in_mediapipes_bundles_are_known(
    name: str, models: dict[str, str], folder: Path
) -> None:
    bundle(folder / f"{name}.task", **models)
    assert chosen(folder) == {own: content(own) for own in models.values()}


def test_a_single_file_named_in_the_settings_is_used_where_it_is(
    folder: Path, tmp_path: Path
) -> None:
    own = tmp_path / "blaze_face_short_range.tflite"
    own.write_bytes(content("face_detection_short_range"))
    assert list(chosen(folder, own)) == ["face_detection_short_range"]
    assert not (folder / ".bundles").exists()
    with loaded(folder, bundles=(own,)) as model:
        assert model.model_id == "mediapipe-0.10.21+blaze_face_short_range"


def test_what_the_settings_name_goes_before_what_lies_in_the_folder(
    folder: Path, tmp_path: Path
) -> None:
    bundle(folder / "a.task", hand_detector="palm_detection_lite")
    first = bundle(tmp_path / "b.task", hand_detector="palm_detection_full")
    second = bundle(tmp_path / "c.task", **HAND)
    assert chosen(folder, first, second) == {
        "palm_detection_full": content("palm_detection_full"),
        "hand_landmark_full": content("hand_landmark_lite"),
    }


def test_what_fits_in_a_bundle_is_used_and_what_does_not_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle(
        folder / "face_landmarker.task",
        face_detector="face_detection_short_range",
        face_landmarks_detector="selfie_segmentation",
        face_blendshapes="iris_landmark",
    )
    with caplog.at_level(logging.INFO):
        assert list(chosen(folder)) == ["face_detection_short_range"]
    assert (
        "face_landmarker.task: face_landmarks_detector.tflite doesn't fit in the place of "
        "face_landmark: it takes float32 256×256×3 instead of float32 192×192×3"
    ) in caplog.messages
    assert not any("blendshapes" in message for message in caplog.messages)


# --- what is refused -----------------------------------------------------------------------


def refusal(folder: Path, path: Path) -> str:
    with pytest.raises(ModelUnavailable) as caught:
        chosen(folder, path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_other_outputs_are_refused(folder: Path, tmp_path: Path) -> None:
    wrong = bundle(tmp_path / "x.task", face_landmarks_detector="face_detection_full_range_sparse")
    assert "it gives float32 2304×16 and float32 2304×1 instead of" in refusal(folder, wrong)


def renamed(name: str, old: bytes, new: bytes) -> bytes:
    """A model whose tensor is called something else of that length."""
    assert len(old) == len(new) and old in content(name)
    return content(name).replace(old, new)


def test_outputs_that_only_their_names_tell_apart_must_have_ours(
    folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "hand_landmarks_detector.tflite"
    path.write_bytes(renamed("hand_landmark_full", b"Identity_3", b"Identity_9"))
    assert "outputs are called Identity, Identity_1, Identity_2, Identity_9" in refusal(
        folder, path
    )


def test_an_operator_that_the_engine_lacks_is_told(folder: Path, tmp_path: Path) -> None:
    wrong = bundle(tmp_path / "x.task", face_landmarks_detector="face_landmark_with_attention")
    message = refusal(folder, wrong)
    assert "face_landmark: can't be loaded" in message and ".bundles" not in message


def test_a_bundle_of_unknown_models_is_refused(folder: Path, tmp_path: Path) -> None:
    wrong = bundle(tmp_path / "gesture.task", gesture_embedder="iris_landmark")
    assert "it holds no model that is known by its name" in refusal(folder, wrong)


def test_a_bad_bundle_in_the_folder_spares_the_service(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "bad.task").write_bytes(b"no zip file")
    with loaded(folder) as model:
        assert model.model_id == "mediapipe-0.10.21"
    assert any("bad.task can't be used" in message for message in caplog.messages)


def test_what_the_settings_name_must_be_there(folder: Path) -> None:
    assert refusal(folder, Path("lost.task")) == "can't read lost.task: No such file or directory"


def zipped(path: Path, members: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, each in members.items():
            archive.writestr(name, each)
    return path


@pytest.mark.parametrize(
    "name", ["/hand_detector.tflite", "../hand_detector.tflite", "a\\..\\..\\b", "C:/x.tflite"]
)
def test_names_that_lead_out_are_refused(name: str, folder: Path, tmp_path: Path) -> None:
    wrong = zipped(tmp_path / "x.task", {name: content("palm_detection_lite")})
    assert "is no name within it" in refusal(folder, wrong)


def test_a_bomb_is_refused_before_it_goes_off(folder: Path, tmp_path: Path) -> None:
    bomb = {"hand_detector.tflite": bytes(bundles.LARGEST + 1)}
    wrong = zipped(tmp_path / "x.task", bomb, compression=zipfile.ZIP_DEFLATED)
    assert wrong.stat().st_size < 1 << 20
    assert "its models are larger than 64 MiB" in refusal(folder, wrong)


def test_a_bomb_that_tells_a_small_size_is_refused(folder: Path, tmp_path: Path) -> None:
    bomb = {"hand_detector.tflite": b"\0\0\0\0TFL3" + bytes(10_000_000)}
    wrong = zipped(tmp_path / "x.task", bomb, compression=zipfile.ZIP_DEFLATED)
    told = struct.pack("<I", len(bomb["hand_detector.tflite"]))
    wrong.write_bytes(wrong.read_bytes().replace(told, struct.pack("<I", 1000)))
    assert "it is no zip file, or a damaged one" in refusal(folder, wrong)


def test_a_crowd_of_members_is_refused(folder: Path, tmp_path: Path) -> None:
    wrong = zipped(tmp_path / "x.task", {f"{number}.tflite": b"" for number in range(65)})
    assert "it holds more than 64 files" in refusal(folder, wrong)


@pytest.mark.parametrize("size", [0, 10, 100_000, -30])
def test_a_truncated_bundle_is_refused(size: int, folder: Path, tmp_path: Path) -> None:
    whole = bundle(tmp_path / "whole.task", **HAND).read_bytes()
    wrong = tmp_path / "x.task"
    wrong.write_bytes(whole[:size])
    # (At the end of hand_landmark_lite there is a small zip file, of its own description.)
    why = "it holds no model" if size < 0 else "it is no zip file, or a damaged one"
    assert why in refusal(folder, wrong)


def test_a_changed_byte_in_a_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    wrong = bundle(tmp_path / "x.task", **HAND)
    damage(wrong)
    assert "a damaged one" in refusal(folder, wrong)


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0TFL3", b"plainly no model at all"])
def test_a_member_that_is_no_model_is_refused(content: bytes, folder: Path, tmp_path: Path) -> None:
    wrong = zipped(tmp_path / "x.task", {"hand_detector.tflite": content})
    assert "x.task can't be used: " in refusal(folder, wrong)
    single = tmp_path / "hand_landmark_full.tflite"
    single.write_bytes(content)
    assert "can't be used: " in refusal(folder, single)


def test_what_would_be_waited_for_is_no_bundle(tmp_path):
    pipe = tmp_path / "x.task"
    os.mkfifo(pipe)
    with pytest.raises(ModelUnavailable, match="no plain file"):
        brought_by(pipe)


def test_models_that_are_large_together_are_refused(tmp_path):
    path = tmp_path / "x.task"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}/hand_detector.tflite", bytes(30 << 20))
    with pytest.raises(ModelUnavailable, match="its models are larger than 64 MiB"):
        brought_by(path)
