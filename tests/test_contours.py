"""Contours: the moves beside scikit-image's, and what each contour finds on a picture of one shape."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import numpy as np
import pytest
from skimage.segmentation import (
    inverse_gaussian_gradient,
    morphological_chan_vese,
    morphological_geodesic_active_contour,
    morphsnakes,
)

from pipeline.classical import METHODS
from pipeline.classical._contours import border, evolve
from pipeline.classical.chan_vese import ChanVese, checkerboard
from pipeline.classical.geodesic_contour import GeodesicContour
from pipeline.classical.snake import Snake
from pipeline.structures import LabelSpace, Prompt
from pipeline.table import look_up

SPACE = LabelSpace(("ground", "light"), ((0, 0, 0), (255, 255, 255)), (False, False))
BOX = np.array([18, 22, 62, 68], np.float32)  # around the shape of `scene`, not tight


def scene(inside=200, outside=60, height=90, width=80):
    """A disc of 18 px amid (45, 40), its mask, and a picture of it."""
    rows, columns = np.mgrid[:height, :width]
    mask = (rows - 45) ** 2 + (columns - 40) ** 2 <= 18**2
    return mask, np.repeat(np.where(mask, inside, outside).astype(np.uint8)[..., None], 3, axis=2)


def iou(segments, mask):
    return (segments.astype(bool) & mask).sum() / (segments.astype(bool) | mask).sum()


def test_the_border_is_where_a_central_difference_is_not_zero():
    level = np.zeros((5, 5), bool)
    level[2, 2] = True
    assert np.argwhere(border(level)).tolist() == [[1, 2], [2, 1], [2, 3], [3, 2]]  # not the pixel itself


@pytest.mark.parametrize("iterations", [1, 2, 3, 7, 8])
def test_a_contour_that_goes_to_and_fro_ends_as_if_it_had_gone_on(iterations):
    start, calls = np.array([[True, False]]), []

    def flip(level):
        calls.append(1)
        return ~level

    assert np.array_equal(evolve(start, flip, iterations=iterations, smoothing=0), start ^ bool(iterations % 2))
    assert len(calls) == min(iterations, 2)


def in_turn_from_the_first():
    """scikit-image's two operators, as they come in a new process."""
    ms = morphsnakes
    return cycle([lambda u: ms.sup_inf(ms.inf_sup(u)), lambda u: ms.inf_sup(ms.sup_inf(u))])


@pytest.mark.parametrize("smoothing, iterations, lambda2", [(0, 3, 1.0), (1, 40, 1.0), (2, 7, 1.5), (3, 6, 1.2)])
def test_chan_vese_moves_as_scikit_image_moves_it(smoothing, iterations, lambda2, monkeypatch):
    image = np.random.default_rng(3).integers(130, 256, (31, 43), dtype=np.uint8)
    image[8:20, 10:30] //= 3
    monkeypatch.setattr(morphsnakes._curvop, "funcs", in_turn_from_the_first())
    wanted = morphological_chan_vese(image.astype(float), iterations, smoothing=smoothing, lambda2=lambda2)
    method = ChanVese(SPACE, iterations=iterations, smoothing=smoothing, lambda2=lambda2)
    found = method._evolved(image, checkerboard(image.shape))
    assert np.array_equal(found, wanted) and 0 < found.mean() < 1


@pytest.mark.parametrize("grows", [False, True])
@pytest.mark.parametrize("smoothing, iterations", [(0, 3), (1, 25), (2, 8)])
def test_geodesic_contour_moves_as_scikit_image_moves_it(smoothing, iterations, grows, monkeypatch):
    _, image = scene()
    light = (image[..., 0] + np.random.default_rng(0).integers(0, 30, image.shape[:2])) / 255
    start = np.ones(light.shape, bool)
    if grows:
        start[:] = False
        start[43:47, 38:43] = True
    monkeypatch.setattr(morphsnakes._curvop, "funcs", in_turn_from_the_first())
    stop = inverse_gaussian_gradient(light, alpha=100.0, sigma=2.0)
    wanted = morphological_geodesic_active_contour(stop, iterations, start, smoothing=smoothing, balloon=1 if grows else -1)
    method = GeodesicContour(SPACE, iterations=iterations, smoothing=smoothing, alpha=100.0, sigma=2.0, edge_share=0.4)
    found = method._evolved(light, start, grows=grows)
    assert np.array_equal(found, wanted) and not np.array_equal(found, start)


@pytest.mark.parametrize("name", ["chan_vese", "geodesic_contour", "snake"])
def test_nothing_that_ran_before_or_beside_changes_a_contour(name):
    _, image = scene()
    image = (image + np.random.default_rng(0).integers(0, 40, image.shape)).astype(np.uint8)
    method = look_up(METHODS, name, kind="classical method")(SPACE, iterations=7)  # an odd number of smoothings
    first = method.segments(image)
    with ThreadPoolExecutor(2) as pool:
        for again in pool.map(method.segments, [image] * 4):
            assert np.array_equal(again, first)


@pytest.mark.parametrize("inside, outside", [(200, 60), (60, 200)])
def test_chan_vese_names_the_brighter_side_1_and_with_a_prompt_the_side_that_was_pointed_at(inside, outside):
    mask, image = scene(inside, outside)
    assert iou(ChanVese(SPACE).segments(image), mask if inside > outside else ~mask) > 0.99
    box, corners = Prompt(box=BOX), Prompt(polygon=np.array([[20, 20], [60, 25], [60, 60], [40, 70]]))
    for prompt in (box, corners):
        assert np.array_equal(ChanVese(SPACE, smoothing=0).segments(image, prompt), mask)
    for x, y, wanted in ((40, 45, mask), (1, 1, ~mask)):
        assert iou(ChanVese(SPACE).segments(image, Prompt(points=np.array([[x, y]]))), wanted) > 0.99


def test_chan_vese_lets_the_side_of_the_lower_weight_take_more():
    ramp = np.repeat(np.tile(np.arange(0, 240, 4, dtype=np.uint8), (20, 1))[..., None], 3, axis=2)
    prompt = Prompt(box=np.array([0, 0, 20, 20]))
    sizes = [ChanVese(SPACE, lambda1=weight).segments(ramp, prompt).sum() for weight in (0.3, 1.0, 3.0)]
    assert sizes[0] > sizes[1] > sizes[2] > 0


def test_geodesic_contour_shrinks_from_a_box_and_grows_from_a_point():
    mask, image = scene()
    method = GeodesicContour(SPACE)
    by_box, by_point = method.segments(image, Prompt(box=BOX)), method.segments(image, Prompt(points=np.array([[40, 45]])))
    assert iou(by_box, mask) > 0.95 and iou(by_point, mask) > 0.95
    assert iou(method.segments(image), mask) > 0.95  # from the border of the picture
    assert GeodesicContour(SPACE, iterations=1).segments(image, Prompt(points=np.array([[40, 45]]))).sum() < 200
    larger = GeodesicContour(SPACE, iterations=1, point_radius=12).segments(image, Prompt(points=np.array([[40, 45]])))
    assert larger.sum() > 400


def test_more_edge_holds_a_shrinking_contour_up_earlier():
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    sizes = [GeodesicContour(SPACE, edge_share=share).segments(image).sum() for share in (0.0, 0.4, 0.9)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_the_snake_closes_on_the_shape_in_its_box_or_polygon():
    mask, image = scene()
    assert iou(Snake(SPACE).segments(image, Prompt(box=BOX)), mask) > 0.9
    corners = np.array([[20, 25], [60, 25], [60, 65], [20, 65]], np.float32)
    assert iou(Snake(SPACE).segments(image, Prompt(polygon=corners)), mask) > 0.85
    away = Snake(SPACE, w_edge=0.0, w_line=0.0, alpha=0.1).segments(image, Prompt(box=BOX))
    assert away.sum() < mask.sum() / 2  # nothing holds it


def test_the_snake_starts_from_the_ellipse_that_a_margin_leaves():
    flat = np.full((200, 100, 3), 7, np.uint8)
    found = Snake(SPACE, margin=0.1, alpha=0.0, beta=0.0, iterations=1).segments(flat)
    assert abs(found.sum() - np.pi / 4 * 160 * 80) < 30
    assert found[100].tolist() == [0] * 10 + [1] * 80 + [0] * 10


@pytest.mark.parametrize("method", [ChanVese, GeodesicContour, Snake])
def test_a_contour_starts_from_one_part_of_a_prompt(method):
    _, image = scene()
    parts = {"box": BOX, "polygon": np.array([[20, 20], [60, 25], [60, 60]]), "points": np.array([[40, 45]])}
    for two in itertools.combinations(method.takes, 2):
        with pytest.raises(ValueError, match=f"the prompt has {' and '.join(two)}; give one of them alone"):
            method(SPACE).segments(image, Prompt(**{part: parts[part] for part in two}))


@pytest.mark.parametrize("name", ["chan_vese", "geodesic_contour", "snake"])
def test_large_pictures_are_worked_on_at_a_smaller_size(name):
    mask, image = scene()
    mask, image = (np.repeat(np.repeat(one, 5, axis=0), 5, axis=1) for one in (mask, image))
    method = look_up(METHODS, name, kind="classical method")(SPACE, max_side=90)
    assert iou(method.segments(image, Prompt(box=BOX * 5)), mask) > 0.85


@pytest.mark.parametrize("name", ["chan_vese", "geodesic_contour", "snake"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 7), (2, 2), (30, 40)])
def test_flat_and_tiny_pictures_with_a_box(name, shape):
    method = look_up(METHODS, name, kind="classical method")(SPACE)
    prompt = Prompt(box=np.array([0, 0, max(1, shape[1] // 2), 1], np.float32))
    found = method.segments(np.full((*shape, 3), 9, np.uint8), prompt)
    assert found.shape == shape and set(np.unique(found)) <= {0, 1}


@pytest.mark.parametrize(
    "method, options, message",
    [
        (ChanVese, {"iterations": 0}, "chan_vese: iterations 0"),
        (ChanVese, {"smoothing": -1}, "smoothing -1"),
        (ChanVese, {"smoothing": 10**9}, "smoothing 1000000000, max_side 1024; give >= 1, 0 to 100"),
        (ChanVese, {"max_side": 0}, "max_side 0"),
        (ChanVese, {"lambda2": 0.0}, "lambda2 0.0; give weights above 0"),
        (GeodesicContour, {"iterations": 0}, "geodesic_contour: iterations 0"),
        (GeodesicContour, {"point_radius": -1}, "point_radius -1"),
        (GeodesicContour, {"sigma": 0.0}, "sigma 0.0, edge_share 0.6; give > 0"),
        (GeodesicContour, {"edge_share": 1.0}, "edge_share 1.0; give"),
        (Snake, {"gamma": 0.0}, "snake: alpha 0.01, beta 0.1, gamma 0.0"),
        (Snake, {"corners": 4}, "corners 4"),
        (Snake, {"corners": 10**6}, "corners 1000000, max_side 256; give >= 1, 5 to 2000"),
        (GeodesicContour, {"smoothing": 101}, "smoothing 101"),
        (GeodesicContour, {"point_radius": 10**9}, "point_radius 1000000000"),
        (Snake, {"margin": 0.5}, "margin is 0.5"),
    ],
)
def test_options_of_no_sense_are_refused(method, options, message):
    with pytest.raises(ValueError, match=message):
        method(SPACE, **options)
