"""What flows between the parts: samples, prompts and the three kinds of segmentation.

Every structure checks its shapes on construction, so that a wrong array is refused where it is made.
The three predictions share `shape`, `semantic`, `cropped` and `resized`: a caller that scores
or draws never asks which kind it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

from pipeline.label_space import LabelSpace
from pipeline.resizing import resize_labels, resize_mask

if TYPE_CHECKING:
    from pipeline.sources import Fault

__all__ = [
    "SURE",
    "InstanceSet",
    "LabelSpace",
    "PanopticMap",
    "Prediction",
    "Prompt",
    "Sample",
    "Segment",
    "SemanticMap",
    "Target",
]


# A map has one answer for each pixel: an object that is more likely wrong than right is not painted into it. Average precision
# wants such objects too, and ranks them last. So in Kirillov et al. 2019, arXiv:1801.00868, and panopticapi.
SURE = 0.5


@dataclass(frozen=True)
class SemanticMap:
    """A class for every pixel.

    Parameters
    ----------
    labels : (H, W) uint8 or uint16, class index or void
    probabilities : (C, H, W) float32 that sums to 1 over C, or None where the method has none
    regions : (H, W) int32, the segments that a method found before it gave them classes, from 0; None where it has none
    divided : the same classes with the things of each told apart; None where nobody did
    """

    labels: np.ndarray
    probabilities: np.ndarray | None = None
    regions: np.ndarray | None = None
    divided: PanopticMap | None = None

    def __post_init__(self):
        if self.labels.ndim != 2 or self.labels.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"SemanticMap: labels are {self.labels.shape} {self.labels.dtype}, wanted (H, W) uint8 or uint16")
        given = self.probabilities
        if given is not None and (given.ndim != 3 or given.shape[1:] != self.labels.shape or given.dtype != np.float32):
            raise ValueError(
                f"SemanticMap: probabilities are {given.shape} {given.dtype}, wanted (C, {self.labels.shape[0]}, "
                f"{self.labels.shape[1]}) float32"
            )
        regions = self.regions
        if regions is not None and (regions.shape != self.labels.shape or regions.dtype != np.int32):
            raise ValueError(f"SemanticMap: regions are {regions.shape} {regions.dtype}, wanted {self.labels.shape} int32")
        if self.divided is not None and self.divided.shape != self.labels.shape:
            raise ValueError(f"SemanticMap: divided is {self.divided.shape}, wanted {self.labels.shape}")

    @classmethod
    def from_probabilities(cls, probabilities: np.ndarray, label_space: LabelSpace) -> SemanticMap:
        """The most probable class of each pixel; the first of equals."""
        return cls(probabilities.argmax(axis=0).astype(label_space.dtype), probabilities)

    @property
    def shape(self) -> tuple[int, int]:
        return self.labels.shape

    def semantic(self, label_space: LabelSpace) -> np.ndarray:
        """(H, W) labels in the type of `label_space`; ValueError where that would change one."""
        if self.labels.dtype != label_space.dtype:
            label_space.check(self.labels, where="SemanticMap")
        return self.labels.astype(label_space.dtype, copy=False)

    def cropped(self, height: int, width: int) -> SemanticMap:
        """The top left `height` x `width` pixels: what padding on the right and below added goes."""
        given, regions, divided = self.probabilities, self.regions, self.divided
        return SemanticMap(
            self.labels[:height, :width],
            None if given is None else given[:, :height, :width],
            None if regions is None else regions[:height, :width],
            None if divided is None else divided.cropped(height, width),
        )

    def resized(self, height: int, width: int) -> SemanticMap:
        """The map at another size: probabilities bilinearly, then the best class; bare labels, regions by nearest neighbour.

        What was `divided` is None there: its segments would not have the new labels' outlines.
        """
        if self.shape == (height, width):
            return self
        regions = None if self.regions is None else resize_labels(self.regions, height, width)
        if self.probabilities is None:
            return SemanticMap(resize_labels(self.labels, height, width), regions=regions)
        probabilities = np.stack([cv2.resize(plane, (width, height)) for plane in self.probabilities])
        return SemanticMap(probabilities.argmax(axis=0).astype(self.labels.dtype), probabilities, regions)


@dataclass(frozen=True)
class InstanceSet:
    """Objects that may overlap.

    Parameters
    ----------
    masks : (N, H, W) bool
    classes : (N,) int64, class index
    scores : (N,) float32 in 0..1; ones for truth
    iscrowd : (N,) bool; a region of objects that nobody told apart
    """

    masks: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    iscrowd: np.ndarray

    def __post_init__(self):
        if self.masks.ndim != 3 or self.masks.dtype != np.bool_:
            raise ValueError(f"InstanceSet: masks are {self.masks.shape} {self.masks.dtype}, wanted (N, H, W) bool")
        wanted = (len(self.masks),)
        for name in ("classes", "scores", "iscrowd"):
            shape = getattr(self, name).shape
            if shape != wanted:
                raise ValueError(f"InstanceSet: {name} are {shape}, wanted {wanted}, one per mask")

    @classmethod
    def build(cls, masks, classes, scores=None, iscrowd=None) -> InstanceSet:
        """From anything array-like; `scores` default to 1 and `iscrowd` to False."""
        masks = np.asarray(masks, bool)
        count = len(masks)
        return cls(
            masks,
            np.asarray(classes, np.int64),
            np.ones(count, np.float32) if scores is None else np.asarray(scores, np.float32),
            np.zeros(count, bool) if iscrowd is None else np.asarray(iscrowd, bool),
        )

    @classmethod
    def empty(cls, height: int, width: int) -> InstanceSet:
        return cls.build(np.zeros((0, height, width), bool), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, chosen) -> InstanceSet:
        return InstanceSet(self.masks[chosen], self.classes[chosen], self.scores[chosen], self.iscrowd[chosen])

    @property
    def shape(self) -> tuple[int, int]:
        return self.masks.shape[1:]

    @property
    def boxes(self) -> np.ndarray:
        """(N, 4) float32: x0, y0, x1, y1 around each mask, x1 and y1 excluded; zeros around an empty one."""
        boxes = np.zeros((len(self), 4), np.float32)
        for box, mask in zip(boxes, self.masks, strict=True):
            columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
            if len(columns):
                box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
        return boxes

    def semantic(self, label_space: LabelSpace) -> np.ndarray:
        """(H, W) labels: the objects of score `SURE` or more, the highest on top; what none of them covers is `uncovered`."""
        label_space.check_classes(self.classes, where="InstanceSet")
        labels = np.full(self.shape, label_space.uncovered, label_space.dtype)
        for index in np.argsort(self.scores, kind="stable"):
            if self.scores[index] >= SURE:
                labels[self.masks[index]] = self.classes[index]
        return labels

    def cropped(self, height: int, width: int) -> InstanceSet:
        """The top left `height` x `width` pixels of every mask."""
        return replace(self, masks=self.masks[:, :height, :width])

    def resized(self, height: int, width: int) -> InstanceSet:
        """Every mask at another size, see `resize_mask`."""
        if self.shape == (height, width):
            return self
        masks = np.zeros((len(self), height, width), bool)
        for index, mask in enumerate(self.masks):
            masks[index] = resize_mask(mask, height, width)
        return replace(self, masks=masks)


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map: a thing, or all the pixels of a stuff class."""

    id: int  # 1..2^24 - 1, so that it fits the three bytes of COCO's PNG
    category: int  # class index
    iscrowd: bool = False
    score: float = 1.0


@dataclass(frozen=True)
class PanopticMap:
    """Every pixel belongs to one segment at most.

    Parameters
    ----------
    segments : (H, W) int32, segment id; 0 is "nothing"
    info : what each id is; every id of the map stands here once
    objects : all objects that its things were chosen from, unsure and overlapping ones too, for average precision; None where
        the map is all that is known
    """

    segments: np.ndarray
    info: tuple[Segment, ...] = field(default=())
    objects: InstanceSet | None = None

    def __post_init__(self):
        if self.segments.ndim != 2 or self.segments.dtype != np.int32:
            raise ValueError(f"PanopticMap: segments are {self.segments.shape} {self.segments.dtype}, wanted (H, W) int32")
        known = [segment.id for segment in self.info]
        if len(set(known)) != len(known) or any(not 0 < one < 1 << 24 for one in known):
            raise ValueError(f"PanopticMap: segment ids {known} must differ and lie in 1..{(1 << 24) - 1}")
        unknown = self._present - {0, *known}
        if unknown:
            raise ValueError(f"PanopticMap: ids {sorted(unknown)[:5]} stand in the map and not in its info")
        if self.objects is not None and self.objects.shape != self.segments.shape:
            raise ValueError(f"PanopticMap: segments are {self.segments.shape} and objects {self.objects.shape}")

    @classmethod
    def from_labels(cls, labels: np.ndarray, label_space: LabelSpace) -> PanopticMap:
        """One segment for each class present, its id the class index + 1; void becomes 0."""
        label_space.check(labels, where="PanopticMap.from_labels")
        segments = np.where(labels == label_space.void, 0, labels.astype(np.int32) + 1).astype(np.int32)
        return cls(segments, tuple(Segment(one, one - 1) for one in sorted(_values(segments)) if one))

    @property
    def shape(self) -> tuple[int, int]:
        return self.segments.shape

    def semantic(self, label_space: LabelSpace) -> np.ndarray:
        """(H, W) labels; what no segment covers is void."""
        label_space.check_classes([segment.category for segment in self.info], where="PanopticMap")
        table = np.full(max(self._present) + 1, label_space.void, label_space.dtype)
        for segment in self.info:
            if segment.id < len(table):
                table[segment.id] = segment.category
        return table[self.segments]

    def instances(self, label_space: LabelSpace) -> InstanceSet:
        """The things of the map as non-overlapping masks."""
        things = [segment for segment in self.info if label_space.isthing[segment.category]]
        if not things:
            return InstanceSet.empty(*self.shape)
        return InstanceSet.build(
            np.stack([self.segments == segment.id for segment in things]),
            [segment.category for segment in things],
            [segment.score for segment in things],
            [segment.iscrowd for segment in things],
        )

    def every_object(self, label_space: LabelSpace) -> InstanceSet:
        """What its things were chosen from; the things themselves where that is not known."""
        return self.instances(label_space) if self.objects is None else self.objects

    def cropped(self, height: int, width: int) -> PanopticMap:
        """The top left `height` x `width` pixels; segments that vanish leave `info`."""
        objects = None if self.objects is None else self.objects.cropped(height, width)
        return self._with(self.segments[:height, :width], objects)

    def resized(self, height: int, width: int) -> PanopticMap:
        """The map at another size, by nearest neighbour; segments that vanish leave `info`."""
        if self.shape == (height, width):
            return self
        objects = None if self.objects is None else self.objects.resized(height, width)
        return self._with(resize_labels(self.segments, height, width), objects)

    @cached_property
    def _present(self) -> set[int]:
        return _values(self.segments)

    def _with(self, segments: np.ndarray, objects: InstanceSet | None) -> PanopticMap:
        present = _values(segments)
        return PanopticMap(segments, tuple(segment for segment in self.info if segment.id in present), objects)


def _values(segments: np.ndarray) -> set[int]:
    """The different values of an (H, W) int32 map; counting is ten times as fast as sorting where ids are small."""
    if segments.size and segments.min() >= 0 and segments.max() < 1 << 16:
        return set(np.flatnonzero(np.bincount(segments.ravel())).tolist())
    return set(np.unique(segments).tolist()) or {0}


Prediction = SemanticMap | InstanceSet | PanopticMap


@dataclass(frozen=True)
class Prompt:
    """What a person points at. Any part may be missing.

    Parameters
    ----------
    box : (4,) float32, x0, y0, x1, y1 in pixels, x1 and y1 excluded
    polygon : (N, 2) float32, x and y of its corners in pixels
    points : (N, 2) float32, x and y in pixels
    scribbles : (H, W) uint8 or uint16, class index where drawn, void elsewhere
    """

    box: np.ndarray | None = None
    polygon: np.ndarray | None = None
    points: np.ndarray | None = None
    scribbles: np.ndarray | None = None


@dataclass(frozen=True)
class Sample:
    """One image with its truth.

    Parameters
    ----------
    id : unique in the data set; safe as a file name
    split : "train", "val" or "test"; None where the source has no official split
    group : what must not fall into two splits: sequence, patient, scene; the id where none is known
    image : (H, W, 3) uint8 RGB
    truth : the panoptic truth; a semantic data set has one segment per class
    instances : all objects, overlapping and crowd ones too; None where the source has nothing beyond `truth`
    remarks : what is odd about the annotation and leaves it usable; the gate reports it
    """

    id: str
    split: str | None
    group: str
    image: np.ndarray
    truth: PanopticMap
    instances: InstanceSet | None = None
    remarks: tuple[Fault, ...] = ()

    def __post_init__(self):
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"{self.id}: image is {self.image.shape} {self.image.dtype}, wanted (H, W, 3) uint8 RGB")
        for name, part in (("truth", self.truth), ("instances", self.instances)):
            if part is not None and part.shape != self.image.shape[:2]:
                raise ValueError(f"{self.id}: image is {self.image.shape[:2]} and {name} {part.shape} (height, width)")

    @property
    def shape(self) -> tuple[int, int]:
        return self.image.shape[:2]

    def objects(self, label_space: LabelSpace) -> InstanceSet:
        """All things of the truth, whichever way the source gave them."""
        return self.instances if self.instances is not None else self.truth.instances(label_space)


@dataclass(frozen=True)
class Target:
    """The truth of one training picture, cut and turned together with it.

    Parameters
    ----------
    labels : (H, W) uint8 or uint16, class index or void
    instances : the objects, overlapping ones too; None where they were not asked for
    """

    labels: np.ndarray
    instances: InstanceSet | None = None

    def __post_init__(self):
        if self.instances is not None and self.instances.shape != self.labels.shape:
            raise ValueError(f"Target: labels are {self.labels.shape} and instances {self.instances.shape}")
