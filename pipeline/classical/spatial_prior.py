"""The floor that knows where things usually are, and never looks at the image."""

import numpy as np

from pipeline.classical._method import Method
from pipeline.resizing import resize_labels
from pipeline.structures import SemanticMap

LONG_SIDE_PX = 512  # of the grid that is counted on: a class costs 4 bytes in each of its cells


class SpatialPrior(Method):
    """Says at each place the class most frequent there in the training split.

    The masks are brought to the size of the largest one, 512 px on its longer side at most; the answer is brought to the
    size of the image, both by nearest neighbour. A place that is void in every mask gets the class most frequent overall.
    """

    state_names = ("prior",)
    prior: np.ndarray  # (H, W) class index

    def fit(self, samples, rng):
        num_classes, void = self.label_space.num_classes, self.label_space.void
        sizes = [sample.shape for sample in samples]
        height, width = max(size[0] for size in sizes), max(size[1] for size in sizes)
        shrunk = min(1.0, LONG_SIDE_PX / max(height, width))
        height, width = max(1, round(height * shrunk)), max(1, round(width * shrunk))
        counts = np.zeros((num_classes, height, width), np.uint32)
        for sample in samples:
            labels = resize_labels(sample.truth.semantic(self.label_space), height, width)
            for label in np.unique(labels):
                if label != void:
                    counts[label] += labels == label
        prior = counts.argmax(axis=0)
        prior[~counts.any(axis=0)] = counts.sum(axis=(1, 2), dtype=np.int64).argmax()
        self.prior = prior.astype(self.label_space.dtype)

    def segment(self, image, prompt=None):
        return SemanticMap(resize_labels(self.prior, *image.shape[:2]))
