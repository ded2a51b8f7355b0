"""Predictions as pictures: whose colours where, boxes to the pixel, and what is left out."""

import cv2
import numpy as np
import pytest

from pipeline import drawing, lettering, tags
from pipeline.overlay import segment_colours
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Sample, Segment, SemanticMap

SPACE = LabelSpace(("ground", "square", "bar"), ((20, 120, 40), (200, 40, 40), (40, 60, 200)), (False, True, True))
SQUARE, BAR = 1, 2
HALF = 128  # opacity of an area


def instances(*places, shape=(60, 80), scores=None, classes=None) -> InstanceSet:
    """Filled boxes at (x0, y0, x1, y1)."""
    masks = np.zeros((len(places), *shape), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, places, strict=True):
        mask[y0:y1, x0:x1] = True
    return InstanceSet.build(masks, classes or [SQUARE] * len(places), scores)


def opaque_sides(layer: np.ndarray) -> tuple[int, int, int, int]:
    """The rectangle around all that is opaque: x0, y0, x1, y1."""
    x, y, width, height = cv2.boundingRect((layer[..., 3] == 255).astype(np.uint8))
    return x, y, x + width, y + height


@pytest.fixture
def without_tags(monkeypatch):
    monkeypatch.setattr(tags, "place", lambda boxes, *given, **more: [None] * len(boxes))


def test_a_semantic_map_has_the_colours_of_its_classes_at_its_own_size():
    labels = np.array([[0, 1], [2, 255]], np.uint8)
    assert drawing.layer(SemanticMap(labels), SPACE, (200, 200)).tolist() == SPACE.paint(labels).tolist()


def test_each_object_has_a_colour_of_its_own_and_the_rest_is_clear(without_tags):
    found = drawing.layer(instances((10, 10, 30, 30), (45, 20, 70, 50), scores=[0.6, 0.9]), SPACE, (240, 320))
    first, second = segment_colours(2).tolist()  # by score
    assert found[80, 80].tolist() == [*second, HALF] and found[140, 230].tolist() == [*first, HALF]
    assert not found[5:25, 5:25].any() and not found[-20:].any()


def test_things_have_shades_of_their_class_over_stuff_in_its_colour(without_tags):
    segments = np.ones((60, 80), np.int32)
    segments[10:30, 10:30], segments[10:30, 50:70], segments[40:55, 10:30] = 2, 3, 4
    segments[:, 79] = 0
    info = (Segment(1, 0), Segment(2, SQUARE, score=0.9), Segment(3, SQUARE, score=0.2), Segment(4, BAR, score=0.8))
    found = drawing.layer(PanopticMap(segments, info), SPACE, (240, 320))
    assert found[200, 230].tolist() == [20, 120, 40, HALF] and not found[:, 317:].any()  # stuff, and nothing
    assert found[80, 80].tolist() == [200, 40, 40, HALF] and found[190, 80].tolist() == [40, 60, 200, HALF]
    assert found[80, 240].tolist() == [*drawing.shade((200, 40, 40), 1), HALF]  # low as its score is
    assert len({drawing.shade((90, 120, 60), number) for number in range(len(drawing.SHADES))}) == len(drawing.SHADES)


def test_a_box_goes_around_its_object_to_the_pixel(without_tags):
    """Lines of 1 px with a dark pixel on either side: the inner one belongs to the object, the line is the first outside."""
    found = drawing.layer(instances((10, 12, 40, 44)), SPACE, (60, 80))
    own = [*segment_colours(1)[0].tolist(), 255]
    assert opaque_sides(found) == (10 - 2, 12 - 2, 40 + 2, 44 + 2)
    assert found[11, 9:41].tolist() == found[44, 9:41].tolist() == [own] * 32
    assert found[11:45, 9].tolist() == found[11:45, 40].tolist() == [own] * 34
    large = drawing.layer(instances((10, 12, 40, 44)), SPACE, (540, 720))  # nine times, lines of 2 px
    assert opaque_sides(large) == (90 - 3, 108 - 3, 360 + 3, 396 + 3)


def test_a_box_at_the_border_stays_in_the_picture(without_tags):
    found = drawing.layer(instances((0, 0, 80, 60)), SPACE, (60, 80))
    own = [*segment_colours(1)[0].tolist(), 255]
    assert found[0].tolist() == found[-1].tolist() == [own] * 80 and found[:, 0].tolist() == found[:, -1].tolist() == [own] * 60


def test_where_objects_overlap_both_outlines_are_seen(without_tags):
    upper, lower = np.zeros((2, 400, 400), np.uint8)
    cv2.circle(upper, (160, 200), 100, 1, -1)
    cv2.circle(lower, (240, 200), 100, 1, -1)
    both = InstanceSet.build([upper == 1, lower == 1], [SQUARE, SQUARE], [0.9, 0.8])
    found = drawing.layer(both, SPACE, (400, 400))
    over, under = segment_colours(2).tolist()
    for colour, x in ((under, 240 - 71), (over, 160 + 71)):  # of either rim, a point within the other circle
        assert [*colour, 255] in found[128:131, x - 1 : x + 2].reshape(-1, 4).tolist()
    assert found[180, 200].tolist() == [*over, HALF]


def test_faint_objects_are_left_out_but_never_of_the_truth():
    given = instances((5, 5, 25, 25), (30, 5, 50, 25), (55, 5, 75, 25), scores=[0.5, 0.49, 0.9])
    assert drawing.shown(given, SPACE).scores.tolist() == pytest.approx([0.9, 0.5]) and drawing.counts(given, SPACE) == (2, 1)
    assert drawing.counts(given, SPACE, is_truth=True) == (3, 0)
    many = instances(*[(index % 80, index // 80, index % 80 + 1, index // 80 + 1) for index in range(300)])
    assert drawing.counts(many, SPACE) == (drawing.MOST_OBJECTS, 300 - drawing.MOST_OBJECTS)
    assert not drawing.layer(InstanceSet.empty(60, 80), SPACE, (60, 80)).any()
    assert not drawing.layer(PanopticMap(np.zeros((60, 80), np.int32)), SPACE, (60, 80)).any()


def test_what_is_written(monkeypatch):
    written = []
    monkeypatch.setattr(lettering, "write", lambda picture, text, *given, **more: written.append(text))
    given = instances((10, 20, 30, 40), (50, 20, 70, 40), scores=[0.996, 0.754], classes=[SQUARE, BAR])
    drawing.layer(given, SPACE, (540, 720))
    assert written == ["square 1.00", "bar 0.75"]
    written.clear()
    crowd = InstanceSet(given.masks, given.classes, np.ones(2, np.float32), np.array([False, True]))
    drawing.layer(crowd, SPACE, (540, 720), is_truth=True)
    assert written == ["square", "bar (crowd)"]


def test_a_layer_over_a_photo():
    layer = np.zeros((4, 4, 4), np.uint8)
    layer[0, :, :3], layer[0, :2, 3], layer[0, 2:, 3] = 200, 255, 51
    drawn = drawing.over(np.full((2, 2, 3), 100, np.uint8), layer)
    assert drawn[..., 0].tolist() == [[200, 200, 120, 120], *[[100] * 4] * 3]


def test_the_truth_takes_the_form_of_the_prediction():
    objects = instances((0, 0, 9, 9), (5, 5, 20, 20))
    segments = np.ones((60, 80), np.int32)
    truth = PanopticMap(segments, (Segment(1, 0),))
    sample = Sample("a", "test", "a", np.zeros((60, 80, 3), np.uint8), truth, objects)
    assert drawing.truth_like(InstanceSet.empty(60, 80), sample, SPACE) is objects
    assert drawing.truth_like(PanopticMap(segments, truth.info), sample, SPACE) is truth
    assert (drawing.truth_like(SemanticMap(np.ones((60, 80), np.uint8)), sample, SPACE).labels == 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (30, 7)])
def test_any_shape_can_be_drawn(shape):
    for size in (shape, drawing.shown_size(shape), drawing.roomy_size(shape)):
        given = InstanceSet.build(np.ones((2, *shape), bool), [SQUARE, BAR])
        assert drawing.layer(given, SPACE, size).shape == (*size, 4)


class TestTags:
    """Texts of 5 x 2 px per letter in pictures of 60 x 100."""

    @staticmethod
    def place(boxes, texts, shares=None):
        shares = np.zeros((60, 100), np.float32) if shares is None else shares
        return tags.place(np.array(boxes, float), texts, shares, measure=lambda text: (5 * len(text), 2))

    def test_above_or_where_there_is_no_room_below(self):
        assert self.place([[20, 30, 50, 50]], [("abc",)]) == [("abc", (20, 28, 35, 30))]
        shares = np.zeros((60, 100), np.float32)
        shares[0:9, 20:50] = 1 / 270  # the object reaches up to the border
        assert self.place([[20, 0, 50, 9]], [("abc",)], shares) == [("abc", (20, 9, 35, 11))]

    def test_never_over_a_small_object(self):
        shares = np.zeros((60, 100), np.float32)
        shares[28:30, 22:24] = 1 / 4
        [(_, (x0, y0, x1, y1))] = self.place([[20, 30, 50, 50]], [("abc",)], shares)
        assert shares[y0:y1, x0:x1].sum() == 0

    def test_never_over_each_other_nor_beyond_the_picture(self):
        rng = np.random.default_rng(0)
        corners = rng.integers(0, (90, 50), (30, 2))
        boxes = np.concatenate([corners, corners + rng.integers(1, 10, (30, 2))], axis=1)
        found = [one for one in self.place(boxes, [("abcd", "a")] * 30) if one]
        cover = np.zeros((60, 100), int)
        for _, (x0, y0, x1, y1) in found:
            assert 0 <= x0 < x1 <= 100 and 0 <= y0 < y1 <= 60
            cover[y0:y1, x0:x1] += 1
        assert len(found) > 20 and cover.max() == 1

    def test_shorter_or_none_where_there_is_no_room(self):
        shares = np.full((60, 100), 1.0, np.float32)
        shares[10:14, 40:46] = 0
        assert self.place([[40, 10, 46, 14]], [("abc", "a")], shares) == [("a", (40, 10, 45, 12))]
        assert self.place([[40, 10, 46, 14]], [("abc",)], shares) == [None]
        assert self.place([[0, 0, 9, 9]], [("a" * 21,)]) == [None]  # wider than the picture
