"""Panoptic FPN: Mask R-CNN, and on its pyramid a second head that gives every pixel a class of stuff."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.models._blocks import initialise
from pipeline.models._network import upsample
from pipeline.models.mask_rcnn import MaskRCNN
from pipeline.painting import fused
from pipeline.structures import LabelSpace

GROUP = 4  # channels that are normalised together: the paper's 128 in the 32 groups of Wu and He 2018
IGNORED = -100
OTHER = 0  # the semantic head's label of all things; the classes of stuff follow


class PanopticFPN(MaskRCNN):
    """Things from Mask R-CNN's heads and stuff from a semantic one, joined into one map; the defaults are the paper's.

    Which of the things and stuff found are painted is no part of the fit: see `painting` in `prediction_options`. Data without
    stuff makes it a Mask R-CNN.

    Parameters
    ----------
    pretrained : True, False, or a .safetensors file, as in `MaskRCNN`; no file fills the semantic head
    semantic_width : channels of the semantic head, a multiple of 4
    instance_weight, semantic_weight : lambda_i of Mask R-CNN's five losses, lambda_s of the semantic one
    mask_rcnn : the options of `MaskRCNN`

    Raises
    ------
    ValueError : as `MaskRCNN` does, or another semantic width.

    References
    ----------
    Kirillov et al. 2019, Panoptic Feature Pyramid Networks, arXiv:1901.02446, section 3; the semantic head's layers, and the
    weights (for COCO) as in Detectron2. The paper weighs the losses of the second stage by lambda_i and does not speak of those
    of the proposals; here it is all five.
    """

    judged_by = ("miou", "mask_ap")

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        pretrained: bool | str = True,
        semantic_width: int = 128,
        instance_weight: float = 1.0,
        semantic_weight: float = 0.5,
        **mask_rcnn,
    ):
        super().__init__(label_space, pretrained=pretrained, **mask_rcnn)
        if semantic_width < GROUP or semantic_width % GROUP:
            raise ValueError(f"semantic_width: {semantic_width}; give a multiple of {GROUP}")
        self.instance_weight, self.semantic_weight = instance_weight, semantic_weight
        self.painting = {}
        stuff = np.flatnonzero(~np.array(label_space.isthing))
        self.classes = np.array([label_space.void, *stuff], label_space.dtype)  # of the semantic head's labels
        wanted = torch.full((label_space.void + 1,), IGNORED)  # the head's label of each class, and of void
        wanted[self.things] = OTHER
        wanted[stuff] = torch.arange(len(stuff)) + 1
        self.register_buffer("wanted", wanted, persistent=False)
        width = self.pyramid.layer_blocks[0][0].out_channels
        self.semantic = SemanticHead(len(self.places), width, semantic_width, len(self.classes)) if len(stuff) else None

    def _losses(self, pictures, levels, truth):
        losses = {name: self.instance_weight * loss for name, loss in super()._losses(pictures, levels, truth).items()}
        if self.semantic is not None:
            labels = self.wanted[torch.stack([picture["semantic"] for picture in truth])]  # (B, H, W)
            losses["semantic"] = self.semantic_weight * semantic_loss(self._logits(pictures, levels), labels)
        return losses

    def _found(self, pictures, levels):
        found = super()._found(pictures, levels)
        labels = torch.zeros(len(found), *pictures.image_sizes[0], dtype=torch.int64)  # OTHER
        if self.semantic is not None:
            labels = self._logits(pictures, levels).argmax(dim=1)
        return [one | {"semantic": row} for one, row in zip(found, labels, strict=True)]

    def _logits(self, pictures, levels):
        return self.semantic([levels[str(level)] for level in range(len(self.places))], pictures.image_sizes[0])

    def _prediction(self, found):
        labels = self.classes[found["semantic"].cpu().numpy()]  # void where there is a thing
        return fused(self._instance_set(found), labels, label_space=self.label_space, **self.painting)


class SemanticHead(nn.Module):
    """Brings the levels of a pyramid to the size of the finest, adds them up and gives logits (section 3, figure 3).

    Parameters
    ----------
    levels : of the pyramid, the finest first, each half the size of the one before
    inputs, width, outputs : channels of the pyramid, of the head, and of the logits
    """

    def __init__(self, levels: int, inputs: int, width: int, outputs: int):
        super().__init__()
        self.paths = nn.ModuleList(_path(doublings, inputs, width) for doublings in range(levels))
        self.logits = nn.Conv2d(width, outputs, 1)
        initialise(self)

    def forward(self, levels: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        """(B, inputs, h, w) maps to (B, outputs, *size)."""
        total = sum(path(level) for path, level in zip(self.paths, levels, strict=True))
        return upsample(self.logits(total), size)


def _path(doublings: int, inputs: int, width: int) -> nn.Sequential:
    """A convolution before each doubling of the size; one for a map that has its size already."""
    layers: list[nn.Module] = []
    for channels in [inputs, *[width] * (doublings - 1)]:
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.GroupNorm(width // GROUP, width)]
        layers += [nn.ReLU(inplace=True)]
        layers += [nn.Upsample(scale_factor=2, mode="bilinear")] if doublings else []
    return nn.Sequential(*layers)


def semantic_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The cross-entropy of (B, C, H, W) logits, a mean over the labelled pixels of the batch; 0 where there is none."""
    total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp(min=1)
