"""Each method that cuts a picture into regions: by hand on small pictures, and beside the library that knows it."""

import cv2
import numpy as np
import pytest
from skimage.segmentation import random_walker, slic

from pipeline.classical import METHODS
from pipeline.classical._method import lab
from pipeline.classical._seeds import flat_places, pixels_of
from pipeline.classical.flood_fill import FloodFill
from pipeline.classical.random_walker import RandomWalker, walked
from pipeline.classical.region_growing import RegionGrowing
from pipeline.classical.slic_merge import SlicMerge
from pipeline.classical.split_merge import SplitMerge
from pipeline.classical.watershed import Watershed
from pipeline.structures import LabelSpace, Prompt
from pipeline.table import look_up

SPACE = LabelSpace(("zero", "one", "two"), ((0, 0, 0), (9, 9, 9), (255, 255, 255)), (False, False, False))
REGIONS = ("edge_regions", "felzenszwalb", "random_walker", "region_growing", "slic_merge", "split_merge", "watershed")
SMALL_PICTURES = {"edge_regions": {"sigma": 0}, "slic_merge": {"superpixels": 60}}


def rgb(greys):
    return np.repeat(np.asarray(greys, np.uint8)[..., None], 3, axis=2)


def bands(*greys, width=20, height=40):
    return rgb(np.repeat(np.array([greys]), height, axis=0).repeat(width, axis=1))


def build(name, **options):
    return look_up(METHODS, name, kind="classical method")(SPACE, **options)


def points(*pairs):
    return Prompt(points=np.array(pairs, np.float32))


@pytest.mark.parametrize("name", REGIONS)
def test_a_plain_picture_is_one_region_and_two_halves_are_two(name):
    method = build(name, **SMALL_PICTURES.get(name, {}))
    assert len(np.unique(method.segments(bands(120)))) == 1
    found = method.segments(bands(40, 200))
    assert found.dtype == np.int32 and found.min() >= 0 and len(np.unique(found)) == 2
    assert (found == (found[0, 0], found[0, -1])[0]).mean() == pytest.approx(0.5, abs=0.06)
    assert (found[:, :18] == found[0, 0]).all() and (found[:, 22:] == found[0, -1]).all()


@pytest.mark.parametrize("name", REGIONS)
def test_noise_and_odd_sizes_give_whole_maps(name):
    for shape in ((1, 1), (1, 9), (7, 3), (33, 50)):
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
        found = build(name).segments(image)
        assert found.shape == shape and found.dtype == np.int32 and found.min() >= 0


def touching_discs(*, dark=False):
    greys = np.full((60, 90), 30, np.uint8)
    for centre in (27, 60):
        cv2.circle(greys, (centre, 30), 18, 220, -1)
    return rgb(255 - greys if dark else greys)


@pytest.mark.parametrize("dark", [False, True])
def test_watershed_on_distance_parts_touching_discs(dark):
    found = Watershed(SPACE, on="distance", bright=not dark, sigma=1).segments(touching_discs(dark=dark))
    outside, left, right = found[2, 2], found[30, 20], found[30, 68]
    assert len({outside, left, right}) == 3 == len(np.unique(found))
    assert (found[30, 10:43] == left).all() and (found[30, 45:78] == right).all() and found[57, 44] == outside


def test_watershed_keeps_a_small_thing_in_the_shade_of_a_large_one():
    greys = np.zeros((40, 60), np.uint8)
    greys[5:35, 5:35] = 200
    greys[19:21, 37:39] = 200  # without a peak within 15 px that is higher than the large one's
    found = Watershed(SPACE, on="distance", spacing=15, sigma=0).segments(rgb(greys))
    assert len(np.unique(found)) == 3 and (found[19:21, 37:39] == found[19, 37]).all()
    assert found[19, 37] not in (found[20, 20], found[0, 0])


def test_watershed_spacing_and_sigma_thin_the_markers():
    noise = rgb(np.random.default_rng(0).integers(0, 256, (60, 60)))
    count = {
        options: len(np.unique(Watershed(SPACE, spacing=options[0], sigma=options[1]).segments(noise)))
        for options in ((2, 1.0), (6, 1.0), (2, 4.0))
    }
    assert count[6, 1.0] < count[2, 1.0] / 2 and count[2, 4.0] < count[2, 1.0] / 2


def test_flat_places_are_the_flattest_of_each_cell_in_order():
    ramp = np.zeros((8, 16), np.uint8)
    ramp[:, :8] = np.arange(8) * 9
    ramp[2, 13] = 255
    # the left cell rises everywhere, less at its mirrored first column than elsewhere; the right one is level away from its dot
    places = flat_places(rgb(ramp), 8, sigma=0)
    assert places.tolist() == [[0, 9], [0, 0]]
    assert flat_places(rgb(np.zeros((9, 17))), 8, sigma=0).tolist() == [[0, 0], [0, 8], [0, 16], [8, 0], [8, 8], [8, 16]]


def test_points_grow_within_their_tolerance_and_the_rest_is_the_last_region():
    image = bands(50, 100, 110, 220)
    method = RegionGrowing(SPACE, point_tolerance=2.0, sigma=0)
    assert method.segments(image, points((25, 3), (75.9, 39.9)))[0, ::20].tolist() == [2, 0, 2, 1]
    wide = RegionGrowing(SPACE, point_tolerance=5.0, sigma=0)  # 100 and 110 differ by 4 in L
    assert wide.segments(image, points((25, 3)))[0, ::20].tolist() == [1, 0, 0, 1]
    # both points reach both bands: each pixel goes to the seed of its colour, and of equal ones to the first
    assert wide.segments(image, points((45, 3), (25, 3), (30, 3)))[0, ::20].tolist() == [3, 1, 0, 3]


def test_region_growing_follows_tolerance_and_spacing():
    image = bands(50, 80, 110, 140, height=20)  # about 12 in L apart
    for tolerance, expected in ((4.0, 4), (20.0, 2), (60.0, 1)):
        assert len(np.unique(RegionGrowing(SPACE, tolerance=tolerance, sigma=0).segments(image))) == expected
    coarse = RegionGrowing(SPACE, spacing=40, sigma=0).segments(image)  # two cells, two seeds; the other bands join them
    assert len(np.unique(coarse)) == 2


def test_split_by_hand():
    image = np.zeros((4, 4, 3), np.uint8)
    image[0, 0] = 255
    method = SplitMerge(SPACE, largest=4, smallest=1, min_size=1)
    assert method.squares(lab(image)).tolist() == [[0, 1, 2, 2], [4, 5, 2, 2], [8, 8, 10, 10], [8, 8, 10, 10]]
    assert SplitMerge(SPACE, largest=4, smallest=2).squares(lab(image)).tolist() == [[0, 0, 2, 2]] * 2 + [[8, 8, 10, 10]] * 2
    # the variance of the whole is 100^2 (1/16 - 1/256)
    assert (SplitMerge(SPACE, largest=4, deviation=24.3).squares(lab(image)) == 0).all()
    assert (SplitMerge(SPACE, largest=4, deviation=24.1).squares(lab(image)) > 0).any()


def test_merge_joins_what_the_squares_cut():
    image = np.zeros((5, 7, 3), np.uint8)
    image[0, 0] = 255
    one_apart = (np.arange(35).reshape(5, 7) == 0).astype(int)
    alone = SplitMerge(SPACE, largest=4, smallest=1, min_size=1).segments(image)
    assert len(np.unique(alone)) == 2 and np.array_equal(alone == alone[0, 0], one_apart == 1)
    assert len(np.unique(SplitMerge(SPACE, largest=4, smallest=1, min_size=2).segments(image))) == 1
    assert len(np.unique(SplitMerge(SPACE, largest=4, smallest=1, min_size=1, merge=101.0).segments(image))) == 1


def test_superpixels_are_those_of_scikit_image():
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), (64, 48), interpolation=cv2.INTER_NEAREST)
    image[0, 0], image[-1, -1] = 0, 255  # scikit-image stretches the colours to this
    expected = slic(image, n_segments=40, compactness=20, max_num_iter=5, start_label=0)
    found = SlicMerge(SPACE, superpixels=40).cut(lab(image))
    assert (found == expected).mean() > 0.99 and found.max() > 20


def test_superpixels_merge_by_colour():
    image = bands(40, 50, 200)  # 40 and 50 differ by 4.4 in L
    count = {merge: len(np.unique(SlicMerge(SPACE, superpixels=30, merge=merge).segments(image))) for merge in (3.0, 9.0)}
    assert count == {3.0: 3, 9.0: 2}
    ramp = rgb(np.arange(3600).reshape(60, 60) % 256)
    few = SlicMerge(SPACE, superpixels=9, merge=0.0, compactness=80.0, iterations=1).segments(ramp)
    assert 4 <= len(np.unique(few)) <= 16


@pytest.mark.parametrize("name", ["felzenszwalb", "random_walker", "slic_merge"])
def test_large_pictures_are_cut_up_at_their_stated_size(name):
    image = bands(40, 200, width=30, height=61)
    found = build(name, max_side=20, **SMALL_PICTURES.get(name, {})).segments(image)
    assert found.shape == (61, 60) and len(np.unique(found)) == 2
    assert (found == found[0]).all()  # three rows of the picture are one of the small one, and all rows are alike


def test_felzenszwalb_scale_and_size_make_regions_larger():
    image = rgb(cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (60, 60)).astype(np.uint8), (0, 0), 2) * 3)
    count = [
        len(np.unique(build("felzenszwalb", **options).segments(image)))
        for options in ({"scale": 10.0}, {"scale": 500.0}, {"scale": 10.0, "min_size": 400}, {"scale": 10.0, "sigma": 4.0})
    ]
    assert count[1] < count[0] and count[2] < count[0] and count[3] < count[0]


def test_random_walker_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (20, 26, 3), dtype=np.uint8)
    seeds = np.zeros((20, 26), np.int32)
    seeds[2, 3:6], seeds[15, 20], seeds[9, 12], seeds[18, 1] = 1, 2, 3, 2
    for beta in (10.0, 130.0):
        expected = random_walker(image / 255, seeds, beta=beta, mode="bf", channel_axis=-1)
        assert np.array_equal(walked(image, seeds, beta), expected)


def test_walks_end_at_the_nearer_seed_on_level_ground():
    image = np.full((3, 9, 3), 70, np.uint8)
    seeds = np.zeros((3, 9), np.int32)
    seeds[:, 0], seeds[:, 8] = 5, 2
    assert walked(image, seeds, 130.0).tolist() == [[5] * 4 + [2] * 5] * 3  # in the middle both are as probable: the lower one
    assert (walked(image, np.where(seeds == 5, 5, 0).astype(np.int32), 130.0) == 5).all()
    full = np.repeat([[4, 4, 9]], 2, axis=0).astype(np.int32)
    assert np.array_equal(walked(image[:2, :3], full, 130.0), full)


def test_scribbles_name_the_classes_themselves():
    image = bands(40, 120, 200)
    scribbles = np.full(image.shape[:2], SPACE.void, np.uint8)
    scribbles[5:9, 4], scribbles[30, 50:55] = 2, 0
    method = RandomWalker(SPACE, max_side=30)
    predicted = method.segment(image, Prompt(scribbles=scribbles))
    assert predicted.labels.dtype == np.uint8 and set(np.unique(predicted.labels)) == {0, 2}
    assert (predicted.labels[:, :18] == 2).all() and (predicted.labels[:, 42:] == 0).all()
    assert predicted.regions.tolist() == (predicted.labels // 2).tolist()
    scribbles[:] = SPACE.void
    scribbles[0, 0] = 1
    assert (method.segment(image, Prompt(scribbles=scribbles)).labels == 1).all()


def test_points_are_seeds_of_the_walk():
    found = RandomWalker(SPACE).segments(bands(40, 120, 200), points((5, 5), (50, 20), (51, 20)))
    assert (found[:, :18] == 0).all() and (found[20, 42:51] == 1).all() and found[20, 51] == 2
    together = RandomWalker(SPACE, max_side=6).segments(bands(40, 120, 200), points((5, 5), (50, 20), (51, 20)))
    assert set(np.unique(together)) == {0, 1}  # of two in one pixel of the reduced picture the first counts


def test_walker_seeds_follow_their_options():
    image = bands(40, 60, 200, height=30)
    assert len(np.unique(RandomWalker(SPACE).segments(image))) == 3
    assert len(np.unique(RandomWalker(SPACE, tolerance=30.0).segments(image))) == 2
    assert len(np.unique(RandomWalker(SPACE, spacing=60).segments(image))) == 1
    assert len(np.unique(RandomWalker(SPACE, seed_size=10_000).segments(image))) == 1  # the largest is kept


def test_flood_fill_by_hand():
    image = rgb([[50, 50, 90, 50], [50, 52, 90, 50], [90, 90, 90, 50]])
    exact = {"sigma": 0.0, "space": "rgb"}
    assert FloodFill(SPACE, tolerance=1.0, **exact).segments(image, points((0.5, 0.5))).tolist() == [
        [1, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    assert FloodFill(SPACE, tolerance=2.0, **exact).segments(image, points((0, 0), (3, 0)))[1].tolist() == [1, 1, 0, 0]
    middle = FloodFill(SPACE, tolerance=2.0, **exact).segments(image)
    assert middle.tolist() == [[0, 0, 1, 0], [0, 0, 1, 0], [1, 1, 1, 0]]
    assert FloodFill(SPACE, tolerance=40.0, **exact).segments(image).all()


def test_flood_fill_from_the_neighbour_follows_a_slow_change():
    ramp = rgb([np.arange(0, 200, 10)])
    options = {"tolerance": 15.0, "space": "rgb", "sigma": 0.0}
    assert FloodFill(SPACE, fixed=True, **options).segments(ramp, points((0, 0))).sum() == 2
    assert FloodFill(SPACE, fixed=False, **options).segments(ramp, points((0, 0))).all()
    lab_steps = {"tolerance": 5.0, "space": "lab", "sigma": 0.0}  # 100 and 110 differ by 4 in L, 100 and 120 by 8
    assert FloodFill(SPACE, **lab_steps).segments(rgb([[100, 110, 120]]), points((0, 0))).tolist() == [[1, 1, 0]]


def test_points_are_rows_and_columns_inside_the_picture():
    assert pixels_of(np.array([[3.9, 0.2]], np.float32), 2, 4, where="here").tolist() == [[0, 3]]
    for wrong in ([[4, 0]], [[0, 2]], [[-0.1, 0]]):
        with pytest.raises(ValueError, match=r"here: the point x=.* lies outside the picture, 4 x 2 px"):
            pixels_of(np.array(wrong, np.float32), 2, 4, where="here")
    with pytest.raises(ValueError, match=r"points are \(0, 2\), wanted \(N, 2\)"):
        pixels_of(np.zeros((0, 2)), 2, 4, where="here")


@pytest.mark.parametrize(
    ("scribbles", "message"),
    [
        (np.full((40, 60), 255, np.uint8), "nothing is drawn in the scribbles"),
        (np.full((4, 6), 0, np.uint8), r"scribbles are \(4, 6\), wanted the picture's \(40, 60\)"),
        (np.full((40, 60), 3, np.uint8), r"scribbles: label 3 at pixel x=0, y=0 is outside 0..2"),
    ],
)
def test_wrong_scribbles_are_told(scribbles, message):
    with pytest.raises(ValueError, match=message):
        RandomWalker(SPACE).segment(bands(40, 120, 200), Prompt(scribbles=scribbles))


def test_a_walk_starts_from_points_or_from_scribbles():
    scribbles = np.full((40, 60), SPACE.void, np.uint8)
    scribbles[3, 3] = 1
    with pytest.raises(ValueError, match="random_walker: the prompt has points and scribbles; give one of them alone"):
        RandomWalker(SPACE).segments(bands(40, 120, 200), Prompt(points=np.array([[5, 5]]), scribbles=scribbles))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("edge_regions", {"gap": 10**6}, "gap 1000000, min_size 20; give 0 to 100 px"),
        ("felzenszwalb", {"scale": 0.0}, "scale 0.0, sigma 0.8, min_size 50, max_side 1024"),
        ("felzenszwalb", {"max_side": 0}, "max_side 0; give > 0"),
        ("flood_fill", {"space": "hsv"}, "space is 'hsv'; choose lab, rgb"),
        ("flood_fill", {"tolerance": -1.0}, "tolerance -1.0, sigma 1.0; give 0 or more"),
        ("random_walker", {"beta": -1.0}, "beta -1.0"),
        ("random_walker", {"seed_size": 0}, "seed_size 0; give 0 or more"),
        ("region_growing", {"tolerance": -1.0}, "tolerance -1.0, point_tolerance 10.0; give 0 or more"),
        ("region_growing", {"spacing": 0}, "spacing 0, sigma 1.0; give 1 to 1000 px"),
        ("slic_merge", {"superpixels": 0}, "superpixels 0"),
        ("slic_merge", {"compactness": 0.0}, "compactness 0.0"),
        ("split_merge", {"merge": -1.0}, "merge -1.0"),
        ("split_merge", {"largest": 1 << 30}, "largest 1073741824; give powers of two, the first no larger, to 4096"),
        ("split_merge", {"largest": 48}, "smallest 2, largest 48; give powers of two"),
        ("split_merge", {"smallest": 128}, "smallest 128, largest 64; give powers of two, the first no larger"),
        ("watershed", {"on": "colour"}, "on is 'colour'; choose distance, gradient"),
        ("watershed", {"spacing": 0}, "spacing 0, sigma 2.0; give 1 to 1000 px"),
    ],
)
def test_wrong_options_are_told(name, options, message):
    with pytest.raises(ValueError, match=message):
        build(name, **options)
