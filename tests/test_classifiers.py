"""Pixel and superpixel classifiers: the filters by hand and beside scikit-image, what is drawn and weighed, and their file."""

import io
import json
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy import ndimage
from skimage import feature
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.preprocessing import FunctionTransformer

from pipeline.classical import METHODS, _forest_file
from pipeline.classical._filter_bank import FilterBank, _at_scale, _patterns, gaussian
from pipeline.classical._tree_method import FILE, balanced
from pipeline.classical.pixel_classifier import PixelClassifier, drawn
from pipeline.classical.superpixel_classifier import SuperpixelClassifier
from pipeline.structures import LabelSpace, PanopticMap, Sample

SPACE = LabelSpace(("left", "dark", "light", "never"), ((0, 0, 0), (9, 9, 9), (255, 255, 255), (1, 1, 1)), (False,) * 4)
SMALL = {"trees": 6, "sigmas": (0.7, 2.0), "texture_sigma": 2.0}
LEARNERS = ("forest", "extra_trees", "boosting")
BOTH = (PixelClassifier, SuperpixelClassifier)


def scene(seed: int, *, height: int = 40, width: int = 60) -> Sample:
    """Noise of one kind in the left third, which only place and texture tell from the rest; right of it dark above light."""
    rng = np.random.default_rng(seed)
    labels = np.ones((height, width), np.uint8)
    labels[height // 2 :] = 2
    labels[:, : width // 3] = 0
    grey = np.choose(labels, [120, 60, 200])[..., None] + rng.integers(-50, 51, (height, width, 3)) * (labels == 0)[..., None]
    labels[:2] = 255
    return Sample(str(seed), "train", str(seed), grey.astype(np.uint8), PanopticMap.from_labels(labels, SPACE))


def fitted(kind, samples, *, threads=1, **options):
    method = kind(SPACE, **{**SMALL, **options})
    method.threads = threads
    method.fit(samples, np.random.default_rng(0))
    return method


def plane(seed=0, shape=(80, 80)):
    return ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1).astype(np.float32)


def at_scale(channel, sigma):
    return list(_at_scale(channel, [], [np.zeros_like(channel)] * 3, sigma))


def test_filters_of_a_slope_and_of_a_valley_by_hand():
    across = np.tile(np.arange(40, dtype=np.float32), (30, 1))
    inside = (slice(12, 18), slice(12, 28))
    smooth, gradient, larger, smaller, _, _, laplacian = (one[inside] for one in at_scale(2 * across, 2.0))
    assert np.allclose(smooth, 2 * across[inside], atol=1e-4) and np.allclose(gradient, 2, atol=1e-4)
    assert all(np.allclose(one, 0, atol=1e-4) for one in (larger, smaller, laplacian))
    down = np.arange(30, dtype=np.float32)[:, None]
    _, _, larger, smaller, _, _, laplacian = (one[inside] for one in at_scale(across**2 - 3 * down**2, 2.0))
    assert np.allclose(larger, 2, atol=1e-2) and np.allclose(smaller, -6, atol=1e-2) and np.allclose(laplacian, -4, atol=1e-2)


@pytest.mark.parametrize("sigma", [0.7, 1.6, 3.5])
def test_filters_are_those_of_scikit_image_away_from_the_border(sigma):
    channel = plane()
    across, down = ndimage.sobel(channel, 1), ndimage.sobel(channel, 0)
    found = list(_at_scale(channel, [channel.T.copy()], (across * across, across * down, down * down), sigma))
    wide = channel.astype(np.float64)
    hessian = feature.hessian_matrix_eigvals(
        feature.hessian_matrix(wide, sigma, order="rc", mode="reflect", use_gaussian_derivatives=False)
    )
    tensor = feature.structure_tensor_eigenvalues(feature.structure_tensor(wide, sigma, order="rc", mode="reflect"))
    smooth = ndimage.gaussian_filter(wide, sigma)
    coloured = ndimage.gaussian_filter(wide.T, sigma)
    gradient = np.hypot(*np.gradient(smooth))
    inside = (slice(20, -20), slice(20, -20))
    for mine, reference in zip(found, [smooth, coloured, gradient, *hessian, *tensor, hessian.sum(axis=0)], strict=True):
        assert reference[inside].std() > 0
        assert np.abs(mine - reference)[inside].max() < 1e-4 * np.abs(reference).max()


def test_patterns_of_an_even_picture_and_of_noise():
    even = list(_patterns(np.full((17, 17, 3), 77, np.uint8), 1.0))
    assert np.allclose(even[8][5:-5, 5:-5], 1)  # all eight neighbours are as light: the pattern of eight
    assert all((one[5:-5, 5:-5] == 0).all() for kind, one in enumerate(even) if kind != 8)
    noise = np.repeat(np.random.default_rng(0).integers(0, 256, (50, 60, 1), dtype=np.uint8), 3, axis=2)
    kinds = feature.local_binary_pattern(noise[..., 0], 8, 1, "uniform")
    found = np.stack(list(_patterns(noise, 2.0)))
    assert np.allclose(found.sum(axis=0), 1, atol=1e-5)
    assert np.allclose(found[9], ndimage.gaussian_filter((kinds == 9).astype(float), 2.0, mode="mirror"), atol=1e-5)


def test_a_bank_has_as_many_planes_as_it_says_and_place_by_hand():
    image = np.random.default_rng(0).integers(0, 256, (2, 4, 3), dtype=np.uint8)
    for bank, wanted in (
        (FilterBank(sigmas=[1.0], texture_sigma=0, place=False), 9),
        (FilterBank(sigmas=[1.0, 2.0], texture_sigma=3.0, place=True), 30),
    ):
        planes = bank.planes(image)
        assert len(bank) == wanted and planes.shape == (wanted, 2, 4) and planes.dtype == np.float32
    assert planes[-2].tolist() == [[0.125, 0.375, 0.625, 0.875]] * 2 and planes[-1].tolist() == [[0.25] * 4, [0.75] * 4]


def test_strips_give_the_planes_of_the_whole_picture():
    image = scene(0, height=90).image
    bank = FilterBank(sigmas=[0.7, 3.0], texture_sigma=2.0, place=True)
    strips = list(bank.strips(image, pixels=60 * 20))
    assert [(rows.start, rows.stop) for rows, _ in strips] == [(0, 20), (20, 40), (40, 60), (60, 80), (80, 90)]
    assert np.array_equal(np.concatenate([planes for _, planes in strips], axis=1), bank.planes(image))


def test_a_gaussian_wider_than_the_picture_stays_finite():
    assert np.allclose(gaussian(np.full((1, 2), 3, np.float32), 20.0), 3)


def test_drawn_pixels_stand_for_all_labelled_ones():
    labels = np.array([0] * 90 + [1] * 8 + [255] * 1000)
    chosen, pixels = drawn(labels, 40, np.random.default_rng(0), void=255)
    assert len(chosen) == len(pixels) == 40 and (labels[chosen] != 255).all()
    assert (labels[chosen] == 1).sum() >= 10  # half of 40 evenly from two classes
    assert np.allclose([pixels[labels[chosen] == one].sum() for one in (0, 1)], [90, 8])
    assert len(drawn(np.full(5, 255), 40, np.random.default_rng(0), void=255)[0]) == 0


def test_weights_between_pixels_and_classes():
    labels, pixels = np.array([0, 0, 1]), np.array([8.0, 8.0, 4.0])
    assert balanced(labels, pixels, 0.0).tolist() == [1.2, 1.2, 0.6]
    total = np.bincount(labels, balanced(labels, pixels, 0.5))
    assert np.isclose(total[0] / total[1], 2)  # the root of 16 / 4


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("kind", BOTH)
def test_colour_and_texture_are_learned_and_a_class_never_seen_has_no_probability(kind, learner):
    method = fitted(kind, [scene(seed) for seed in range(8)], learner=learner, place=False)
    new = scene(99)
    predicted = method.segment(new.image)
    truth = new.truth.semantic(SPACE)
    assert (predicted.labels == truth)[truth != 255].mean() > 0.9
    assert predicted.probabilities.dtype == np.float32 and predicted.probabilities.shape == (4, 40, 60)
    assert np.allclose(predicted.probabilities.sum(axis=0), 1, atol=1e-6) and (predicted.probabilities[3] == 0).all()
    assert np.array_equal(predicted.labels, predicted.probabilities.argmax(axis=0))


def test_only_place_tells_apart_what_looks_the_same():
    labels = np.repeat(np.array([[0, 1]], np.uint8), 20, axis=1).repeat(30, axis=0)
    same = Sample("same", None, "same", np.full((30, 40, 3), 90, np.uint8), PanopticMap.from_labels(labels, SPACE))
    right = [
        (fitted(PixelClassifier, [same], place=place).segment(same.image).labels == labels).mean() for place in (False, True)
    ]
    assert right[0] < 0.6 and right[1] > 0.9


def test_balance_moves_what_cannot_be_told_apart_to_the_rare_class():
    labels = np.where(np.arange(30) < 12, 1, 0).astype(np.uint8)[:, None].repeat(40, axis=1)
    same = Sample("same", None, "same", np.full((30, 40, 3), 90, np.uint8), PanopticMap.from_labels(labels, SPACE))
    shares = []
    for balance in (0.0, 1.0):
        method = fitted(PixelClassifier, [same], place=False, balance=balance, trees=60)
        shares.append(method.segment(same.image).probabilities[1].mean())
    assert abs(shares[0] - 0.4) < 0.02 and abs(shares[1] - 0.5) < 0.02


def test_trees_leaves_and_pixels_are_bounded_as_asked():
    method = fitted(PixelClassifier, [scene(0)], trees=3, leaves=2, pixels_per_image=100)
    assert [one.get_n_leaves() for one in method.trees.estimators_] == [2, 2, 2]
    assert method.trees.estimators_[0].tree_.n_node_samples[0] <= 100
    rounds = fitted(PixelClassifier, [scene(0)], learner="boosting", trees=3, leaves=2).trees
    assert rounds.n_iter_ == 3 and all(len(one.nodes) == 3 for per_class in rounds._predictors for one in per_class)


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("kind", BOTH)
def test_one_and_two_threads_give_the_same_bytes(kind, learner, tmp_path):
    samples = [scene(seed) for seed in range(8)]
    for threads in (1, 2):
        fitted(kind, samples, learner=learner, threads=threads).save(tmp_path / str(threads))
    assert (tmp_path / "1" / FILE).read_bytes() == (tmp_path / "2" / FILE).read_bytes()


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("kind", BOTH)
def test_loaded_it_predicts_the_same_from_several_threads(kind, learner, tmp_path):
    method = fitted(kind, [scene(seed) for seed in range(3)], learner=learner)
    method.save(tmp_path)
    loaded = kind(SPACE, **SMALL, learner=learner)
    loaded.load(tmp_path)
    images = [scene(seed).image for seed in range(6)]
    with ThreadPoolExecutor(3) as pool, warnings.catch_warnings(action="error"):
        together = list(pool.map(loaded.segment, images))
    for image, predicted in zip(images, together, strict=True):
        alone = method.segment(image)
        assert np.array_equal(alone.labels, predicted.labels) and np.array_equal(alone.probabilities, predicted.probabilities)
        assert (alone.regions is None) == (kind is PixelClassifier)


@pytest.mark.parametrize("learner", LEARNERS)
@pytest.mark.parametrize("kind", BOTH)
def test_a_single_class_and_void_pictures(kind, learner):
    image = scene(0).image
    void, dark = (
        Sample("x", None, "x", image, PanopticMap.from_labels(np.full((40, 60), one, np.uint8), SPACE)) for one in (255, 1)
    )
    predicted = fitted(kind, [void, dark], learner=learner).segment(image)
    assert (predicted.probabilities[1] == 1).all() and (predicted.labels == 1).all()
    with pytest.raises(ValueError, match="no labelled pixel to learn from"):
        fitted(kind, [void], learner=learner)


def test_superpixels_described_by_hand():
    method = SuperpixelClassifier(SPACE, sigmas=(1.0,), texture_sigma=0.0, place=True)
    image = scene(0).image
    regions = np.zeros((40, 60), np.int32)
    regions[:, 15:] = 1
    found = method.described(image, regions)
    planes = method.bank.planes(image)
    assert found.shape == (2, method.num_features) == (2, 23)
    for region in (0, 1):
        values = planes[:, regions == region]
        assert np.allclose(found[region, :11], values.mean(axis=1), rtol=1e-4, atol=1e-4)
        assert np.allclose(found[region, 11:22], values.std(axis=1), rtol=1e-3, atol=1e-3)
    assert np.allclose(found[:, 22], np.log([0.25, 0.75]))


def test_a_superpixel_learns_its_majority_and_weighs_its_labelled_pixels(monkeypatch):
    method = SuperpixelClassifier(SPACE, **SMALL)
    regions = np.repeat(np.arange(3, dtype=np.int32), 20)[None].repeat(40, axis=0)
    monkeypatch.setattr(method, "regions", lambda image: regions)
    labels = np.full((40, 60), 255, np.uint8)  # the third has no label
    labels[:30, :20], labels[30:, :20], labels[:5, 20:40] = 2, 1, 1
    sample = Sample("x", None, "x", scene(0).image, PanopticMap.from_labels(labels, SPACE))
    features, classes, pixels = method.examples(sample, np.random.default_rng(0))
    assert len(features) == 2 and classes.tolist() == [2, 1] and pixels.tolist() == [800, 100]


def test_every_pixel_of_a_superpixel_has_the_same_probabilities():
    image = scene(7).image
    predicted = fitted(SuperpixelClassifier, [scene(seed) for seed in range(3)], superpixels=40).segment(image)
    assert predicted.regions.dtype == np.int32 and 10 < predicted.regions.max() < 80
    for region in range(predicted.regions.max() + 1):
        assert np.ptp(predicted.probabilities[:, predicted.regions == region], axis=1).max() == 0


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    "options, message",
    [
        ({"learner": "svm"}, "learner is 'svm'; choose one of: forest, extra_trees, boosting"),
        ({"trees": 0}, "trees 0"),
        ({"leaves": 1}, "leaves 1"),
        ({"balance": 1.5}, r"balance 1.5; give .* 0\.\.1"),
        ({"sigmas": ()}, "give above 0 to 100 px"),
        ({"sigmas": (1.0, 0.0)}, "give above 0 to 100 px"),
        ({"texture_sigma": -1.0}, "texture_sigma -1.0"),
    ],
)
def test_options_that_cannot_be_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(SPACE, **options)


def test_options_of_one_kind_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="pixels_per_image is 0; give at least 1"):
        PixelClassifier(SPACE, pixels_per_image=0)
    for options in ({"superpixels": 0}, {"compactness": 0.0}):
        with pytest.raises(ValueError, match="give 1 or more, and > 0"):
            SuperpixelClassifier(SPACE, **options)


@pytest.mark.parametrize("learner", LEARNERS)
def test_other_options_than_those_of_the_fit_are_refused(learner, tmp_path):
    fitted(PixelClassifier, [scene(0)], learner=learner).save(tmp_path)
    with pytest.raises(ValueError, match=r"its trees are for 30 features and classes \[0, 1, 2\]"):
        PixelClassifier(SPACE, learner=learner).load(tmp_path)
    other = LEARNERS[LEARNERS.index(learner) - 1]
    with pytest.raises(ValueError, match=r"it holds a .*Classifier and no "):
        PixelClassifier(SPACE, **SMALL, learner=other).load(tmp_path)
    few = LabelSpace(("a", "b"), ((0, 0, 0), (1, 1, 1)), (False, False))
    with pytest.raises(ValueError, match=r"classes \[0, 1, 2\]"):
        PixelClassifier(few, **SMALL, learner=learner).load(tmp_path)


def load(content: bytes, tmp_path, learner="forest"):
    (tmp_path / FILE).write_bytes(content)
    PixelClassifier(SPACE, **SMALL, learner=learner).load(tmp_path)


def test_untrusted_types_are_refused_and_a_damaged_file_says_so(tmp_path):
    import skops.io

    fitted(PixelClassifier, [scene(0)]).save(tmp_path)
    content = (tmp_path / FILE).read_bytes()
    with pytest.raises(ValueError, match=r"forest.skops: refused, it holds types .*os\.|posix\.system"):
        load(skops.io.dumps(FunctionTransformer(__import__("os").system)), tmp_path)
    doctored = rewritten(content, lambda schema: schema.replace('"RandomForestClassifier"', '"Unheard"', 1))
    with pytest.raises(ValueError, match=r"refused, it holds types .*Unheard"):
        load(doctored, tmp_path)
    with pytest.raises(ValueError, match="it holds a ExtraTreesClassifier and no RandomForestClassifier"):
        load(skops.io.dumps(ExtraTreesClassifier()), tmp_path)
    with pytest.raises(ValueError, match=r"forest.skops: damaged; fit the method again"):
        load(content[: len(content) // 2], tmp_path)
    with pytest.raises(ValueError, match=r"forest.skops: damaged; fit the method again"):
        load(rewritten(content, lambda schema: schema.replace('"file"', '"fill"', 1)), tmp_path)
    with pytest.raises(ValueError, match="its trees lack a part"):
        load(rewritten(content, lambda schema: schema.replace('"estimators_"', '"estimated_"', 1)), tmp_path)


@pytest.mark.parametrize(
    "learner, fields", [("extra_trees", ("left_child", "feature")), ("boosting", ("right", "feature_idx"))]
)
def test_nodes_that_point_outside_are_refused(learner, fields, tmp_path):
    fitted(PixelClassifier, [scene(0)], learner=learner).save(tmp_path)
    content = (tmp_path / FILE).read_bytes()
    for field in fields:
        for value in (100_000, 0) if field in ("left_child", "right") else (30,):
            with pytest.raises(ValueError, match="refused, a node of its trees points outside"):
                load(rewritten(content, array=(field, value)), tmp_path, learner)


def rewritten(content: bytes, schema=lambda text: text, *, array: tuple[str, int] | None = None) -> bytes:
    """The skops file with its schema changed, or with a field of the first node of the first tree set."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            member = old.read(name)
            if name == "schema.json":
                member = schema(member.decode()).encode()
            elif array and array[0] in ((values := np.load(io.BytesIO(member))).dtype.names or ()):
                values[array[0]][0] = array[1]
                buffer = io.BytesIO()
                np.save(buffer, values)
                member, array = buffer.getvalue(), None
            new.writestr(name, member)
    return out.getvalue()


def test_a_file_holds_no_date_and_no_address(tmp_path):
    fitted(PixelClassifier, [scene(0)]).save(tmp_path)
    with zipfile.ZipFile(tmp_path / FILE) as packed:
        assert {one.date_time for one in packed.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert "__id__" not in packed.read("schema.json").decode()
        assert packed.namelist()[:2] == ["0.npy", "1.npy"] and json.loads(packed.read("schema.json"))["protocol"]


def test_bytes_between_the_fields_of_a_record_are_zero():
    kind = np.dtype({"names": ["a", "b"], "formats": ["i8", "u1"], "offsets": [0, 8], "itemsize": 16})
    dirty = np.frombuffer(bytes(range(1, 33)), kind)
    buffer = io.BytesIO()
    np.save(buffer, dirty)
    clean = np.load(io.BytesIO(_forest_file._array_bytes(buffer.getvalue())))
    assert clean.tolist() == dirty.tolist() and clean.tobytes()[9:16] == bytes(7) != dirty.tobytes()[9:16]


def test_the_table_has_both():
    assert METHODS["pixel_classifier"].endswith(":PixelClassifier") and "superpixel_classifier" in METHODS
