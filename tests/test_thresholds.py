"""Methods that split a picture by brightness: by hand, beside their definitions and beside scikit-image."""

from itertools import combinations

import cv2
import numpy as np
import pytest
from skimage.filters import apply_hysteresis_threshold, threshold_multiotsu

from pipeline.classical import METHODS
from pipeline.classical._otsu import histogram, otsu_thresholds
from pipeline.structures import LabelSpace, PanopticMap, Sample
from pipeline.table import look_up

SPACE = LabelSpace(("dark", "middle", "light"), ((0, 0, 0), (99, 99, 99), (255, 255, 255)), (False, False, False))
THRESHOLDS = ("adaptive_threshold", "hysteresis_threshold", "mean_threshold", "multi_otsu", "otsu")


def build(name, **options):
    return look_up(METHODS, name, kind="classical method")(SPACE, **options)


def rgb(grey):
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)


def split(name, grey, **options):
    return build(name, **options).segments(rgb(grey))


def scene(seed, shape=(30, 40), values=256):
    """Blobs of a few brightnesses, so that neighbours hang together."""
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), 2)
    return (cv2.normalize(smooth, None, 0, values - 1, cv2.NORM_MINMAX) + rng.random(shape)).clip(0, 255).astype(np.uint8)


# Otsu, for any number of levels


def test_multi_otsu_by_hand():
    assert split("multi_otsu", [[0, 1, 100], [101, 200, 201]]).tolist() == [[0, 0, 1], [1, 2, 2]]
    assert split("multi_otsu", [[0, 1, 100], [101, 240, 241]], levels=2).tolist() == [[0, 0, 0], [0, 1, 1]]


def between(values, counts, thresholds):
    """Sum over the groups of pixels times squared mean: the variance between the groups but for a constant."""
    group = np.searchsorted(thresholds, values)
    parts = [(counts[group == one], values[group == one]) for one in range(len(thresholds) + 1)]
    return sum((number * value).sum() ** 2 / number.sum() for number, value in parts)


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(5))
def test_otsu_thresholds_are_the_best_of_all_choices(levels, seed):
    rng = np.random.default_rng(seed)
    values = np.sort(rng.choice(256, 11, replace=False))
    counts = np.zeros(256, np.float32)
    counts[values] = rng.integers(1, 50, 11)
    best = max(combinations(values[:-1].tolist(), levels - 1), key=lambda one: between(values, counts[values], one))
    assert otsu_thresholds(counts, levels) == list(best)


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
def test_otsu_thresholds_equal_scikit_image(levels):
    for seed in range(3):
        counts = histogram(scene(seed, values=60))
        # an empty bin in front: scikit-image 0.26 counts the pixels of its first bin as if they were of the second
        beside = (np.concatenate([[0], counts[:61]]).astype(np.int64), np.arange(-1, 61))
        assert otsu_thresholds(counts, levels) == threshold_multiotsu(hist=beside, classes=levels).tolist()


def test_of_equal_choices_the_lowest_thresholds_are_taken():
    assert otsu_thresholds(np.bincount([0, 1, 2, 3], minlength=256), 3) == [0, 1]
    assert otsu_thresholds(np.bincount([5, 6, 7], minlength=256), 2) == [5]


def test_two_levels_are_otsu():
    for seed in range(20):
        grey = scene(seed)
        assert np.array_equal(split("multi_otsu", grey, levels=2), split("otsu", grey))


def test_fewer_grey_values_than_levels_give_a_level_to_each():
    assert split("multi_otsu", [[7, 7], [7, 7]], levels=5).tolist() == [[0, 0], [0, 0]]
    assert split("multi_otsu", [[7, 200], [9, 7]], levels=5).tolist() == [[0, 2], [1, 0]]
    assert split("multi_otsu", [[0, 255]], levels=256).tolist() == [[0, 1]]
    assert np.array_equal(split("multi_otsu", np.arange(256)[None], levels=256), np.arange(256)[None])


@pytest.mark.parametrize("levels", [1, 257])
def test_multi_otsu_refuses_a_wrong_number_of_levels(levels):
    with pytest.raises(ValueError, match=f"multi_otsu: levels is {levels}; choose 2..256"):
        build("multi_otsu", levels=levels)


# the mean, of the picture and of a window


def test_mean_threshold_is_its_definition():
    for seed in range(20):
        grey = scene(seed, (7, 9))
        assert np.array_equal(split("mean_threshold", grey), grey > grey.mean())
    assert split("mean_threshold", [[3, 5], [4, 4]]).tolist() == [[0, 1], [0, 0]]  # the mean 4 itself is not above it


def windows(grey, side):
    """(H, W, side, side): each pixel's window, the outermost pixels going on past the border."""
    padded = np.pad(grey.astype(np.float64), side // 2, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, (side, side))


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (20, 31)])
@pytest.mark.parametrize("window_px", [3, 11, 41])
@pytest.mark.parametrize("offset", [0.0, 2.0, -3.5, 0.5])
def test_adaptive_threshold_is_its_definition(shape, window_px, offset):
    grey = np.random.default_rng(window_px).integers(0, 256, shape, dtype=np.uint8)
    mean = np.rint(windows(grey, window_px).mean(axis=(2, 3)))
    assert np.array_equal(split("adaptive_threshold", grey, window_px=window_px, offset=offset), grey > mean - offset)

    weights = cv2.getGaussianKernel(window_px, 0).ravel()
    exact = np.einsum("hwyx,y,x->hw", windows(grey, window_px), weights, weights)
    is_clear = np.abs(exact % 1 - 0.5) > 1e-3  # of which way a half is rounded, float32 and float64 may think differently
    found = split("adaptive_threshold", grey, kind="gaussian", window_px=window_px, offset=offset)
    assert np.array_equal(found[is_clear], (grey > np.rint(exact) - offset)[is_clear])


def test_adaptive_threshold_follows_the_light():
    grey = np.linspace(20, 200, 60)[None].repeat(40, axis=0)
    grey[10:14, ::6] += 30  # marks on a ground that grows lighter: no one threshold finds them
    found = split("adaptive_threshold", grey, window_px=21, offset=-10)
    assert np.array_equal(found[10:14, 6:54], (np.arange(6, 54) % 6 == 0)[None].repeat(4, axis=0)) and not found[20:].any()


def test_offset_above_zero_calls_even_surfaces_light():
    even = np.full((5, 6), 90)
    assert not split("adaptive_threshold", even).any() and split("adaptive_threshold", even, offset=1.0).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kind": "median"}, "kind is 'median'; choose one of: gaussian, mean"),
        ({"window_px": 10}, "window_px is 10; give an odd number"),
        ({"window_px": 1}, "window_px is 1; give an odd number from 3"),
        ({"offset": float("nan")}, "offset is nan; give a grey value"),
        ({"offset": 256.0}, "offset is 256.0; give a grey value"),
    ],
)
def test_adaptive_threshold_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        build("adaptive_threshold", **options)


# hysteresis


def test_hysteresis_keeps_what_reaches_above_the_high_threshold():
    row = [[0, 150, 220, 150, 0, 150, 150, 0, 201]]
    assert split("hysteresis_threshold", row, rule="grey", low=100.0, high=200.0).tolist() == [[0, 1, 1, 1, 0, 0, 0, 0, 1]]
    assert split("hysteresis_threshold", row, rule="grey", low=149.5, high=200.9).tolist() == [[0, 1, 1, 1, 0, 0, 0, 0, 1]]
    assert split("hysteresis_threshold", row, rule="grey", low=150.0, high=201.0).tolist() == [[0, 0, 1, 0, 0, 0, 0, 0, 0]]
    assert not split("hysteresis_threshold", row, rule="grey", low=100.0, high=300.0).any()


def test_hysteresis_goes_over_corners_only_with_eight_neighbours():
    corner = [[220, 0], [0, 150]]
    grown = split("hysteresis_threshold", corner, rule="grey", low=100.0, high=200.0)
    alone = split("hysteresis_threshold", corner, rule="grey", low=100.0, high=200.0, connectivity=4)
    assert grown.tolist() == [[1, 0], [0, 1]] and alone.tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("low, high", [(90.0, 140.0), (120.5, 120.5), (0.0, 254.0)])
def test_hysteresis_equals_scikit_image(low, high):
    for seed in range(5):
        grey = scene(seed)
        found = split("hysteresis_threshold", grey, rule="grey", low=low, high=high, connectivity=4)
        assert np.array_equal(found, apply_hysteresis_threshold(grey, low, high))


def test_hysteresis_with_more_parts_than_sixteen_bits_hold():
    grey = np.zeros((300, 900), np.uint8)
    grey[::2, ::2] = np.resize([150, 220, 150], (150, 450))  # 67,500 single pixels
    found = split("hysteresis_threshold", grey, rule="grey", low=100.0, high=200.0)
    assert np.array_equal(found, grey == 220)


def test_hysteresis_takes_its_thresholds_from_otsu():
    # three levels 10, 100, 200 with thresholds 10 and 100; the second 100 touches no 200
    assert split("hysteresis_threshold", [[10, 100, 200, 10, 100]]).tolist() == [[0, 1, 1, 0, 0]]
    two = [[100, 110, 130, 100, 110, 255, 255]]  # Otsu's threshold is 130
    assert split("hysteresis_threshold", two, rule="otsu").tolist() == [[0, 0, 0, 0, 1, 1, 1]]  # 104 and 156
    assert split("hysteresis_threshold", two, rule="otsu", high=0.95).tolist() == [[0, 1, 1, 0, 1, 1, 1]]  # 104 and 123.5
    assert split("hysteresis_threshold", two, rule="otsu", low=0.9, high=0.95).tolist() == [[0, 0, 1, 0, 0, 1, 1]]  # 117


@pytest.mark.parametrize("rule", ["multi_otsu", "otsu"])
def test_hysteresis_finds_nothing_in_an_even_picture(rule):
    assert not split("hysteresis_threshold", np.full((4, 5), 80), rule=rule).any()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rule": "triangle"}, "rule is 'triangle'; choose one of: grey, multi_otsu, otsu"),
        ({"connectivity": 6}, "connectivity is 6; choose 4 or 8"),
        ({"low": 3.0}, "low is 3.0 and high None; rule multi_otsu finds them"),
        ({"rule": "grey", "low": 3.0}, "low is 3.0 and high None; give 0 <= low <= high"),
        ({"rule": "otsu", "low": 2.0}, "low is 2.0 and high 1.2; give 0 <= low <= high"),
        ({"rule": "grey", "low": 3.0, "high": float("nan")}, "low is 3.0 and high nan; give 0 <= low"),
    ],
)
def test_hysteresis_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        build("hysteresis_threshold", **options)


# all of them


@pytest.mark.parametrize("name", THRESHOLDS)
@pytest.mark.parametrize("value", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (1, 300)])
def test_an_even_picture_has_one_kind(name, value, shape):
    found = split(name, np.full(shape, value))
    assert found.dtype == np.uint8 and found.shape == shape and len(np.unique(found)) == 1 and found.max() <= 1


def test_three_levels_get_their_classes_by_vote():
    labels = np.array([[0, 1, 2], [0, 1, 2]], np.uint8)
    one = Sample("one", None, "one", rgb([[9, 90, 220], [12, 95, 230]]), PanopticMap.from_labels(labels, SPACE))
    method = build("multi_otsu")
    method.fit([one], np.random.default_rng(0))
    assert np.array_equal(method.segment(one.image).labels, labels)
