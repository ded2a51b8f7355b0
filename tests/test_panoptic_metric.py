"""Panoptic quality: by hand, beside the paper's definition written anew, and beside torchmetrics."""

import tracemalloc

import numpy as np
import pytest
import torch
from torchmetrics.detection import PanopticQuality

from pipeline.metrics import panoptic
from pipeline.metrics.panoptic import NAMES, Panoptic, count_overlaps
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Sample, Segment, SemanticMap

SPACE = LabelSpace(("ground", "sky", "disc", "box"), ((0, 0, 0),) * 4, (False, False, True, True))
ONE = LabelSpace(("thing",), ((0, 0, 0),), (True,))


def panoptic_map(segments, *categories, crowd=()) -> PanopticMap:
    """Segments numbered from 1 with their classes; `crowd` are ids."""
    info = (Segment(number, one, iscrowd=number in crowd) for number, one in enumerate(categories, start=1))
    return PanopticMap(np.asarray(segments, np.int32), tuple(info))


def scored(*pairs, space=SPACE) -> Panoptic:
    metric = Panoptic(space)
    for number, (truth, found) in enumerate(pairs):
        name = str(number)
        metric.update(Sample(name, "test", name, np.zeros((*truth.shape, 3), np.uint8), truth), found)
    return metric


def random_map(rng, shape, *, most: int, crowds: bool) -> PanopticMap:
    """Rectangles over each other, of random classes, stuff ones in one segment; some void is left, some things are crowds."""
    segments, info, stuff = np.zeros(shape, np.int32), [], {}
    for _ in range(int(rng.integers(1, most))):
        y, x = rng.integers(0, shape[0] - 4), rng.integers(0, shape[1] - 4)
        category = int(rng.integers(0, 4))
        number = stuff.get(category, int(rng.integers(1, 1 << 24)))
        segments[y : y + rng.integers(3, 18), x : x + rng.integers(3, 22)] = number
        if category not in stuff:
            info.append(Segment(number, category, iscrowd=bool(crowds and category > 1 and rng.random() < 0.3)))
        if category < 2:
            stuff[category] = number
    return PanopticMap(segments, tuple(info))


def disturbed(rng, truth: PanopticMap) -> PanopticMap:
    """Moved by a pixel or two, some classes changed, and segments laid over it."""
    moved = np.roll(truth.segments, rng.integers(-1, 2, 2), axis=(0, 1))
    info = {one.id: int(rng.integers(0, 4)) if rng.random() < 0.15 else one.category for one in truth.info}
    other = random_map(rng, truth.shape, most=5, crowds=False)
    info |= {one.id: one.category for one in other.info}
    segments = np.where((other.segments > 0) & (rng.random() < 0.7), other.segments, moved)
    return PanopticMap(segments, tuple(Segment(*one) for one in info.items()))


def by_definition(pairs, num_classes: int) -> np.ndarray:
    """(C, 3) of PQ, SQ, RQ by Kirillov et al. 2019, section 4: sets of pixels, segment by segment, no histogram.

    4.1: a pair matches at IoU > 0.5, PQ = sum of IoU / (TP + FP/2 + FN/2). 4.2: void pixels of the truth leave the prediction
    for matching; predicted segments of which more than half is void, or of a group of their class, are no FP; groups are no FN.
    """
    iou_sum, counts = np.zeros(num_classes), np.zeros((num_classes, 3))
    for truth, found in pairs:
        pixels = [
            {one.id: set(np.flatnonzero(which.segments.ravel() == one.id).tolist()) for one in which.info}
            for which in (truth, found)
        ]
        void = set(np.flatnonzero(truth.segments.ravel() == 0).tolist())
        matched = [set(), set()]
        for one in truth.info:
            for other in found.info:
                mine, theirs = pixels[0][one.id], pixels[1][other.id] - void
                if one.iscrowd or one.category != other.category or not mine or not theirs:
                    continue
                iou = len(mine & theirs) / len(mine | theirs)
                if iou > 0.5:
                    iou_sum[one.category] += iou
                    counts[one.category, 0] += 1
                    matched[0].add(one.id)
                    matched[1].add(other.id)
        for other in found.info:
            groups = [pixels[0][one.id] for one in truth.info if one.iscrowd and one.category == other.category]
            mine = pixels[1][other.id]
            if mine and other.id not in matched[1] and len(mine & void.union(*groups)) / len(mine) <= 0.5:
                counts[other.category, 1] += 1
        for one in truth.info:
            if pixels[0][one.id] and not one.iscrowd and one.id not in matched[0]:
                counts[one.category, 2] += 1
    found, wrong, missed = counts.T
    with np.errstate(invalid="ignore"):
        quality = iou_sum / (found + wrong / 2 + missed / 2)
        recognition = found / (found + wrong / 2 + missed / 2)
        return np.stack([quality, np.where(np.isnan(quality), np.nan, iou_sum / np.maximum(found, 1)), recognition], axis=1)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("strip", [1 << 20, 100])  # the second: by sorting, in many strips
def test_as_the_paper_defines_it(seed, strip, monkeypatch):
    monkeypatch.setattr(panoptic, "STRIP_PIXELS", strip)
    rng = np.random.default_rng(seed)
    truths = [random_map(rng, (30, 40), most=14, crowds=True) for _ in range(8)]
    pairs = [(truth, disturbed(rng, truth)) for truth in truths]
    metric, expected = scored(*pairs), by_definition(pairs, 4)
    assert metric.sums[:, 1:].min() >= 0 and metric.sums[:, 1:].sum(axis=0).min() >= 5  # matches, wrong and missed ones
    assert metric._per_class() == pytest.approx(expected, abs=1e-9, nan_ok=True)
    scores = metric.scores()
    for of, classes in (("", slice(0, 4)), ("_stuff", slice(0, 2)), ("_things", slice(2, 4))):
        for name, value in zip(NAMES, np.nanmean(expected[classes], axis=0), strict=True):
            assert scores[f"{name}{of}"] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_as_torchmetrics_where_its_rules_are_the_same(seed):
    rng = np.random.default_rng([1, seed])
    truths = [random_map(rng, (30, 40), most=14, crowds=False) for _ in range(6)]
    pairs = [(truth, _as_torchmetrics_wants(disturbed(rng, truth))) for truth in truths]
    reference = PanopticQuality(things={2, 3}, stuffs={0, 1}, allow_unknown_preds_category=True, return_sq_and_rq=True)
    for truth, found in pairs:
        reference.update(*(torch.from_numpy(_pairs_of(one))[None] for one in (found, truth)))
    scores = scored(*pairs).scores()
    assert [scores[name] for name in NAMES] == pytest.approx(reference.compute().tolist(), abs=1e-6)


def _as_torchmetrics_wants(one: PanopticMap) -> PanopticMap:
    """One segment for each stuff class, and a prediction everywhere: it would take pixels without one from the truth too."""
    segments, info = np.where(one.segments == 0, 1, one.segments), {1: Segment(1, 0)}
    for segment in one.info:
        number = segment.id if segment.category > 1 else segment.category + 1
        segments[one.segments == segment.id] = number
        info[number] = Segment(number, segment.category)
    return PanopticMap(segments.astype(np.int32), tuple(info.values()))


def _pairs_of(one: PanopticMap) -> np.ndarray:
    """(H, W, 2) of class and id, as torchmetrics wants them; class 9 is unknown to it."""
    category = np.full(one.shape, 9)
    for segment in one.info:
        category[one.segments == segment.id] = segment.category
    return np.stack([category, np.where(category > 1, one.segments, 0)], axis=-1)


def test_one_match_one_wrong_and_one_missed_by_hand():
    truth = panoptic_map([[1, 1, 1, 1, 2, 2]], 0, 0)
    found = panoptic_map([[1, 1, 1, 3, 2, 0]], 0, 0, 0)
    # 3/4; 1/2, which is no match; the third one is wrong
    metric = scored((truth, found), space=ONE)
    quality = {"pq": 0.75 / (1 + 1 + 0.5), "sq": 0.75, "rq": 1 / 2.5}
    expected = quality | {f"{name}_things": value for name, value in quality.items()}
    assert metric.scores() == pytest.approx(expected)
    row = {"class": "thing", **quality, "found": 1, "wrong": 2, "missed": 1}
    assert metric.tables() == {"panoptic": [pytest.approx(row)]}
    assert tuple(row) == Panoptic.columns["panoptic"]


def test_void_leaves_the_union_and_forgives_what_lies_in_it():
    truth = panoptic_map([[1, 1, 0, 0, 0, 0]], 0)
    # without void the first one is the truth, the second one is all in void
    found = panoptic_map([[1, 1, 1, 2, 2, 0]], 0, 0)
    assert scored((truth, found), space=ONE).scores()["pq"] == 1
    half = panoptic_map([[2, 1, 1, 1, 1, 0]], 0, 0)
    # id 1: of 4 pixels 3 in void; what is left has 1/2 of the truth: no match, not wrong. id 2 is wrong
    metric = scored((truth, half), space=ONE)
    assert metric.sums[0].tolist() == [0, 0, 1, 1]
    exactly = panoptic_map([[0, 1, 1, 0, 0, 0]], 0)  # half in void: not more than half, so wrong
    assert scored((truth, exactly), space=ONE).sums[0].tolist() == [0, 0, 1, 1]


def test_a_crowd_is_not_missed_and_forgives_its_own_class_only():
    truth = panoptic_map([[1, 1, 1, 1, 2, 2]], 2, 0, crowd=[1])
    assert scored((truth, panoptic_map([[0, 0, 0, 0, 1, 1]], 0))).scores()["pq"] == 1
    same = scored((truth, panoptic_map([[1, 1, 2, 2, 3, 3]], 2, 2, 0)))
    assert same.sums[2].tolist() == [0, 0, 0, 0] and same.scores()["pq"] == 1
    other = scored((truth, panoptic_map([[1, 1, 2, 2, 3, 3]], 3, 3, 0)))
    assert other.sums[3].tolist() == [0, 0, 2, 0] and other.scores()["pq"] == 0.5
    whole = scored((truth, panoptic_map([[1, 1, 1, 1, 2, 2]], 2, 0)))  # the crowd itself is no match either
    assert whole.sums[2].tolist() == [0, 0, 0, 0]


def test_void_and_crowds_add_up():
    truth = panoptic_map([[1, 2, 0, 3, 3]], 2, 2, 2, crowd=[1, 2])
    found = panoptic_map([[1, 1, 1, 1, 1]], 2)
    assert scored((truth, found)).sums[2].tolist() == [0, 0, 0, 1]  # 3 of its 5 pixels; of the truth 2 of 4 without void


def test_counts_are_summed_over_images_before_dividing():
    right, wrong = panoptic_map([[1, 1]], 2), panoptic_map([[1, 1]], 3)
    metric = scored((right, right), (right, right), (right, wrong))
    # disc: 2 found, 1 missed; box: 1 wrong; ground and sky are nowhere
    assert metric.scores()["pq"] == pytest.approx((2 / 2.5 + 0) / 2)
    assert "pq_stuff" not in metric.scores()
    assert metric.tables()["panoptic"][0] == dict.fromkeys(Panoptic.columns["panoptic"]) | {
        "class": "ground",
        "found": 0,
        "wrong": 0,
        "missed": 0,
    }


def test_a_segment_without_a_pixel_is_none():
    truth = panoptic_map([[1, 1]], 2, 3)
    assert scored((truth, panoptic_map([[1, 1]], 2, 2))).sums[2:, 1:].tolist() == [[1, 0, 0], [0, 0, 0]]


def test_an_instance_method_says_nothing_of_stuff():
    truth = panoptic_map([[1, 1, 2, 2]], 0, 2)
    found = InstanceSet.build(np.array([[[0, 0, 1, 1]], [[0, 1, 1, 1]], [[1, 1, 0, 0]]], bool), [2, 2, 3], [0.9, 0.8, 0.4])
    metric = scored((truth, found))  # of the second only a third is free, the third is below 0.5
    assert metric.scores() == {"pq_things": 1.0, "sq_things": 1.0, "rq_things": 1.0}
    assert [row["class"] for row in metric.tables()["panoptic"]] == ["disc", "box"]
    only = panoptic_map([[1, 1, 1, 1]], 0)
    assert scored((only, InstanceSet.build(np.ones((1, 1, 4), bool), [0])), space=ONE).scores()["pq"] == 1


def test_nothing_to_find_and_nothing_told_apart():
    empty = panoptic_map([[0, 0]])
    assert scored((empty, empty)).scores() == {}
    assert scored((empty, panoptic_map([[1, 1]], 2))).scores() == {}  # all in void
    missed = scored((panoptic_map([[1, 1]], 2), empty))
    assert missed.scores() == dict.fromkeys(("pq", "sq", "rq", "pq_things", "sq_things", "rq_things"), 0.0)
    undivided = scored((panoptic_map([[1, 1]], 2), SemanticMap(np.full((1, 2), 2, np.uint8))))
    assert undivided.scores() == {} and undivided.tables() == {"panoptic": []}
    stuff = LabelSpace(("a",), ((0, 0, 0),), (False,))
    assert scored((panoptic_map([[1, 1]], 0), panoptic_map([[1, 1]], 0)), space=stuff).scores() == {}


def test_a_class_outside_is_refused():
    with pytest.raises(ValueError, match=r"0: prediction: classes \[4\] are outside 0\.\.3"):
        scored((panoptic_map([[1, 1]], 2), panoptic_map([[1, 1]], 4)))


def test_memory_does_not_grow_with_the_picture():
    peaks = []
    for rows in (2048, 8192):
        segments = np.arange(rows * 1024, dtype=np.int32).reshape(rows, 1024) // 4096 % 500
        one = PanopticMap(segments, tuple(Segment(number, 0) for number in range(1, 500)))
        tracemalloc.start()
        overlaps = count_overlaps(one, one)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert overlaps[2].sum() == segments.size and (overlaps[0] == overlaps[1]).all()
    assert peaks[1] < 1.1 * peaks[0] < 64e6
