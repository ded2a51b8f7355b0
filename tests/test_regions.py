"""How regions come to classes, and how they are flooded and merged: by hand on rows of a few pixels."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from skimage.segmentation import watershed

from pipeline.classical import _regions
from pipeline.classical._adjacency import merged, neighbours
from pipeline.classical._flooding import flooded
from pipeline.classical._growing import grown
from pipeline.classical._regions import VotedRegions, describe, relabelled, shrunk
from pipeline.structures import LabelSpace, PanopticMap, Sample
from tests.project import ROOT

SPACE = LabelSpace(("zero", "one"), ((0, 0, 0), (255, 255, 255)), (False, False))


class Greys(VotedRegions):
    """A region for each grey value."""

    def segments(self, image, prompt=None):
        return image[..., 0].astype(np.int64)


class Rows(VotedRegions):
    """A region for each row."""

    def segments(self, image, prompt=None):
        return np.broadcast_to(np.arange(len(image))[:, None], image.shape[:2])


def picture(greys):
    return np.repeat(np.asarray(greys, np.uint8)[..., None], 3, axis=2)


def sample(greys, labels):
    return Sample("one", "train", "one", picture(greys), PanopticMap.from_labels(np.asarray(labels, np.uint8), SPACE))


def fitted(method, samples, *, seed=0):
    method.fit(samples, np.random.default_rng(seed))
    return method


def test_relabelled_closes_gaps_and_keeps_the_order():
    found = relabelled(np.array([[-3, 900], [7, -3]], np.int64))
    assert found.tolist() == [[0, 2], [1, 0]] and found.dtype == np.int32


def test_describe_by_hand():
    # L jumps from 0 to 100 between the columns 1 and 2: Sobel's sums are (1 + 2 + 1) * 100 there and 0 at the mirrored sides
    image = picture([[0, 0, 255, 255, 255], [0, 0, 255, 255, 255]])
    regions = np.array([[0, 0, 1, 1, 1], [0, 0, 1, 1, 1]], np.int32)
    expected = [[0, 0, 0, 0, 200, 0.5, np.log(4 / 10)], [100, 0, 0, 0, 400 / 3, 0.5, np.log(6 / 10)]]
    assert np.allclose(describe(image, regions), expected, atol=0.02)


def test_describe_knows_height_spread_and_colour():
    image = picture([[0, 255], [0, 255]])
    above, below = describe(image, np.array([[0, 0], [1, 1]], np.int32))
    assert above[5] == 0.25 and below[5] == 0.75
    assert np.isclose(above[0], 50, atol=0.02) and np.isclose(above[3], 50, atol=0.02)  # L is 0 and 100
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 0] = 255
    assert np.allclose(describe(red, np.zeros((1, 1), np.int32))[0, :3], [53.24, 80.09, 67.2], atol=0.05)


def test_describe_in_bands_is_describe(monkeypatch):
    rng = np.random.default_rng(0)
    image, regions = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8), rng.integers(0, 3, (9, 11)).astype(np.int32)
    whole = describe(image, regions)
    monkeypatch.setattr(_regions, "BAND_PIXELS", 22)
    assert np.allclose(describe(image, regions), whole, rtol=1e-6)


def test_two_colours_are_two_classes():
    method = fitted(Greys(SPACE, kinds=2, place=0), [sample([[20, 20, 200], [20, 200, 200]], [[0, 0, 1], [0, 255, 1]])])
    predicted = method.segment(picture([[198, 22], [25, 205]]))
    assert predicted.labels.tolist() == [[1, 0], [0, 1]] and predicted.labels.dtype == np.uint8
    assert predicted.regions.tolist() == [[2, 0], [1, 3]]


def test_place_tells_above_from_below_and_nothing_else_does():
    training = [sample([[90, 90], [90, 90], [90, 90]], [[0, 0], [0, 0], [1, 1]])]
    image = picture([[90], [90], [90]])
    assert fitted(Rows(SPACE, place=0), training).segment(image).labels.tolist() == [[0], [0], [0]]
    assert fitted(Rows(SPACE, place=1), training).segment(image).labels.tolist() == [[0], [0], [1]]


def test_one_kind_is_the_most_frequent_class():
    method = fitted(Greys(SPACE, kinds=1), [sample([[10, 200, 201]], [[0, 1, 1]])])
    assert method.segment(picture([[10, 99, 255]])).labels.tolist() == [[1, 1, 1]]


def test_a_region_is_as_heavy_as_it_is_large():
    method = fitted(Greys(SPACE, kinds=1), [sample([[0, 0, 0, 255]], [[0, 0, 0, 1]])])
    assert np.isclose(method.kind_centres[0, 0] / method.scale[0], 25, atol=0.1)  # L is 0 on three pixels and 100 on one
    assert np.isclose(1 / method.scale[0], np.sqrt(0.75 * 25**2 + 0.25 * 75**2), atol=0.1)


def test_what_never_varies_in_training_tells_nothing():
    # each training picture is one region: all lie in the middle and fill their picture, regions of the new one do not
    method = fitted(Greys(SPACE, kinds=2), [sample([[30] * 4] * 4, [[0] * 4] * 4), sample([[220] * 4] * 4, [[1] * 4] * 4)])
    greys = np.where(np.arange(16).reshape(4, 4) < 5, 215, 35)
    assert np.array_equal(method.segment(picture(greys)).labels, greys == 215)


@pytest.mark.parametrize("threads", [1, 2])
def test_saved_and_loaded_it_predicts_the_same_and_threads_change_nothing(tmp_path, threads):
    rng = np.random.default_rng(0)
    training = [sample(rng.integers(0, 256, (12, 12)), rng.integers(0, 2, (12, 12))) for _ in range(6)]
    alone, method = (Greys(SPACE, kinds=8) for _ in range(2))
    method.threads = threads
    fitted(alone, training).save(tmp_path)
    loaded = Greys(SPACE)
    loaded.load(tmp_path)
    fitted(method, training)
    assert np.array_equal(loaded.kind_centres, method.kind_centres) and len(method.classes) == 8
    image = picture(rng.integers(0, 256, (30, 30)))
    assert np.array_equal(loaded.segment(image).labels, method.segment(image).labels)


@pytest.mark.parametrize("options", [{"kinds": 0}, {"place": -1.0}])
def test_kinds_and_place_are_checked(options):
    with pytest.raises(ValueError, match="give at least 1 kind, and a weight of 0 or more"):
        Greys(SPACE, **options)


def test_shrunk_keeps_the_aspect_and_never_grows():
    assert shrunk(picture(np.zeros((30, 60))), 20).shape == (10, 20, 3)
    assert shrunk(picture(np.zeros((3, 900))), 20).shape == (1, 20, 3)
    assert shrunk(picture(np.zeros((3, 7))), 20).shape == (3, 7, 3)


def test_neighbours_share_a_side():
    assert neighbours(np.array([[3, 3, 1], [0, 3, 2]])).T.tolist() == [[0, 3], [1, 2], [1, 3], [2, 3]]
    assert neighbours(np.array([[0, 1], [2, 0]])).T.tolist() == [[0, 1], [0, 2]]  # 1 and 2 only touch at a corner


def in_a_row(means, pixels=None, **options):
    pixels = [1] * len(means) if pixels is None else pixels
    regions = np.repeat(np.arange(len(means)), pixels)[None]
    found = merged(regions, np.array([means]), np.array(pixels), **options)
    return found[0, np.cumsum(pixels) - 1].tolist()


def test_merged_by_hand():
    assert in_a_row([0, 1, 3, 7], threshold=0.9) == [0, 1, 2, 3]
    assert in_a_row([0, 1, 3, 7], threshold=1.0) == [0, 0, 1, 2]
    assert in_a_row([0, 1, 3, 7], threshold=2.0) == [0, 0, 0, 1]
    assert in_a_row([0, 5, 0], threshold=1.0) == [0, 1, 2]  # alike but apart
    assert in_a_row([4, 4, 4], threshold=0.0) == [0, 0, 0]


def test_merged_regions_have_the_mean_of_their_pixels():
    # the last two become -0.75, which the first one is near enough to; the mean of the means, -0.5, is not
    assert in_a_row([-1.7, 0, -1], [1, 1, 3], threshold=1.0) == [0, 0, 0]


def test_small_regions_join_what_they_are_most_like_at_any_distance():
    assert in_a_row([0, 40, 70], [5, 1, 5], threshold=1.0, min_size=2) == [0, 1, 1]
    assert in_a_row([0, 40, 70], [1, 1, 1], threshold=1.0, min_size=9) == [0, 0, 0]  # all is smaller than that


def test_long_chains_and_crowds_around_one_region_merge_in_few_rounds():
    chain = np.array(in_a_row(np.arange(20_000), threshold=1.0))
    assert (np.diff(chain) >= 0).all() and chain[-1] < 12_000
    crowd = np.zeros((2, 20_000), np.int64)
    crowd[1] = np.arange(1, 20_001)
    means = np.concatenate([[0.0], np.tile([1.0, -1.0], 10_000)])[None]
    assert merged(crowd, means, np.array([20_000] + [1] * 20_000), threshold=1.5).max() == 0


def test_flooded_by_hand():
    def flood(heights, markers, dams=None):
        dams = None if dams is None else np.array([dams], bool)
        return flooded(np.array([heights], np.uint8), np.array([markers], np.int32), dams=dams)[0].tolist()

    assert flood([1, 2, 9, 2, 1], [1, 0, 0, 0, 2]) == [1, 1, 1, 2, 2]  # of equally low neighbours the left one
    assert flood([1, 3, 9, 2, 1], [1, 0, 0, 0, 2]) == [1, 1, 2, 2, 2]
    assert flood([0, 5, 1, 7, 0], [4, 0, 0, 0, 9]) == [4, 4, 4, 9, 9]  # the middle is reached over 5, not over 7
    assert flood([0, 7, 1, 5, 0], [4, 0, 0, 0, 9]) == [4, 4, 9, 9, 9]
    assert flood([0, 1, 255, 3, 3], [5, 0, 0, 0, 0], [0, 0, 1, 0, 0]) == [5, 5, 0, 0, 0]  # nothing reaches behind the dam
    assert flood([0, 1, 1], [5, 7, 0], [0, 1, 0]) == [5, 0, 0]  # a dam bears no marker
    assert flood([0] * 6, [1, 0, 0, 0, 0, 2]) == [1, 1, 1, 2, 2, 2]  # level ground is halved
    assert flood([0, 10, 5, 5, 5, 5, 10, 0], [1, 0, 0, 0, 0, 0, 0, 2]) == [1, 1, 1, 1, 2, 2, 2, 2]  # behind equal passes too


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (1, 9), (3, 0)])
def test_flooded_takes_any_size(shape):
    assert np.array_equal(flooded(np.zeros(shape, np.uint8), np.ones(shape, np.int32)), np.ones(shape))


def test_flooded_takes_arrays_however_they_lie():
    relief, markers = np.arange(12, dtype=np.uint8).reshape(3, 4), np.eye(3, 4, dtype=np.int32)
    wanted = flooded(relief, markers)
    assert np.array_equal(flooded(np.asfortranarray(relief), markers[::-1][::-1]), wanted)
    relief.setflags(write=False)
    markers.setflags(write=False)
    assert np.array_equal(flooded(relief, markers), wanted)


def test_flooded_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"the relief is \(2, 3\) and the markers are \(3, 2\)"):
        flooded(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.int32))
    with pytest.raises(TypeError):
        flooded(np.zeros((2, 3), np.uint16), np.zeros((2, 3), np.int32))


def test_where_nothing_may_be_written_loops_are_compiled_all_the_same():
    program = """
import numba, numpy as np
from numba.core.caching import CacheImpl
CacheImpl._locator_classes = []  # as in a checkout and a home folder that are both read-only
try:
    numba.njit(cache=True)(lambda: 0)
    raise SystemExit("numba keeps its code all the same: this test shows nothing")
except RuntimeError:
    pass
from pipeline.classical._otsu import otsu_thresholds
print(otsu_thresholds(np.bincount([0, 1, 9, 10], minlength=256), 2))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (run.stdout, run.returncode) == ("[1]\n", 0), run.stderr


def lowest_passes(relief, markers):
    """(markers, H, W): how high water from each marker must rise to reach a pixel, by relaxation."""
    here = np.arange(1, markers.max() + 1)[:, None, None] == markers
    heights = np.where(here, relief, 255)
    while True:
        padded = np.pad(heights, ((0, 0), (1, 1), (1, 1)), constant_values=255)
        sides = [padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]]
        risen = np.minimum(heights, np.maximum(relief, np.minimum.reduce(sides)))
        if (risen == heights).all():
            return heights
        heights = risen


@pytest.mark.parametrize("seed", [0, 1])
def test_flooded_reaches_each_pixel_over_the_lowest_pass(seed):
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.random((50, 50), np.float32), (0, 0), 2)
    relief = cv2.normalize(noise, None, 0, 250, cv2.NORM_MINMAX).astype(np.uint8)
    markers = np.zeros((50, 50), np.int32)
    markers[tuple(rng.integers(0, 50, (2, 12)))] = np.arange(1, 13)
    found = flooded(relief, markers)
    assert (found[markers > 0] == markers[markers > 0]).all() and found.min() > 0
    passes = lowest_passes(relief.astype(int), markers)
    chosen = np.take_along_axis(passes, found[None] - 1, axis=0)[0]
    assert (chosen == passes.min(axis=0)).all()
    reference = watershed(relief, markers)
    assert (found == reference).mean() > 0.95  # where two markers are equally near, the two part


@pytest.mark.parametrize("seed", [0, 1])
def test_flooded_is_scikit_images_watershed(seed):
    rng = np.random.default_rng(seed)
    relief = rng.permutation(256).astype(np.uint8).reshape(8, 32)  # no two are level
    markers = np.zeros(relief.shape, np.int32)
    markers[tuple(rng.integers(0, 8, (2, 6)))] = np.arange(1, 7)
    dams = (rng.random(relief.shape) < 0.2) & (markers == 0)
    assert np.array_equal(flooded(relief, markers), watershed(relief, markers))
    assert np.array_equal(flooded(relief, markers, dams=dams), watershed(relief, markers, mask=~dams))
    assert not flooded(relief, np.zeros_like(markers)).any()


def test_grown_takes_the_most_alike_next():
    image = picture([[0, 30, 35, 100, 90, 90]])
    assert grown(image, np.array([[1, 0, 0, 0, 0, 2]], np.int32)).tolist() == [[1, 1, 1, 2, 2, 2]]
    assert grown(image[:, :1], np.array([[7]], np.int32)).tolist() == [[7]]
