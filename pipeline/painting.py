"""Objects that may overlap as segments that do not: the panoptic form of every kind of prediction."""

from __future__ import annotations

import numpy as np

from pipeline.structures import SURE, InstanceSet, LabelSpace, PanopticMap, Prediction, Segment, SemanticMap

COCO_STUFF = 4096 / (480 * 640)  # of a picture: the limit that panopticapi sets for stuff in pictures of COCO's size


def painted(instances: InstanceSet, *, score_threshold: float = SURE, overlap_threshold: float = 0.5) -> PanopticMap:
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


def fused(
    instances: InstanceSet,
    labels: np.ndarray,
    *,
    label_space: LabelSpace,
    score_threshold: float = SURE,
    overlap_threshold: float = 0.5,
    stuff_area_px: int | None = None,
) -> PanopticMap:
    """Things from the instances in the order of their scores, and stuff from the labels around them.

    Parameters
    ----------
    instances : the objects
    labels : (H, W) class index or void, of the size of the instances; what is no stuff in it is passed over
    score_threshold, overlap_threshold : see `painted`
    stuff_area_px : stuff segments of fewer pixels are dropped; None: of less than 1/75 of the picture, as 4096 px are in COCO's

    Returns
    -------
    PanopticMap whose `objects` are all of the instances; pixels that nothing claims are 0.

    References
    ----------
    Kirillov et al. 2019, Panoptic Segmentation, arXiv:1801.00868, section 7, and Panoptic Feature Pyramid Networks,
    arXiv:1901.02446, section 3; thresholds as in panopticapi.
    """
    things = painted(instances, score_threshold=score_threshold, overlap_threshold=overlap_threshold)
    segments, info = things.segments, list(things.info)
    least_px = max(1, round(COCO_STUFF * labels.size) if stuff_area_px is None else stuff_area_px)
    for category, isthing in enumerate(label_space.isthing):
        free = (labels == category) & (segments == 0)
        if not isthing and np.count_nonzero(free) >= least_px:
            info.append(Segment(len(info) + 1, category))
            segments[free] = info[-1].id
    return PanopticMap(segments, tuple(info), instances)


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
