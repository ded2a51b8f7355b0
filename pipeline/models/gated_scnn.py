"""Gated-SCNN: a segmentation network beside a stream that sees nothing but shapes, and losses that keep the two agreed."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from timm.models.resnet import BasicBlock
from torch import nn

from pipeline.models import _edges, _encoders
from pipeline.models._aspp import ASPP, published_rates
from pipeline.models._blocks import convolution, initialise
from pipeline.models._network import SemanticNetwork, upsample
from pipeline.structures import LabelSpace


class GatedSCNN(SemanticNetwork):
    """Gated-SCNN: the encoder's deeper maps gate a shape stream, whose edge map joins the pyramid pooling.

    Parameters
    ----------
    encoder : a timm model that gives feature maps. The paper compares ResNet-50, ResNet-101 and WideResNet-38 (table 3);
        ResNet-101 is the default, since timm has no WideResNet-38.
    pretrained : True, False, or a .safetensors file; see `_encoders.create`
    output_stride : of the encoder, 8, 16 or 32 (paper: 8)
    rates : dilations of the pyramid pooling; None for the paper's, which follow the output stride: 12, 24, 36 at 8
    width : channels of the pyramid pooling and the decoder (paper: 256)
    low_level_width : channels that the encoder's second map keeps in the decoder (paper: 48)
    shape_widths : channels of the shape stream, one more than it has gates (paper: 64, 32, 16, 8). Each gate uses one of the
        encoder's last maps; a first map of other channels than the first width is brought to it by a 1x1 convolution.
    shape_stride : px of the input per value of the shape stream (paper: 1)
    edge_weight : of the edge map's cross-entropy, lambda 1 (paper: 20); the configured loss has lambda 2
    boundary_weight : of the difference between predicted and true boundaries, lambda 3 (paper: 1)
    attention_weight : of the cross-entropy on predicted edges, lambda 4 (paper: 1)
    temperature : of the softmax that stands for the argmax in the boundaries (paper: 1; authors' code: 0.5)

    References
    ----------
    Takikawa et al. 2019, arXiv:1907.05740, figure 2 and section 3; layers as in the authors' code, nv-tlabs/GSCNN. There the
    first map has stride 1 and that of the decoder stride 2, as WideResNet-38 gives them; a ResNet's have 2 and 4.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        encoder: str = "resnet101",
        pretrained: bool | str = True,
        output_stride: int = 8,
        rates: Sequence[int] | None = None,
        width: int = 256,
        low_level_width: int = 48,
        shape_widths: Sequence[int] = (64, 32, 16, 8),
        shape_stride: int = 1,
        edge_weight: float = 20.0,
        boundary_weight: float = 1.0,
        attention_weight: float = 1.0,
        temperature: float = 1.0,
    ):
        super().__init__(label_space)
        self.encoder = _encoders.create_atrous(encoder, pretrained=pretrained, output_stride=output_stride)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        channels, strides = self.encoder.channels, self.encoder.strides
        if not 2 <= len(shape_widths) <= len(channels) or not 1 <= shape_stride <= strides[-1]:
            raise ValueError(f"gated_scnn: give 2 to {len(channels)} shape_widths, and a shape_stride of 1 to {strides[-1]}")
        self.stride, self.output_stride, self.shape_stride = strides[-1], strides[1], shape_stride
        self.loss_weights = {"edge": edge_weight, "boundary": boundary_weight, "attention": attention_weight}
        self.temperature = temperature
        self.shape_stream = ShapeStream(channels[0], channels[1 - len(shape_widths) :], widths=shape_widths)
        rates = published_rates(output_stride) if rates is None else rates
        self.fusion = Fusion(channels[-1], rates=rates, width=width)
        self.low_level = nn.Conv2d(channels[1], low_level_width, 1, bias=False)
        self.decoder = nn.Sequential(convolution(width + low_level_width, width), convolution(width, width))
        self.head = nn.Conv2d(width, label_space.num_classes, 1, bias=False)
        for part in (self.shape_stream, self.fusion, self.low_level, self.decoder, self.head):
            initialise(part)

    def forward(self, images, edges=None):
        """Beside the logits of the classes, those of the edges, (B, 1, H, W).

        `edges`: the pictures' edges, as of `export_inputs`; computed where left out.
        """
        size = images.shape[2:]
        if edges is None:
            edges = _edges.picture_edges(images, mean=self.mean, std=self.std)
        maps = self.encoder(images)
        edge_logits = resize(self.shape_stream(maps, [side // self.shape_stride for side in size]), size)
        features = self.fusion(maps[-1], edge_logits, edges)
        features = torch.cat([self.low_level(maps[1]), resize(features, maps[1].shape[2:])], dim=1)
        logits = upsample(self.head(self.decoder(features)), size)
        return {"edges": edge_logits, "out": logits}  # the classes last: torchinfo shows the shape of the last output

    def export_inputs(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """images, and edges: (B, 1, H, W) float32, 1 where OpenCV's Canny(picture, 10, 100) finds an edge, else 0; picture is
        the bytes of RGB that images holds, so after scaling and filling up."""
        return {"images": images, "edges": _edges.picture_edges(images, mean=self.mean, std=self.std)}

    def _losses(self, heads, targets):
        void, noise = self.label_space.void, self.training  # no noise in evaluation, so that assessing twice gives the same
        parts = _edges.losses(
            heads["out"], heads["edges"], targets.labels, void=void, temperature=self.temperature, noise=noise
        )
        own = {name: self.loss_weights[name] * part for name, part in parts.items()}
        return super()._losses({"out": heads["out"]}, targets) | own


class ShapeStream(nn.Module):
    """ResNet's basic blocks on the encoder's first map, each followed by fewer channels and a gate (figure 2, below)."""

    def __init__(self, inputs: int, gating: Sequence[int], *, widths: Sequence[int]):
        super().__init__()
        self.enter = nn.Identity() if inputs == widths[0] else nn.Conv2d(inputs, widths[0], 1)
        self.blocks = nn.ModuleList(BasicBlock(width, width) for width in widths[:-1])
        self.narrow = nn.ModuleList(nn.Conv2d(wide, narrow, 1) for wide, narrow in pairwise(widths))
        self.gating = nn.ModuleList(nn.Conv2d(channels, 1, 1) for channels in gating)
        self.gates = nn.ModuleList(GatedConvolution(width) for width in widths[1:])
        self.edge = nn.Conv2d(widths[-1], 1, 1, bias=False)

    def forward(self, maps, size):
        """The encoder's maps to (B, 1, *size) logits of the edges."""
        features = resize(self.enter(maps[0]), size)
        parts = zip(self.blocks, self.narrow, self.gating, self.gates, maps[-len(self.gates) :], strict=True)
        for block, narrow, gating, gate, deeper in parts:
            features = gate(narrow(block(features)), resize(gating(deeper), size))
        return self.edge(features)


class GatedConvolution(nn.Module):
    """A 1x1 convolution of features that an attention map has raised to up to twice their value (equations 1 and 2)."""

    def __init__(self, channels: int):
        super().__init__()
        self.attention = nn.Sequential(
            nn.BatchNorm2d(channels + 1),
            nn.Conv2d(channels + 1, channels + 1, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels + 1, 1, 1),
            nn.BatchNorm2d(1),
            nn.Sigmoid(),
        )
        self.convolution = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, features, gating):
        """(B, channels, H, W) of the shape stream and (B, 1, H, W) of the encoder to (B, channels, H, W)."""
        attention = self.attention(torch.cat([features, gating], dim=1))  # (B, 1, H, W)
        return self.convolution(features * attention + features)


class Fusion(nn.Module):
    """Atrous spatial pyramid pooling with one more branch, for the predicted edges and the picture's edges together."""

    def __init__(self, inputs: int, *, rates: Sequence[int], width: int):
        super().__init__()
        self.join = nn.Conv2d(2, 1, 1, bias=False)
        self.edges = convolution(1, width, kernel_size=1)
        # as in the authors' code: nothing but a convolution after the concatenation
        self.aspp = ASPP(inputs, rates=rates, outputs=width, extra=width, bare_projection=True, dropout=0.0)

    def forward(self, features, edge_logits, edges):
        """(B, inputs, h, w), and (B, 1, H, W) twice, to (B, width, h, w)."""
        edge_map = self.join(torch.cat([edge_logits.sigmoid(), edges], dim=1)).sigmoid()
        return self.aspp(features, self.edges(resize(edge_map, features.shape[2:])))


def resize(features: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """(B, C, h, w) to (B, C, *size), bilinearly, corners aligned as in the authors' code."""
    return F.interpolate(features, size=size, mode="bilinear", align_corners=True)
