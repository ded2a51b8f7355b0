"""What a prediction, of whichever kind, holds in a box."""

import numpy as np

from pipeline.cutting import objects_in
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Segment, SemanticMap
from tests.test_annotations import mask_of

SPACE = LabelSpace(("background", "cat", "dog"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)), (False, True, True))
BOX = np.array([[1, 0, 4, 2]], np.float32)


def test_a_semantic_map_gives_the_class_of_the_box():
    labels = np.array([[1, 1, 2, 2, 0, 1], [1, 0, 2, 1, 0, 1]], np.uint8)
    [cat] = objects_in(SemanticMap(labels), BOX, ["cat"], SPACE)
    assert np.array_equal(cat, mask_of(".#....", "...#.."))
    [unknown] = objects_in(SemanticMap(labels), BOX, ["animal"], SPACE)  # the dog has 3 pixels, the cat 2
    assert np.array_equal(unknown, mask_of("..##..", "..#..."))
    [none] = objects_in(SemanticMap(np.zeros((2, 6), np.uint8)), BOX, ["animal"], SPACE)
    assert not none.any()
    [void] = objects_in(SemanticMap(np.full((2, 6), 255, np.uint8)), BOX, ["animal"], SPACE)
    assert not void.any()


def test_every_pixel_that_a_box_touches_is_in_it():
    everywhere = SemanticMap(np.ones((2, 6), np.uint8))
    [found] = objects_in(everywhere, np.array([[1.9, 0.5, 4.1, 1.0]], np.float32), ["cat"], SPACE)
    assert np.array_equal(found, mask_of(".####.", "......"))


def test_an_instance_set_gives_the_object_whose_box_fits_best():
    masks = np.stack([mask_of("##....", "##...."), mask_of(".###..", "#####."), mask_of("......", ".....#")])
    objects = InstanceSet.build(masks, [1, 2, 1])
    [found] = objects_in(objects, BOX, ["cat"], SPACE)
    assert np.array_equal(found, mask_of(".###..", ".###.."))  # the dog's, cut at the box
    [nothing] = objects_in(objects, np.array([[5, 0, 6, 1]], np.float32), ["cat"], SPACE)
    assert not nothing.any()
    assert not objects_in(InstanceSet.empty(2, 6), BOX, ["cat"], SPACE)[0].any()


def test_a_panoptic_map_gives_objects_for_things_and_pixels_for_stuff():
    segments = np.array([[1, 1, 2, 2, 1, 3], [1, 1, 2, 2, 1, 3]], np.int32)
    panoptic = PanopticMap(segments, (Segment(1, 0), Segment(2, 1), Segment(3, 1)))
    [cat] = objects_in(panoptic, BOX, ["cat"], SPACE)
    assert np.array_equal(cat, mask_of("..##..", "..##.."))
    [ground] = objects_in(panoptic, BOX, ["background"], SPACE)
    assert np.array_equal(ground, mask_of(".#....", ".#...."))
    stuff = PanopticMap.from_labels(np.full((2, 6), 0, np.uint8), SPACE)
    assert not objects_in(stuff, BOX, ["dog"], SPACE)[0].any()
