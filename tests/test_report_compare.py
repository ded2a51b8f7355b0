"""Resampling, paired differences and Holm's correction on numbers worked out by hand."""

import numpy as np
import pytest

from pipeline.report.compare import bootstrap_miou, compare, holm, miou, p_value
from pipeline.report.runs import Counts


def counts_of(intersection, union, groups=None) -> Counts:
    intersection, union = np.array(intersection, np.int64), np.array(union, np.int64)
    images = tuple(f"i{number}" for number in range(union.shape[1]))
    return Counts(images, tuple(groups) if groups else images, intersection, union)


def test_miou_of_one_data_set():
    # classes: 2/4, absent, 0/5 (only predicted): the absent one is left out of the mean, the other counts as 0
    assert miou(np.array([2, 0, 0]), np.array([4, 0, 5])) == 0.25
    assert np.isnan(miou(np.array([0]), np.array([0])))


def test_resamples_are_scored_as_data_sets_not_as_means_over_images():
    # two images of one class: 9 of 10 right and 0 of 90. Drawn: both first 0.9, both second 0, one each 9/100
    scores = bootstrap_miou(np.array([[[9], [0]]]), np.array([[[10], [90]]]), resamples=4000, rng=np.random.default_rng(0))
    values, times = np.unique(scores[0].round(12), return_counts=True)
    assert values.tolist() == [0.0, 0.09, 0.9]
    assert times / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_all_methods_see_the_same_resamples():
    rng = np.random.default_rng(1)
    union = rng.integers(50, 100, (1, 20, 3)).repeat(2, axis=0)
    intersection = rng.integers(0, 50, (1, 20, 3)).repeat(2, axis=0)
    scores = bootstrap_miou(intersection, union, resamples=200, rng=np.random.default_rng(2))
    assert scores.shape == (2, 200)
    assert (scores[0] == scores[1]).all()
    assert len(np.unique(scores[0])) > 100


def test_many_units_are_drawn_in_blocks(monkeypatch):
    monkeypatch.setattr("pipeline.report.compare.DRAWS_PER_BLOCK", 30)  # three resamples of ten units at a time
    scores = bootstrap_miou(np.full((1, 10, 1), 3), np.full((1, 10, 1), 4), resamples=7, rng=np.random.default_rng(0))
    assert scores.tolist() == [[0.75] * 7]


def test_p_value_counts_the_rarer_side():
    # of 19 differences 2 are not above 0: 2 (2 + 1) / (19 + 1)
    assert p_value(np.array([-1.0, 0.0] + [1.0] * 17)) == pytest.approx(0.3)
    assert p_value(-np.ones(999)) == pytest.approx(0.002)


def test_holm_by_hand():
    # sorted 0.01 x 4 = 0.04; 0.02 x 3 = 0.06; 0.022 x 2 = 0.044, raised to 0.06; 0.9
    assert holm([0.02, 0.9, 0.01, 0.022]) == pytest.approx([0.06, 0.9, 0.04, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_method_that_is_worse_on_every_image_differs_really():
    # one class, 40 images of union 10: best 8 right everywhere, worse 7 everywhere, so every resample gives 0.8 and 0.7
    comparison = compare(counts_of([[[8]] * 40, [[7]] * 40], [[[10]] * 40] * 2), seed=0)
    best, worse = comparison.estimates
    assert (comparison.best, comparison.unit, comparison.num_units, comparison.resamples) == (0, "image", 40, 1000)
    assert (best.interval.low, best.interval.high) == pytest.approx((0.8, 0.8))
    assert best.behind is None and best.p_value is None and not best.is_real
    assert (worse.behind.low, worse.behind.high) == pytest.approx((0.1, 0.1))
    assert worse.p_value == pytest.approx(2 / 1001)  # one comparison: Holm changes nothing
    assert worse.is_real


def test_equal_methods_do_not_differ():
    intersection = np.random.default_rng(0).integers(0, 10, (1, 30, 2)).repeat(2, axis=0)
    estimates = compare(counts_of(intersection, np.full((2, 30, 2), 10)), seed=0).estimates
    assert estimates[1].p_value == 1.0
    assert not estimates[1].is_real
    assert (estimates[1].behind.low, estimates[1].behind.high) == (0.0, 0.0)


def test_a_small_lead_on_noisy_images_is_not_clear():
    rng = np.random.default_rng(5)
    noisy = rng.integers(20, 80, (2, 25, 2))
    estimate = min(compare(counts_of(noisy, np.full((2, 25, 2), 100)), seed=0).estimates, key=lambda one: one.p_value is None)
    assert estimate.behind.low < 0 < estimate.behind.high
    assert not estimate.is_real


def test_interval_covers_what_a_binomial_says():
    # 400 images of one pixel of one class, 300 right: the share's standard error is sqrt(0.75 x 0.25 / 400) = 0.02165
    intersection = np.repeat([1, 0], [300, 100]).reshape(1, 400, 1)
    interval = compare(counts_of(intersection, np.ones((1, 400, 1))), seed=0).estimates[0].interval
    assert interval.low == pytest.approx(0.75 - 1.96 * 0.02165, abs=0.006)
    assert interval.high == pytest.approx(0.75 + 1.96 * 0.02165, abs=0.006)


def test_groups_are_drawn_where_there_are_ten():
    ones = np.ones((1, 20, 1))
    assert compare(counts_of(ones, ones, [f"g{number // 2}" for number in range(20)]), seed=0).num_units == 10
    nine = compare(counts_of(ones, ones, [f"g{number % 9}" for number in range(20)]), seed=0)
    assert (nine.unit, nine.num_units) == ("image", 20)
    assert compare(counts_of(ones, ones), seed=0).unit == "image"  # every image its own group


def test_images_of_one_group_widen_the_interval():
    # 10 groups of 20 equal images: 5 wholly right, 5 wholly wrong. There are 10 things to draw, not 200
    intersection = np.repeat(np.arange(10) % 2, 20).reshape(1, 200, 1)
    grouped = [f"g{number // 20}" for number in range(200)]
    wide = compare(counts_of(intersection, np.ones((1, 200, 1)), grouped), seed=0).estimates[0].interval
    narrow = compare(counts_of(intersection, np.ones((1, 200, 1))), seed=0).estimates[0].interval
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_same_seed_same_numbers():
    counts = counts_of(np.random.default_rng(0).integers(0, 9, (3, 15, 2)), np.full((3, 15, 2), 10))
    assert compare(counts, seed=4) == compare(counts, seed=4)
    assert compare(counts, seed=4) != compare(counts, seed=5)


def test_many_methods_get_enough_resamples_for_holm():
    union = np.full((60, 12, 1), 10)
    intersection = np.full((60, 12, 1), 5)
    intersection[0] = 9
    comparison = compare(counts_of(intersection, union), seed=0)
    assert comparison.resamples == 6000
    assert all(estimate.is_real for estimate in comparison.estimates[1:])


def test_nothing_is_said_of_nothing():
    assert compare(counts_of(np.ones((2, 1, 1)), np.ones((2, 1, 1))), seed=0) is None  # one image
    assert compare(counts_of(np.zeros((0, 0, 0)), np.zeros((0, 0, 0))), seed=0) is None
    comparison = compare(counts_of(np.ones((2, 5, 1)) * [[[1]], [[0]]], np.ones((2, 5, 1)) * [[[1]], [[0]]]), seed=0)
    assert comparison.estimates[1] is None  # a method without counts
    assert comparison.estimates[0].p_value is None
