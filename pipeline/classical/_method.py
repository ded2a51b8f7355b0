"""What every classical method exposes, and the vote that gives segments their classes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np
from safetensors.numpy import load_file, save

from pipeline import files
from pipeline.spread import spread
from pipeline.structures import LabelSpace, Prediction, Prompt, Sample, SemanticMap

Result = TypeVar("Result")


class Samples(Protocol):
    """A split: its length, and its samples as often as they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def __iter__(self) -> Iterator[Sample]: ...


class Method(ABC):
    """A classical method: fitted on samples at their native size, then applied to any image.

    A method whose `state` is a few arrays says which by `state_names`; `save` and `load` then do the rest. `segment` is called
    from several threads at once and changes nothing in the method.
    """

    state_names: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()  # the parts of a `Prompt` that `segment` looks at: box, polygon, points, scribbles
    threads = 1  # of the CPU that a fit may use; whoever fits sets it. No result depends on it
    max_side: int | None = None  # px: a picture with a longer side is worked on at this length of it; None: at its own size

    def __init__(self, label_space: LabelSpace):
        self.label_space = label_space

    @abstractmethod
    def fit(self, samples: Samples, rng: np.random.Generator) -> None:
        """Learn what there is to learn from the training split."""

    @abstractmethod
    def segment(self, image: np.ndarray, prompt: Prompt | None = None) -> Prediction:
        """(H, W, 3) uint8 RGB to a prediction of the same height and width."""

    def works_at(self, shape: tuple[int, int], prompt: Prompt | None = None) -> tuple[int, int]:
        """Height and width that `segment` brings a picture of this shape to, or the part of it that it looks at."""
        return shape if self.max_side is None else reduced_size(*shape, self.max_side)

    def save(self, folder: Path) -> None:
        """Write the fitted arrays into `folder`."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in self.state_names}
        files.write_bytes(folder / "weights.safetensors", save(arrays))

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        for name, array in load_file(folder / "weights.safetensors").items():
            setattr(self, name, array)

    def each(self, work: Callable[[Sample], Result], samples: Samples) -> Iterator[Result]:
        """`work` on every sample, spread over `threads`, results in order."""
        return spread(lambda index: work(samples[index]), range(len(samples)), threads=self.threads)


class Segmenting(Method):
    """A method that cuts an image into segments without knowing the classes, which a vote on the training split adds."""

    def prepare(self, samples: Samples, rng: np.random.Generator) -> None:
        """Learn from the pictures alone what `segments` needs; most methods need nothing."""
        return

    @abstractmethod
    def segments(self, image: np.ndarray, prompt: Prompt | None = None) -> np.ndarray:
        """(H, W, 3) uint8 RGB to (H, W) uint8 or int32, the segment of each pixel, from 0 without gaps or with."""


class VotedSegments(Segmenting):
    """A method whose segments are of a fixed number of kinds: light and dark, or the clusters of colours.

    Each kind gets the class that most of its pixels have in the training split. A kind that never meets a labelled
    pixel gets the class most frequent overall.
    """

    num_segments: int  # `segments` gives 0..num_segments - 1
    state_names = ("classes",)
    classes: np.ndarray  # (num_segments,) class of each kind

    def fit(self, samples, rng):
        self.prepare(samples, rng)
        self.classes = decide(sum(self.each(self._votes, samples)))

    def _votes(self, sample: Sample) -> np.ndarray:
        shape = (self.num_segments, self.label_space.num_classes)
        return count_votes(self.segments(sample.image), sample.truth.semantic(self.label_space), shape, self.label_space)

    def segment(self, image, prompt=None):
        segments = self.segments(image, prompt)
        return SemanticMap(self.classes.astype(self.label_space.dtype)[segments], regions=segments.astype(np.int32))


def count_votes(segments: np.ndarray, labels: np.ndarray, shape: tuple[int, int], label_space: LabelSpace) -> np.ndarray:
    """(S, C) int64: how many pixels of each kind of segment have each class; void pixels have no vote."""
    labelled = labels != label_space.void
    pairs = segments[labelled].astype(np.int64) * shape[1] + labels[labelled]
    return np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)


def decide(votes: np.ndarray) -> np.ndarray:
    """(S, C) votes to (S,) int64 classes; a kind without any vote takes the class with the most votes overall.

    Examples
    --------
    >>> decide(np.array([[3, 1], [0, 2], [0, 0]]))
    array([0, 1, 0])
    """
    return np.where(votes.any(axis=1), votes.argmax(axis=1), votes.sum(axis=0).argmax())


def reduced_size(height: int, width: int, max_side: int) -> tuple[int, int]:
    """Height and width with the longer one at `max_side` px at most, the aspect kept.

    Examples
    --------
    >>> reduced_size(3000, 4000, 256)
    (192, 256)
    """
    scale = min(1.0, max_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def grey(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB to (H, W) uint8 luma (ITU-R BT.601, as OpenCV weighs it)."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def lab(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB to (H, W, 3) float32 CIE Lab, L in 0..100."""
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
