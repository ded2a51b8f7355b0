"""Small parts that several networks are built from."""

from torch import nn


def convolution(inputs: int, outputs: int, *, batch_norm: bool = True) -> nn.Sequential:
    """3x3 convolution that keeps the size, batch normalisation if wanted, ReLU: (B, inputs, H, W) to (B, outputs, H, W)."""
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=not batch_norm)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


def double_convolution(inputs: int, outputs: int, *, batch_norm: bool = True) -> nn.Sequential:
    """Two of `convolution` in a row."""
    return nn.Sequential(
        convolution(inputs, outputs, batch_norm=batch_norm), convolution(outputs, outputs, batch_norm=batch_norm)
    )


def initialise(module: nn.Module) -> None:
    """He initialisation of every convolution under `module`, zero biases (He et al. 2015, arXiv:1502.01852)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
