"""Mean-shift regions: their parts by hand, and the whole on pictures made for it."""

import numpy as np
import pytest

from pipeline.classical.mean_shift import MeanShift, even_regions, without_small
from pipeline.structures import LabelSpace

SPACE = LabelSpace(("one", "two"), ((0, 0, 0), (255, 255, 255)), (False, False))


def colours(grey):
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)


def test_even_regions_hang_together_by_sides():
    found = even_regions(colours([[7, 7, 2], [2, 7, 2], [7, 2, 2]]))
    assert found.tolist() == [[0, 0, 1], [2, 0, 1], [3, 1, 1]]


def test_one_channel_is_enough_to_differ():
    image = colours([[7, 7, 7]])
    image[0, 2, 1] = 8
    assert even_regions(image).tolist() == [[0, 0, 1]]


def small(grey, min_size):
    return without_small(colours(grey), even_regions(colours(grey)), min_size).tolist()


def test_small_regions_join_the_neighbour_nearest_in_colour():
    assert small([[9, 9, 7, 1, 1]], 2) == [[0, 0, 0, 1, 1]]
    assert small([[9, 9, 3, 1, 1]], 2) == [[0, 0, 1, 1, 1]]
    assert small([[9, 9, 5, 1, 1]], 2) == [[0, 0, 0, 1, 1]]  # as near to both: the first
    assert small([[9, 9, 5, 1, 1]], 1) == [[0, 0, 1, 2, 2]]


def test_small_regions_join_again_until_none_is_left():
    # 10 and 12 join each other, being nearest; the two pixels of mean 11 are still few and go to 30, not to 60
    assert small([[30, 30, 30, 10, 12, 60, 60, 60]], 3) == [[0, 0, 0, 0, 0, 1, 1, 1]]
    assert small([[1, 2], [3, 4]], 9) == [[0, 0], [0, 0]]  # all together are few: one region


def picture(height, width):
    """A dark and a light half, red and green tones in them, with noise."""
    image = np.full((height, width, 3), (70, 40, 40), np.uint8)
    image[:, width // 2 :] = (160, 200, 160)
    noise = np.random.default_rng(0).integers(-5, 6, (height, width, 3))
    return (image + noise).astype(np.uint8)


def halves(found):
    """Whether no region reaches from one half into the other."""
    half = found.shape[1] // 2
    return not set(np.unique(found[:, :half])) & set(np.unique(found[:, half:]))


def test_noise_vanishes_and_the_border_stays():
    found = MeanShift(SPACE, min_size=500).segments(picture(60, 80))
    assert found.dtype == np.int32 and len(np.unique(found)) == 2 and halves(found)


def count(**options):
    return len(np.unique(MeanShift(SPACE, min_size=1, **options).segments(picture(60, 80))))


def test_wider_radii_smooth_more():
    assert count(colour_radius=1.0) > 5 * count(colour_radius=10.0)
    assert count(spatial_radius_px=1.0) > 2 * count(spatial_radius_px=8.0)


def test_large_pictures_are_worked_on_reduced():
    found = MeanShift(SPACE, max_side=40, min_size=50).segments(picture(60, 80))
    assert found.shape == (60, 80) and halves(found)
    assert np.array_equal(found, found[::2, ::2].repeat(2, axis=0).repeat(2, axis=1))  # each pixel of the half size fills four


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 7), (2000, 1)])
def test_tiny_and_thin_pictures(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert MeanShift(SPACE).segments(image).shape == shape
    assert not MeanShift(SPACE).segments(np.full((*shape, 3), 200, np.uint8)).any()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"spatial_radius_px": 0.5}, "spatial_radius_px is 0.5 and colour_radius 8.0; give 1..100"),
        ({"colour_radius": 0.0}, "spatial_radius_px is 8.0 and colour_radius 0.0; give 1..100, and above 0"),
        ({"min_size": 0}, "min_size is 0 and max_side 512; give at least 1"),
        ({"max_side": 7}, "min_size is 100 and max_side 7; give at least 1 and 8"),
        ({"kinds": 0}, "kinds is 0"),
    ],
)
def test_mean_shift_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        MeanShift(SPACE, **options)
