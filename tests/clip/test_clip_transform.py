"""The transform gives the pixels that open_clip's own transform gives."""

import time

import numpy as np
import pytest
from PIL import Image

from hearth.errors import ModelUnavailable
from hearth.families.clip.openclip import import_open_clip
from hearth.families.clip.transform import ImageTransform

SIZES = [(64, 64), (640, 427), (427, 640), (225, 224), (224, 225), (1, 1), (3, 2), (90, 500)]

CONFIGS = [
    {"size": 224},
    {"size": 224, "interpolation": "bilinear"},
    {"size": [224, 224], "resize_mode": "squash", "mean": [0.5] * 3, "std": [0.5] * 3},
    {"size": 96, "resize_mode": "squash", "interpolation": "bilinear"},
    {"size": 96, "resize_mode": "longest", "fill_color": 127},
    {"size": [48, 96], "resize_mode": "longest"},
    {"size": [48, 96], "resize_mode": "shortest", "interpolation": "bilinear"},
    {"size": 32, "mean": 0.5, "std": 0.25},
]


def open_clips(config, image):
    import_open_clip()
    from open_clip.transform import PreprocessCfg, image_transform_v2

    return image_transform_v2(PreprocessCfg(**config), is_train=False)(image).numpy()


def soft(width, height):
    coarse = np.random.default_rng(width * height).integers(0, 256, (7, 7, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_pixels_are_open_clips_to_one_step_of_256(config, size):
    image = soft(*size)
    mine = ImageTransform.from_config(config).prepare(image)
    theirs = open_clips(config, image)
    step = 1 / 255 / np.min(config.get("std", 0.26130258))
    assert mine.shape == theirs.shape
    assert mine.dtype == np.float32
    # Where passes run in another order, intermediate rounding adds another step.
    assert np.abs(mine - theirs).max() <= 2.01 * step
    assert np.abs(mine - theirs).mean() <= 0.15 * step


def test_without_resizing_pixels_are_open_clips_own():
    image = soft(224, 224)
    mine = ImageTransform().prepare(image)
    assert np.allclose(mine, open_clips({"size": 224}, image), atol=1e-6)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_pixels_times_scale_plus_offset_are_the_tensor(config):
    transform, image = ImageTransform.from_config(config), soft(300, 200)
    pixels = transform.pixels(image)
    assert (pixels.shape, pixels.dtype) == ((transform.height, transform.width, 3), np.uint8)
    numbers = pixels * np.array(transform.scale) + transform.offset
    assert np.allclose(numbers.transpose(2, 0, 1), transform.prepare(image), atol=1e-6)


def test_a_tensor_can_be_written_where_it_is_wanted():
    transform, image = ImageTransform(32, 48), soft(300, 200)
    expected = transform.prepare(image)
    planes = np.zeros((3, 32, 48), np.float32)
    assert transform.prepare(image, planes) is planes
    assert np.array_equal(planes, expected)
    channels_last = np.zeros((32, 48, 3), np.float32)
    transform.prepare(image, channels_last.transpose(2, 0, 1))
    assert np.array_equal(channels_last, expected.transpose(1, 2, 0))


@pytest.mark.parametrize("size", [(20000, 10), (10, 20000), (50000, 1), (1, 50000)], ids=str)
@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
def test_only_what_stays_is_ever_computed(size, mode):
    image = soft(*size)
    transform = ImageTransform.from_config({"size": 224, "resize_mode": mode})
    started = time.process_time()
    tensor = transform.prepare(image)
    assert tensor.shape == (3, 224, 224)
    assert np.isfinite(tensor).all()
    # Resized whole, the first of them would have a hundred million pixels.
    assert time.process_time() - started < 0.5


def test_an_extreme_picture_shows_its_centre():
    pixels = np.zeros((10, 20000, 3), np.uint8)
    pixels[:, 9990:10010] = 255
    tensor = ImageTransform(32, 32, mean=(0,) * 3, std=(1,) * 3).prepare(Image.fromarray(pixels))
    assert tensor.min() > 0.99


@pytest.mark.parametrize(
    "config",
    [
        {"size": 0},
        {"size": [1, 2, 3]},
        {"size": "large"},
        {"mean": [1, 2]},
        {"resize_mode": "wild"},
        {"mode": "L"},
        {"std": [0.5, 0, 0.5]},
    ],
    ids=str,
)
def test_a_config_that_cant_be_meant_is_refused(config):
    with pytest.raises(ModelUnavailable):
        ImageTransform.from_config(config)
