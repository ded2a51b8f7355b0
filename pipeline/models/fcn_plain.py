"""A plain convolutional encoder-decoder: the simplest network that segments, and what the others must beat."""

from collections.abc import Sequence

from torch import nn

from pipeline.models._blocks import convolution, initialise
from pipeline.models._network import SemanticNetwork
from pipeline.structures import LabelSpace


class FCNPlain(SemanticNetwork):
    """Convolutions and poolings down, upsamplings and convolutions back up; no skip connection.

    Parameters
    ----------
    widths : channels of each level; every level halves the size once
    dropout : share of the bottleneck's channels switched off in training
    batch_norm : bool
        Batch normalisation after every convolution.

    References
    ----------
    The encoder-decoder idea of Noh et al. 2015, arXiv:1505.04366, with upsampling in place of unpooling.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        dropout: float = 0.5,
        batch_norm: bool = True,
    ):
        super().__init__(label_space)
        if not widths:
            raise ValueError("fcn_plain: widths is empty; give the channels of at least one level")
        self.stride = 2 ** len(widths)
        down, up, channels = [], [], 3
        for width in widths:
            down += [convolution(channels, width, batch_norm=batch_norm), nn.MaxPool2d(2)]
            channels = width
        for width in reversed(widths):
            up += [nn.Upsample(scale_factor=2, mode="nearest"), convolution(channels, width, batch_norm=batch_norm)]
            channels = width
        self.encoder = nn.Sequential(*down)
        self.dropout = nn.Dropout2d(dropout)
        self.decoder = nn.Sequential(*up)
        self.head = nn.Conv2d(channels, label_space.num_classes, 1)
        initialise(self)

    def forward(self, images):
        return {"out": self.head(self.decoder(self.dropout(self.encoder(images))))}
