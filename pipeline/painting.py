"""Objects that may overlap as segments that do not: the panoptic form of every kind of prediction."""

from __future__ import annotations

import numpy as np

from pipeline.structures import InstanceSet, PanopticMap, Prediction, Segment, SemanticMap


def painted(instances: InstanceSet, *, score_threshold: float = 0.5, overlap_threshold: float = 0.5) -> PanopticMap:
    """Give each pixel to the object with the highest score that covers it; of equals to the first.

    Parameters
    ----------
    instances : N objects
    score_threshold : objects below it are dropped
    overlap_threshold : an object of which a smaller share than this is still free is dropped, and so is an empty one

    Returns
    -------
    PanopticMap of the same size, ids from 1 in the order of painting; pixels that no object claims are 0.

    References
    ----------
    Kirillov et al. 2019, Panoptic Segmentation, arXiv:1801.00868, section 7; thresholds as in panopticapi.
    """
    segments = np.zeros(instances.shape, np.int32)
    info: list[Segment] = []
    for index in np.argsort(-instances.scores, kind="stable"):
        if instances.scores[index] < score_threshold:
            break
        mask = instances.masks[index]
        free = mask & (segments == 0)
        area = np.count_nonzero(mask)
        if not area or np.count_nonzero(free) < overlap_threshold * area:
            continue
        info.append(Segment(len(info) + 1, int(instances.classes[index]), score=float(instances.scores[index])))
        segments[free] = info[-1].id
    return PanopticMap(segments, tuple(info))


def panoptic_form(prediction: Prediction) -> PanopticMap | None:
    """What a prediction says of things and stuff without overlap; None for a semantic map whose things nobody told apart.

    An InstanceSet is painted with the paper's thresholds, and has no stuff.
    """
    match prediction:
        case PanopticMap():
            return prediction
        case InstanceSet():
            return painted(prediction)
        case SemanticMap():
            return prediction.divided
