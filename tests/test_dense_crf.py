"""The dense CRF against a mean field written naively from the paper, and what it must do to any picture."""

import math

import numpy as np
import pytest

from benchmarks.dense_crf import brute_force, unsure
from pipeline.postprocess import dense_crf
from pipeline.postprocess.dense_crf import DEEPLAB, DenseCRF
from pipeline.structures import SemanticMap
from tests.networks import space
from tests.real_crop import real_crop, softmax

FULL = {"appearance_weight": 4.0, "theta_alpha": 3.0, "theta_beta": 20.0, "smoothness_weight": 3.0, "theta_gamma": 1.5}


def case(height, width, num_classes):
    """A picture of two colours with noise, and a prediction drawn at random."""
    rng = np.random.default_rng(0)
    image = np.where(np.arange(width)[None, :, None] < width // 2, 80, 150) + rng.integers(-15, 16, (height, width, 3))
    logits = rng.normal(0, 1.5, (num_classes, height, width))
    return image.astype(np.uint8), SemanticMap.from_probabilities(softmax(logits), space(num_classes))


def naive(image, probabilities, *, iterations, appearance_weight, theta_alpha, theta_beta, smoothness_weight, theta_gamma):
    """Algorithm 1 of Kraehenbuehl and Koltun, pixel by pixel and label by label, in double precision."""
    num_classes, height, width = probabilities.shape
    pixels = [(row, column) for row in range(height) for column in range(width)]
    everyone = range(len(pixels))
    colours = [[float(value) for value in image[pixel]] for pixel in pixels]
    appearance = [[0.0 for _ in everyone] for _ in everyone]
    smoothness = [[0.0 for _ in everyone] for _ in everyone]
    for i in everyone:
        for j in everyone:
            near = sum((a - b) ** 2 for a, b in zip(pixels[i], pixels[j], strict=True))
            alike = sum((a - b) ** 2 for a, b in zip(colours[i], colours[j], strict=True))
            appearance[i][j] = math.exp(-near / (2 * theta_alpha**2) - alike / (2 * theta_beta**2))
            smoothness[i][j] = math.exp(-near / (2 * theta_gamma**2))
    potential = [[0.0 for _ in everyone] for _ in everyone]
    for weight, kernel in ((appearance_weight, appearance), (smoothness_weight, smoothness)):
        sums = [sum(row) for row in kernel]
        for i in everyone:
            for j in everyone:
                potential[i][j] += weight * kernel[i][j] / math.sqrt(sums[i] * sums[j])
    unary = [[-math.log(probabilities[label][pixel]) for label in range(num_classes)] for pixel in pixels]
    marginals = [[math.exp(-one) for one in row] for row in unary]
    for _ in range(iterations):
        following = []
        for i in everyone:
            energies = []
            for label in range(num_classes):
                passed = [  # message passing, and the Potts compatibility: every other label costs
                    sum(potential[i][j] * marginals[j][other] for j in everyone if j != i)
                    for other in range(num_classes)
                    if other != label
                ]
                energies.append(unary[i][label] + sum(passed))
            lowest = min(energies)
            odds = [math.exp(lowest - energy) for energy in energies]
            following.append([one / sum(odds) for one in odds])
        marginals = following
    return np.array(marginals).T.reshape(probabilities.shape)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"smoothness_weight": 0.0},
        {"appearance_weight": 0.0},
        {"theta_alpha": 49.0, "theta_beta": 5.0, "theta_gamma": 3.0},  # DeepLab's
    ],
)
def test_small_pictures_agree_with_the_naive_mean_field(changed):
    image, prediction = case(7, 9, 3)
    options = FULL | changed
    expected = naive(image, prediction.probabilities, iterations=5, **options)
    found = DenseCRF(space(3), iterations=5, **options)(image, prediction)
    assert np.abs(found.probabilities - expected).max() < 1e-4
    assert np.abs(prediction.probabilities - expected).max() > 0.1  # there was something to compute
    assert found.probabilities.dtype == np.float32
    assert np.array_equal(found.labels, expected.argmax(axis=0))


def pictures_of(height, width):
    """From flat to busy: the smoother a picture, the more pixels the appearance kernel joins."""
    row, column = np.mgrid[:height, :width]
    ramp = np.stack([255 * column / (width - 1), 255 * row / (height - 1), 0 * row + 90], axis=2)
    return {
        "flat": np.full((height, width, 3), 90, np.uint8),
        "ramp": ramp.astype(np.uint8),
        "stripes": np.where(column // 2 % 2, 60, 180)[..., None].repeat(3, axis=2).astype(np.uint8),
        "noise": np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8),
        "photograph": real_crop(height, width)[0],
    }


def test_brute_force_by_matrices_is_the_naive_mean_field():
    image, prediction = case(7, 9, 3)
    expected = naive(image, prediction.probabilities, iterations=10, theta_gamma=3.0, **DEEPLAB)
    assert np.abs(brute_force(image, prediction.probabilities, DEEPLAB) - expected).max() < 1e-5


@pytest.mark.parametrize("changed", [{}, {"appearance_weight": 10.0}, {"appearance_weight": 0.0}])
@pytest.mark.parametrize("name", ["flat", "ramp", "stripes", "noise", "photograph"])
def test_pictures_larger_than_the_cut_agree_with_brute_force(name, changed):
    # theta_gamma is 3: the smoothness kernel is cut at 15 px
    _, prediction = case(40, 48, 3)
    image, options = pictures_of(40, 48)[name], DEEPLAB | changed
    expected = brute_force(image, prediction.probabilities, options)
    found = DenseCRF(space(3), **options)(image, prediction)
    assert np.abs(found.probabilities - expected).max() < 1e-4
    assert np.abs(prediction.probabilities - expected).max() > 0.1


def test_ten_iterations_are_the_default():
    image, prediction = case(4, 5, 2)
    expected = naive(image, prediction.probabilities, iterations=10, **FULL)
    assert np.abs(DenseCRF(space(2), **FULL)(image, prediction).probabilities - expected).max() < 1e-4


def test_the_lattice_hardly_changes_the_mean_field_on_a_real_crop(monkeypatch):
    image, labels = real_crop(72, 80)
    prediction = SemanticMap.from_probabilities(unsure(labels), space(11))
    crf = DenseCRF(space(11))
    by_lattice = crf(image, prediction)
    monkeypatch.setattr(dense_crf, "EXACT_PIXELS", 72 * 80)
    exact = crf(image, prediction)
    difference = np.abs(by_lattice.probabilities - exact.probabilities)
    assert not np.array_equal(by_lattice.probabilities, exact.probabilities)
    assert np.mean(by_lattice.labels == exact.labels) > 0.985
    assert difference.mean() < 0.003
    assert np.quantile(difference, 0.999) < 0.2
    assert np.mean(prediction.labels == exact.labels) < 0.95  # the CRF changes far more than the lattice does


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (7, 5), (13, 17), (65, 71)])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_probabilities_stay_probabilities_at_any_size(height, width, num_classes):
    image, prediction = case(height, width, num_classes)
    found = DenseCRF(space(num_classes))(image, prediction)
    assert found.probabilities.shape == (num_classes, height, width)
    assert found.probabilities.min() >= 0
    assert np.allclose(found.probabilities.sum(axis=0), 1, atol=1e-5)
    assert np.array_equal(found.labels, found.probabilities.argmax(axis=0))


def test_one_pixel_keeps_its_prediction():
    image, prediction = case(1, 1, 3)
    assert np.allclose(DenseCRF(space(3))(image, prediction).probabilities, prediction.probabilities, atol=1e-6)


@pytest.mark.parametrize("side", [20, 90])  # exact and on the lattice
def test_a_uniform_picture_loses_its_noise(side):
    rng = np.random.default_rng(0)
    logits = np.stack([np.ones((side, side)), np.zeros((side, side))]) + rng.normal(0, 1, (2, side, side))
    prediction = SemanticMap.from_probabilities(softmax(logits), space(2))
    found = DenseCRF(space(2))(np.full((side, side, 3), 90, np.uint8), prediction)
    assert 0.1 < np.mean(prediction.labels == 1) < 0.4
    assert not found.labels.any()


@pytest.mark.parametrize("side", [20, 90])
def test_a_blurred_prediction_snaps_to_the_edge_of_the_picture(side):
    image = np.full((side, side, 3), 60, np.uint8)
    image[:, side // 2 :] = 180
    ramp = np.clip((np.arange(side) - side // 2 - 3) / 4, -3, 3) * np.ones((side, 1))  # it changes class 3 px too late
    prediction = SemanticMap.from_probabilities(softmax(np.stack([-ramp, ramp])), space(2))
    crf = DenseCRF(space(2), appearance_weight=10.0, theta_alpha=20.0, theta_beta=5.0, smoothness_weight=0.0)
    truth = np.arange(side) >= side // 2
    assert np.mean(prediction.labels == truth) < 1
    assert np.array_equal(crf(image, prediction).labels, np.broadcast_to(truth, (side, side)))


def test_a_pixel_like_no_other_keeps_its_prediction_on_the_lattice():
    colours = np.stack(np.meshgrid(*[np.arange(0, 255, 15)] * 3), axis=-1).reshape(-1, 3)[: 64 * 65]
    colours = np.random.default_rng(0).permutation(colours).reshape(64, 65, 3).astype(np.uint8)
    _, prediction = case(64, 65, 3)
    found = DenseCRF(space(3), theta_beta=1.0, smoothness_weight=0.0)(colours, prediction)
    assert np.allclose(found.probabilities, prediction.probabilities, atol=1e-4)


def test_without_weights_the_prediction_stays_as_it_is():
    image, prediction = case(6, 7, 3)
    found = DenseCRF(space(3), appearance_weight=0.0, smoothness_weight=0.0)(image, prediction)
    assert np.array_equal(found.probabilities, prediction.probabilities)
    assert np.array_equal(found.labels, prediction.labels)


def test_an_impossible_class_stays_impossible():
    image, prediction = case(8, 8, 3)
    probabilities = prediction.probabilities.copy()
    probabilities[1] = 0
    probabilities /= probabilities.sum(axis=0)
    found = DenseCRF(space(3), appearance_weight=500.0)(image, SemanticMap.from_probabilities(probabilities, space(3)))
    assert not found.probabilities[1].any()
    assert np.isfinite(found.probabilities).all()


@pytest.mark.parametrize("side", [12, 70])
def test_the_order_of_the_classes_does_not_matter(side):
    image, prediction = case(side, side + 1, 4)
    order = [2, 0, 3, 1]
    turned = SemanticMap.from_probabilities(prediction.probabilities[order], space(4))
    found, other = (DenseCRF(space(4))(image, one).probabilities for one in (prediction, turned))
    assert np.allclose(found[order], other, atol=1e-4)


def test_the_same_input_gives_the_same_bytes():
    image, prediction = case(70, 75, 5)
    first, second = (DenseCRF(space(5))(image, prediction).probabilities for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert first.dtype == np.float32


def test_classes_are_filtered_in_blocks_with_the_same_result(monkeypatch):
    image, prediction = case(66, 65, 7)
    crf = DenseCRF(space(7))
    at_once = crf(image, prediction).probabilities
    monkeypatch.setattr(dense_crf, "_BLOCK", 3)  # two blocks and a smaller one
    assert np.allclose(crf(image, prediction).probabilities, at_once, atol=1e-6)


def test_more_classes_than_a_byte_holds():
    image, prediction = case(9, 8, 300)
    found = DenseCRF(space(300), **FULL)(image, prediction)
    assert found.labels.dtype == np.uint16
    assert np.allclose(found.probabilities.sum(axis=0), 1, atol=1e-5)
    # with all but two of them impossible it is a case of two classes
    probabilities = np.zeros((300, 9, 8), np.float32)
    probabilities[[0, 299]] = softmax(np.log(prediction.probabilities[:2]))
    found = DenseCRF(space(300), **FULL)(image, SemanticMap.from_probabilities(probabilities, space(300)))
    pair = DenseCRF(space(2), **FULL)(image, SemanticMap.from_probabilities(probabilities[[0, 299]], space(2)))
    assert np.allclose(found.probabilities[[0, 299]], pair.probabilities, atol=1e-5)


def test_what_it_cannot_use_is_refused():
    image, prediction = case(4, 5, 2)
    crf = DenseCRF(space(2))
    with pytest.raises(ValueError, match="no class probabilities"):
        crf(image, SemanticMap(prediction.labels))
    with pytest.raises(ValueError, match=r"\(3, 5\) and the prediction \(4, 5\)"):
        crf(image[:3], prediction)
    with pytest.raises(ValueError, match=r"iterations is 0.*theta_beta is 0.*smoothness_weight is -1") as caught:
        DenseCRF(space(2), iterations=0, theta_beta=0, smoothness_weight=-1.0)
    assert "theta_alpha" not in str(caught.value)
    with pytest.raises(ValueError, match="theta_gamma is inf"):
        DenseCRF(space(2), theta_gamma=math.inf)
