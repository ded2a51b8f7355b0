"""The structures refuse wrong arrays, and the three predictions agree where they say the same."""

import numpy as np
import pytest

from pipeline.resizing import resize_labels
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Sample, Segment, SemanticMap, Target

SPACE = LabelSpace(("ground", "disc", "box"), ((1, 2, 3), (4, 5, 6), (7, 8, 9)), (False, True, True))
LABELS = np.array([[0, 0, 1], [2, 255, 1]], np.uint8)


def test_void_follows_the_number_of_classes():
    assert (SPACE.void, SPACE.dtype) == (255, np.uint8)
    many = LabelSpace(tuple(map(str, range(255))), ((0, 0, 0),) * 255, (False,) * 255)
    assert (many.void, many.dtype) == (65535, np.uint16)


def test_label_space_round_trip_and_faults():
    assert LabelSpace.from_json(SPACE.to_json()) == SPACE
    with pytest.raises(ValueError, match="2 names, 1 colours and 1 thing flags"):
        LabelSpace(("a", "b"), ((0, 0, 0),), (False,))
    with pytest.raises(ValueError, match="a stands there twice"):
        LabelSpace(("a", "a"), ((0, 0, 0),) * 2, (False,) * 2)
    with pytest.raises(ValueError, match="no class"):
        LabelSpace((), (), ())


def test_a_label_outside_the_classes_is_named_with_its_pixel():
    with pytest.raises(ValueError, match=r"one\.png: label 3 at pixel x=1, y=0 is outside 0\.\.2"):
        SPACE.check(np.array([[0, 3]], np.uint8), where="one.png")
    SPACE.check(LABELS, where="good")


def test_paint_gives_each_class_its_colour_and_void_black():
    assert SPACE.paint(LABELS)[1].tolist() == [[7, 8, 9], [0, 0, 0], [4, 5, 6]]


def test_panoptic_from_labels_gives_the_labels_back():
    panoptic = PanopticMap.from_labels(LABELS, SPACE)
    assert np.array_equal(panoptic.semantic(SPACE), LABELS)
    assert {segment.category for segment in panoptic.info} == {0, 1, 2}


def test_the_things_of_a_panoptic_map():
    segments = np.array([[1, 1, 7], [9, 0, 7]], np.int32)
    panoptic = PanopticMap(segments, (Segment(1, 0), Segment(7, 1), Segment(9, 1, iscrowd=True)))
    things = panoptic.instances(SPACE)
    assert things.masks.tolist() == [[[0, 0, 1], [0, 0, 1]], [[0, 0, 0], [1, 0, 0]]]
    assert things.classes.tolist() == [1, 1] and things.iscrowd.tolist() == [False, True]
    assert len(PanopticMap(np.ones((2, 2), np.int32), (Segment(1, 0),)).instances(SPACE)) == 0


def test_instances_paint_in_score_order():
    masks = np.array([[[1, 1, 0]], [[0, 1, 0]]], bool)
    assert InstanceSet.build(masks, [1, 2], [0.9, 0.5]).semantic(SPACE).tolist() == [[1, 1, 0]]
    assert InstanceSet.build(masks, [1, 2], [0.5, 0.9]).semantic(SPACE).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize(
    ("isthing", "uncovered"),
    [((False, True, True), 0), ((True, True, False), 2), ((False, True, False), 255), ((True,) * 3, 255)],
)
def test_where_no_object_is_there_is_the_only_class_of_stuff(isthing, uncovered):
    space = LabelSpace(SPACE.names, SPACE.colours, isthing)
    assert InstanceSet.build([[[1, 0, 0]]], [1]).semantic(space).tolist() == [[1, uncovered, uncovered]]
    assert (InstanceSet.empty(2, 3).semantic(space) == uncovered).all()


def test_an_object_more_likely_wrong_than_right_is_not_painted():
    masks = np.array([[[1, 1, 0]], [[0, 1, 1]], [[0, 0, 1]]], bool)
    assert InstanceSet.build(masks, [1, 2, 1], [0.5, 0.49, 0.05]).semantic(SPACE).tolist() == [[1, 1, 0]]


def test_the_objects_of_a_panoptic_map_go_with_it():
    objects = InstanceSet.build([[[1, 0], [0, 1]]], [1], [0.3])
    panoptic = PanopticMap(np.array([[1, 1], [0, 0]], np.int32), (Segment(1, 0),), objects)
    assert panoptic.cropped(2, 1).objects.masks.tolist() == [[[1], [0]]]
    assert panoptic.resized(2, 4).objects.masks.tolist() == [[[1, 1, 0, 0], [0, 0, 1, 1]]]
    assert panoptic.resized(2, 2) is panoptic
    assert len(panoptic.instances(SPACE)) == 0  # its things are what the map shows
    bare = PanopticMap(panoptic.segments, panoptic.info)
    assert bare.cropped(1, 1).objects is bare.resized(4, 4).objects is None


@pytest.mark.parametrize(
    "prediction",
    [
        SemanticMap(np.array([[0, 256]], np.uint16)),
        InstanceSet.build(np.ones((1, 1, 1), bool), [3]),
        InstanceSet.build(np.ones((1, 1, 1), bool), [-1]),
        PanopticMap(np.ones((1, 1), np.int32), (Segment(1, 255),)),
    ],
)
def test_a_class_that_does_not_exist_is_an_error_and_never_another_class(prediction):
    with pytest.raises(ValueError, match=r"outside 0\.\.2"):
        prediction.semantic(SPACE)


def test_boxes_exclude_their_far_edge():
    masks = np.zeros((2, 5, 6), bool)
    masks[0, 1:3, 2:6] = True
    assert InstanceSet.build(masks, [1, 1]).boxes.tolist() == [[2, 1, 6, 3], [0, 0, 0, 0]]


def test_resizing_labels_samples_pixel_centres():
    labels = np.arange(6, dtype=np.uint8)[None]
    assert resize_labels(labels, 1, 2).tolist() == [[1, 4]]  # the centres of both halves
    assert resize_labels(labels, 2, 12)[1].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    ids = np.array([[1, (1 << 24) - 1]], np.int32)
    assert resize_labels(ids, 1, 4).tolist() == [[1, 1, (1 << 24) - 1, (1 << 24) - 1]]


def test_a_mask_that_grows_has_no_stairs():
    stairs = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], bool)
    grown = InstanceSet.build(stairs[None], [1]).resized(16, 16).masks[0]
    widths = grown.sum(axis=1)
    assert np.diff(widths).max() <= 3 and np.diff(widths).min() >= 0  # nearest neighbour: steps of 4
    assert np.array_equal(InstanceSet.build(grown[None], [1]).resized(4, 4).masks[0], stairs)


@pytest.mark.parametrize("scale", [2, 3])
def test_every_prediction_resizes_and_crops_alike(scale):
    height, width = 2 * scale, 3 * scale
    panoptic = PanopticMap.from_labels(LABELS, SPACE)
    bare = SemanticMap(LABELS)
    assert np.array_equal(panoptic.resized(height, width).semantic(SPACE), bare.resized(height, width).labels)
    whole = InstanceSet.build((LABELS == 1)[None], [1])
    assert np.array_equal(whole.resized(height, width).masks[0], bare.resized(height, width).labels == 1)
    assert panoptic.cropped(1, 2).info == (Segment(1, 0),)
    assert bare.cropped(1, 2).shape == whole.cropped(1, 2).shape == (1, 2)


def test_probabilities_are_resized_before_the_decision():
    probabilities = np.array([[[0.9, 0.2]], [[0.1, 0.8]]], np.float32)
    resized = SemanticMap.from_probabilities(probabilities, SPACE).resized(1, 4)
    assert resized.labels.tolist() == [[0, 0, 1, 1]]
    assert np.allclose(resized.probabilities.sum(axis=0), 1)
    assert np.allclose(resized.probabilities[0, 0], [0.9, 0.725, 0.375, 0.2])


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: SemanticMap(LABELS.astype(np.int64)), "SemanticMap: labels are"),
        (lambda: SemanticMap(LABELS, np.zeros((3, 2, 2), np.float32)), "SemanticMap: probabilities are"),
        (lambda: InstanceSet.build(np.zeros((1, 2, 2)), [1, 2]), r"classes are \(2,\), wanted \(1,\)"),
        (lambda: PanopticMap(np.ones((2, 2), np.int32)), "ids \\[1\\] stand in the map and not in its info"),
        (lambda: PanopticMap(np.zeros((2, 2), np.int64)), "wanted \\(H, W\\) int32"),
        (lambda: PanopticMap(np.zeros((2, 2), np.int32), (Segment(1 << 24, 0),)), "must differ and lie in"),
        (
            lambda: PanopticMap(np.zeros((2, 3), np.int32), objects=InstanceSet.empty(2, 2)),
            r"PanopticMap: segments are \(2, 3\) and objects \(2, 2\)",
        ),
        (lambda: Target(LABELS, InstanceSet.empty(2, 2)), "Target: labels are"),
        (
            lambda: Sample("a", None, "a", np.zeros((2, 2, 3), np.uint8), PanopticMap.from_labels(LABELS, SPACE)),
            r"a: image is \(2, 2\) and truth \(2, 3\)",
        ),
        (lambda: Sample("a", None, "a", np.zeros((2, 3), np.uint8), PanopticMap.from_labels(LABELS, SPACE)), "RGB"),
    ],
)
def test_wrong_shapes_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
