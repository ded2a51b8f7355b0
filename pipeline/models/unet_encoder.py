"""U-Net's expanding path on the feature maps of any encoder."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.models import _encoders
from pipeline.models._blocks import double_convolution, initialise
from pipeline.models._network import SemanticNetwork, upsample
from pipeline.structures import LabelSpace


class UNetEncoder(SemanticNetwork):
    """A U-Net decoder on a timm encoder.

    Parameters
    ----------
    encoder : a timm model that gives feature maps
    pretrained : True, False, or a .safetensors file; see `_encoders.create`
    freeze_encoder : bool
        Keep the encoder's weights and batch statistics as they are.
    widths : channels of the decoder's levels, coarsest first; fewer levels than the encoder's strides need
        leave the rest of the way to a bilinear upsampling of the logits.

    References
    ----------
    Ronneberger et al. 2015, arXiv:1505.04597, with the contracting path replaced; nearest upsampling for up-convolution.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        encoder: str,
        pretrained: bool | str = True,
        freeze_encoder: bool = False,
        widths: Sequence[int] = (256, 128, 64, 32, 16),
    ):
        super().__init__(label_space)
        self.encoder = _encoders.create(encoder, pretrained=pretrained)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        self.stride = self.encoder.strides[-1]
        skips = [*reversed(self.encoder.channels[:-1]), *[0] * len(widths)]
        inputs = [self.encoder.channels[-1], *widths[:-1]]
        self.decoder = nn.ModuleList(
            double_convolution(below + skip, width) for below, skip, width in zip(inputs, skips, widths, strict=False)
        )
        self.head = nn.Conv2d(widths[-1], label_space.num_classes, 1)
        initialise(self.decoder)
        initialise(self.head)
        self.freeze_encoder = freeze_encoder
        if freeze_encoder:
            self.encoder.requires_grad_(False)

    def train(self, mode: bool = True):
        super().train(mode)
        if self.freeze_encoder:
            self.encoder.eval()  # frozen statistics too
        return self

    def forward(self, images):
        size = images.shape[2:]
        *skips, features = self.encoder(images)
        for block in self.decoder:
            skip = skips.pop() if skips else None
            target = (
                skip.shape[2:]
                if skip is not None
                else [min(2 * side, full) for side, full in zip(features.shape[2:], size, strict=True)]
            )
            features = F.interpolate(features, size=target, mode="nearest")
            features = block(features if skip is None else torch.cat([features, skip], dim=1))
        return {"out": upsample(self.head(features), size)}
