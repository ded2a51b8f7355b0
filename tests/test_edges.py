"""Edge operators beside scikit-image, SciPy and OpenCV, and the regions between edges."""

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage import filters

from pipeline.classical._operators import derivative, gaussian_laplace, roberts, smoothed, zero_crossings
from pipeline.classical.edge_regions import CANNY_SCALE, OPERATORS, EdgeRegions, between
from pipeline.structures import LabelSpace

SPACE = LabelSpace(("zero", "one"), ((0, 0, 0), (255, 255, 255)), (False, False))


def rgb(greys):
    return np.repeat(np.asarray(greys, np.uint8)[..., None], 3, axis=2)


def noise(shape=(31, 42)):
    return np.random.default_rng(0).random(shape, np.float32)


def square(*, inside=200, outside=60):
    greys = np.full((60, 80), outside, np.uint8)
    greys[20:45, 25:60] = inside
    return rgb(greys)


@pytest.mark.parametrize("operator", ["prewitt", "scharr", "sobel"])
def test_gradients_are_those_of_scikit_image(operator):
    assert np.allclose(derivative(noise(), operator), getattr(filters, operator)(noise()), atol=1e-6)
    step = np.repeat([[0, 0, 1, 1]], 3, axis=0).astype(np.float32)
    assert np.allclose(derivative(step, operator)[1], [0, 0.5**0.5, 0.5**0.5, 0])


def test_roberts_is_that_of_scikit_image():
    assert np.allclose(roberts(noise()), filters.roberts(noise()), atol=1e-6)
    step = np.repeat([[0, 0, 1, 1]], 3, axis=0).astype(np.float32)
    assert np.allclose(roberts(step)[1], [0, 1, 0, 0])


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_laplacian_of_gaussian_is_that_of_scipy(sigma):
    level = ndimage.gaussian_laplace(np.ones((31, 42)), sigma)  # SciPy's answer to level ground, which ours has not
    expected = ndimage.gaussian_laplace(noise(), sigma) - level * ndimage.gaussian_filter(noise(), sigma)
    assert np.allclose(gaussian_laplace(noise(), sigma), expected, atol=2e-6) and (np.abs(level) < 0.02).all()
    assert np.abs(gaussian_laplace(np.ones((31, 42), np.float32), sigma)).max() < 1e-6


def test_zero_crossings_by_hand():
    response = np.array([[3, -1, -2, 5], [1, 0, -2, 5]], np.float32)
    # 3 | -1 jumps 4 at -1, -2 | 5 jumps 7 at -2; 0 is no sign
    assert zero_crossings(response).tolist() == [[0, 4, 7, 0], [0, 0, 7, 0]]
    assert zero_crossings(np.array([[1], [-1]], np.float32)).tolist() == [[2], [0]]  # both as near: the first
    assert not zero_crossings(np.ones((1, 1), np.float32)).any()


def test_smoothed_leaves_the_picture_at_0():
    assert smoothed(noise(), 0) is not None and np.array_equal(smoothed(noise(), 0), noise())
    assert smoothed(noise(), 2.0).std() < noise().std() / 2


def test_canny_is_that_of_opencv_with_thresholds_in_sobels_scale():
    image = rgb(255 * noise())
    found = EdgeRegions(SPACE, operator="canny", sigma=0, threshold=0.2).edges(image)
    upper = 0.2 * CANNY_SCALE
    assert np.array_equal(found, cv2.Canny(image[..., 0], 0.4 * upper, upper, L2gradient=True) > 0) and found.any()
    step = rgb([[0, 0, 51, 51]] * 5)  # Sobel's strength is 0.2 * sqrt(1/2)
    for threshold, is_found in ((0.14, True), (0.15, False)):
        edges = EdgeRegions(SPACE, operator="canny", sigma=0, threshold=threshold).edges(step)
        assert edges.any() == is_found


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_square_is_a_region_and_a_plain_picture_one(operator):
    found = EdgeRegions(SPACE, operator=operator).segments(square())
    inside, outside = found[32, 42], found[5, 5]
    assert inside != outside and found.dtype == np.int32
    middle = np.zeros((60, 80), bool)
    middle[20:45, 25:60] = True
    assert ((found == inside) == middle).mean() > 0.98
    assert len(np.unique(EdgeRegions(SPACE, operator=operator).segments(rgb(np.full((30, 40), 99))))) == 1


def test_threshold_and_quiet_say_what_an_edge_is():
    image = square(inside=70)  # a step of 10 grey levels
    strengths = filters.sobel(image[..., 0].astype(np.float32) / 255)
    options = {"operator": "sobel", "sigma": 0}
    at = float(strengths.max()) / 2
    assert np.array_equal(EdgeRegions(SPACE, threshold=at, **options).edges(image), strengths > at)
    assert not EdgeRegions(SPACE, threshold=1.0, **options).edges(image).any()
    assert np.array_equal(EdgeRegions(SPACE, quiet=0.5, **options).edges(image), strengths > 0)  # most of it is level
    busy = rgb(255 * noise())
    assert np.isclose(EdgeRegions(SPACE, quiet=0.8, **options).edges(busy).mean(), 0.2, atol=0.01)


def test_sigma_smooths_before_the_operator():
    image = rgb(255 * noise())
    options = {"operator": "sobel", "threshold": 0.1}
    assert EdgeRegions(SPACE, sigma=3.0, **options).edges(image).mean() < 0.1
    assert EdgeRegions(SPACE, sigma=0.0, **options).edges(image).mean() > 0.8


def test_gaps_are_closed():
    greys = np.full((40, 40), 100)
    greys[:, 20] = 250
    greys[18:21, 20] = 100  # three pixels of the line are missing
    found = {gap: EdgeRegions(SPACE, operator="sobel", sigma=0, gap=gap).segments(rgb(greys)) for gap in (0, 7)}
    sides = {gap: (regions[5, 5], regions[5, 35]) for gap, regions in found.items()}
    assert sides[0][0] == sides[0][1] and sides[7][0] != sides[7][1]


def test_between_gives_edges_and_small_pieces_to_the_nearest_region():
    edges = np.zeros((3, 11), np.uint8)
    edges[:, [3, 5, 6]] = 1
    left, right = between(edges, min_size=9)[1, [0, 10]]
    # columns 0..2 and 7..10 are regions, column 4 with its 3 px is none; 3 and 4 are nearer to the left, 6 and 5 to the right
    assert between(edges, min_size=9).tolist() == [[left] * 5 + [right] * 6] * 3 and left != right
    assert len(np.unique(between(edges, min_size=3))) == 3
    assert not between(np.ones((2, 2), np.uint8), min_size=1).any()


def test_diagonal_lines_keep_regions_apart():
    assert len(np.unique(between(np.eye(9, dtype=np.uint8), min_size=1))) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operator": "kirsch"}, "operator is 'kirsch'; choose canny, laplacian_of_gaussian"),
        ({"sigma": -1.0}, "sigma is -1.0 with canny; give 0 to 100 px"),
        ({"sigma": 0.0, "operator": "laplacian_of_gaussian"}, "above 0 for its Gaussian"),
        ({"threshold": -0.1}, "threshold -0.1, quiet 0.7"),
        ({"quiet": 1.5}, "quiet 1.5; give 0 or more"),
        ({"gap": -1}, "gap -1, min_size 20"),
        ({"min_size": 0}, "min_size 0; give 0 to 100 px, and at least 1 px"),
    ],
)
def test_wrong_options_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        EdgeRegions(SPACE, **options)
