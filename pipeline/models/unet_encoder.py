"""U-Net's expanding path on the feature maps of any encoder."""

from collections.abc import Sequence
from itertools import pairwise

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
    transposed : bool
        A level is a 3x3 transposed convolution of stride 2, batch normalisation and ReLU, and after it stands the skip; the
        logits come from one more such convolution. Else: nearest upsampling, the skip, two convolutions; logits by a 1x1 one.

    Raises
    ------
    ValueError : no widths; transposed levels on an encoder whose strides do not double, or more of them than its strides allow.

    References
    ----------
    Ronneberger et al. 2015, arXiv:1505.04597, with the contracting path replaced; nearest upsampling for up-convolution.
    The transposed form is that of TensorFlow's tutorial "Image segmentation" (frozen MobileNetV2, widths 512, 256, 128, 64).
    Its skips are expanded activations inside the next level's first block (96, 144, 192, 576 channels); timm's encoders give
    the outputs of the blocks (mobilenetv2_100: 16, 24, 32, 96), and so does this network; the coarsest map has 320 in both.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        encoder: str,
        pretrained: bool | str = True,
        freeze_encoder: bool = False,
        widths: Sequence[int] = (256, 128, 64, 32, 16),
        transposed: bool = False,
    ):
        super().__init__(label_space)
        if not widths or min(widths) < 1:
            raise ValueError(f"unet_encoder: widths {list(widths)}; give the channels of at least one level")
        self.encoder = _encoders.create(encoder, pretrained=pretrained)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        self.stride = self.encoder.strides[-1]
        self.output_stride = max(self.stride // 2 ** (len(widths) + transposed), 1)  # the transposed head doubles once more
        self._level = _transposed_level if transposed else _level
        skips = [*reversed(self.encoder.channels[:-1]), *[0] * len(widths)]
        if transposed:
            _refuse_other_strides(self.encoder.strides, levels=len(widths))
            inputs = [self.encoder.channels[-1], *(width + skip for width, skip in zip(widths, skips, strict=False))]
            self.decoder = nn.ModuleList(_up_block(*pair) for pair in zip(inputs, widths, strict=False))
            self.head = _doubling(inputs[-1], label_space.num_classes)
        else:
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
            features = self._level(block, features, skip, size)
        return {"out": upsample(self.head(features), size)}


def _level(block, features, skip, size):
    """Upsampling to the skip's size, or to twice the size where no skip is left, and the block's convolutions."""
    target = (
        skip.shape[2:]
        if skip is not None
        else [min(2 * side, full) for side, full in zip(features.shape[2:], size, strict=True)]
    )
    features = F.interpolate(features, size=target, mode="nearest")
    return block(features if skip is None else torch.cat([features, skip], dim=1))


def _transposed_level(block, features, skip, _):
    """The block, which doubles the size itself, and then the skip."""
    features = block(features)
    return features if skip is None else torch.cat([features, skip], dim=1)


def _up_block(inputs: int, outputs: int) -> nn.Sequential:
    """(B, inputs, H, W) to (B, outputs, 2H, 2W)."""
    return nn.Sequential(_doubling(inputs, outputs, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def _doubling(inputs: int, outputs: int, *, bias: bool = True) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1, bias=bias)


def _refuse_other_strides(strides: Sequence[int], *, levels: int) -> None:
    if any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
        raise ValueError(f"transposed: the encoder's strides {list(strides)} do not double; set transposed: false")
    if 2 ** (levels + 1) > strides[-1]:
        most = strides[-1].bit_length() - 2
        raise ValueError(f"transposed: {levels} widths are too many for a stride of {strides[-1]}; give at most {most}")
