"""The classical methods: what they learn, by hand; and that each survives any picture and a round trip."""

import inspect

import numpy as np
import pytest

from pipeline.classical import METHODS
from pipeline.classical._colour import lab_colours
from pipeline.classical._method import count_votes
from pipeline.structures import LabelSpace, PanopticMap, Sample
from pipeline.table import look_up

SPACE = LabelSpace(("ground", "light"), ((0, 0, 0), (255, 255, 255)), (False, False))


def sample(labels, image=None):
    labels = np.asarray(labels, np.uint8)
    image = np.where(labels == 1, 220, 30).astype(np.uint8) if image is None else np.asarray(image, np.uint8)
    rgb = np.repeat(image[..., None], 3, axis=2)
    return Sample("one", "train", "one", rgb, PanopticMap.from_labels(labels, SPACE))


def fitted(name, samples, **options):
    method = look_up(METHODS, name, kind="classical method")(SPACE, **options)
    method.fit(samples, np.random.default_rng(0))
    return method


TWO = [sample([[0, 0, 1], [0, 0, 1]]), sample([[0, 1, 1], [255, 0, 1]])]


def test_majority_class_counts_pixels_and_not_void():
    assert (fitted("majority_class", TWO).segment(np.zeros((4, 5, 3), np.uint8)).labels == 0).all()
    void = [sample([[255, 255, 255], [255, 255, 1]])]
    assert (fitted("majority_class", void).segment(np.zeros((1, 1, 3), np.uint8)).labels == 1).all()


def test_spatial_prior_is_the_mode_of_each_place():
    three = [*TWO, sample([[0, 1, 0], [255, 0, 1]])]
    method = fitted("spatial_prior", three)
    assert method.segment(np.zeros((2, 3, 3), np.uint8)).labels.tolist() == [[0, 1, 1], [0, 0, 1]]
    assert method.segment(np.zeros((4, 6, 3), np.uint8)).labels[0].tolist() == [0, 0, 1, 1, 1, 1]


def test_spatial_prior_says_the_most_frequent_class_where_all_is_void():
    assert fitted("spatial_prior", [sample([[255, 1]])]).segment(np.zeros((1, 2, 3), np.uint8)).labels.tolist() == [[1, 1]]


@pytest.mark.parametrize("name, options", [("mean_threshold", {}), ("otsu", {}), ("kmeans", {"clusters": 2})])
def test_light_and_dark_are_found_and_named_by_vote(name, options):
    method = fitted(name, TWO, **options)
    for one in TWO:
        truth = one.truth.semantic(SPACE)
        predicted = method.segment(one.image).labels
        assert np.array_equal(predicted[truth != 255], truth[truth != 255])


def test_votes_by_hand():
    segments = np.array([[0, 0, 1], [1, 2, 2]], np.uint8)
    labels = np.array([[0, 1, 1], [255, 0, 0]], np.uint8)
    assert count_votes(segments, labels, (3, 2), SPACE).tolist() == [[1, 1], [0, 1], [2, 0]]


def test_kmeans_looks_colours_up_as_the_nearest_centre():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    one = Sample("one", None, "one", image, PanopticMap.from_labels(np.zeros((40, 50), np.uint8), SPACE))
    method = fitted("kmeans", [one], clusters=6)
    exact = ((lab_colours(image.reshape(-1, 3))[:, None] - method.centres) ** 2).sum(axis=2).argmin(axis=1)
    agreement = (method.segments(image).ravel() == exact).mean()
    assert agreement > 0.93  # colours within half a cell of a border may fall to the other side


def test_kmeans_refuses_a_wrong_number_of_clusters():
    with pytest.raises(ValueError, match="clusters is 1; choose"):
        look_up(METHODS, "kmeans", kind="classical method")(SPACE, clusters=1)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 7)])
@pytest.mark.parametrize("value", [0, 255])
def test_constant_and_tiny_pictures_give_a_result(name, shape, value):
    predicted = fitted(name, TWO).segment(np.full((*shape, 3), value, np.uint8))
    assert predicted.shape == shape and predicted.labels.max() < 2


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_bytes_and_saved_and_loaded_it_predicts_the_same(name, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        fitted(name, TWO).save(tmp_path / folder)
    written = [{path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("one", "two")]
    assert written[0] and written[0] == written[1]
    loaded = look_up(METHODS, name, kind="classical method")(SPACE)
    loaded.load(tmp_path / "one")
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    assert np.array_equal(loaded.segment(image).labels, fitted(name, TWO).segment(image).labels)


@pytest.mark.parametrize("name", METHODS)
def test_no_number_is_nan_infinity_or_beyond_all_sense(name):
    method = look_up(METHODS, name, kind="classical method")
    others = {"rule": "grey", "low": 1.0, "high": 2.0} if name == "hysteresis_threshold" else {}
    for one in inspect.signature(method).parameters.values():
        if one.annotation in (float, float | None, "float", "float | None"):
            beyond = [101.0] if "sigma" in one.name else []
            for wrong in (np.nan, np.inf, -np.inf, *beyond):
                with pytest.raises(ValueError, match=rf"(?s){one.name}.*{wrong}"):
                    method(SPACE, **others | {one.name: wrong})
        if one.name == "sigmas":
            for wrong in ([], [1.0, np.nan], [np.inf], [0.0], [101.0]):
                with pytest.raises(ValueError, match="sigmas"):
                    method(SPACE, sigmas=wrong)
