"""U-Net: a contracting path, an expanding path, and skip connections between equal sizes."""

import torch
from torch import nn

from pipeline.models._blocks import double_convolution, initialise
from pipeline.models._network import SemanticNetwork
from pipeline.structures import LabelSpace


class UNet(SemanticNetwork):
    """U-Net with padded convolutions, so that the output has the size of the input.

    Parameters
    ----------
    width : channels of the first level; each level down doubles them (paper: 64)
    depth : number of poolings (paper: 4)
    batch_norm : bool
        Batch normalisation after each convolution; the paper has none.
    dropout : share of the channels at the end of the contracting path switched off in training
        (the paper says that there is dropout and not how much).

    References
    ----------
    Ronneberger et al. 2015, arXiv:1505.04597, figure 1; there the convolutions are unpadded and the skips cropped.
    """

    def __init__(
        self, label_space: LabelSpace, *, width: int = 64, depth: int = 4, batch_norm: bool = False, dropout: float = 0.5
    ):
        super().__init__(label_space)
        self.stride = 2**depth
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            double_convolution(inputs, outputs, batch_norm=batch_norm)
            for inputs, outputs in zip([3, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout2d(dropout)
        self.widen = nn.ModuleList(nn.ConvTranspose2d(2 * one, one, 2, stride=2) for one in reversed(widths[:-1]))
        self.up = nn.ModuleList(double_convolution(2 * one, one, batch_norm=batch_norm) for one in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, label_space.num_classes, 1)
        initialise(self)

    def forward(self, images):
        skips, features = [], images
        for level, block in enumerate(self.down):
            features = block(features if level == 0 else self.pool(features))
            skips.append(features)
        features = self.dropout(skips.pop())
        for widen, block in zip(self.widen, self.up, strict=True):
            features = block(torch.cat([skips.pop(), widen(features)], dim=1))
        return {"out": self.head(features)}
