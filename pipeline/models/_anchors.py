"""Anchors as SSD has them: boxes at every place of a pyramid, on objects or on background, and offsets from them."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torchvision.ops import box_iou

from pipeline.models._instances import in_crowd

POSITIVE_IOU, NEGATIVE_IOU = 0.5, 0.4  # of an anchor with an object: above it is one, below background, between neither
HARD_NEGATIVES = 3  # background anchors that are trained on, for each anchor on an object


def anchor_boxes(
    levels: Sequence[torch.Tensor], size: tuple[int, int], *, sides: Sequence[float], ratios: Sequence[float]
) -> torch.Tensor:
    """(A, 4) boxes in px of a picture of `size`, in the order level, row, column, ratio.

    Parameters
    ----------
    levels : (B, C, h, w) maps; a place stands for an equal share of the picture
    sides : px, of the square with the area of the boxes of each level
    ratios : width to height
    """
    boxes = []
    for level, side in zip(levels, sides, strict=True):
        y, x = ((torch.arange(n, device=level.device) + 0.5) * full / n for n, full in zip(level.shape[2:], size, strict=True))
        y, x = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([x, y], dim=-1)[:, :, None]  # (h, w, 1, 2)
        roots = torch.tensor(ratios, device=level.device).sqrt()
        half = side / 2 * torch.stack([roots, 1 / roots], dim=-1)  # (R, 2)
        boxes.append(torch.cat([centres - half, centres + half], dim=-1).reshape(-1, 4))
    return torch.cat(boxes)


def matched(anchors: torch.Tensor, picture: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Which object each anchor is on.

    Returns
    -------
    labels : (A,) int64, 1..T; 0 background; -1 neither, and left out
    objects : (A,) int64, of the N of the picture; any where the label is not above 0
    """
    boxes, count = picture["boxes"], len(anchors)
    if len(boxes):
        overlaps = box_iou(boxes, anchors)  # (N, A)
        best, objects = overlaps.max(dim=0)
        for _ in range(min(overlaps.shape)):  # every object gets the anchor that fits it best, the best fit first
            place = overlaps.argmax()
            one, anchor = place // count, place % count
            best[anchor], objects[anchor] = 1.0, one
            overlaps[one], overlaps[:, anchor] = -1.0, -1.0
        labels = picture["labels"][objects]
        labels[best < POSITIVE_IOU] = -1
        labels[best < NEGATIVE_IOU] = 0
    else:
        labels = objects = torch.zeros(count, dtype=torch.int64, device=anchors.device)
    return labels.masked_fill((labels <= 0) & in_crowd(anchors, picture["crowd"]), -1), objects


def encoded(boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """(N, 4) boxes as offsets of (N, 4) anchors, as in SSD (arXiv:1512.02325, eq. 2), with its variances."""
    sides, wanted = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / 2
    return torch.cat([shift / sides / 0.1, (wanted / sides).log() / 0.2], dim=1)


def decoded(offsets: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """The boxes of which `encoded` gives the offsets."""
    sides = anchors[:, 2:] - anchors[:, :2]
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2 + 0.1 * offsets[:, :2] * sides
    half = sides * (0.2 * offsets[:, 2:]).exp() / 2
    return torch.cat([centres - half, centres + half], dim=1)


def hard_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed over the anchors on objects and, for each picture, three times as many of background, the worst first.

    Parameters
    ----------
    logits : (B, A, T + 1)
    labels : (B, A) int64, -1 is left out
    """
    costs = F.cross_entropy(logits.flatten(0, 1), labels.flatten().clamp(min=0), reduction="none").view_as(labels)
    hardness = costs.detach().masked_fill(labels != 0, -1.0)
    rank = hardness.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    most = HARD_NEGATIVES * (labels > 0).sum(dim=1, keepdim=True).clamp(min=1)
    return costs[(labels > 0) | ((labels == 0) & (rank < most))].sum()
