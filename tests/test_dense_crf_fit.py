"""The search of the dense CRF for its options, and which part of an example it needs for that."""

import numpy as np
import pytest

from pipeline.postprocess import dense_crf
from pipeline.postprocess._postprocess import Example
from pipeline.postprocess.dense_crf import DEEPLAB, DenseCRF
from pipeline.structures import SemanticMap
from tests.real_crop import softmax
from tests.test_dense_crf import case, space


def grainy(num_classes=2, side=16, seed=0):
    """A picture whose two halves differ in colour and class, and a prediction with independent noise."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.uint8)
    labels[:, side // 2 :] = 1
    image = np.where(labels[..., None], 200, 50).repeat(3, axis=2).astype(np.uint8)
    logits = np.stack([labels == index for index in range(num_classes)]) + rng.normal(0, 1, (num_classes, side, side))
    return Example(image, SemanticMap.from_probabilities(softmax(logits), space(num_classes)), labels)


def test_fit_finds_options_that_help_and_uses_them():
    examples = [grainy(seed=seed) for seed in range(3)]
    crf = DenseCRF(space(2))
    found = crf.fit(examples)
    assert set(found) == {"appearance_weight", "theta_alpha", "theta_beta", "smoothness_weight"}
    assert all(type(value) is float for value in found.values())
    assert crf.search[0] == DEEPLAB | {"appearance_weight": 0.0, "smoothness_weight": 0.0, "miou": crf.search[0]["miou"]}
    assert 10 < len(crf.search) <= 17
    assert max(row["miou"] for row in crf.search) == 1 > crf.search[0]["miou"]
    one = examples[0]
    assert np.array_equal(crf(one.image, one.prediction).labels, one.labels)
    given = DenseCRF(space(2), **found)(one.image, one.prediction)
    assert given.probabilities.tobytes() == crf(one.image, one.prediction).probabilities.tobytes()


def test_the_score_of_a_row_is_the_mean_iou_over_all_pixels_of_all_pictures():
    first, second = grainy(seed=1), grainy(seed=2)
    hidden = second.labels.copy()
    hidden[:5] = 255  # void
    crf = DenseCRF(space(3))
    crf.fit([grainy(3, seed=1), Example(second.image, grainy(3, seed=2).prediction, hidden)])
    labels = np.concatenate([first.labels.ravel(), hidden.ravel()])
    predicted = np.concatenate([grainy(3, seed=seed).prediction.labels.ravel() for seed in (1, 2)])[labels != 255]
    labels = labels[labels != 255]
    expected = [np.sum((labels == c) & (predicted == c)) / np.sum((labels == c) | (predicted == c)) for c in range(3)]
    assert crf.search[0]["miou"] == pytest.approx(np.mean(expected))


def test_every_row_of_the_search_is_what_its_options_give():
    image, prediction = case(20, 30, 2)
    labels = np.broadcast_to(np.arange(30) % 20 > 8, (20, 30)).astype(np.uint8)
    one = Example(image, prediction, labels)
    crf = DenseCRF(space(2))
    crf.fit([one])
    assert len({row["miou"] for row in crf.search}) > 6
    for row in crf.search:
        options = {name: row[name] for name in DEEPLAB}
        found = DenseCRF(space(2), **options)(one.image, one.prediction).labels
        shares = [np.sum((found == c) & (one.labels == c)) / np.sum((found == c) | (one.labels == c)) for c in range(2)]
        assert row["miou"] == pytest.approx(np.mean(shares)), options


def test_fit_may_find_that_no_crf_is_best():
    # dots of one pixel on a plain picture: every smoothing wipes them out
    labels = np.zeros((24, 24), np.uint8)
    labels[::4, ::4] = 1
    probabilities = np.stack([labels == 0, labels == 1]) * np.float32(0.4) + np.float32(0.3)
    example = Example(np.full((24, 24, 3), 90, np.uint8), SemanticMap.from_probabilities(probabilities, space(2)), labels)
    crf = DenseCRF(space(2))
    found = crf.fit([example])
    assert (found["appearance_weight"], found["smoothness_weight"]) == (0, 0)
    assert np.array_equal(crf(example.image, example.prediction).probabilities, probabilities)


def test_what_the_user_fixed_stays_and_is_not_returned():
    crf = DenseCRF(space(2), theta_alpha=7.0, smoothness_weight=2.0)
    assert set(crf.fit([grainy()])) == {"appearance_weight", "theta_beta"}
    assert {(row["theta_alpha"], row["smoothness_weight"]) for row in crf.search} == {(7.0, 2.0)}
    assert crf.options["theta_alpha"] == 7
    fixed = DenseCRF(space(2), appearance_weight=1.0, theta_alpha=7.0, theta_beta=3.0, smoothness_weight=2.0)
    assert fixed.fit([grainy()]) == {}
    assert fixed.search == []


def test_with_every_option_fixed_no_picture_is_asked_for():
    options = {"appearance_weight": 1.0, "theta_alpha": 7.0, "theta_beta": 3.0, "smoothness_weight": 0.0}
    assert DenseCRF(space(2), **options).fit_images == 0
    assert DenseCRF(space(2)).fit_images == 12
    for name in options:  # one option left open is enough
        rest = {other: value for other, value in options.items() if other != name}
        assert DenseCRF(space(2), **rest).fit_images == 12


def test_fixed_at_no_appearance_its_thetas_are_not_searched():
    crf = DenseCRF(space(2), appearance_weight=0.0)
    crf.fit([grainy()])
    assert [row["smoothness_weight"] for row in crf.search] == [0, 3]


def test_without_a_labelled_pixel_the_options_stay():
    one = grainy()
    void = Example(one.image, one.prediction, np.full_like(one.labels, 255))
    crf = DenseCRF(space(2))
    assert crf.fit([void]) == crf.fit([]) == {}
    assert crf.options == DEEPLAB


def test_of_a_large_picture_a_window_is_needed_in_memory_of_its_own():
    labels = np.zeros((500, 1300), np.uint16)
    labels[:] = np.arange(1300)  # the column, so that the three parts show where they were cut
    image = (labels[..., None] % 251).astype(np.uint8).repeat(3, axis=2)
    probabilities = np.ones((1, 500, 1300), np.float32) * labels
    large = Example(image, SemanticMap(labels, probabilities), labels)
    crf = DenseCRF(space(1))
    windows = [crf.needed(large, index) for index in range(12)]
    assert len({one.labels[0, 0] for one in windows}) == 12
    for one in windows:
        assert one.labels.shape == one.prediction.shape == (480, 480)
        assert np.array_equal(one.labels, one.prediction.labels)
        assert np.array_equal(one.labels, one.prediction.probabilities[0])
        assert np.array_equal(one.labels % 251, one.image[..., 0])
        parts = (one.image, one.labels, one.prediction.labels, one.prediction.probabilities)
        assert all(part.base is None for part in parts)  # a view would keep the large picture alive


def test_of_a_small_picture_everything_is_needed():
    small = grainy()
    found = DenseCRF(space(2)).needed(small, 3)
    assert np.array_equal(found.image, small.image)
    assert np.array_equal(found.labels, small.labels)
    assert np.array_equal(found.prediction.labels, small.prediction.labels)
    assert np.array_equal(found.prediction.probabilities, small.prediction.probabilities)
    assert not np.shares_memory(found.image, small.image)


def test_fit_takes_examples_as_they_come(monkeypatch):
    monkeypatch.setattr(dense_crf, "WINDOW_PX", 4)  # a window of this side would have another score
    one = grainy()
    crf = DenseCRF(space(2))
    crf.fit([one])
    shares = [np.sum((one.prediction.labels == c) & (one.labels == c)) for c in range(2)]
    shares = [right / np.sum((one.prediction.labels == c) | (one.labels == c)) for c, right in enumerate(shares)]
    assert crf.search[0]["miou"] == pytest.approx(np.mean(shares))


def test_an_example_without_probabilities_is_refused():
    one = grainy()
    bare = Example(one.image, SemanticMap(one.prediction.labels), one.labels)
    for use in (lambda: DenseCRF(space(2)).needed(bare, 0), lambda: DenseCRF(space(2)).fit([bare])):
        with pytest.raises(ValueError, match="no class probabilities"):
            use()
