"""Small parts that several networks are built from."""

import torch
import torch.nn.functional as F
from torch import nn


def convolution(
    inputs: int, outputs: int, *, kernel_size: int = 3, dilation: int = 1, batch_norm: bool = True
) -> nn.Sequential:
    """Convolution that keeps the size, batch normalisation if wanted, ReLU: (B, inputs, H, W) to (B, outputs, H, W).

    Raises
    ------
    ValueError : no channels, or a dilation below 1.
    """
    if min(inputs, outputs, dilation) < 1:
        raise ValueError(f"a convolution of {inputs} to {outputs} channels with dilation {dilation}: each must be at least 1")
    padding = dilation * (kernel_size // 2)
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel_size, padding=padding, dilation=dilation, bias=not batch_norm)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def double_convolution(inputs: int, outputs: int, *, batch_norm: bool = True) -> nn.Sequential:
    """Two of `convolution` in a row."""
    return nn.Sequential(
        convolution(inputs, outputs, batch_norm=batch_norm), convolution(outputs, outputs, batch_norm=batch_norm)
    )


def separable_convolution(inputs: int, outputs: int, *, dilation: int = 1) -> nn.Sequential:
    """A 3x3 convolution of each channel, then a 1x1 convolution over them, each with batch normalisation and ReLU.

    References
    ----------
    Chen et al. 2018, arXiv:1802.02611, sections 3.1 and 3.2; normalisation and ReLU after both, as in the authors' code.
    """
    depthwise = nn.Conv2d(inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False)
    middle = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True))
    return nn.Sequential(depthwise, middle, convolution(inputs, outputs, kernel_size=1))


def fcn_head(inputs: int, outputs: int, *, width: int | None = None, dropout: float = 0.1) -> nn.Sequential:
    """3x3 convolution to `width` channels (a quarter of the inputs where left out), dropout, 1x1 convolution to logits."""
    width = inputs // 4 if width is None else width
    return nn.Sequential(convolution(inputs, width), nn.Dropout(dropout), nn.Conv2d(width, outputs, 1))


class PooledConvolution(nn.Module):
    """Averages over `bins` x `bins` areas of the map, 1x1 convolution, batch normalisation, ReLU, and back to the map's size.

    Parameters
    ----------
    align_corners : bool
        Whether the way back aligns the corners of the map (no difference for one bin).
    """

    def __init__(self, inputs: int, outputs: int, *, bins: int = 1, align_corners: bool = False):
        super().__init__()
        self.bins, self.align_corners = bins, align_corners
        self.convolution = convolution(inputs, outputs, kernel_size=1)

    def forward(self, features):
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        pooled = self.convolution(adaptive_average(features, self.bins))  # (B, outputs, bins, bins)
        if self.bins == 1:
            return pooled.expand(-1, -1, *features.shape[2:])
        return F.interpolate(pooled, size=features.shape[2:], mode="bilinear", align_corners=self.align_corners)


def adaptive_average(features: torch.Tensor, bins: int) -> torch.Tensor:
    """(B, C, H, W) to (B, C, bins, bins), the means of areas that cover the map; equals `F.adaptive_avg_pool2d`.

    Two products with constant matrices, since ONNX has no adaptive pooling of sizes known only at run time. In float32: the
    shares of a bin, rounded to bfloat16, sum to as much as 1.004, and all its means would be off by that twice.
    """
    if bins == 1:
        return features.mean(dim=(2, 3), keepdim=True)
    rows, columns = (_shares(side, bins, features.device) for side in features.shape[2:])
    with torch.autocast(features.device.type, enabled=False):
        return (rows @ features.float() @ columns.T).to(features.dtype)


def _shares(side: int, bins: int, device: torch.device) -> torch.Tensor:
    """(bins, side): what each pixel adds to each bin's mean; bin i covers floor(i side / bins) to ceil((i+1) side / bins)."""
    edges = torch.arange(bins + 1, device=device) * side
    first, last = edges[:-1] // bins, (edges[1:] + bins - 1) // bins
    place = torch.arange(side, device=device)
    inside = ((place >= first[:, None]) & (place < last[:, None])).float()
    return inside / inside.sum(dim=1, keepdim=True)


def initialise(module: nn.Module) -> None:
    """He initialisation of every convolution under `module`, zero biases (He et al. 2015, arXiv:1502.01852)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
