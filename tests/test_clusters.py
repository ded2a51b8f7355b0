"""Methods that group pixels by colour: by hand, beside their definitions and beside scikit-learn."""

import cv2
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture as Mixture
from threadpoolctl import threadpool_limits

from pipeline.classical import METHODS
from pipeline.classical._colour import SPACES, cell_colours, cells, look_up
from pipeline.classical.gaussian_mixture import COVARIANCES
from pipeline.structures import LabelSpace, PanopticMap, Sample
from pipeline.table import look_up as entry

SPACE = LabelSpace(("one", "two"), ((0, 0, 0), (255, 255, 255)), (False, False))
NOISE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def build(name, **options):
    return entry(METHODS, name, kind="classical method")(SPACE, **options)


def sample(image, labels=None):
    labels = np.zeros(image.shape[:2], np.uint8) if labels is None else np.asarray(labels, np.uint8)
    return Sample("one", None, "one", image, PanopticMap.from_labels(labels, SPACE))


def fitted(name, samples, *, seed=0, **options):
    method = build(name, **options)
    method.fit(samples, np.random.default_rng(seed))
    return method


def row(*colours):
    return np.array([colours], np.uint8)


def middles(image):
    """(N, 3) uint8: the middle of each pixel's colour cell, written out."""
    return image.reshape(-1, 3) // 8 * 8 + 4


# spaces and the table


def test_spaces_by_hand():
    red, green, grey, dark_red = (SPACES["hsv"](row(one)[0])[0] for one in [(255, 0, 0), (0, 255, 0), (51,) * 3, (51, 0, 0)])
    assert np.allclose(red, (100, 100, 0), atol=1e-3) and np.allclose(green, (100, -50, 86.6025), atol=1e-3)
    assert np.allclose(grey, (20, 0, 0), atol=1e-3) and np.allclose(dark_red, (20, 100, 0), atol=1e-3)
    assert np.allclose(SPACES["rgb"](row((255, 51, 0))[0]), [[100, 20, 0]])
    assert np.allclose(SPACES["lab"](row((255, 255, 255), (0, 0, 0))[0]), [[100, 0, 0], [0, 0, 0]], atol=0.02)


def test_reds_on_both_sides_of_hue_zero_are_neighbours():
    above, below = SPACES["hsv"](row((255, 4, 0), (255, 0, 4))[0])
    assert np.linalg.norm(above - below) < 5


def test_table_knows_the_middle_of_each_pixels_cell():
    assert np.array_equal(cell_colours()[cells(NOISE)].reshape(-1, 3), middles(NOISE))
    assert cells(row((8, 0, 0), (0, 8, 0), (0, 0, 255))).tolist() == [[1 << 10, 1 << 5, 31]]
    table = np.random.default_rng(1).integers(0, 256, 1 << 15, dtype=np.uint8)
    assert np.array_equal(look_up(NOISE, table), table[cells(NOISE)])


# k-means


def test_kmeans_by_default_is_opencvs_on_drawn_pixels():
    rng = np.random.default_rng(5)
    drawn = np.concatenate([NOISE.reshape(-1, 3)[rng.integers(2000, size=150)] for _ in range(2)])
    cv2.setRNGSeed(int(rng.integers(2**31)))
    colours = cv2.cvtColor(drawn[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    _, _, centres = cv2.kmeans(colours, 8, None, (3, 50, 0.1), 3, cv2.KMEANS_PP_CENTERS)
    found = fitted("kmeans", [sample(NOISE), sample(NOISE)], seed=5, sample_pixels=300)
    assert found.centres.tobytes() == centres[np.lexsort(centres.T)].tobytes()


@pytest.mark.parametrize("space", SPACES)
def test_kmeans_gives_each_cell_its_nearest_centre(space):
    method = fitted("kmeans", [sample(NOISE)], clusters=12, space=space, sample_pixels=2000)
    distances = ((SPACES[space](middles(NOISE))[:, None] - method.centres) ** 2).sum(axis=2)
    assert np.array_equal(method.segments(NOISE).ravel(), distances.argmin(axis=1))


@pytest.mark.parametrize("space, alike", [("hsv", [True, True, False]), ("rgb", [False, True, True])])
def test_space_decides_what_is_alike(space, alike):
    image = row((255, 0, 0), (60, 0, 0), (0, 60, 0))  # red, dark red, dark green: like the second by hue, or by being dark
    found = fitted("kmeans", [sample(image)], clusters=2, space=space).segments(image)[0]
    assert (found == found[1]).tolist() == alike


def test_kmeans_on_every_pixel_weighs_colours_by_their_number():
    # cells 0 and 1 of grey have middles 4 and 12: three and one pixels of them make 6; 240 lies in the cell of middle 244
    image = row(*[(value,) * 3 for value in (0, 3, 7, 8, 240, 240)])
    method = fitted("kmeans", [sample(image[:, :4]), sample(image[:, 4:])], clusters=2, space="rgb", sample_pixels=None)
    assert np.allclose(method.centres, [[6 / 2.55] * 3, [244 / 2.55] * 3], atol=1e-4)


def test_kmeans_on_every_pixel_fits_as_tightly_as_on_drawn_ones():
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(rng.integers(40, 215, (6, 3))[rng.integers(6, size=(90, 100))], 12), 0, 255).astype(np.uint8)
    points = SPACES["lab"](image.reshape(-1, 3))
    centres = [fitted("kmeans", [sample(image)], sample_pixels=pixels).centres for pixels in (None, 20_000)]
    spread = [((points[:, None] - one) ** 2).sum(axis=2).min(axis=1).mean() for one in centres]
    assert spread[0] < 1.05 * spread[1]


def test_place_parts_what_has_one_colour():
    even = np.full((1, 40, 3), 90, np.uint8)
    labels = [[0] * 20 + [1] * 20]
    assert fitted("kmeans", [sample(even, labels)], clusters=2, place=1.0).segment(even).labels.tolist() == labels
    assert not fitted("kmeans", [sample(even, labels)], clusters=2).segment(even).labels.any()


@pytest.mark.parametrize("shape", [(40, 50), (1, 1), (3, 7), (200, 2)])
def test_place_is_two_more_coordinates(shape):
    method = fitted("kmeans", [sample(NOISE)], clusters=20, place=0.7, sample_pixels=2000)
    image = np.resize(NOISE, (*shape, 3))
    down, along = np.indices(shape).reshape(2, -1)
    places = 70 * np.stack([(along + 0.5) / shape[1], (down + 0.5) / shape[0]], axis=1)
    points = np.hstack([SPACES["lab"](middles(image)), places])
    distances = np.sort(((points[:, None] - method.centres.astype(float)) ** 2).sum(axis=2), axis=1)
    mine = ((points - method.centres.astype(float)[method.segments(image).ravel()]) ** 2).sum(axis=1)
    assert np.allclose(mine, distances[:, 0], rtol=1e-5, atol=1e-3)  # equals but for ties in float32


@pytest.mark.parametrize("options", [{}, {"place": 1.0}, {"sample_pixels": None}])
def test_more_clusters_than_colours(options):
    image = row((0, 0, 0), (255, 255, 255))
    method = fitted("kmeans", [sample(image, [[0, 1]])], clusters=9, **options)
    assert method.segment(image).labels.tolist() == [[0, 1]] and len(method.centres) == 9


@pytest.mark.parametrize(
    "name, options",
    [("kmeans", {}), ("kmeans", {"place": 1.0, "space": "hsv"}), ("gaussian_mixture", {"space": "rgb"})],
)
def test_loaded_into_a_fitted_method_forgets_the_old_fit(name, options, tmp_path):
    right = fitted(name, [sample(NOISE)], sample_pixels=2000, **options)
    right.save(tmp_path)
    other = fitted(name, [sample(NOISE // 2)], sample_pixels=2000, **options)
    assert not np.array_equal(other.segments(NOISE), right.segments(NOISE))
    other.load(tmp_path)
    assert np.array_equal(other.segments(NOISE), right.segments(NOISE))


@pytest.mark.parametrize("name, sample_pixels", [("kmeans", None), ("kmeans", 2000), ("gaussian_mixture", 2000)])
def test_threads_change_nothing(name, sample_pixels):
    samples = [sample(NOISE), sample(NOISE[:20] // 2), sample(NOISE[:, :9])]
    found = []
    for threads in (1, 3):
        method = build(name, sample_pixels=sample_pixels)
        method.threads = threads
        method.fit(samples, np.random.default_rng(0))
        found.append([np.asarray(getattr(method, part)).tobytes() for part in method.state_names])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"clusters": 257}, "clusters is 257; choose 2..256"),
        ({"restarts": 0}, "restarts is 0 and sample_pixels None; give at least 1"),
        ({"sample_pixels": 0}, "restarts is 3 and sample_pixels 0; give at least 1"),
        ({"space": "luv"}, "space is 'luv'; choose one of: hsv, lab, rgb"),
        ({"place": -1.0}, "place is -1.0; give a weight of 0 or more"),
        ({"place": float("nan")}, "place is nan"),
    ],
)
def test_kmeans_refuses(options, message):
    with pytest.raises(ValueError, match=f"kmeans: {message}"):
        build("kmeans", **options)


# mixtures of Gaussians


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of `beside`: 7 iterations are few
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("space", SPACES)
def test_mixture_answers_as_scikit_learn_on_the_quantised_colours(covariance, space):
    options = {"components": 5, "covariance": covariance, "space": space, "regularisation": 2.0}
    method = fitted("gaussian_mixture", [sample(NOISE)], seed=3, **options, restarts=2, iterations=7, sample_pixels=900)
    rng = np.random.default_rng(3)
    drawn = SPACES[space](NOISE.reshape(-1, 3)[rng.integers(2000, size=900)]).astype(np.float64)
    beside = Mixture(5, covariance_type=covariance, reg_covar=2.0, max_iter=7, n_init=2, random_state=int(rng.integers(2**31)))
    with threadpool_limits(1):  # on a busy machine its threads wait for each other
        expected = beside.fit(drawn).predict(SPACES[space](middles(NOISE)))
    assert np.array_equal(method.segments(NOISE).ravel(), expected)


def test_mixture_tells_narrow_from_wide():
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(200, 4, 3000), rng.normal(128, 50, 3000)
    image = np.concatenate([narrow, wide]).clip(0, 255).astype(np.uint8)[None, :, None].repeat(3, axis=2)
    method = fitted("gaussian_mixture", [sample(image)], components=2, sample_pixels=6000)
    found = method.segments(row((20,) * 3, (200,) * 3, (250,) * 3))[0]
    assert found[0] == found[2] != found[1]  # no k-means puts both ends into one cluster


def test_mixture_of_fewer_colours_than_components():
    image = row((0, 0, 0), (255, 255, 255), (255, 0, 0))
    for covariance in COVARIANCES:
        method = fitted(
            "gaussian_mixture", [sample(image, [[0, 1, 0]])], components=8, covariance=covariance, sample_pixels=500
        )
        assert method.segment(image).labels.tolist() == [[0, 1, 0]] and len(method.means) == 3
    even = np.full((3, 4, 3), 77, np.uint8)
    assert not fitted("gaussian_mixture", [sample(even)], sample_pixels=500).segments(even).any()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"components": 1}, "components is 1; choose 2..256"),
        ({"covariance": "round"}, "covariance is 'round' and space 'lab'; choose one of: full, tied, diag, spherical"),
        ({"space": "luv"}, "covariance is 'full' and space 'luv'; .*hsv, lab, rgb"),
        ({"restarts": 0}, "restarts is 0; give at least 1"),
        ({"iterations": 0}, "iterations is 0; give at least 1"),
        ({"sample_pixels": 0}, "sample_pixels is 0; give at least 1"),
        ({"regularisation": 0.0}, "regularisation is 0.0; give a number above 0"),
    ],
)
def test_mixture_refuses(options, message):
    with pytest.raises(ValueError, match=f"gaussian_mixture: {message}"):
        build("gaussian_mixture", **options)
