"""A classical method for tests that takes every prompt and has as many segments as the picture has bright columns."""

import numpy as np

from pipeline.classical._method import Segmenting


class Prompted(Segmenting):
    """Segment 1 in the box, 2 at the points, scribbled classes plus 10; `first` at the top left."""

    takes = ("box", "points", "scribbles")

    def __init__(self, label_space, *, first: int = 0, spread: int | None = None):
        super().__init__(label_space)
        self.first, self.spread = first, spread

    def fit(self, samples, rng):
        raise AssertionError("nothing is fitted without truth")

    def segment(self, image, prompt=None):
        raise AssertionError("there are no classes without truth")

    def segments(self, image, prompt=None):
        found = np.zeros(image.shape[:2], np.int32)
        if self.spread is not None:
            found[:] = np.arange(found.size).reshape(found.shape) * self.spread
        if prompt is not None and prompt.box is not None:
            x0, y0, x1, y1 = prompt.box.astype(int)
            found[y0:y1, x0:x1] = 1
        if prompt is not None and prompt.points is not None:
            for x, y in prompt.points.astype(int):
                found[y, x] = 2
        if prompt is not None and prompt.scribbles is not None:
            drawn = prompt.scribbles != self.label_space.void
            found[drawn] = prompt.scribbles[drawn] + 10
        found[0, 0] = self.first
        return found
