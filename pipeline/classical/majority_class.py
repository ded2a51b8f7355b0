"""The floor under every comparison: one class for every pixel."""

import numpy as np

from pipeline.classical._method import Method
from pipeline.structures import SemanticMap


class MajorityClass(Method):
    """Says the class with the most pixels in the training split, everywhere. No skill at all."""

    state_names = ("majority",)
    majority: np.ndarray  # () class index

    def fit(self, samples, rng):
        pixels = np.zeros(self.label_space.void + 1, np.int64)
        for sample in samples:
            pixels += np.bincount(sample.truth.semantic(self.label_space).ravel(), minlength=len(pixels))
        self.majority = np.array(pixels[: self.label_space.num_classes].argmax())

    def segment(self, image, prompt=None):
        return SemanticMap(np.full(image.shape[:2], self.majority, self.label_space.dtype))
