"""What every post-process of a semantic prediction exposes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.structures import LabelSpace, SemanticMap


@dataclass(frozen=True)
class Example:
    """A validation picture to fit on.

    Parameters
    ----------
    image : (H, W, 3) uint8 RGB
    prediction : the method's own, with probabilities, before this post-process
    labels : (H, W) uint8 or uint16, the truth, class index or void
    """

    image: np.ndarray
    prediction: SemanticMap
    labels: np.ndarray


class Postprocess(ABC):
    """Turns a semantic prediction into a better one, with the help of the picture it was made from."""

    moves_labels = True  # False: only probabilities change, and it is left out where those of a huge picture are not kept
    fit_images = 0  # validation pictures that `fit` asks for at most; 0: there is nothing to fit

    def __init__(self, label_space: LabelSpace):
        self.label_space = label_space
        self.search: list[dict] = []  # what `fit` tried: the options and their score, a row each

    def needed(self, example: Example, index: int) -> Example:
        """The part of the `index`-th example that `fit` needs, in memory of its own; the whole one where not overridden."""
        return example

    def fit(self, examples: Sequence[Example]) -> dict:
        """Find the options that were left open, use them from now on, and return them as YAML could write them."""
        return {}

    @abstractmethod
    def __call__(self, image: np.ndarray, prediction: SemanticMap) -> SemanticMap:
        """(H, W, 3) uint8 RGB and a prediction of that size, with probabilities, to a prediction of that size.

        Raises
        ------
        ValueError : the prediction has no probabilities, or another size.
        """
