"""What MultiPath adds to a detector's head: a box's surroundings, features of all levels, and a loss over IoU thresholds.

Zagoruyko et al. 2016, A MultiPath Network for Object Detection, arXiv:1604.02135; what the paper leaves open as in the authors'
code, facebookresearch/multipathnet. It stands on Fast R-CNN with VGG-16; here it stands on a feature pyramid, and so

- the regions are concatenated before the hidden layers. There each region has hidden layers of its own, behind which they are
  concatenated: four times the weights of two wide layers.
- each region sees every level. There the wider ones lack the finer maps: 1.5 and 2 times lack conv3, 4 times conv4 too.
- the masks' own features stay those of the box: there masks come with the proposals.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, maskrcnn_loss
from torchvision.ops import MultiScaleRoIAlign, box_iou

from pipeline.models._instances import in_crowd

IGNORED = -100  # a label that trains nothing


def check(*, foveal: Sequence[float], integral: Sequence[float]) -> None:
    """Raise ValueError with what is wrong with the options `foveal` and `integral`, a line each."""
    faults = []
    if not _rises(foveal) or not all(1 <= factor < math.inf for factor in foveal):
        faults.append(f"foveal: {list(foveal)} are no factors of at least 1 that rise; give [1.0] or [1.0, 1.5, 2.0, 4.0]")
    if not _rises(integral) or not all(0 < threshold < 1 for threshold in integral):
        faults.append(
            f"integral: {list(integral)} are no IoU thresholds between 0 and 1 that rise; give [0.5] or "
            "[0.5, 0.55, 0.6, 0.65, 0.7, 0.75]"
        )
    if faults:
        raise ValueError("\n".join(faults))


def _rises(values: Sequence[float]) -> bool:
    return len(values) > 0 and all(low < high for low, high in pairwise(values))


def box_pool(names: Sequence[str], width: int, *, foveal: Sequence[float], skip: bool, side: int) -> nn.Module:
    """What gives the boxes' features: torchvision's own for the boxes alone from one level each, else `RegionPool`."""
    if list(foveal) == [1] and not skip:
        return MultiScaleRoIAlign(names, output_size=side, sampling_ratio=2)
    return RegionPool(names, width, foveal=foveal, skip=skip, side=side)


def box_predictor(inputs: int, labels: int, *, classifiers: int) -> nn.Module:
    """What gives the boxes' logits and offsets: torchvision's own for one classifier, else `IntegralPredictor`."""
    return FastRCNNPredictor(inputs, labels) if classifiers == 1 else IntegralPredictor(inputs, labels, classifiers)


class RegionPool(nn.Module):
    """The foveal structure and skip connections: features of a box and of the regions around it, pooled one by one.

    Parameters
    ----------
    names : of the pyramid's levels that are pooled from
    width : their channels
    foveal : a region is the box, so many times as wide and as high about its centre
    skip : pool each region from every level instead of the one that its size assigns; the levels are L2-normalised,
        concatenated, and brought back to `width` channels by a 1 x 1 convolution of the region's own
    side : values of a region along each side
    """

    def __init__(self, names: Sequence[str], width: int, *, foveal: Sequence[float], skip: bool, side: int):
        super().__init__()
        sources = [[name] for name in names] if skip else [list(names)]
        self.pools = nn.ModuleList(MultiScaleRoIAlign(source, output_size=side, sampling_ratio=2) for source in sources)
        self.foveal = tuple(foveal)
        self.mixes = nn.ModuleList(nn.Conv2d(len(names) * width, width, 1) for _ in foveal) if skip else None

    def forward(
        self, levels: Mapping[str, torch.Tensor], boxes: Sequence[torch.Tensor], sizes: Sequence[tuple[int, int]]
    ) -> torch.Tensor:
        """{name: (B, C, h, w)}, (N, 4) boxes and the size of each picture to (all N, F * C, side, side) for F regions."""
        regions = []
        for place, factor in enumerate(self.foveal):
            region = [enlarged(one, factor) for one in boxes]
            pooled = [pool(levels, region, sizes) for pool in self.pools]
            if self.mixes is not None:
                pooled = [self.mixes[place](torch.cat([_normalised(one) for one in pooled], dim=1))]
            regions += pooled
        return torch.cat(regions, dim=1)


def enlarged(boxes: torch.Tensor, factor: float) -> torch.Tensor:
    """(N, 4) boxes about the same centres; outside the picture, where they may reach, are no features but zeros."""
    if factor == 1:
        return boxes
    margin = (boxes[:, 2:] - boxes[:, :2]) * ((factor - 1) / 2)
    return torch.cat([boxes[:, :2] - margin, boxes[:, 2:] + margin], dim=1)


def _normalised(pooled: torch.Tensor) -> torch.Tensor:
    """L2-normalised over all values of a box, which are 1 in the mean square; the authors' factor of 1000 is for VGG-16."""
    values = pooled.float().flatten(start_dim=1)
    return F.rms_norm(values, values.shape[1:], eps=1e-5).view(pooled.shape)


class IntegralPredictor(FastRCNNPredictor):
    """(N, inputs) to the logits of several classifiers, (n, N, labels), and to one box for each label, (N, 4 * labels)."""

    def __init__(self, inputs: int, labels: int, classifiers: int):
        super().__init__(inputs, labels)
        self.cls_score = nn.Linear(inputs, classifiers * labels)
        self.classifiers = classifiers

    def forward(self, hidden):
        logits, offsets = super().forward(hidden)
        return logits.unflatten(1, (self.classifiers, -1)).movedim(1, 0), offsets


class IntegralHeads(RoIHeads):
    """torchvision's heads with a classifier for each IoU threshold from which on a proposal is an object: the integral loss.

    Proposals are drawn, and boxes and masks are trained, by the first threshold, the lowest. With one threshold all losses are
    torchvision's but for two things: of a batch without a proposal to train on they are 0, and torchvision's are none; and
    masks are trained where they are, see `mask_loss`.
    """

    def __init__(self, *parts: nn.Module, thresholds: Sequence[float], **options):
        super().__init__(*parts, fg_iou_thresh=thresholds[0], bg_iou_thresh=thresholds[0], **options)
        self.thresholds = tuple(thresholds)

    def forward(self, features, proposals, image_shapes, targets=None):
        if not self.training:
            return super().forward(features, proposals, image_shapes, targets)
        boxes, matched, labels, offsets = self.select_training_samples(proposals, targets)
        logits, deltas = self.box_predictor(self.box_head(self.box_roi_pool(features, boxes, image_shapes)))
        rows = [labels_at(self.thresholds, *one) for one in zip(boxes, labels, targets, strict=True)]
        losses = {
            "loss_classifier": integral_loss(logits if logits.dim() == 3 else logits[None], torch.cat(rows, dim=1)),
            "loss_box_reg": box_loss(deltas, torch.cat(labels), torch.cat(offsets)),
        }
        objects = [row > 0 for row in labels]
        boxes, matched = ([part[row] for part, row in zip(parts, objects, strict=True)] for parts in (boxes, matched))
        masks = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, image_shapes)))
        return [], losses | {"loss_mask": mask_loss(masks, boxes, matched, targets)}

    def postprocess_detections(self, class_logits, *others):
        if class_logits.dim() == 3:  # (n, N, labels); the softmax of these is the mean of the classifiers' probabilities
            class_logits = class_logits.float().softmax(dim=2).mean(dim=0).log()
        return super().postprocess_detections(class_logits, *others)


def labels_at(
    thresholds: Sequence[float], boxes: torch.Tensor, labels: torch.Tensor, truth: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """(n, N) labels of a picture's boxes at n rising thresholds, from the (N,) at the first.

    A box that overlaps no object by so much is background, and in a crowd `IGNORED`.
    """
    overlaps = F.pad(box_iou(boxes, truth["boxes"]), (0, 1)).amax(dim=1)  # 0 where there is no object
    is_object = overlaps >= overlaps.new_tensor(thresholds[1:])[:, None]  # (n - 1, N)
    others = torch.where(in_crowd(boxes, truth["crowd"]), IGNORED, 0)
    return torch.cat([labels[None], torch.where(is_object, labels, others)])


def integral_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over n classifiers of their cross-entropies, each the mean over its boxes that are not `IGNORED`.

    Parameters
    ----------
    logits : (n, N, labels)
    labels : (n, N)

    Returns
    -------
    () tensor; a classifier without a box adds 0
    """
    counts = (labels != IGNORED).sum(dim=1).clamp(min=1)
    sums = [F.cross_entropy(*one, ignore_index=IGNORED, reduction="sum") for one in zip(logits, labels, strict=True)]
    return (torch.stack(sums) / counts).mean()


def box_loss(deltas: torch.Tensor, labels: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Smooth L1 of the objects' offsets, from one for each label, (N, 4 * labels), to (N, 4); summed, divided by N."""
    objects = torch.where(labels > 0)[0]
    found = deltas.unflatten(1, (-1, 4))[objects, labels[objects]]
    return F.smooth_l1_loss(found, offsets[objects], beta=1 / 9, reduction="sum") / max(len(labels), 1)


def mask_loss(
    logits: torch.Tensor,
    boxes: Sequence[torch.Tensor],
    matched: Sequence[torch.Tensor],
    truth: Sequence[Mapping[str, torch.Tensor]],
) -> torch.Tensor:
    """torchvision's loss of masks, whose truth is read where it is: torchvision's own reads it half a pixel too far.

    A network that learns from that draws every mask half a pixel up and to the left, which costs an ellipse of 15 x 30 px a
    twelfth of its IoU.

    Parameters
    ----------
    logits : (all N, labels, s, s)
    boxes, matched : of each picture, (N, 4), and (N,) the object that each is on
    """
    masks, labels = ([picture[name] for picture in truth] for name in ("masks", "labels"))
    shifted = [one - 0.5 for one in boxes]  # it takes the pixel 0 to have its middle at 0; in px of boxes it is at 0.5
    return maskrcnn_loss(logits, shifted, masks, labels, matched)
