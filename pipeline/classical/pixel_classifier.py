"""The class of every pixel from a bank of filters, by a forest or by boosted trees."""

from collections.abc import Sequence

import numpy as np

from pipeline.classical._tree_method import TreeMethod
from pipeline.structures import LabelSpace, SemanticMap


class PixelClassifier(TreeMethod):
    """Classifies every pixel by what a bank of filters at several scales sees around it, as ilastik and trainable Weka do.

    Half of the training pixels are drawn evenly from each image, the other half evenly from the classes in it; each then
    weighs as much as the pixels that it stands for, before `balance`.

    Parameters
    ----------
    pixels_per_image : drawn from each training image; void ones never
    learner, trees, leaves, balance : see `TreeMethod`
    sigmas, texture_sigma, place : see `FilterBank`

    References
    ----------
    Berg et al. 2019, ilastik: interactive machine learning for (bio)image analysis, Nature Methods 16; Arganda-Carreras et al.
    2017, Trainable Weka Segmentation, Bioinformatics 33(15); Breiman 2001, Random Forests, Machine Learning 45; Friedman 2001,
    Greedy function approximation: a gradient boosting machine, Annals of Statistics 29(5).
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        pixels_per_image: int = 500,
        learner: str = "forest",
        trees: int | None = None,
        leaves: int | None = None,
        balance: float = 0.75,
        sigmas: Sequence[float] = (0.7, 1.6, 3.5, 5.0, 10.0, 20.0),
        texture_sigma: float = 5.0,
        place: bool = True,
    ):
        options = {"learner": learner, "trees": trees, "leaves": leaves, "balance": balance}
        super().__init__(label_space, **options, sigmas=sigmas, texture_sigma=texture_sigma, place=place)
        if pixels_per_image < 1:
            raise ValueError(f"pixel_classifier: pixels_per_image is {pixels_per_image}; give at least 1")
        self.pixels_per_image = pixels_per_image

    @property
    def num_features(self):
        return len(self.bank)

    def examples(self, sample, rng):
        labels = sample.truth.semantic(self.label_space).ravel()
        chosen, pixels = drawn(labels, self.pixels_per_image, rng, void=self.label_space.void)
        features = np.empty((len(chosen), len(self.bank)), np.float32)
        width = sample.image.shape[1]
        for rows, planes in self.bank.strips(sample.image):
            inside = (chosen >= rows.start * width) & (chosen < rows.stop * width)
            features[inside] = planes.reshape(len(planes), -1)[:, chosen[inside] - rows.start * width].T
        return features, labels[chosen].astype(np.int64), pixels

    def segment(self, image, prompt=None):
        probabilities = np.empty((self.label_space.num_classes, *image.shape[:2]), np.float32)
        for rows, planes in self.bank.strips(image):
            found = self.probabilities(planes.reshape(len(planes), -1).T)  # (h*W, C)
            probabilities[:, rows] = found.T.reshape(-1, *planes.shape[1:])
        return SemanticMap.from_probabilities(probabilities, self.label_space)


def drawn(labels: np.ndarray, count: int, rng: np.random.Generator, *, void: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels to learn from, half of them spread over the image and half over its classes, with repetition.

    Parameters
    ----------
    labels : (P,) class of each pixel of an image, or void

    Returns
    -------
    (N,) int64 indices of pixels, about `count`, none where all is void; and (N,) float64, how many pixels each stands for
    """
    labelled = np.flatnonzero(labels != void)
    if not len(labelled):
        return np.zeros(0, np.int64), np.zeros(0)
    classes, sizes = np.unique(labels[labelled], return_counts=True)
    members = labelled[np.argsort(labels[labelled], kind="stable")]  # class by class
    share = -(-count // (2 * len(classes)))
    starts = np.cumsum(sizes) - sizes
    of_class = members[
        np.concatenate([start + rng.integers(size, size=share) for start, size in zip(starts, sizes, strict=True)])
    ]
    anywhere = labelled[rng.integers(len(labelled), size=max(count - len(of_class), 0))]
    chosen = np.concatenate([anywhere, of_class])
    rank = np.searchsorted(classes, labels[chosen])
    return chosen, sizes[rank] / np.bincount(rank, minlength=len(classes))[rank]
