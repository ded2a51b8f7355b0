"""Atrous spatial pyramid pooling, the part of DeepLab v3 that other networks share."""

from collections.abc import Sequence

import torch
from torch import nn

from pipeline.models._blocks import PooledConvolution, convolution, separable_convolution


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1 convolution, a dilated 3x3 convolution for each rate, and image pooling side by
    side; then a 1x1 convolution over all of them.

    Parameters
    ----------
    rates : dilations (paper: 6, 12, 18 at output stride 16, twice that at 8)
    outputs : channels of each branch and of the result (paper: 256)
    separable : bool
        Separable convolutions in the dilated branches, as in DeepLab v3+.
    extra : channels that the caller adds beside the branches
    bare_projection : bool
        The last 1x1 convolution stands alone, without normalisation and ReLU, as in Gated-SCNN.
    dropout : share of the result's values switched off in training (authors' code: 0.1; the paper does not speak of it)

    Raises
    ------
    ValueError : a rate below 1.

    References
    ----------
    Chen et al. 2017, arXiv:1706.05587, section 3.3 and figure 5; Chen et al. 2018, arXiv:1802.02611, section 3.1.
    """

    def __init__(
        self,
        inputs: int,
        *,
        rates: Sequence[int],
        outputs: int = 256,
        separable: bool = False,
        extra: int = 0,
        bare_projection: bool = False,
        dropout: float = 0.1,
    ):
        super().__init__()
        if min(rates, default=1) < 1:
            raise ValueError(f"rates: {list(rates)}; give whole numbers of at least 1")
        dilated = separable_convolution if separable else convolution
        self.branches = nn.ModuleList(
            [
                convolution(inputs, outputs, kernel_size=1),
                *(dilated(inputs, outputs, dilation=rate) for rate in rates),
                PooledConvolution(inputs, outputs),
            ]
        )
        joined = len(self.branches) * outputs + extra
        self.project = (
            nn.Conv2d(joined, outputs, 1, bias=False) if bare_projection else convolution(joined, outputs, kernel_size=1)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, features, *extra):
        """(B, inputs, H, W), and (B, extra, H, W) where the network adds such maps, to (B, outputs, H, W)."""
        maps = [branch(features) for branch in self.branches]
        return self.dropout(self.project(torch.cat([*maps, *extra], dim=1)))


def published_rates(output_stride: int) -> tuple[int, ...]:
    """ASPP's rates for a map of this stride: (6, 12, 18) at 16, doubled at 8, halved at 32.

    Examples
    --------
    >>> published_rates(8)
    (12, 24, 36)
    """
    return tuple(rate * 16 // output_stride for rate in (6, 12, 18))
