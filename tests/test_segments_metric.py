"""Scores of segments that need no classes: by hand, and beside scikit-image."""

import math

import numpy as np
import pytest
from skimage.metrics import adapted_rand_error, variation_of_information

from pipeline.metrics.segments import Segments, connected
from pipeline.report.tables import SCORES
from pipeline.structures import LabelSpace, PanopticMap, Sample, Segment, SemanticMap

STUFF = LabelSpace(("one", "two"), ((0, 0, 0), (255, 255, 255)), (False, False))
THINGS = LabelSpace(("ground", "thing"), ((0, 0, 0), (255, 255, 255)), (False, True))


def sample(segments, categories, space=THINGS):
    segments = np.asarray(segments, np.int32)
    info = tuple(Segment(number + 1, category) for number, category in enumerate(categories))
    return Sample("one", "test", "one", np.zeros((*segments.shape, 3), np.uint8), PanopticMap(segments, info))


def scores(space, *pairs):
    metric = Segments(space)
    for one, regions in pairs:
        regions = np.asarray(regions, np.int32)
        metric.update(one, SemanticMap(np.zeros(regions.shape, np.uint8), regions=regions))
    return metric.scores()


def test_the_oracle_names_each_segment_by_its_majority_in_each_image():
    # image 1: segment 0 has two of class 0 and one of class 1, segment 5 is void and one of class 1
    first = sample([[1, 1, 2], [0, 2, 0]], [0, 1], STUFF)
    # image 2: segment 0 is all class 1: its name may differ from image to image
    second = sample([[2, 2]], [0, 1], STUFF)
    second = Sample("two", "test", "two", second.image, PanopticMap(second.truth.segments, (Segment(2, 1),)))
    found = scores(STUFF, (first, [[0, 0, 0], [5, 5, 5]]), (second, [[0, 0]]))
    # class 0: truth 2, predicted 3, both 2; class 1: truth 4, predicted 3, both 3
    assert found == {"oracle_miou": pytest.approx((2 / 3 + 3 / 4) / 2)}


def test_the_oracle_takes_the_majority_even_where_another_name_would_have_a_higher_miou():
    one = sample([[1] * 8 + [1, 1, 1, 2, 2]], [0, 1], STUFF)
    regions = [[0] * 8 + [1] * 5]
    # class 0: 11 of 13, class 1: 0; were segment 1 of class 1, it would be (8 / 11 + 2 / 5) / 2
    assert scores(STUFF, (one, regions)) == {"oracle_miou": pytest.approx((11 / 13 + 0) / 2)}
    assert (11 / 13 + 0) / 2 < (8 / 11 + 2 / 5) / 2
    assert "most frequent true class" in next(one.meaning for one in SCORES if one.key == "oracle_miou")


def test_equal_partitions_are_perfect_whatever_their_numbers():
    one = sample([[1, 1, 2, 2], [1, 1, 3, 3]], [0, 1, 1])
    found = scores(THINGS, (one, [[7, 7, 0, 0], [7, 7, 4, 4]]))
    assert found == {
        "oracle_miou": 1.0,
        "variation_of_information": pytest.approx(0, abs=1e-12),
        "adapted_rand_error": pytest.approx(0, abs=1e-12),
        "boundary_recall": 1.0,
    }


def test_one_segment_for_two_equal_halves_by_hand():
    truth = np.repeat([[1] * 8 + [2] * 8], 4, axis=0)
    found = scores(THINGS, (sample(truth, [0, 1]), np.zeros((4, 16))))
    assert found["variation_of_information"] == pytest.approx(1)  # one bit says which half
    both, truth_pairs, segment_pairs = 2 * 32 * 31, 2 * 32 * 31, 64 * 63
    assert found["adapted_rand_error"] == pytest.approx(1 - 2 * both / (truth_pairs + segment_pairs))
    assert found["boundary_recall"] == 0
    assert found["oracle_miou"] == pytest.approx(0.25)  # (1/2 + 0) / 2


def test_a_border_counts_as_found_within_two_pixels():
    truth = np.repeat([[1] * 8 + [2] * 8], 4, axis=0)
    for shift, expected in ((2, 1.0), (-2, 1.0), (3, 0.0)):
        regions = np.repeat([[0] * (8 + shift) + [1] * (8 - shift)], 4, axis=0)
        assert scores(THINGS, (sample(truth, [0, 1]), regions))["boundary_recall"] == expected


def test_there_is_no_border_to_void():
    truth = np.repeat([[0] * 6 + [1] * 12 + [2] * 6], 4, axis=0)
    found = np.repeat([[0] * 18 + [1] * 6], 4, axis=0)  # the border of 1 and 2 alone
    assert scores(THINGS, (sample(truth, [0, 1]), found))["boundary_recall"] == 1
    # a border inside of void, or between it and another, finds none: here 2 px from the true one
    truth = np.repeat([[1] * 9 + [2] * 2 + [0] * 9], 4, axis=0)
    in_void = np.repeat([[0] * 11 + [1] * 9], 4, axis=0)
    assert scores(THINGS, (sample(truth, [0, 1]), in_void))["boundary_recall"] == 0


def test_an_image_without_a_true_border_has_no_boundary_recall():
    apart = sample(np.repeat([[1] * 6 + [0] * 2 + [2] * 6], 4, axis=0), [0, 1])  # void between them
    assert "boundary_recall" not in scores(THINGS, (apart, np.zeros((4, 14))))
    missed = sample(np.repeat([[1] * 7 + [2] * 7], 4, axis=0), [0, 1])
    assert scores(THINGS, (apart, np.zeros((4, 14))), (missed, np.zeros((4, 14))))["boundary_recall"] == 0


def test_two_things_of_one_kind_are_two_segments():
    truth = np.array([[2, 1, 3], [2, 1, 3]])
    found = scores(THINGS, (sample(truth, [0, 1, 1]), [[1, 0, 1], [1, 0, 1]]))
    assert found["adapted_rand_error"] == pytest.approx(0, abs=1e-12)
    assert connected(np.array([[1, 0, 1]])).tolist() == [[0, 1, 2]]


def test_as_in_scikit_image():
    rng = np.random.default_rng(0)
    pairs, expected = [], []
    for _ in range(3):
        truth = np.kron(rng.integers(0, 5, (6, 8)), np.ones((5, 5), np.int64)).astype(np.int32)
        regions = np.kron(rng.integers(0, 4, (10, 10)), np.ones((3, 4), np.int64)).astype(np.int32)
        pairs.append((sample(truth, [0, 1, 1, 1]), regions))
        given = connected(regions) + 1
        information = sum(variation_of_information(truth, given, ignore_labels=(0,)))
        expected.append((information, adapted_rand_error(truth, given, ignore_labels=(0,))[0]))
    found = scores(THINGS, *pairs)
    wanted = np.mean(expected, axis=0)
    assert found["variation_of_information"] == pytest.approx(wanted[0], abs=1e-9)
    assert found["adapted_rand_error"] == pytest.approx(wanted[1], abs=1e-9)


def test_a_method_without_segments_has_no_such_score():
    metric, one = Segments(THINGS), sample([[1]], [0])
    metric.update(one, SemanticMap(np.zeros((1, 1), np.uint8)))
    assert metric.scores() == {}


def test_nothing_labelled_is_no_score_and_no_division_by_nothing():
    assert scores(THINGS, (sample([[0, 0]], []), [[0, 1]])) == {}
    both = scores(THINGS, (sample([[0, 0]], []), [[0, 1]]), (sample([[1, 1]], [0]), [[0, 0]]))
    assert both["oracle_miou"] == 1 and not any(math.isnan(value) for value in both.values())
