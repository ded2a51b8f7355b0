"""FastFCN: an encoder that is not dilated, and joint pyramid upsampling of its last three maps to stride 8."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from pipeline.models import _encoders
from pipeline.models._aspp import ASPP, published_rates
from pipeline.models._blocks import convolution, fcn_head, initialise
from pipeline.models._network import SemanticNetwork, upsample
from pipeline.models._pyramid_pooling import PyramidPooling
from pipeline.structures import LabelSpace

HEADS = ("deeplab", "fcn", "psp")
STRIDES = (8, 16, 32)


class FastFCN(SemanticNetwork):
    """FastFCN: the head of another network on a map of stride 8, made by joint pyramid upsampling in place of dilation.

    Parameters
    ----------
    encoder : a timm model with feature maps of strides 8, 16 and 32 (paper: ResNet-50; `resnet50s` has the three 3x3
        convolutions of 64, 64 and 128 channels that the authors' code starts with)
    pretrained : True, False, or a .safetensors file; see `_encoders.create`
    head : "psp" or "deeplab", as the paper has them (it has EncNet's head too, which is not here); or "fcn", a 3x3 convolution
        and the classifier, as in the authors' code
    width : channels of the upsampling's branches; the map that it makes has four times as many (paper: 512)
    auxiliary_weight : of the loss of a second classifier, on the map of stride 16; 0 for none (authors' scripts: 0.4 with the
        PSP and DeepLab heads)

    Raises
    ------
    ValueError : an unknown head; an encoder without the three maps.

    References
    ----------
    Wu et al. 2019, arXiv:1903.11816, sections 3.2 and 3.3, figures 2 and 4; layers of the heads as in the authors' code
    (wuhuikai/FastFCN). There whole channels are dropped out, and corners are aligned on the way from stride 8 to the input's
    size too; here single values are, and pixel areas are.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        encoder: str = "resnet50s",
        pretrained: bool | str = True,
        head: str = "psp",
        width: int = 512,
        auxiliary_weight: float = 0.4,
    ):
        super().__init__(label_space)
        if head not in HEADS:
            raise ValueError(f"head: unknown {head!r}; choose one of: {', '.join(HEADS)}")
        self.encoder = _encoders.create(encoder, pretrained=pretrained)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        self.stride, self.output_stride = 32, 8
        if not set(STRIDES) <= set(self.encoder.strides):
            raise ValueError(f"encoder {encoder!r} has maps of strides {self.encoder.strides}; fastfcn needs {STRIDES}")
        self.maps = [self.encoder.strides.index(one) for one in STRIDES]
        channels = [self.encoder.channels[index] for index in self.maps]
        self.upsampling = JointPyramidUpsampling(channels, width=width)
        self.head = _head(head, 4 * width, label_space.num_classes)
        initialise(self.upsampling)
        initialise(self.head)
        if auxiliary_weight:
            self.head_weights = {"auxiliary": auxiliary_weight}
            self.auxiliary = fcn_head(channels[1], label_space.num_classes)
            initialise(self.auxiliary)

    def forward(self, images):
        features = self.encoder(images)
        maps = [features[index] for index in self.maps]
        heads = {"out": self.head(self.upsampling(maps))}
        if self.training and self.head_weights:
            heads["auxiliary"] = self.auxiliary(maps[1])
        return {name: upsample(logits, images.shape[2:]) for name, logits in heads.items()}


class JointPyramidUpsampling(nn.Module):
    """Maps of strides 8, 16 and 32 to one of stride 8 with 4 `width` channels.

    Each map goes through a 3x3 convolution, all are brought to the first one's size and stacked, and four dilated separable
    convolutions look at the stack side by side.

    Parameters
    ----------
    channels : of the three maps, finest first
    width : channels of every branch (paper: 512)

    References
    ----------
    Wu et al. 2019, arXiv:1903.11816, section 3.3.3 and figure 4; normalisation after the depthwise convolution too, and
    corners aligned, as in the authors' code.
    """

    def __init__(self, channels: Sequence[int], *, width: int = 512):
        super().__init__()
        self.inputs = nn.ModuleList(convolution(one, width) for one in channels)
        self.dilated = nn.ModuleList(_separable(len(channels) * width, width, dilation=dilation) for dilation in (1, 2, 4, 8))

    def forward(self, maps):
        """[(B, channels[0], H, W), (B, channels[1], H/2, W/2), ...] to (B, 4 width, H, W)."""
        first, *coarser = (layer(one) for layer, one in zip(self.inputs, maps, strict=True))
        size = first.shape[2:]
        raised = [F.interpolate(one, size=size, mode="bilinear", align_corners=True) for one in coarser]
        stack = torch.cat([*reversed(raised), first], dim=1)  # (B, 3 width, H, W), coarsest first
        return torch.cat([layer(stack) for layer in self.dilated], dim=1)


def _separable(inputs: int, outputs: int, *, dilation: int) -> nn.Sequential:
    """3x3 convolution of each channel, batch normalisation without ReLU, 1x1 convolution, batch normalisation, ReLU."""
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False)
    return nn.Sequential(depthwise, nn.BatchNorm2d(inputs), convolution(inputs, outputs, kernel_size=1))


def _head(name: str, inputs: int, outputs: int) -> nn.Module:
    if name == "psp":
        pyramid = PyramidPooling(inputs)
        return nn.Sequential(pyramid, fcn_head(pyramid.outputs, outputs, width=inputs // 4))
    if name == "deeplab":
        width = inputs // 8
        aspp = ASPP(inputs, rates=published_rates(8), outputs=width, dropout=0.5)
        return nn.Sequential(aspp, fcn_head(width, outputs, width=width))
    return fcn_head(inputs, outputs)
