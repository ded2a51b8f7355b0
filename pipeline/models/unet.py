"""U-Net: a contracting path, an expanding path, and skip connections between equal sizes."""

from collections.abc import Sequence

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
    pool_dropout : share of the values after each pooling switched off in training, finest level first; empty, none (paper)
    skip_dropout : the same after each concatenation; 0.0, none (paper)
    up_kernel : side of the transposed convolutions, whose stride is 2 (paper: 2)

    Raises
    ------
    ValueError : a width or depth below 1; `pool_dropout` has neither no value nor one for each pooling.

    References
    ----------
    Ronneberger et al. 2015, arXiv:1505.04597, figure 1; there the convolutions are unpadded and the skips cropped.
    The variant of the Kaggle kernels on the TGS salt data (`get_unet` with n_filters 16 and dropout 0.5) has width 16,
    batch_norm, dropout 0.0, pool_dropout [0.25, 0.5, 0.5, 0.5], skip_dropout 0.5 and up_kernel 3.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        width: int = 64,
        depth: int = 4,
        batch_norm: bool = False,
        dropout: float = 0.5,
        pool_dropout: Sequence[float] = (),
        skip_dropout: float = 0.0,
        up_kernel: int = 2,
    ):
        super().__init__(label_space)
        if width < 1 or depth < 1:
            raise ValueError(f"unet: width {width}, depth {depth}; give whole numbers of at least 1")
        if len(pool_dropout) not in (0, depth):
            raise ValueError(f"unet: {len(pool_dropout)} values of pool_dropout for {depth} poolings; give none or {depth}")
        self.stride = 2**depth
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            double_convolution(inputs, outputs, batch_norm=batch_norm)
            for inputs, outputs in zip([3, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.pool_dropout = nn.ModuleList(nn.Dropout(share) for share in pool_dropout or [0.0] * depth)
        self.dropout = nn.Dropout2d(dropout)
        self.skip_dropout = nn.Dropout(skip_dropout)
        self.widen = nn.ModuleList(_doubling(2 * one, one, kernel_size=up_kernel) for one in reversed(widths[:-1]))
        self.up = nn.ModuleList(double_convolution(2 * one, one, batch_norm=batch_norm) for one in reversed(widths[:-1]))
        self.head = nn.Conv2d(width, label_space.num_classes, 1)
        initialise(self)

    def forward(self, images):
        skips, features = [], images
        for level, block in enumerate(self.down):
            features = block(features if level == 0 else self.pool_dropout[level - 1](self.pool(features)))
            skips.append(features)
        features = self.dropout(skips.pop())
        for widen, block in zip(self.widen, self.up, strict=True):
            features = block(self.skip_dropout(torch.cat([skips.pop(), widen(features)], dim=1)))
        return {"out": self.head(features)}


def _doubling(inputs: int, outputs: int, *, kernel_size: int) -> nn.ConvTranspose2d:
    """Transposed convolution of stride 2, (B, inputs, H, W) to (B, outputs, 2H, 2W) for any side of the kernel."""
    padding = (kernel_size - 1) // 2
    return nn.ConvTranspose2d(
        inputs, outputs, kernel_size, stride=2, padding=padding, output_padding=2 * padding + 2 - kernel_size
    )
