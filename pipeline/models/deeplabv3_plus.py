"""DeepLab v3+: DeepLab v3 as the encoder, and a small decoder that joins it with an early feature map."""

from collections.abc import Sequence

import torch
from torch import nn

from pipeline.models import _encoders
from pipeline.models._aspp import ASPP, published_rates
from pipeline.models._blocks import convolution, initialise, separable_convolution
from pipeline.models._network import SemanticNetwork, upsample
from pipeline.structures import LabelSpace


class DeepLabV3Plus(SemanticNetwork):
    """DeepLab v3 with a decoder.

    Parameters
    ----------
    encoder : a timm model that gives feature maps and can be dilated (paper: the aligned Xception of 65 layers, here with
        the authors' ImageNet weights; its tables 1 to 3 have ResNet-101)
    pretrained : True, False, or a .safetensors file; see `_encoders.create`
    output_stride : 8, 16 or 32, px of the input for one value of the last map (paper: 16 in training)
    rates : dilations of ASPP's branches; None for the paper's, which follow the output stride: 6, 12, 18 at 16, doubled at 8
    width : channels of ASPP's branches and of the decoder (paper: 256)
    low_level_width : channels that the map of stride 4 is reduced to (paper: 48)
    separable : bool
        Separable convolutions in ASPP and decoder (paper: true with Xception, false with ResNet-101).

    Raises
    ------
    ValueError : an encoder without a map of stride 4; an option out of its choices.

    References
    ----------
    Chen et al. 2018, arXiv:1802.02611, sections 3.1, 3.2 and 4.1, figure 2; no multi-grid (section 4.3). The early map is the
    one before the halving to stride 8, as in the authors' code (tensorflow/models, research/deeplab); all ways up align pixel
    areas here, and corners there.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        encoder: str = "xception65.tf_in1k",
        pretrained: bool | str = True,
        output_stride: int = 16,
        rates: Sequence[int] | None = None,
        width: int = 256,
        low_level_width: int = 48,
        separable: bool = True,
    ):
        super().__init__(label_space)
        self.encoder = _encoders.create_atrous(encoder, pretrained=pretrained, output_stride=output_stride)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        self.stride, self.output_stride = output_stride, 4
        if 4 not in self.encoder.strides:
            raise ValueError(f"encoder {encoder!r} has maps of strides {self.encoder.strides}; the decoder needs one of 4")
        self.low_level = self.encoder.strides.index(4)
        rates = published_rates(output_stride) if rates is None else rates
        self.aspp = ASPP(self.encoder.channels[-1], rates=rates, outputs=width, separable=separable)
        self.reduce = convolution(self.encoder.channels[self.low_level], low_level_width, kernel_size=1)
        refine = separable_convolution if separable else convolution
        self.decoder = nn.Sequential(
            refine(width + low_level_width, width), refine(width, width), nn.Conv2d(width, label_space.num_classes, 1)
        )
        for part in (self.aspp, self.reduce, self.decoder):
            initialise(part)

    def forward(self, images):
        features = self.encoder(images)
        low_level = self.reduce(features[self.low_level])
        context = upsample(self.aspp(features[-1]), low_level.shape[2:])
        logits = self.decoder(torch.cat([context, low_level], dim=1))
        return {"out": upsample(logits, images.shape[2:])}
