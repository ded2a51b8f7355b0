"""A semantic map as a panoptic one: stuff in one segment for each class, things in as many as a rule makes of their mask."""

from collections.abc import Callable

import cv2
import numpy as np

from pipeline.structures import LabelSpace, PanopticMap, Segment, SemanticMap

Split = Callable[[np.ndarray], np.ndarray]  # (H, W) bool of a class -> (H, W) int32: number of each pixel's thing, 0 outside


def divided(prediction: SemanticMap, label_space: LabelSpace, split: Split, *, area_px: int) -> PanopticMap:
    """Apply `split` to each thing class that is present.

    A thing's score is the mean probability of its class over its pixels; without probabilities, its share of the picture, so
    that of two things the larger one comes first. Things of fewer pixels than `area_px` become nothing, and so does void.
    """
    labels = prediction.semantic(label_space)
    segments, info = np.zeros(labels.shape, np.int32), []
    for category in np.flatnonzero(np.bincount(labels.ravel(), minlength=label_space.num_classes)[: label_space.num_classes]):
        mask = labels == category
        if not label_space.isthing[category]:
            info.append(Segment(len(info) + 1, int(category)))
            segments[mask] = len(info)
            continue
        parts = split(mask)[mask]  # (N,)
        areas = np.bincount(parts)
        kept = np.flatnonzero(areas >= max(area_px, 1))
        kept = kept[kept > 0]
        scores = areas / labels.size
        if prediction.probabilities is not None:
            scores = np.bincount(parts, prediction.probabilities[category][mask]) / np.maximum(areas, 1)
        ids = np.zeros(len(areas), np.int32)
        ids[kept] = len(info) + 1 + np.arange(len(kept))
        segments[mask] = ids[parts]
        info += [Segment(int(ids[part]), int(category), score=min(float(scores[part]), 1.0)) for part in kept]
    return PanopticMap(segments, tuple(info))


def connected(mask: np.ndarray) -> np.ndarray:
    """(H, W) int32, the number of each pixel's connected part, over sides and corners; 0 outside the (H, W) bool mask."""
    return cv2.connectedComponents(mask.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)[1]
