"""Counts and scores against numbers worked out by hand, properties, and two independent libraries."""

import math

import numpy as np
import pytest

from pipeline.metrics.confusion import Confusion, class_iou, count_pairs, scores_from
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Sample, SemanticMap

SPACE = LabelSpace(("a", "b", "c"), ((9, 0, 0), (0, 9, 0), (0, 0, 9)), (False, False, True))
VOID = 255


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def maps(*rows, dtype=np.uint8):
    return np.array(rows, dtype)


def sample(labels, *, name="one", group="g", space=SPACE):
    image = np.zeros((*labels.shape, 3), np.uint8)
    return Sample(name, "test", group, image, PanopticMap.from_labels(labels, space))


def scored(*pairs):
    metric = Confusion(SPACE)
    for index, (truth, predicted) in enumerate(pairs):
        metric.update(sample(truth, name=f"i{index}", group=f"g{index % 2}"), SemanticMap(predicted))
    return metric


# truth    a a a b     predicted  a a b b
#          b b c .                b a a c     (. is void: its c counts nowhere)
TRUTH = maps([0, 0, 0, 1], [1, 1, 2, VOID])
PREDICTED = maps([0, 0, 1, 1], [1, 0, 0, 2])
MATRIX = np.array([[2, 1, 0, 0], [1, 2, 0, 0], [1, 0, 0, 0]])


def test_counts_by_hand():
    matrix = count_pairs(TRUTH, PREDICTED, num_classes=3, void=VOID)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, MATRIX)


def test_scores_by_hand():
    scores = scores_from(MATRIX)
    # IoU: a 2 / (3 + 4 - 2), b 2 / (3 + 3 - 2), c 0 / (1 + 0 - 0)
    assert class_iou(MATRIX).tolist() == [2 / 5, 2 / 4, 0]
    assert scores["miou"] == pytest.approx((2 / 5 + 1 / 2 + 0) / 3)
    assert scores["pixel_accuracy"] == pytest.approx(4 / 7)
    assert scores["mean_pixel_accuracy"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert scores["mean_dice"] == pytest.approx((4 / 7 + 4 / 6 + 0) / 3)
    assert scores["frequency_weighted_iou"] == pytest.approx((3 * 2 / 5 + 3 * 2 / 4 + 1 * 0) / 7)


def test_perfect_is_one_and_worst_is_zero():
    perfect = scores_from(count_pairs(TRUTH, TRUTH, num_classes=3, void=VOID))
    assert set(perfect.values()) == {1.0}
    worst = scores_from(count_pairs(TRUTH, np.where(TRUTH == 2, 0, 2).astype(np.uint8), num_classes=3, void=VOID))
    assert set(worst.values()) == {0.0}


def test_a_perfectly_predicted_picture_without_foreground_is_perfect():
    empty = np.zeros((3, 5), np.uint8)
    scores = scores_from(count_pairs(empty, empty, num_classes=2, void=VOID))
    assert scores["mean_dice"] == 1.0
    assert scores["miou"] == 1.0


def test_class_absent_from_both_is_left_out_and_class_only_predicted_counts_zero():
    matrix = count_pairs(maps([0, 0, 0, 0]), maps([0, 0, 0, 1]), num_classes=3, void=VOID)
    iou = class_iou(matrix)
    assert iou[:2].tolist() == [3 / 4, 0]
    assert math.isnan(iou[2])
    scores = scores_from(matrix)
    assert scores["miou"] == pytest.approx((3 / 4 + 0) / 2)
    assert scores["mean_pixel_accuracy"] == pytest.approx(3 / 4)  # recall of b does not exist


def test_nothing_labelled_gives_no_scores():
    void = np.full((4, 3), VOID, np.uint8)
    matrix = count_pairs(void, np.zeros((4, 3), np.uint8), num_classes=3, void=VOID)
    assert matrix.sum() == 0
    assert scores_from(matrix) == {}
    assert np.isnan(class_iou(matrix)).all()


def test_unpredicted_pixels_are_misses():
    matrix = count_pairs(maps([0, 0, 1, 1]), maps([0, VOID, 1, 1]), num_classes=2, void=VOID)
    np.testing.assert_array_equal(matrix, [[1, 0, 1], [0, 2, 0]])
    scores = scores_from(matrix)
    assert scores["pixel_accuracy"] == pytest.approx(3 / 4)
    assert scores["miou"] == pytest.approx((1 / 2 + 1) / 2)


def test_one_pixel():
    np.testing.assert_array_equal(count_pairs(maps([1]), maps([0]), num_classes=2, void=VOID), [[0, 0, 0], [1, 0, 0]])


# few classes, many, the most that a byte holds, and what takes 16 bits are counted in three ways
KINDS = [
    (np.uint8, 1, 255),
    (np.uint8, 15, 255),
    (np.uint8, 16, 255),
    (np.uint8, 254, 255),
    (np.uint8, 11, 11),
    (np.uint16, 11, 255),
    (np.uint16, 300, 65535),
]


@pytest.mark.parametrize(("dtype", "classes", "void"), KINDS)
def test_agrees_with_a_plain_count_on_random_maps(rng, dtype, classes, void):
    def draw():
        labels = rng.integers(0, classes + 1, (37, 53))
        return np.where(labels == classes, void, labels).astype(dtype)

    truth, predicted = draw(), draw()
    expected = np.zeros((classes, classes + 1), np.int64)
    for one, other in zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True):
        if one != void:
            expected[one, classes if other == void else other] += 1
    np.testing.assert_array_equal(count_pairs(truth, predicted, num_classes=classes, void=void), expected)
    # a view with strides counts like its copy
    np.testing.assert_array_equal(
        count_pairs(truth[::-2, 3:], predicted[::-2, 3:], num_classes=classes, void=void),
        count_pairs(truth[::-2, 3:].copy(), predicted[::-2, 3:].copy(), num_classes=classes, void=void),
    )


@pytest.mark.parametrize("classes", [2, 20])  # few classes, and more than four bits hold
def test_counting_is_exact_beyond_2_to_the_24(classes):
    truth = np.zeros((5000, 4001), np.uint8)  # 20,005,000 pixels: odd numbers above 2^24 do not fit float32
    predicted = truth.copy()
    predicted[-1, -1] = 1
    matrix = count_pairs(truth, predicted, num_classes=classes, void=VOID)
    assert matrix[0, 0] == 20_004_999
    assert matrix[0, 1] == 1
    assert matrix.sum() == truth.size


@pytest.mark.parametrize(
    ("dtype", "classes", "void"),
    [(np.uint8, 3, 255), (np.uint8, 15, 255), (np.uint8, 200, 255), (np.uint16, 3, 255), (np.uint16, 300, 65535)],
)
def test_labels_outside_the_classes_are_refused(dtype, classes, void):
    fine, wrong = maps([0, 1, void], dtype=dtype), maps([0, 1, classes], dtype=dtype)
    with pytest.raises(ValueError, match=f"truth holds label {classes}, outside 0..{classes - 1}"):
        count_pairs(wrong, fine, num_classes=classes, void=void)
    with pytest.raises(ValueError, match=f"prediction holds label {classes}"):  # though it lies under a void truth
        count_pairs(fine, wrong, num_classes=classes, void=void)


def test_a_wide_label_does_not_wrap_into_a_class():
    with pytest.raises(ValueError, match="holds label 256"):
        count_pairs(maps([0], dtype=np.uint16), maps([256], dtype=np.uint16), num_classes=3, void=VOID)


def test_wrong_shapes_types_and_void_are_refused():
    with pytest.raises(ValueError, match="resize the prediction"):
        count_pairs(maps([0, 1]), maps([0], [1]), num_classes=2, void=VOID)
    with pytest.raises(ValueError, match=r"prediction is .* int64"):
        count_pairs(maps([0]), maps([0], dtype=np.int64), num_classes=2, void=VOID)
    with pytest.raises(ValueError, match="void must lie in"):
        count_pairs(maps([0]), maps([0]), num_classes=2, void=1)


def test_agrees_with_scikit_learn(rng):
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, jaccard_score

    truth, predicted = rng.integers(0, 7, (2, 41, 29)).astype(np.uint8)
    truth[:5, :6] = VOID
    metric = count_pairs(truth, predicted, num_classes=7, void=VOID)
    kept = truth != VOID
    one, other = truth[kept], predicted[kept]
    np.testing.assert_array_equal(metric[:, :7], confusion_matrix(one, other))
    scores = scores_from(metric)
    assert scores["miou"] == pytest.approx(jaccard_score(one, other, average="macro"))
    assert scores["mean_dice"] == pytest.approx(f1_score(one, other, average="macro"))
    assert scores["frequency_weighted_iou"] == pytest.approx(jaccard_score(one, other, average="weighted"))
    assert scores["pixel_accuracy"] == pytest.approx(accuracy_score(one, other))
    assert scores["mean_pixel_accuracy"] == pytest.approx(balanced_accuracy_score(one, other))


def test_agrees_with_torchmetrics(rng):
    import torch
    from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

    truth, predicted = rng.integers(0, 5, (2, 4, 31, 17)).astype(np.uint8)
    truth[:, :3] = VOID
    options = {"num_classes": 5, "ignore_index": VOID}
    tensors = [torch.from_numpy(array.astype(np.int64)) for array in (predicted, truth)]
    total = sum(count_pairs(*pair, num_classes=5, void=VOID) for pair in zip(truth, predicted, strict=True))
    np.testing.assert_array_equal(total[:, :5], MulticlassConfusionMatrix(**options)(*tensors).numpy())
    assert scores_from(total)["miou"] == pytest.approx(float(MulticlassJaccardIndex(**options)(*tensors)), rel=1e-6)


def test_counts_are_summed_over_images_before_dividing():
    metric = scored((maps([0, 0, 0, 0]), maps([0, 0, 0, 1])), (maps([1, 1]), maps([0, 1])))
    # a: 3 / (4 + 4 - 3), b: 1 / (2 + 2 - 1); the mean over images would be another number
    assert metric.scores()["miou"] == pytest.approx((3 / 5 + 1 / 3) / 2)


def test_per_class_table():
    rows = scored((maps([0, 0, 0, 0]), maps([0, 0, 0, 1]))).tables()["per_class"]
    dice = 2 * 3 / 7
    assert rows == [
        {"class": "a", "iou": 0.75, "dice": dice, "accuracy": 0.75, "truth_pixels": 4, "predicted_pixels": 3},
        {"class": "b", "iou": 0.0, "dice": 0.0, "accuracy": None, "truth_pixels": 0, "predicted_pixels": 1},
        {"class": "c", "iou": None, "dice": None, "accuracy": None, "truth_pixels": 0, "predicted_pixels": 0},
    ]


def test_per_image_table_holds_the_classes_of_each_image():
    rows = scored((TRUTH, PREDICTED), (maps([0, VOID]), maps([1, 2]))).tables()["per_image"]
    picked = [(r["image"], r["group"], r["class"], r["intersection"], r["truth_pixels"], r["predicted_pixels"]) for r in rows]
    assert picked == [
        ("i0", "g0", "a", 2, 3, 4),
        ("i0", "g0", "b", 2, 3, 3),
        ("i0", "g0", "c", 0, 1, 0),
        ("i1", "g1", "a", 0, 1, 0),
        ("i1", "g1", "b", 0, 0, 1),
    ]


def test_per_group_table_scores_each_group_as_a_split():
    first, second, third = (maps([0, 0]), maps([0, 1])), (maps([VOID]), maps([0])), (maps([0, 1]), maps([0, 1]))
    rows = scored(first, second, third).tables()["per_group"]  # groups g0, g1, g0
    assert rows == [
        # a: 2 / (3 + 2 - 2), b: 1 / (1 + 2 - 1)
        {"group": "g0", "miou": (2 / 3 + 1 / 2) / 2, "pixel_accuracy": 3 / 4, "images": 2},
        {"group": "g1", "miou": None, "pixel_accuracy": None, "images": 1},
    ]


def test_confusion_table_lists_every_pair_and_nothing_where_it_occurs():
    full = scored((TRUTH, PREDICTED)).tables()["confusion"]
    assert len(full) == 9
    assert {"truth": "a", "predicted": "b", "pixels": 1} in full
    gaps = scored((TRUTH, np.full_like(TRUTH, VOID))).tables()["confusion"]
    assert [row["pixels"] for row in gaps if row["predicted"] == "(nothing)"] == [3, 3, 1]
    assert len(gaps) == 12


def test_instances_are_scored_by_painting_and_leave_nothing_elsewhere():
    masks = np.array([[[1, 1, 0, 0]], [[0, 1, 1, 0]]], bool)
    metric = Confusion(SPACE)
    metric.update(sample(maps([0, 1, 1, 2])), InstanceSet.build(masks, [0, 1], scores=[0.6, 0.9]))
    np.testing.assert_array_equal(metric.matrix, [[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]])


def test_a_fault_names_the_image():
    with pytest.raises(ValueError, match="i0: count_pairs: prediction holds label 3"):
        scored((maps([0]), maps([3])))
