"""Prompts by hand: which pixels they mean, what is refused, and marks at another size."""

import numpy as np
import pytest
from skimage.draw import polygon

from pipeline.classical._contours import start_mask
from pipeline.classical._prompts import (
    box_inside,
    filled,
    grown_mask,
    points_inside,
    points_mask,
    polygon_mask,
    region_mask,
    scribbles_inside,
    shrunk_mask,
)
from pipeline.structures import LabelSpace, Prompt

SPACE = LabelSpace(("ground", "light"), ((0, 0, 0), (255, 255, 255)), (False, False))


@pytest.mark.parametrize(
    "box, wanted",
    [
        ([1, 2, 4, 5], (1, 2, 4, 5)),
        ([1.2, 1.9, 1.4, 2.1], (1, 1, 2, 3)),
        ([-9, -1, 99, 1], (0, 0, 20, 1)),
        ([19, 9, 21, 11], (19, 9, 20, 10)),
    ],
)
def test_a_box_takes_the_pixels_that_it_touches_and_is_clipped(box, wanted):
    assert box_inside(Prompt(box=np.array(box, np.float32)), (10, 20)) == wanted


@pytest.mark.parametrize(
    "box, message",
    [
        ([20, 0, 30, 5], r"box \[20.0, 0.0, 30.0, 5.0\] lies outside the image of 20 x 10 px"),
        ([-5, 0, 0, 5], "lies outside"),
        ([2, 3, 2, 5], r"box .* is empty; .* 20 x 10 px"),
        ([4, 3, 2, 5], "is empty"),
        ([0, 0, np.nan, 5], "give x0, y0, x1, y1"),
        ([0, 0, 5], "give x0, y0, x1, y1"),
    ],
)
def test_a_box_of_no_pixel_is_refused(box, message):
    with pytest.raises(ValueError, match=message):
        box_inside(Prompt(box=np.array(box, np.float32)), (10, 20))


def test_points_are_the_pixels_that_they_lie_in():
    assert points_inside(Prompt(points=np.array([[0, 0], [2.9, 1.99]], np.float32)), (2, 3)).tolist() == [[0, 0], [2, 1]]
    disc = points_mask(Prompt(points=np.array([[2, 1]])), (3, 5), radius_px=1)
    assert disc.astype(int).tolist() == [[0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]]


@pytest.mark.parametrize(
    "points, message",
    [
        ([[1, 1], [3, 0]], r"point \[3.0, 0.0\] \(x, y\) lies outside the image of 3 x 2 px"),
        ([[0, -0.1]], "lies outside"),
        ([[0, np.nan]], "lies outside"),
        (np.zeros((0, 2)), "at least one point"),
        ([1, 2], "wanted \\(N, 2\\)"),
    ],
)
def test_points_outside_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        points_inside(Prompt(points=np.array(points, np.float32)), (2, 3))


def test_a_polygon_of_a_box_is_the_box():
    corners = np.array([[1, 1], [5, 1], [5, 4], [1, 4]], np.float32)
    by_box = region_mask(Prompt(box=np.array([1, 1, 5, 4], np.float32)), (6, 8))
    assert np.array_equal(polygon_mask(Prompt(polygon=corners), (6, 8)), by_box) and by_box.sum() == 12


def test_a_polygon_fills_the_pixels_whose_centre_is_inside():
    triangle = filled(np.array([[0, 0], [4, 0], [0, 4]]), (4, 5))
    # row y holds the centres x + 0.5 below 4 - (y + 0.5); the one on the side itself, x = 3 - y, stays out
    assert triangle.astype(int).tolist() == [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    twice = np.array(
        [[-2, -2], [9, -2], [9, 9], [-2, 9], [-2, -2], [1, 1], [3, 1], [3, 3], [1, 3], [1, 1]]
    )  # the inner square is cut out
    assert filled(twice, (4, 4))[1:3, 1:3].sum() == 0 and filled(twice, (4, 4))[3].all()


def test_polygons_are_filled_as_scikit_image_fills_them():
    rng = np.random.default_rng(0)
    for _ in range(30):
        corners = rng.uniform(-10, 60, (7, 2))
        wanted = np.zeros((40, 50), bool)
        wanted[polygon(corners[:, 1] - 0.5, corners[:, 0] - 0.5, (40, 50))] = True
        assert np.array_equal(filled(corners, (40, 50)), wanted)


@pytest.mark.parametrize(
    "corners, message",
    [
        ([[0, 0], [1, 1]], "at least three corners"),
        ([[9, 9], [12, 9], [9, 12]], "covers no pixel"),
        ([[0, 0], [1, 1], [0, np.inf]], "wanted"),
    ],
)
def test_polygons_of_no_pixel_are_refused(corners, message):
    with pytest.raises(ValueError, match=message):
        polygon_mask(Prompt(polygon=np.array(corners, np.float32)), (5, 8))


def test_scribbles_are_classes_on_the_picture():
    drawn = np.array([[255, 1], [0, 255]], np.uint8)
    assert scribbles_inside(Prompt(scribbles=drawn), (2, 2), SPACE) is drawn
    with pytest.raises(ValueError, match=r"scribbles are \(2, 2\), the image is \(2, 3\)"):
        scribbles_inside(Prompt(scribbles=drawn), (2, 3), SPACE)
    with pytest.raises(ValueError, match="scribbles: label 7 at pixel x=1, y=0"):
        scribbles_inside(Prompt(scribbles=np.where(drawn == 1, 7, drawn).astype(np.uint8)), (2, 2), SPACE)
    with pytest.raises(ValueError, match="hold no class"):
        scribbles_inside(Prompt(scribbles=np.full((2, 2), 255, np.uint8)), (2, 2), SPACE)


def test_the_polygon_goes_before_the_box_and_the_box_before_points():
    full = Prompt(box=np.array([0, 0, 2, 2]), polygon=np.array([[3, 3], [6, 3], [6, 6], [3, 6]]), points=np.array([[7, 7]]))
    assert np.argwhere(start_mask(full, (8, 8), radius_px=0)).min() == 3
    assert start_mask(Prompt(box=full.box, points=full.points), (8, 8), radius_px=0).sum() == 4
    assert np.argwhere(start_mask(Prompt(points=full.points), (8, 8), radius_px=0)).tolist() == [[7, 7]]
    assert start_mask(None, (8, 8), radius_px=0) is None and start_mask(Prompt(), (8, 8), radius_px=0) is None


def test_no_mark_is_lost_at_a_smaller_size():
    mask = np.zeros((100, 60), bool)
    mask[99, 59] = mask[0, 31] = True
    assert np.argwhere(shrunk_mask(mask, (10, 6))).tolist() == [[0, 3], [9, 5]]
    assert grown_mask(shrunk_mask(mask, (10, 6)), (100, 60))[95:, 55:].all()
    assert grown_mask(np.array([[True, False]]), (2, 4)).tolist() == [[True, True, False, False]] * 2
