"""How faces are aligned and pictures fitted, against the formulas and against other libraries."""

import cv2
import numpy as np
import pytest
from skimage.transform import SimilarityTransform, warp

from hearth.errors import ModelFailed
from hearth.families.face import parameters as p
from hearth.families.face.alignment import (
    TEMPLATE,
    alignable,
    aligned,
    outline,
    resized,
    similarity,
)
from hearth.families.face.letterbox import letterbox


def turned(degrees: float, scale: float, at: tuple[float, float]) -> np.ndarray:
    """The template's points, turned and scaled about their middle, which is moved."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = TEMPLATE.mean(axis=0)
    return (TEMPLATE - middle) @ turn.T * scale + at


def umeyama(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Equations 38 to 42 of Umeyama 1991, by the singular value decomposition, in float64."""
    mean_x, mean_y = points.mean(axis=0), target.mean(axis=0)
    x, y = points - mean_x, target - mean_y
    u, d, vt = np.linalg.svd(y.T @ x / len(points))
    s = np.diag([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ s @ vt
    scale = np.trace(np.diag(d) @ s) / (x**2).sum(axis=1).mean()
    return np.column_stack([scale * rotation, mean_y - scale * rotation @ mean_x])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


# --- the similarity -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_the_similarity_is_umeyamas_and_scikit_images(seed):
    rng = np.random.default_rng(seed)
    points = turned(rng.uniform(-180, 180), rng.uniform(0.1, 30), rng.uniform(0, 4000, 2))
    points += rng.normal(scale=rng.uniform(0, 20), size=points.shape)
    found = similarity(points)
    assert np.allclose(found, umeyama(points, TEMPLATE), rtol=1e-9, atol=1e-9)
    theirs = SimilarityTransform.from_estimate(points, TEMPLATE)
    assert np.allclose(found, theirs.params[:2], rtol=1e-9, atol=1e-9)


def test_no_other_similarity_brings_the_points_nearer():
    rng = np.random.default_rng(1)
    points = turned(25, 3, (500, 400)) + rng.normal(scale=6, size=(5, 2))
    found = similarity(points)
    least = ((apply(found, points) - TEMPLATE) ** 2).sum()
    for _ in range(200):
        a, b, x, y = rng.normal(scale=[0.01, 0.01, 1, 1])
        other = found + np.array([[a, -b, x], [b, a, y]])
        assert ((apply(other, points) - TEMPLATE) ** 2).sum() >= least


@pytest.mark.parametrize("degrees", [0, 30, -75, 180])
@pytest.mark.parametrize("scale", [0.2, 1, 12])
def test_the_points_of_a_turned_face_come_to_lie_on_the_template(degrees, scale):
    points = turned(degrees, scale, (900.3, 700.8))
    assert np.abs(apply(similarity(points), points) - TEMPLATE).max() < 1e-9


def test_a_mirrored_face_isnt_mirrored_back():
    points = turned(10, 2, (300, 300)) * (-1, 1)
    matrix = similarity(points)
    assert np.linalg.det(matrix[:, :2]) > 0
    assert np.allclose(matrix, umeyama(points, TEMPLATE), atol=1e-9)


def test_points_in_one_place_are_refused():
    with pytest.raises(ModelFailed, match="can't be aligned"):
        similarity(np.full((5, 2), 7.0))
    face = tuple(turned(0, 1, (50, 50)).reshape(-1))
    assert alignable([face]) and alignable([])
    assert not alignable([face, (7.0,) * 10])


# --- the crop -------------------------------------------------------------------------------


def dotted(size: tuple[int, int], points: np.ndarray, sigma: float) -> np.ndarray:
    """A dark picture with a soft dot at each of five points, each of a colour of its own."""
    ys, xs = np.mgrid[: size[1], : size[0]]
    pixels = np.zeros((*size[::-1], 3))
    for (x, y), colour in zip(points, COLOURS, strict=True):
        dot = np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * sigma**2))
        pixels += dot[..., None] * colour
    return pixels.clip(0, 255).astype(np.uint8)


COLOURS = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 0, 0], [0, 250, 0]])


def dots_in(face: np.ndarray) -> np.ndarray:
    """Where the five dots are: the brightness' centre about each point of the template."""
    found = []
    ys, xs = np.mgrid[: p.SIDE, : p.SIDE]
    for (x, y), colour in zip(TEMPLATE, COLOURS, strict=True):
        near = (xs - x) ** 2 + (ys - y) ** 2 < 12**2
        weight = face[..., colour.argmax()].astype(np.float64) * near
        found.append([(weight * xs).sum() / weight.sum(), (weight * ys).sum() / weight.sum()])
    return np.array(found)


@pytest.mark.parametrize("degrees", [0, 20, -60, 145])
@pytest.mark.parametrize(("scale", "size"), [(0.6, (200, 160)), (1.7, (400, 300)), (6, (900, 900))])
def test_dots_at_the_landmarks_are_seen_where_the_template_has_them(degrees, scale, size):
    points = turned(degrees, scale, (size[0] / 2 + 0.3, size[1] / 2 - 0.2))
    picture = dotted(size, points, sigma=2.5 * scale)
    face = aligned(picture, tuple(points.reshape(-1)))
    assert face.shape == (112, 112, 3) and face.dtype == np.uint8
    assert np.abs(dots_in(face) - TEMPLATE).max() < 0.5


@pytest.mark.parametrize("at", [(150, 120), (5, 8), (290, 230), (-400, 60)])
def test_a_crop_is_bilinear_and_black_beyond_the_picture(at):
    rng = np.random.default_rng(2)
    picture = cv2.blur(rng.integers(0, 256, (240, 300, 3), np.uint8), (9, 9))
    points = turned(33, 1.4, at)
    face = aligned(picture, tuple(points.reshape(-1)))
    theirs = warp(
        picture.astype(np.float64),
        SimilarityTransform.from_estimate(points, TEMPLATE).inverse,
        output_shape=(112, 112), order=1, mode="constant", preserve_range=True,
    )  # fmt: skip
    # OpenCV blends the last pixel with the black beyond it, scikit-image doesn't quite.
    inside = cv2.erode((theirs.min(axis=-1) > 0).astype(np.uint8), np.ones((5, 5)))
    beyond = cv2.dilate((theirs.max(axis=-1) > 0).astype(np.uint8), np.ones((5, 5))) == 0
    difference = np.abs(face - theirs)[inside > 0]
    assert difference.max(initial=0) <= 0.51  # rounded, and no more
    assert not face[beyond].any()
    assert inside.any() == (at[0] > 0) and beyond.any()


def test_a_crop_is_what_warping_the_whole_picture_gives():
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (1200, 1600, 3), np.uint8)
    points = turned(-20, 5, (900, 500))
    whole = cv2.warpAffine(picture, similarity(points), (112, 112), flags=cv2.INTER_LINEAR)
    face = aligned(picture, tuple(points.reshape(-1)))
    assert np.abs(face.astype(int) - whole).max() <= 1


@pytest.mark.parametrize(("width", "height"), [(70_000, 60), (60, 70_000), (1, 1), (3, 2)])
def test_pictures_of_any_shape_can_be_cut_from(width, height):
    picture = np.full((height, width, 3), 200, np.uint8)
    near = aligned(picture, tuple(turned(0, 0.3, (width - 20, height - 20)).reshape(-1)))
    assert near.shape == (112, 112, 3)
    assert near.any() == (min(width, height) > 5)
    wide = aligned(picture, tuple(turned(0, 1000, (width / 2, height / 2)).reshape(-1)))
    assert wide.shape == (112, 112, 3)


def test_a_box_about_landmarks_is_what_is_seen_aligned():
    face = tuple(TEMPLATE.reshape(-1))
    assert outline(face, (500, 500)) == (0, 0, 112, 112)
    assert outline(face, (100, 90)) == (0, 0, 100, 90)
    double = tuple((TEMPLATE * 2 + 50).reshape(-1))
    assert outline(double, (500, 500)) == (50, 50, 274, 274)


def test_an_aligned_face_of_another_size_is_resized():
    rng = np.random.default_rng(4)
    face = rng.integers(0, 256, (112, 112, 3), np.uint8)
    assert resized(face) is face
    assert resized(np.repeat(np.repeat(face, 2, 0), 2, 1)).tolist() == face.tolist()
    assert resized(face[:50, :50]).shape == (112, 112, 3)


# --- the letterbox --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "inside"),
    [
        ((640, 640), (640, 640)), ((1280, 960), (640, 480)), ((3024, 4032), (480, 640)),
        ((1000, 667), (640, 426)), ((64, 32), (640, 320)), ((1, 1), (640, 640)),
        ((50_000, 20), (640, 1)), ((20, 50_000), (1, 640)), ((5, 7), (457, 640)),
    ],
)  # fmt: skip
def test_a_picture_fits_into_the_rectangle_in_its_own_shape(size, inside):
    picture = np.full((size[1], size[0], 3), 255, np.uint8)
    seen = letterbox(picture, 640, 640)
    assert seen.pixels.shape == (640, 640, 3)
    assert (seen.pixels[: inside[1], : inside[0]] == 255).all()
    assert not seen.pixels[inside[1] :].any() and not seen.pixels[:, inside[0] :].any()
    assert (seen.width, seen.height) == size
    assert np.allclose(seen.place(np.array(inside, float)), size)


def test_a_rectangle_that_isnt_square_is_filled_the_same_way():
    seen = letterbox(np.full((100, 100, 3), 255, np.uint8), 640, 480)
    assert seen.pixels.shape == (480, 640, 3)
    assert (seen.pixels[:, :480] == 255).all() and not seen.pixels[:, 480:].any()
