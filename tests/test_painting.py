"""Overlapping objects as a panoptic map, by hand."""

import numpy as np

from pipeline.painting import fused, painted, panoptic_form
from pipeline.structures import InstanceSet, LabelSpace, SemanticMap


def masks(*rows):
    return np.array(rows, bool)[:, None]


def test_the_higher_score_has_the_pixels_and_an_equal_one_that_comes_first():
    found = painted(InstanceSet.build(masks([1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 1]), [2, 1, 2], [0.6, 0.9, 0.9]))
    assert found.segments.tolist() == [[2, 1, 1, 1]]  # of the third nothing is free, of the first half
    assert [(one.id, one.category, round(one.score, 1)) for one in found.info] == [(1, 1, 0.9), (2, 2, 0.6)]


def test_thresholds():
    objects = InstanceSet.build(masks([1, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]), [0, 0, 0], [0.9, 0.5, 1.0])
    assert painted(objects).segments.tolist() == [[1, 1, 1, 0]]
    assert painted(objects, overlap_threshold=0.25).segments.tolist() == [[1, 1, 1, 2]]
    assert painted(objects, overlap_threshold=0.25, score_threshold=0.6).segments.tolist() == [[1, 1, 1, 0]]
    assert painted(objects, score_threshold=1.0).info == ()  # the empty one alone is left


def test_stuff_fills_what_the_things_leave_and_labels_of_things_are_passed_over():
    space = LabelSpace(("ground", "disc", "sky"), ((0, 0, 0),) * 3, (False, True, False))
    things = InstanceSet.build(masks([0, 1, 0, 0, 0, 0]), [1], [0.8])
    labels = np.array([[2, 2, 2, 0, 1, 255]], np.uint8)
    found = fused(things, labels, label_space=space, stuff_area_px=1)
    assert found.segments.tolist() == [[3, 1, 3, 2, 0, 0]] and found.objects is things
    assert [(one.category, round(one.score, 1)) for one in found.info] == [(1, 0.8), (0, 1.0), (2, 1.0)]
    assert fused(things, labels, label_space=space, stuff_area_px=2).segments.tolist() == [[2, 1, 2, 0, 0, 0]]
    for width, kept in ((150, {0, 2}), (225, {0})):  # of sky there are 2 px, and the limit is 1/75 of the picture
        wide = np.array([[2] * 2 + [0] * (width - 2)], np.uint8)
        assert {one.category for one in fused(InstanceSet.empty(1, width), wide, label_space=space).info} == kept


def test_every_kind_has_its_panoptic_form():
    labels = np.array([[0, 1]], np.uint8)
    whole = painted(InstanceSet.build(masks([1, 0]), [1]))
    assert panoptic_form(whole) is whole
    assert panoptic_form(SemanticMap(labels)) is None
    assert panoptic_form(SemanticMap(labels, divided=whole)) is whole
    assert panoptic_form(InstanceSet.empty(1, 2)).segments.tolist() == [[0, 0]]
