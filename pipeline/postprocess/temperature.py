"""Temperature scaling: one number makes a network as sure as it is right."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from pipeline.postprocess._postprocess import Example, Postprocess
from pipeline.structures import LabelSpace, SemanticMap

FIT_IMAGES = 100
FIT_PIXELS = 2000  # of each; neighbours say nearly the same, so that more would add little
SEARCHED = (0.05, 20.0)
PRECISION = 1e-3  # of the logarithm of the temperature
_LEAST = np.finfo(np.float32).tiny


class Temperature(Postprocess):
    """Class probabilities p become softmax(log p / temperature); above 1 less sure, below 1 surer.

    That is the logits divided by the temperature: log p differs from them by a number that softmax takes out. What came between
    (mirror images, resizing) is inside p. The labels stay as they are, and so do all scores of labels. A probability of 0 has
    fallen below what float32 holds, and counts as the least normal float32, 1.2e-38.

    Parameters
    ----------
    temperature : above 0
        None: what `fit` finds; without it 1, which changes nothing.

    Notes
    -----
    `fit` reads 2000 labelled pixels of each of at most 100 pictures, and needs 12 bytes for each of them and each class: 26 MB
    with 11 classes. Behind it a post-process that moves labels by probabilities (`dense_crf`) sees softened ones; after it,
    `temperature` calibrates what comes out of that.

    References
    ----------
    Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599, eq. 9.
    """

    moves_labels = False

    def __init__(self, label_space: LabelSpace, *, temperature: float | None = None):
        super().__init__(label_space)
        if temperature is not None and not 0 < temperature < math.inf:
            raise ValueError(f"temperature: temperature is {temperature}, wanted a finite number above 0")
        self.is_fixed = temperature is not None
        self.temperature = 1.0 if temperature is None else temperature
        self.fit_images = 0 if self.is_fixed else FIT_IMAGES

    def __call__(self, image, prediction):
        _check_prediction(image, prediction)
        if self.temperature == 1:
            return prediction
        scaled = _scaled(_logs(prediction.probabilities), self.temperature)
        np.exp(scaled, out=scaled)
        scaled /= scaled.sum(axis=0)
        return SemanticMap(prediction.labels, scaled)  # not the best class anew: rounding can make two classes equal

    def needed(self, example: Example, index: int) -> Example:
        """At most FIT_PIXELS labelled pixels, drawn with the index as seed, as a picture of one row."""
        _check_prediction(example.image, example.prediction)
        chosen = np.flatnonzero(example.labels != self.label_space.void)
        if len(chosen) > FIT_PIXELS:
            chosen = np.sort(np.random.default_rng(index).choice(chosen, FIT_PIXELS, replace=False))
        rows, columns = (one[None] for one in np.unravel_index(chosen, example.labels.shape))
        labels, probabilities = example.prediction.labels, example.prediction.probabilities
        prediction = SemanticMap(labels[rows, columns], probabilities[:, rows, columns])
        return Example(example.image[rows, columns], prediction, example.labels[rows, columns])

    def fit(self, examples: Sequence[Example]) -> dict:
        """Find the temperature of the least negative log-likelihood, the mean of -log p(truth) over all labelled pixels.

        It has one minimum in the temperature, so that a scalar search finds it: temperature 1 first, for comparison, then what
        Brent's bounded method tries on a logarithmic scale, at last the answer with four digits; each a row of `self.search`.
        Where no pixel is labelled there is nothing to find: {}.
        """
        for example in examples:
            _check_prediction(example.image, example.prediction)
        self.search = []
        if self.is_fixed:
            return {}
        self.temperature = 1.0
        is_labelled = [one.labels != self.label_space.void for one in examples]
        if not any(one.any() for one in is_labelled):
            return {}
        chosen = list(zip(examples, is_labelled, strict=True))
        logs = _logs(np.concatenate([one.prediction.probabilities[:, known] for one, known in chosen], axis=1))  # (C, N)
        labels = np.concatenate([one.labels[known] for one, known in chosen]).astype(np.int64)

        def cost(logarithm: float) -> float:
            return self._try(math.exp(logarithm), logs, labels)

        self._try(1.0, logs, labels)
        bounds = tuple(map(math.log, SEARCHED))
        found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": PRECISION})
        self.temperature = float(f"{math.exp(found.x):.4g}")
        self._try(self.temperature, logs, labels)
        return {"temperature": self.temperature}

    def _try(self, temperature: float, logs: np.ndarray, labels: np.ndarray) -> float:
        """The negative log-likelihood, also as a row of `self.search`."""
        scaled = _scaled(logs.copy(), temperature)
        true = np.take_along_axis(scaled, labels[None], axis=0)[0].astype(np.float64)
        np.exp(scaled, out=scaled)
        loss = float((np.log(scaled.sum(axis=0)) - true).mean())
        self.search.append({"temperature": temperature, "negative_log_likelihood": loss})
        return loss


def _logs(probabilities: np.ndarray) -> np.ndarray:
    """A new array of their logarithms, finite everywhere."""
    logs = np.maximum(probabilities, _LEAST)
    return np.log(logs, out=logs)


def _scaled(logs: np.ndarray, temperature: float) -> np.ndarray:
    """(C, ...) over the temperature, in place, with the largest of each pixel at 0, so that no exponential overflows."""
    logs -= logs.max(axis=0)
    logs /= np.float32(temperature)
    return logs


def _check_prediction(image: np.ndarray, prediction: SemanticMap) -> None:
    if getattr(prediction, "probabilities", None) is None:
        raise ValueError("temperature: the prediction has no class probabilities; use it after a method that gives them")
    if image.shape[:2] != prediction.shape:
        raise ValueError(f"temperature: the picture is {image.shape[:2]} and the prediction {prediction.shape} (height, width)")
