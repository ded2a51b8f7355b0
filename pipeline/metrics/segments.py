"""Scores of a method's segments themselves, whatever class it gives them."""

import cv2
import numpy as np

from pipeline.metrics.confusion import class_iou
from pipeline.structures import LabelSpace, Prediction, Sample

TOLERANCE_PX = 2  # within which a true border counts as found


class Segments:
    """What the segments of an unsupervised method are worth before they get classes; absent for a method without segments.

    `oracle_miou`: mIoU of the majority oracle, by which each segment of each test image has its most frequent true class. It
    looks at the truth of the test split, so that it is no score that the method reached. No way to name these segments has a
    higher pixel accuracy. Some may have a higher mIoU, where a rare class gains more than a frequent one loses.

    Where the data has things, also, for connected segments and averaged over the images that have a labelled pixel:
    `variation_of_information`, bits, H(segment | truth) + H(truth | segment), 0 for equal partitions;
    `adapted_rand_error`, 1 - F of precision and recall of pairs of pixels in one segment, 0 for equal partitions;
    `boundary_recall`, the share of the pixels along true borders that have a border of a segment within 2 px (in x and in y),
    averaged over the images that have a true border.
    Pixels that belong to no segment of the truth count nowhere; no border lies between them and others.

    References
    ----------
    Meila 2007, Comparing clusterings: an information based distance, J. Multivariate Analysis 98(5); Arganda-Carreras et al.
    2015, doi:10.3389/fnana.2015.00142 (adapted Rand); Martin et al. 2004, IEEE TPAMI 26(5) (boundary recall).
    """

    def __init__(self, label_space: LabelSpace):
        self.label_space = label_space
        self.matrix = np.zeros((label_space.num_classes, label_space.num_classes + 1), np.int64)
        self.rows: list[tuple[float, float, float]] = []
        self.is_whole = True  # every prediction so far had segments

    def update(self, sample: Sample, prediction: Prediction) -> None:
        """Count one sample."""
        regions = getattr(prediction, "regions", None)
        if regions is None:
            self.is_whole = False
            return
        labels, num_classes = sample.truth.semantic(self.label_space), self.label_space.num_classes
        is_labelled = labels != self.label_space.void
        pairs = regions[is_labelled].astype(np.int64) * num_classes + labels[is_labelled]
        votes = np.bincount(pairs, minlength=(int(regions.max()) + 1) * num_classes).reshape(-1, num_classes)
        np.add.at(self.matrix.T, votes.argmax(axis=1), votes)  # [true class, class of the segment]
        truth = sample.truth.segments
        if self.label_space.has_things and truth.any():
            self.rows.append((*_partition_errors(truth, connected(regions)), _boundary_recall(truth, regions)))

    def scores(self) -> dict[str, float]:
        """The scores over all samples so far."""
        if not self.is_whole or not self.matrix.any():
            return {}
        iou = class_iou(self.matrix)
        scores = {"oracle_miou": float(iou[~np.isnan(iou)].mean())}
        if self.rows:
            names = ("variation_of_information", "adapted_rand_error", "boundary_recall")
            for name, values in zip(names, np.transpose(self.rows), strict=True):
                if (known := values[~np.isnan(values)]).size:
                    scores[name] = float(known.mean())
        return scores

    def tables(self) -> dict[str, list[dict]]:
        return {}


def connected(regions: np.ndarray) -> np.ndarray:
    """(H, W) int, each connected part (over sides) of each region a region of its own, from 0."""
    from skimage.measure import label

    return label(regions, background=-1, connectivity=1) - 1


def _partition_errors(truth: np.ndarray, regions: np.ndarray) -> tuple[float, float]:
    """Variation of information in bits and adapted Rand error, from how many pixels each pair of segments shares."""
    is_known = truth != 0
    _, true = np.unique(truth[is_known], return_inverse=True)
    pairs = true.astype(np.int64) * (int(regions.max()) + 1) + regions[is_known]
    pairs, shared = np.unique(pairs, return_counts=True)
    true, found = np.divmod(pairs, int(regions.max()) + 1)
    counts = [shared.astype(np.float64), *(np.bincount(one, shared) for one in (true, found))]  # of both, truth, segments
    joint, by_truth, by_segment = ((one * np.log2(np.maximum(one, 1))).sum() for one in counts)
    information = max(0.0, by_truth + by_segment - 2 * joint) / shared.sum()
    both, of_truth, of_segments = ((one * (one - 1)).sum() for one in counts)  # pairs of pixels in one segment
    rand = 1 - 2 * both / (of_truth + of_segments) if of_truth + of_segments else 0.0
    return float(information), float(rand)


def _boundary_recall(truth: np.ndarray, regions: np.ndarray) -> float:
    """NaN where the truth has no border."""
    is_known = truth != 0
    true = _borders(truth, is_known)
    side = 2 * TOLERANCE_PX + 1
    near = cv2.dilate(_borders(regions, is_known).astype(np.uint8), np.ones((side, side), np.uint8))
    return float(near[true].mean()) if true.any() else np.nan


def _borders(segments: np.ndarray, is_known: np.ndarray) -> np.ndarray:
    """(H, W) bool: the pixels whose right or lower neighbour is of another segment, where both are known."""
    border = np.zeros(segments.shape, bool)
    border[:, :-1] |= (segments[:, :-1] != segments[:, 1:]) & is_known[:, :-1] & is_known[:, 1:]
    border[:-1] |= (segments[:-1] != segments[1:]) & is_known[:-1] & is_known[1:]
    return border
