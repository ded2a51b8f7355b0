"""Joining a semantic and an instance prediction, by hand."""

import numpy as np
import pytest

from pipeline.postprocess.panoptic_fusion import panoptic_fusion
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, SemanticMap

SPACE = LabelSpace(("ground", "sky", "disc"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)), (False, False, True))
STUFF = SemanticMap(np.array([[1, 1, 1, 1], [0, 0, 2, 2]], np.uint8))


def fuse(masks, scores, **options):
    return panoptic_fusion(
        STUFF, InstanceSet.build(masks, [2] * len(masks), scores), label_space=SPACE, **({"stuff_area_px": 0} | options)
    )


def test_the_higher_score_wins_and_stuff_fills_the_rest():
    masks = np.array([[[0, 1, 1, 0], [0, 0, 0, 0]], [[0, 0, 1, 0], [0, 0, 1, 0]]], bool)
    fused = fuse(masks, [0.6, 0.9])
    # the better one first; of the other half is still free: kept. Semantic "disc" without an instance is nothing
    assert fused.segments.tolist() == [[4, 2, 1, 4], [3, 3, 1, 0]]
    assert [(segment.category, round(segment.score, 1)) for segment in fused.info] == [(2, 0.9), (2, 0.6), (0, 1.0), (1, 1.0)]


def test_overlap_score_and_area_thresholds():
    masks = np.array([[[1, 1, 1, 0], [0, 0, 0, 0]], [[1, 1, 1, 1], [0, 0, 0, 0]]], bool)
    assert len(fuse(masks, [0.9, 0.8]).instances(SPACE)) == 1  # a quarter of the second is free
    assert len(fuse(masks, [0.9, 0.8], overlap_threshold=0.25).instances(SPACE)) == 2
    assert len(fuse(masks, [0.4, 0.4]).instances(SPACE)) == 0
    assert {segment.category for segment in fuse(masks[:0], [], stuff_area_px=3).info} == {1}


def test_a_panoptic_map_may_give_the_instances():
    things = PanopticMap.from_labels(STUFF.labels, SPACE)
    fused = panoptic_fusion(STUFF, things, label_space=SPACE, stuff_area_px=0)
    assert np.array_equal(fused.semantic(SPACE), STUFF.labels)


def test_all_instances_go_with_the_map():
    masks = np.array([[[0, 1, 1, 0], [0, 0, 0, 0]], [[0, 0, 1, 0], [0, 0, 1, 0]]], bool)
    first = fuse(masks, [0.6, 0.3])
    assert first.objects.scores.tolist() == pytest.approx([0.6, 0.3]) and len(first.instances(SPACE)) == 1
    # another threshold finds the unsure one again
    again = panoptic_fusion(STUFF, first, label_space=SPACE, stuff_area_px=0, score_threshold=0.2)
    assert len(again.instances(SPACE)) == 2


def test_no_instances_and_other_sizes_are_refused():
    with pytest.raises(ValueError, match="SemanticMap holds no instances"):
        panoptic_fusion(STUFF, STUFF, label_space=SPACE)
    with pytest.raises(ValueError, match=r"is \(2, 4\) and the instances \(1, 1\)"):
        panoptic_fusion(STUFF, InstanceSet.empty(1, 1), label_space=SPACE)
