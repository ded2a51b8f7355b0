"""Segments over a picture: colours by hand, and where the lines run."""

import numpy as np
import pytest

from pipeline.overlay import draw, lines, segment_colours

LEFT_RIGHT = np.repeat([[0, 0, 0, 1, 1, 1]], 4, axis=0)


def test_half_colour_and_a_white_line_where_parts_meet():
    image = np.full((4, 6, 3), 100, np.uint8)
    drawn = draw(image, LEFT_RIGHT, LEFT_RIGHT, colours=np.array([[200, 0, 100], [0, 50, 100]], np.uint8))
    assert drawn[0].tolist() == [[150, 50, 100]] * 2 + [[255] * 3] + [[50, 75, 100]] * 3
    assert (image == 100).all()


def test_what_is_clear_shows_the_picture_and_lines_go_around_parts():
    image = np.full((4, 6, 3), 100, np.uint8)
    parts = np.repeat([[0, 0, 0, 0, 0, 1]], 4, axis=0)
    drawn = draw(image, LEFT_RIGHT, parts, colours=np.zeros((2, 3), np.uint8), clear=1)
    assert drawn[0, :, 0].tolist() == [50, 50, 50, 100, 255, 100]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_one_segment_has_no_line(shape):
    assert not lines(np.zeros(shape, np.int32), thickness=1).any()


def test_lines_have_their_thickness_and_leave_specks_alone():
    halves = np.zeros((100, 100), np.int32)
    halves[:, 50:] = 1
    assert lines(halves, thickness=1).sum() == 100 and lines(halves, thickness=3).sum() == 300
    specks = halves.copy()
    specks[10::20, 5::20] = 2  # of 1 px, below 2e-4 of 10,000
    assert np.array_equal(lines(specks, thickness=1), lines(halves, thickness=1))
    specks[40:42, 20:22] = 2  # of 4 px: two pixels left of it, two above it, and three of its own
    assert lines(specks, thickness=1).sum() == 107


def test_colours_of_segments_differ_and_do_not_depend_on_their_number():
    colours = segment_colours(300)
    assert colours.shape == (300, 3) and colours.dtype == np.uint8
    assert len(np.unique(colours, axis=0)) == 300
    for count in (1, 5, 12, 13):
        assert np.array_equal(segment_colours(count), colours[:count])
    step = np.abs(np.diff(colours.astype(int), axis=0)).sum(axis=1)
    assert step.min() > 60  # neighbours in number are easy to tell apart
