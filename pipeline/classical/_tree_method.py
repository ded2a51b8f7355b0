"""What pixel and superpixel classifiers share: trees that learn classes from a bank of filters, and their options."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from threadpoolctl import threadpool_limits

from pipeline.classical import _forest_file
from pipeline.classical._filter_bank import FilterBank
from pipeline.classical._method import Method
from pipeline.spread import spread
from pipeline.structures import LabelSpace, Sample

FILE = "forest.skops"
KINDS = {
    "forest": RandomForestClassifier,
    "extra_trees": ExtraTreesClassifier,
    "boosting": HistGradientBoostingClassifier,
}
TREES = {"forest": 50, "extra_trees": 50, "boosting": 30}
LEAVES = {"forest": 2000, "extra_trees": 2000, "boosting": 15}
SPLIT_FEATURES = 0.3  # of all filters, tried at every split of a forest
LEARNING_RATE = 0.2
BINS = 255  # of a filter's values, for boosting: as many as it can tell apart
ROWS = {"forest": 1 << 14, "extra_trees": 1 << 14, "boosting": 1 << 10}  # predicted at once, the fastest of those tried

Trees = RandomForestClassifier | ExtraTreesClassifier | HistGradientBoostingClassifier


class TreeMethod(Method):
    """Learns the class of a pixel or a region from its description by a bank of filters, with trees.

    Parameters
    ----------
    learner : "forest", a random forest; "extra_trees", the same with thresholds drawn at random; or "boosting", gradient
        boosting on histograms
    trees : of the forest, or rounds of boosting, each with a tree per class; null: 50 in a forest, 30 rounds
    leaves : of a tree at most; null: 2000 in a forest, 15 when boosting
    balance : of the classes, 0..1: 0 lets every pixel weigh the same, 1 every class, whatever is between a mixture
    sigmas, texture_sigma, place : of the `FilterBank`
    """

    trees: Trees

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        learner: str,
        trees: int | None,
        leaves: int | None,
        balance: float,
        sigmas: Sequence[float],
        texture_sigma: float,
        place: bool,
    ):
        super().__init__(label_space)
        if learner not in KINDS:
            raise ValueError(f"learner is {learner!r}; choose one of: {', '.join(KINDS)}")
        self.learner, self.balance = learner, balance
        self.num_trees = TREES[learner] if trees is None else trees
        self.leaves = LEAVES[learner] if leaves is None else leaves
        if self.num_trees < 1 or self.leaves < 2 or not 0 <= balance <= 1:
            raise ValueError(f"trees {trees}, leaves {leaves}, balance {balance}; give at least 1, at least 2, and 0..1")
        self.bank = FilterBank(sigmas=sigmas, texture_sigma=texture_sigma, place=place)

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Numbers in a description."""

    @abstractmethod
    def examples(self, sample: Sample, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of a training image: (N, D) float32 descriptions, (N,) classes, and (N,) float64, the pixels each stands for."""

    def fit(self, samples, rng):
        seeds = rng.integers(2**32, size=len(samples))
        found = list(self._all_examples(samples, seeds))
        features, labels, pixels = (np.concatenate(part) for part in zip(*found, strict=True))
        if not len(labels):
            raise ValueError("the training split has no labelled pixel to learn from; fix its masks")
        seed = int(rng.integers(2**31))
        self.trees = grown(self._unfitted(seed), features, labels, balanced(labels, pixels, self.balance))

    def _all_examples(self, samples, seeds: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        def work(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return self.examples(samples[index], np.random.default_rng(seeds[index]))

        return spread(work, range(len(samples)), threads=self.threads)

    def _unfitted(self, seed: int) -> Trees:
        if self.learner != "boosting":
            grown_as = {"max_leaf_nodes": self.leaves, "max_features": SPLIT_FEATURES, "random_state": seed}
            return KINDS[self.learner](self.num_trees, **grown_as, n_jobs=self.threads)
        return HistGradientBoostingClassifier(
            max_iter=self.num_trees,
            max_leaf_nodes=self.leaves,
            learning_rate=LEARNING_RATE,
            early_stopping=False,
            random_state=seed,
        )

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, D) float32 descriptions to (N, C) float32 that sum to 1; 0 for a class that training never saw."""
        found = np.zeros((len(features), self.label_space.num_classes), np.float32)
        answer = _boosted if self.learner == "boosting" else _voted
        with threadpool_limits(1, user_api="openmp"):  # an image takes one core, so that several can go side by side
            for first in range(0, len(features), ROWS[self.learner]):
                rows = slice(first, first + ROWS[self.learner])
                found[rows, self.trees.classes_] = answer(self.trees, np.ascontiguousarray(features[rows]))
        return found / found.sum(axis=1, keepdims=True)

    def save(self, folder):
        _forest_file.write(folder / FILE, self.trees)

    def load(self, folder: Path) -> None:
        kind, classes = KINDS[self.learner], self.label_space.num_classes
        self.trees = _forest_file.read(folder / FILE, kind=kind, features=self.num_features, num_classes=classes)


def grown(trees: Trees, features: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Trees:
    """The trees, fitted; the same ones whatever the number of threads."""
    if hasattr(trees, "n_jobs"):
        return trees.fit(features, labels, sample_weight=weights).set_params(n_jobs=None)  # no part of what was learned
    with threadpool_limits(1, user_api="openmp"):  # with more it adds up in another order
        return trees.fit(coarse(features), labels, sample_weight=weights)


def _voted(trees: Trees, features: np.ndarray) -> np.ndarray:
    """A forest's (N, C) probabilities. Its own `predict_proba` changes the filters of warnings, which threads share."""
    return sum(tree.predict_proba(features, check_input=False) for tree in trees.estimators_) / len(trees.estimators_)


def _boosted(trees: Trees, features: np.ndarray) -> np.ndarray:
    """Boosting's (N, C) probabilities; of a single class scikit-learn gives two columns."""
    return trees.predict_proba(features)[:, : len(trees.classes_)]


def coarse(features: np.ndarray) -> np.ndarray:
    """(N, D) float32 with at most `BINS` values in a column, quantiles of it, each value replaced by the nearest.

    scikit-learn cuts a column into bins halfway between its values where they are so few, and by weighted quantiles else, which
    takes far longer than to grow the trees (1.9: it sorts the column for every quantile).
    """
    result = np.empty_like(features)
    for index, column in enumerate(features.T):
        values = np.unique(np.quantile(column, (np.arange(BINS) + 0.5) / BINS, method="inverted_cdf"))
        result[:, index] = values[np.searchsorted((values[1:] + values[:-1]) / 2, column)]
    return result


def balanced(labels: np.ndarray, pixels: np.ndarray, balance: float) -> np.ndarray:
    """(N,) weights with mean 1: a class with p pixels weighs p^(1 - balance) beside the others.

    Examples
    --------
    >>> balanced(np.array([0, 0, 1]), np.array([4.0, 4.0, 2.0]), 1.0)
    array([0.75, 0.75, 1.5 ])
    """
    total = np.bincount(labels, pixels)  # (C,)
    weights = pixels * np.maximum(total, 1e-12)[labels] ** -balance
    return weights / weights.mean()
