"""SegNet-Basic: four wide convolutions down and four up, and between them the places of the pooled maxima."""

import torch
from torch import nn

from pipeline.models._blocks import convolution, initialise
from pipeline.models._network import SemanticNetwork
from pipeline.models._unpooling import pool, unpool
from pipeline.structures import LabelSpace

DEPTH = 4  # poolings
KERNEL_SIZE = 7


class SegNetBasic(SemanticNetwork):
    """The small SegNet of the paper's comparisons; 7x7 kernels, batch normalisation everywhere, ReLU in the encoder only.

    Parameters
    ----------
    width : channels of every layer (paper: 64)

    References
    ----------
    Badrinarayanan et al. 2015, arXiv:1511.00561, section 3.1 and table 1 (1.425 million parameters; the layers have 1.416).
    "No biases are used after convolutions" there; the authors' segnet_basic_train.prototxt has them, and batch normalisation
    cancels them. The normalisation of the input and the 1x1 classifier are those of that file.
    """

    stride = 2**DEPTH
    mean, std = (0.0,) * 3, (1 / 255,) * 3  # RGB in 0..255, for which the constants of `normalised_response` are meant

    def __init__(self, label_space: LabelSpace, *, width: int = 64):
        super().__init__(label_space)
        self.encoder = nn.ModuleList(
            convolution(inputs, width, kernel_size=KERNEL_SIZE) for inputs in (3, *[width] * (DEPTH - 1))
        )
        self.decoder = nn.ModuleList(_linear(width) for _ in range(DEPTH))
        self.head = nn.Conv2d(width, label_space.num_classes, 1)
        initialise(self)

    def forward(self, images):
        features, places = normalised_response(images), []
        for layer in self.encoder:
            features, place = pool(layer(features))
            places.append(place)
        for layer in self.decoder:
            features = layer(unpool(features, places.pop()))
        return {"out": self.head(features)}


def _linear(width: int) -> nn.Sequential:
    same = nn.Conv2d(width, width, KERNEL_SIZE, padding=KERNEL_SIZE // 2, bias=False)
    return nn.Sequential(same, nn.BatchNorm2d(width))


def normalised_response(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) RGB in 0..255, divided by (1 + 0.0001 / 5 * the sum of the squares of the channels) ** 0.75.

    That is local response normalisation over 5 channels, which for 3 channels are all of them (Krizhevsky et al. 2012,
    ImageNet classification with deep convolutional neural networks, section 3.3).
    """
    energy = images.square().sum(dim=1, keepdim=True)  # (B, 1, H, W)
    return images * (1 + 0.0001 / 5 * energy) ** -0.75
