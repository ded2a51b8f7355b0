"""Scores of objects: average precision and average recall of boxes and masks, as COCO defines them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pipeline.metrics._average_precision import SIZES, Ranking, Recall, counted, match
from pipeline.metrics._objects import Objects, found_objects, true_objects
from pipeline.painting import panoptic_form
from pipeline.structures import InstanceSet, LabelSpace, Prediction, Sample

KINDS = ("box", "mask")
LIMITS = (1, 10, 100)  # objects of a class and image, the highest scores first
PROPOSALS = (10, 100, 1000)  # objects of an image, whatever their class
AT = {"50": 0, "75": 5}  # name -> index of the threshold
COLUMNS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar100")


class Instances:
    """Average precision (AP) and recall (AR) of objects; absent where the data has no things or the method finds no objects.

    For KIND `box` and `mask`, with IoU thresholds 0.50, 0.55, ... 0.95, and means over the classes that the truth has:

    - `KIND_ap`: AP, averaged over the thresholds; `KIND_ap50`, `KIND_ap75` at one of them; `KIND_ap_small`, `_medium`, `_large`
      of objects up to 32 x 32 px, up to 96 x 96 px, and above. Of a class and image the 100 highest scores count.
    - `KIND_ar1`, `KIND_ar10`, `KIND_ar100`: the share of the true objects found with so many of a class and image, averaged
      over the thresholds; `KIND_ar_small`, `_medium`, `_large` with 100.
    - `KIND_proposal_ar10`, `_ar100`, `_ar1000`: the same with so many of an image, whatever their class and the true one.

    A crowd need not be found, and what lies in it is neither right nor wrong. A semantic map has the objects it was divided
    into, a panoptic one those that its things were chosen from, else its things; their boxes are those around the masks.

    Parameters
    ----------
    label_space : the classes of the data set

    References
    ----------
    Lin et al. 2014, Microsoft COCO, arXiv:1405.0312, and pycocotools' COCOeval, whose numbers these are; Pinheiro et al. 2015,
    DeepMask, arXiv:1506.06204, section 5 (proposals).
    """

    columns: ClassVar = {"instances": ("class", *(f"{kind}_{name}" for kind in KINDS for name in COLUMNS), "true_objects")}

    def __init__(self, label_space: LabelSpace):
        self.label_space = label_space
        classes = range(label_space.num_classes)
        self.rankings = {kind: [Ranking() for _ in classes] for kind in KINDS}
        self.recalls = {kind: [Recall(LIMITS) for _ in classes] for kind in KINDS}
        self.proposals = {kind: Recall(PROPOSALS) for kind in KINDS}
        self.is_whole = label_space.has_things  # and every prediction so far had objects

    def update(self, sample: Sample, prediction: Prediction) -> None:
        """Count one image; the prediction has the sample's size."""
        objects = prediction if isinstance(prediction, InstanceSet) else panoptic_form(prediction)
        self.is_whole &= objects is not None
        if not self.is_whole:
            return
        space = self.label_space
        found = found_objects(objects, space, most=PROPOSALS[-1], most_per_class=LIMITS[-1])
        space.check_classes(found.classes, where=f"{sample.id}: prediction")
        truth = true_objects(sample.objects(space))
        self._count("box", found.box_ious(truth), found.box_areas, found, truth)
        self._count("mask", found.mask_ious(truth), found.mask_areas, found, truth)

    def _count(self, kind: str, ious: np.ndarray, areas: np.ndarray, found: Objects, truth: Objects) -> None:
        """Match the objects of each class, then all of them together; (D, G) IoU and (D,) areas."""
        true_areas = truth.mask_areas
        is_wanted = counted(true_areas, truth.iscrowd)

        def matched(these: np.ndarray, those: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            outcomes = match(
                ious[np.ix_(these, those)],
                true_areas=true_areas[those],
                is_crowd=truth.iscrowd[those],
                found_areas=areas[these],
            )
            return outcomes, is_wanted[:, those].sum(axis=1)

        for one in np.union1d(found.classes, truth.classes):
            these = np.flatnonzero(found.classes == one)[: LIMITS[-1]]
            outcomes, wanted = matched(these, np.flatnonzero(truth.classes == one))
            self.rankings[kind][one].add(found.scores[these], outcomes, wanted)
            self.recalls[kind][one].add(outcomes, wanted)
        self.proposals[kind].add(*matched(np.arange(len(areas))[: PROPOSALS[-1]], np.arange(len(true_areas))))

    def join(self, other: Instances) -> None:
        """Count the images of another one too, behind its own."""
        self.is_whole &= other.is_whole
        for kind in KINDS:
            pairs = [*zip(self.rankings[kind], other.rankings[kind], strict=True)]
            pairs += [*zip(self.recalls[kind], other.recalls[kind], strict=True)]
            for mine, theirs in [*pairs, (self.proposals[kind], other.proposals[kind])]:
                mine.join(theirs)

    def scores(self) -> dict[str, float]:
        """Numbers in 0..1; one that does not exist is absent: of a size, say, that no true object has."""
        if not self.is_whole:
            return {}
        found = {}
        for kind in KINDS:
            found |= {f"{kind}_{name}": values for name, values in self._per_class(kind).items()}
            recall = self.proposals[kind].recall()[:, 0]
            found |= {f"{kind}_proposal_ar{limit}": one for limit, one in zip(PROPOSALS, recall, strict=True)}
        return {name: float(np.nanmean(values)) for name, values in found.items() if not np.isnan(values).all()}

    def _per_class(self, kind: str) -> dict[str, np.ndarray]:
        """Score -> (C,) float64, NaN for a class that the truth does not have."""
        precision = np.stack([one.precision() for one in self.rankings[kind]])  # (C, A, T)
        recall = np.stack([one.recall() for one in self.recalls[kind]]).mean(axis=-1)  # (C, M, A)
        scores = {"ap": precision[:, 0].mean(axis=-1)}
        scores |= {f"ap{name}": precision[:, 0, index] for name, index in AT.items()}
        scores |= {f"ar{limit}": recall[:, index, 0] for index, limit in enumerate(LIMITS)}
        for index, size in list(enumerate(SIZES))[1:]:
            scores |= {f"ap_{size}": precision[:, index].mean(axis=-1), f"ar_{size}": recall[:, -1, index]}
        return scores

    def tables(self) -> dict[str, list[dict]]:
        """instances.csv: a row for each thing class; no row where there are no scores."""
        rows = []
        if self.is_whole:
            per_class = {kind: self._per_class(kind) for kind in KINDS}
            for index in np.flatnonzero(self.label_space.isthing):
                values = [per_class[kind][name][index] for kind in KINDS for name in COLUMNS]
                cells = [None if np.isnan(value) else float(value) for value in values]
                wanted = int(self.rankings["mask"][index].wanted[0])
                rows.append(dict(zip(self.columns["instances"], (self.label_space.names[index], *cells, wanted), strict=True)))
        return {"instances": rows}
