"""Average precision and recall of objects: by hand, and beside pycocotools on the same files."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline.metrics import _objects
from pipeline.metrics._average_precision import FOUND, IGNORED, WRONG, average_precision, match
from pipeline.metrics.instances import Instances
from pipeline.painting import fused, painted
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Sample, Segment, SemanticMap

SPACE = LabelSpace(("ground", "disc", "box", "bar"), ((0, 0, 0),) * 4, (False, True, True, True))
NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")


def sample(objects: InstanceSet, name: str = "one") -> Sample:
    image = np.zeros((*objects.shape, 3), np.uint8)
    return Sample(name, "test", name, image, PanopticMap(np.zeros(objects.shape, np.int32)), objects)


def scored(*pairs) -> Instances:
    metric = Instances(SPACE)
    for number, (truth, found) in enumerate(pairs):
        metric.update(sample(truth, str(number)), found)
    return metric


def rectangles(shape, *boxes) -> np.ndarray:
    """(N, H, W) bool of x0, y0, x1, y1."""
    masks = np.zeros((len(boxes), *shape), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return masks


def crowded_scene(rng, shape=(150, 180)) -> tuple[InstanceSet, InstanceSet]:
    """Overlapping true objects of all sizes, some of them crowds, and what a detector makes of them: moved, missed, found
    several times, of another class, invented, of few different scores."""
    count = int(rng.integers(0, 10))
    sides = rng.integers(6, 30, (count, 2)) * rng.choice([1, 2, 5], (count, 1))
    corners = rng.integers(-3, 100, (count, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1)
    classes = rng.integers(1, 4, count)
    truth = InstanceSet.build(rectangles(shape, *boxes), classes, iscrowd=rng.random(count) < 0.2)
    truth = truth[truth.masks.any(axis=(1, 2))]
    times = rng.integers(0, 4, count)
    moved = np.repeat(boxes, times, axis=0) + rng.integers(-2, 3, (times.sum(), 4))
    wild = rng.integers((0, 0, 30, 30), (60, 60, 90, 90), (int(rng.integers(0, 6)), 4))
    masks = rectangles(shape, *moved, *wild) & (rng.random((len(moved) + len(wild), *shape)) < 0.98)  # ragged
    guessed = np.concatenate([np.repeat(classes, times), rng.integers(1, 4, len(wild))])
    guessed = np.where(rng.random(len(guessed)) < 0.15, rng.integers(1, 4, len(guessed)), guessed)
    return truth, InstanceSet.build(masks, guessed, rng.integers(1, 20, len(guessed)) / 20)


def coco_files(folder, pairs) -> tuple[COCO, dict[str, COCO]]:
    """The truth and the results of both kinds as files that pycocotools reads."""
    images, annotations, results = [], [], {"bbox": [], "segm": []}
    for number, (truth, found) in enumerate(pairs, start=1):
        images.append({"id": number, "height": truth.shape[0], "width": truth.shape[1], "file_name": f"{number}.png"})
        for objects, is_truth in ((truth, True), (found, False)):
            for mask, category, score, crowd in zip(
                objects.masks, objects.classes, objects.scores, objects.iscrowd, strict=True
            ):
                code = coco.encode(np.asfortranarray(mask.view(np.uint8)))
                box, area = coco.toBbox(code).tolist(), int(coco.area(code))
                one = {"image_id": number, "category_id": int(category)}
                code["counts"] = code["counts"].decode()
                if is_truth:
                    new = {"id": len(annotations) + 1, "bbox": box, "area": area, "iscrowd": int(crowd), "segmentation": code}
                    annotations.append(one | new)
                else:
                    results["bbox"].append(one | {"score": float(score), "bbox": box})
                    results["segm"].append(one | {"score": float(score), "segmentation": code})
    categories = [{"id": index, "name": name} for index, name in enumerate(SPACE.names) if SPACE.isthing[index]]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(content))
    truth = COCO(folder / "truth.json")
    loaded = {}
    for kind, found in results.items():
        (folder / f"{kind}.json").write_text(json.dumps(found))
        loaded[kind] = truth.loadRes(str(folder / f"{kind}.json"))
    return truth, loaded


def as_pycocotools(folder, pairs) -> dict[str, float]:
    expected = {}
    with contextlib.redirect_stdout(io.StringIO()):
        truth, results = coco_files(folder, pairs)
        for ours, theirs in (("box", "bbox"), ("mask", "segm")):
            evaluation = COCOeval(truth, results[theirs], theirs)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            expected |= {f"{ours}_{name}": value for name, value in zip(NAMES, evaluation.stats, strict=True)}
            pooled = COCOeval(truth, results[theirs], theirs)
            pooled.params.useCats, pooled.params.maxDets = 0, [10, 100, 1000]
            pooled.evaluate()
            pooled.accumulate()
            for index, limit in enumerate((10, 100, 1000)):
                expected[f"{ours}_proposal_ar{limit}"] = pooled.eval["recall"][:, 0, 0, index].mean()
    return {name: value for name, value in expected.items() if value != -1}


@pytest.mark.parametrize("seed", range(6))
def test_as_pycocotools_on_the_same_files(tmp_path, seed):
    rng = np.random.default_rng([7, seed])
    pairs = [crowded_scene(rng) for _ in range(12)]
    expected = as_pycocotools(tmp_path, pairs)
    assert len(expected) == 30 and 0.15 < expected["mask_ap"] < 0.9
    assert scored(*pairs).scores() == pytest.approx(expected, abs=1e-9)


def test_as_pycocotools_where_there_are_more_objects_than_count(tmp_path):
    rng = np.random.default_rng(3)
    boxes = np.array([(x, y, x + 3, y + 3) for y in range(0, 120, 4) for x in range(0, 160, 4)])  # 1200 of 3 x 3 px
    truth = InstanceSet.build(rectangles((120, 160), *boxes[::15]), 1 + np.arange(80) % 3)
    moved = boxes + rng.integers(0, 2, boxes.shape)
    found = InstanceSet.build(rectangles((120, 160), *moved), 1 + np.arange(1200) // 450, rng.random(1200))
    pairs = [(truth, found)]
    expected = as_pycocotools(tmp_path, pairs)
    assert 0.01 < expected["mask_proposal_ar100"] < expected["mask_proposal_ar1000"] < 1
    assert scored(*pairs).scores() == pytest.approx(expected, abs=1e-9)


def test_a_panoptic_map_has_its_things(tmp_path):
    segments = np.zeros((40, 50), np.int32)
    segments[:, 25:], segments[3:20, 2:20], segments[20:39, 4:30] = 9, 16_777_215, 70_000
    info = (Segment(9, 0), Segment(16_777_215, 1, score=0.25), Segment(70_000, 2, score=0.75))
    found = PanopticMap(segments, info)
    truth = InstanceSet.build(rectangles((40, 50), (2, 2, 20, 20), (5, 20, 30, 40)), [1, 2])
    expected = as_pycocotools(tmp_path, [(truth, found.instances(SPACE))])
    assert scored((truth, found)).scores() == pytest.approx(expected, abs=1e-9)
    assert scored((truth, SemanticMap(np.zeros((40, 50), np.uint8), divided=found))).scores() == pytest.approx(expected)


def test_one_right_one_wrong_one_missed_by_hand():
    truth = InstanceSet.build(rectangles((50, 100), (0, 0, 10, 10), (50, 0, 60, 10)), [1, 1])
    found = InstanceSet.build(rectangles((50, 100), (0, 0, 10, 10), (20, 20, 30, 30)), [1, 1], [0.9, 0.8])
    scores = scored((truth, found)).scores()
    # precision 1 up to recall 0.5: at 51 of 101 recalls, at each threshold
    for name in ("mask_ap", "box_ap50", "mask_ap_small"):
        assert scores[name] == pytest.approx(51 / 101)
    assert scores["mask_ar100"] == scores["mask_ar1"] == scores["mask_proposal_ar10"] == 0.5
    assert "mask_ap_medium" not in scores and "box_ar_large" not in scores  # no true object has this size
    # the wrong one first: precision 1/2 at best
    worse = InstanceSet.build(found.masks, [1, 1], [0.8, 0.9])
    assert scored((truth, worse)).scores()["mask_ap"] == pytest.approx(0.5 * 51 / 101)


def test_the_average_is_over_thresholds_and_classes_of_the_truth():
    truth = InstanceSet.build(rectangles((40, 80), (0, 0, 20, 10), (40, 0, 60, 10)), [1, 2])
    # IoU 0.6 with the disc; the box is not found; a bar is found where there is none, and class 3 has no truth
    found = InstanceSet.build(rectangles((40, 80), (0, 0, 12, 10), (0, 0, 20, 10)), [1, 3], [0.5, 0.9])
    metric = scored((truth, found))
    assert metric.scores()["mask_ap"] == pytest.approx(np.mean([3 / 10, 0]))  # at 0.50, 0.55 and 0.60
    assert metric.scores()["mask_ap50"] == pytest.approx(0.5) and metric.scores()["mask_ap75"] == 0
    assert metric.scores()["mask_proposal_ar10"] == pytest.approx(0.5)  # whatever its class, the bar is the whole disc
    rows = metric.tables()["instances"]
    assert [(row["class"], row["mask_ap"], row["true_objects"]) for row in rows] == [
        ("disc", pytest.approx(0.3), 1),
        ("box", 0, 1),
        ("bar", None, 0),
    ]
    assert tuple(rows[0]) == Instances.columns["instances"]


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong():
    truth = InstanceSet.build(rectangles((20, 60), (0, 0, 10, 10), (20, 0, 60, 20)), [1, 1], iscrowd=[False, True])
    inside = [(20, 0, 30, 10), (30, 0, 40, 10), (35, 0, 45, 10)]
    found = InstanceSet.build(rectangles((20, 60), *inside, (0, 0, 10, 10)), [1] * 4, [0.9, 0.9, 0.9, 0.1])
    assert scored((truth, found)).scores()["mask_ap"] == 1
    alone = InstanceSet.build(truth.masks[1:], [1], iscrowd=[True])
    assert scored((alone, found)).scores() == {}  # nothing there that could be found


def test_the_better_of_two_takes_the_object_even_of_another_size():
    # IoU 0.8 and 0.6 with one object; the second one is wrong where it is of this size and ignored where it is not
    outcomes = match(
        np.array([[0.8], [0.6]]),
        true_areas=np.array([500.0]),
        is_crowd=np.array([False]),
        found_areas=np.array([400.0, 2000.0]),
    )
    assert outcomes[:, 0, 0].tolist() == [FOUND, WRONG]
    assert outcomes[:, 1, 0].tolist() == [FOUND, IGNORED]  # small
    assert outcomes[:, 2, 0].tolist() == [IGNORED, WRONG]  # medium: what found a small one is ignored
    assert outcomes[0, 0].tolist() == [FOUND] * 7 + [WRONG] * 3


@pytest.mark.parametrize("classes", [[1, 1], [1, 2], [2, 1]])
def test_of_two_objects_as_near_the_last_is_taken(tmp_path, classes):
    truth = InstanceSet.build(rectangles((10, 20), (0, 0, 12, 10), (4, 0, 16, 10)), classes)
    found = InstanceSet.build(rectangles((10, 20), (2, 0, 14, 10), (4, 0, 16, 10)), [1, 1], [0.9, 0.8])
    # IoU of the first 5/7 with both; of the second 1/2 and 1, and nothing is left for it but the 1/2
    scores = scored((truth, found)).scores()
    assert scores == pytest.approx(as_pycocotools(tmp_path, [(truth, found)]), abs=1e-9)
    first_is_last = classes == [2, 1]  # whatever the class, they are in the order of the classes
    assert scores["mask_proposal_ar10"] == pytest.approx(0.75 if first_is_last else 0.55)


def test_a_panoptic_map_is_scored_by_the_objects_that_its_things_were_chosen_from(tmp_path):
    shape, boxes = (30, 40), [(0, 0, 10, 10), (20, 0, 30, 10), (0, 20, 10, 30)]
    truth = InstanceSet.build(rectangles(shape, *boxes), [1, 1, 1])
    found = InstanceSet.build(truth.masks, [1, 1, 1], [0.9, 0.3, 0.1])
    whole, bare = fused(found, np.full(shape, SPACE.void, np.uint8), label_space=SPACE), painted(found)
    assert [segment.score for segment in whole.info] == [segment.score for segment in bare.info] == [pytest.approx(0.9)]
    assert scored((truth, whole)).scores() == scored((truth, found)).scores()
    assert scored((truth, whole)).scores()["mask_ap"] == 1
    assert scored((truth, bare)).scores()["mask_ap"] == pytest.approx(34 / 101)  # a third is found: recall 0.00 to 0.33


def test_an_object_of_32_px_is_small_and_medium(tmp_path):
    one = InstanceSet.build(rectangles((40, 50), (0, 0, 32, 32)), [1])
    scores = scored((one, one)).scores()
    assert scores == pytest.approx(as_pycocotools(tmp_path, [(one, one)]))
    assert scores["mask_ap_small"] == scores["mask_ap_medium"] == 1


def test_nothing_is_found_or_there_is_nothing_to_find():
    shape = (30, 40)
    one = InstanceSet.build(rectangles(shape, (0, 0, 10, 10)), [1])
    nothing = InstanceSet.empty(*shape)
    assert set(scored((one, nothing)).scores().values()) == {0.0}
    assert scored((nothing, nothing)).scores() == scored((nothing, one)).scores() == {}
    assert scored((one, one), (nothing, nothing)).scores()["mask_ap"] == 1
    # a find in the empty image, more certain than the right one: precision 1/2 at all recalls
    again = InstanceSet.build(one.masks, [1], [0.5])
    assert scored((one, again), (nothing, one)).scores()["mask_ap"] == pytest.approx(0.5)
    assert set(scored((one, PanopticMap(np.zeros(shape, np.int32)))).scores().values()) == {0.0}


def test_one_pixel_and_hundreds_of_objects():
    boxes = [(x, y, x + 1, y + 1) for y in range(0, 30, 2) for x in range(0, 60, 2)]
    objects = InstanceSet.build(rectangles((30, 60), *boxes), [1] * 450)
    scores = scored((objects, objects)).scores()
    assert scores["mask_proposal_ar1000"] == scores["box_proposal_ar1000"] == 1
    assert scores["mask_ar100"] == pytest.approx(100 / 450)  # COCO counts 100 of a class and image


def test_a_method_without_objects_has_no_score_and_neither_has_data_without_things():
    objects = InstanceSet.build(rectangles((4, 4), (0, 0, 2, 2)), [1])
    metric = scored((objects, objects), (objects, SemanticMap(np.ones((4, 4), np.uint8))))
    assert metric.scores() == {} and metric.tables() == {"instances": []}
    stuff = Instances(LabelSpace(("a", "b"), ((0, 0, 0),) * 2, (False, False)))
    stuff.update(sample(InstanceSet.empty(4, 4)), PanopticMap.from_labels(np.zeros((4, 4), np.uint8), SPACE))
    assert stuff.scores() == {}


def test_a_class_outside_is_refused():
    objects = InstanceSet.build(rectangles((4, 4), (0, 0, 2, 2)), [4])
    with pytest.raises(ValueError, match=r"0: prediction: classes \[4\] are outside 0\.\.3"):
        scored((InstanceSet.empty(4, 4), objects))


def test_ignored_objects_move_no_precision():
    outcomes = np.array([IGNORED, FOUND, IGNORED, WRONG, FOUND])
    assert average_precision(outcomes, 2) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert average_precision(np.array([WRONG]), 1) == average_precision(np.zeros(0), 1) == 0


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_are_those_of_pycocotools(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((7, 9), bool)
    first, last = sorted(rng.integers(0, 10, 2))
    mask[:, first:last] = rng.random((7, last - first)) < rng.choice([0.0, 0.5, 1.0])
    code = _objects._encoded(mask[:, first:last], first, 9)
    expected = coco.encode(np.asfortranarray(mask.view(np.uint8)))
    assert (code["size"], code["counts"]) == (expected["size"], expected["counts"])


def test_two_halves_joined_score_as_the_whole():
    pairs = [crowded_scene(np.random.default_rng(seed)) for seed in range(12)]
    halves = [scored(*pairs[:5]), scored(*pairs[5:])]
    halves[0].join(halves[1])
    assert halves[0].scores() == scored(*pairs).scores() != halves[1].scores()
    assert halves[0].tables() == scored(*pairs).tables()
