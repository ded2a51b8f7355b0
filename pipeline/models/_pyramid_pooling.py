"""The pyramid pooling module of PSPNet."""

from collections.abc import Sequence

import torch
from torch import nn

from pipeline.models._blocks import PooledConvolution


class PyramidPooling(nn.Module):
    """The map beside its averages over 1x1, 2x2, 3x3 and 6x6 areas: (B, inputs, H, W) to (B, outputs, H, W).

    Parameters
    ----------
    bins : areas per side, one branch each (paper: 1, 2, 3, 6)

    Attributes
    ----------
    outputs : channels of the result: the inputs, and for each branch the inputs divided by the number of branches

    Raises
    ------
    ValueError : no bins, more branches than channels, or a number of areas below 1.

    References
    ----------
    Zhao et al. 2017, arXiv:1612.01105, section 3.2 and figure 3; corners aligned on the way back, as in the authors' code.
    """

    def __init__(self, inputs: int, *, bins: Sequence[int] = (1, 2, 3, 6)):
        super().__init__()
        if not 1 <= len(bins) <= inputs or min(bins) < 1:
            raise ValueError(f"bins: {list(bins)}; give one to {inputs} whole numbers of at least 1, such as [1, 2, 3, 6]")
        width = inputs // len(bins)
        self.branches = nn.ModuleList(PooledConvolution(inputs, width, bins=one, align_corners=True) for one in bins)
        self.outputs = inputs + len(bins) * width

    def forward(self, features):
        return torch.cat([features, *(branch(features) for branch in self.branches)], dim=1)
