"""Other sizes: one rule for arrays and inference."""

import numpy as np
import pytest

from pipeline.resizing import resize_image, scaled_size


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [((360, 480), 192, (192, 256)), ((480, 360), 192, (256, 192)), ((5, 7), 10, (10, 14)), ((5, 7), None, (5, 7))],
)
def test_the_shorter_side_gets_the_asked_size(size, short_side, expected):
    assert scaled_size(*size, short_side) == expected


def test_an_image_keeps_its_mean_and_its_bytes_at_its_own_size():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(resize_image(image, 4, 6), image)
    assert resize_image(image, 2, 3)[0, 0].tolist() == [11, 12, 13]  # the mean of 0, 3, 18 and 21, rounded
    assert resize_image(image, 8, 12).shape == (8, 12, 3)
