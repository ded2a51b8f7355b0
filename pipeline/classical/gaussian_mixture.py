"""Kinds of pixel by colour: a mixture of Gaussians over the training split's colours."""

import warnings

import numpy as np

from pipeline.classical._colour import CELLS, SPACES, cell_colours, drawn_pixels, look_up
from pipeline.classical._method import VotedSegments
from pipeline.structures import LabelSpace

COVARIANCES = ("full", "tied", "diag", "spherical")


class GaussianMixture(VotedSegments):
    """Fits a mixture of Gaussians to the training split's colours; each component gets its class by vote on that split.

    Unlike a cluster of k-means, a component has a width and a frequency of its own: narrow and wide clouds of colours are told
    apart. Expectation maximisation starts from k-means, on a sample of pixels; an image is then a table look-up of its colours,
    quantised to 5 bits a channel. A split with fewer colours than components gets as many components as colours.

    Parameters
    ----------
    components : number of Gaussians, 2..256
    covariance : "full", "tied" (one full matrix for all), "diag" or "spherical"
    space : "lab", "rgb", or "hsv" with hue and saturation as a point on the colour circle; each spans about 100
    restarts : runs from different k-means++ starts, of which the likeliest is kept
    iterations : of expectation maximisation, at most; it ends earlier where the mean log-likelihood gains less than 0.001
    sample_pixels : training pixels that the mixture is fitted on, drawn evenly from all images
    regularisation : added to all variances, squared units of the space; 1 is about a table cell's own variance, so that no
        component falls between two cells

    References
    ----------
    Dempster, Laird and Rubin 1977, Maximum likelihood from incomplete data via the EM algorithm, JRSS B 39(1); Bishop 2006,
    Pattern Recognition and Machine Learning, section 9.2.
    """

    state_names = ("classes", "means", "precisions_cholesky", "weights")

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        components: int = 8,
        covariance: str = "full",
        space: str = "lab",
        restarts: int = 1,
        iterations: int = 100,
        sample_pixels: int = 50_000,
        regularisation: float = 1.0,
    ):
        super().__init__(label_space)
        if not 2 <= components <= 256:
            raise ValueError(f"gaussian_mixture: components is {components}; choose 2..256")
        if covariance not in COVARIANCES or space not in SPACES:
            raise ValueError(
                f"gaussian_mixture: covariance is {covariance!r} and space {space!r}; choose one of: {', '.join(COVARIANCES)}, "
                f"and one of: {', '.join(SPACES)}"
            )
        for name, value in (("restarts", restarts), ("iterations", iterations), ("sample_pixels", sample_pixels)):
            if value < 1:
                raise ValueError(f"gaussian_mixture: {name} is {value}; give at least 1")
        if not 0 < regularisation < np.inf:
            raise ValueError(f"gaussian_mixture: regularisation is {regularisation}; give a number above 0")
        self.num_segments, self.covariance, self.space, self.restarts = components, covariance, space, restarts
        self.iterations, self.sample_pixels, self.regularisation = iterations, sample_pixels, regularisation
        self.means = np.zeros((1, 3))
        self.precisions_cholesky = np.eye(3)[None]  # (K, 3, 3) whatever the covariance; upper triangles
        self.weights = np.ones(1)
        self._table = np.zeros(CELLS, np.uint8)

    def prepare(self, samples, rng):
        drawn, _ = drawn_pixels(self, samples, self.sample_pixels, rng)
        colours = SPACES[self.space](drawn).astype(np.float64)
        fitted = self._mixture(colours, seed=int(rng.integers(2**31)))
        self.means, self.weights = fitted.means_, fitted.weights_
        self.precisions_cholesky = _full(fitted.precisions_cholesky_, self.covariance, len(fitted.means_))
        self._make_table()

    def load(self, folder):
        super().load(folder)
        self._make_table()

    def _mixture(self, colours: np.ndarray, *, seed: int):
        """Scikit-learn's mixture fitted to (N, 3) colours."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture as Mixture
        from threadpoolctl import threadpool_limits

        mixture = Mixture(
            min(self.num_segments, len(np.unique(colours, axis=0))),
            covariance_type=self.covariance,
            reg_covar=self.regularisation,
            max_iter=self.iterations,
            n_init=self.restarts,
            random_state=seed,
        )
        with threadpool_limits(1), warnings.catch_warnings():  # threads add up in any order, which changes the last bits
            warnings.simplefilter("ignore", ConvergenceWarning)  # `iterations` is the caller's to choose
            return mixture.fit(colours)

    def segments(self, image, prompt=None):
        return look_up(image, self._table)

    def _make_table(self) -> None:
        """The likeliest component of the middle of each cell, (2^15,) uint8."""
        self._table = self.log_joint(SPACES[self.space](cell_colours())).argmax(axis=1).astype(np.uint8)

    def log_joint(self, colours: np.ndarray) -> np.ndarray:
        """(N, 3) colours of the space to (N, K): logarithm of each component's weight times its density, less a constant."""
        found = np.empty((len(colours), len(self.means)))
        for component, (mean, factor) in enumerate(zip(self.means, self.precisions_cholesky, strict=True)):
            from_mean = (colours - mean) @ factor
            found[:, component] = np.log(np.diag(factor)).sum() - 0.5 * (from_mean**2).sum(axis=1)
        return found + np.log(self.weights)


def _full(factors: np.ndarray, covariance: str, count: int) -> np.ndarray:
    """Cholesky factors as scikit-learn keeps them for each kind of covariance, as (count, 3, 3)."""
    if covariance == "full":
        return factors
    if covariance == "tied":
        return np.repeat(factors[None], count, axis=0)
    return np.broadcast_to(factors.reshape(count, -1), (count, 3))[:, None] * np.eye(3)
