"""ParseNet: the average of the whole picture beside every pixel's features, both on a learnt scale."""

import torch
from torch import nn

from pipeline.models import _largefov
from pipeline.models._blocks import initialise
from pipeline.models._network import SemanticNetwork, upsample
from pipeline.structures import LabelSpace


class L2Normalisation(nn.Module):
    """Each pixel's channels divided by their Euclidean norm, times a learnt scale for each channel.

    Parameters
    ----------
    scale : where the learnt scales start (the authors' model: 10; section 3.3: 10 or 20, as with 1 the network hardly learns)

    References
    ----------
    Liu et al. 2015, arXiv:1506.04579, section 3.3; 1e-10 under the root as in the authors' code, so that zeros stay zeros.
    """

    def __init__(self, channels: int, *, scale: float = 10.0):
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, features):
        """(B, channels, H, W) to the same shape."""
        features = features.float()  # 1e-10 is 0 in half precision
        norm = features.square().sum(dim=1, keepdim=True).add(1e-10).sqrt()  # (B, 1, H, W)
        return features / norm * self.scale[:, None, None]


class ParseNet(SemanticNetwork):
    """The network that the authors published for PASCAL VOC: DeepLab's LargeFOV layers, with global context from fc7.

    Parameters
    ----------
    encoder : "vgg16" (paper), or a timm model that gives feature maps and can be dilated
    pretrained : True, False, or a .safetensors file; see `_vgg.stages` and `_encoders.create`
    output_stride : px per value of the scores before they are upsampled: 8 (paper), 16 or 32
    channels : of fc6 and fc7 (paper: 1024)
    rate : dilation of fc6 (paper: 12)
    scale : where the scales of both normalisations start (the authors' model: 10)
    dropout : share of the values of fc6 and of fc7 switched off in training (the authors' model: 0.5)
    context_dropout : the same for the context's channels (the authors' model: 0.3)

    References
    ----------
    Liu et al. 2015, arXiv:1506.04579, figure 1 and sections 3.1 to 3.3; layers and values of the authors' VGG_VOC2012ext
    prototxt. Fusion is early: unpooled, concatenated, one classifier. The authors' model fuses late, by the sum of a classifier
    of each; as nothing stands between concatenation and classifier the two are the same function (section 3.2).
    The last upsampling is bilinear; theirs is a transposed convolution that starts as that and is learnt.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        encoder: str = "vgg16",
        pretrained: bool | str = True,
        output_stride: int = 8,
        channels: int = 1024,
        rate: int = 12,
        scale: float = 10.0,
        dropout: float = 0.5,
        context_dropout: float = 0.3,
    ):
        super().__init__(label_space)
        self.encoder = _largefov.encoder(encoder, pretrained=pretrained, output_stride=output_stride, pool_size=2)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        self.stride = self.output_stride = self.encoder.strides[-1]
        self.large_fov = _largefov.large_fov(
            self.encoder.channels[-1],
            channels=channels,
            rate=rate,
            dropout=dropout,
            pretrained=encoder == "vgg16" and pretrained,
        )
        self.local_norm = L2Normalisation(channels, scale=scale)
        self.context_norm = L2Normalisation(channels, scale=scale)
        self.context_dropout = nn.Dropout(context_dropout)
        self.head = nn.Conv2d(2 * channels, label_space.num_classes, 1)
        initialise(self.head)

    def forward(self, images):
        features = self.large_fov(self.encoder(images)[-1])  # (B, channels, h, w)
        context = features.mean(dim=(2, 3), keepdim=True)  # (B, channels, 1, 1)
        context = self.context_dropout(self.context_norm(context))
        unpooled = context.expand(-1, -1, *features.shape[2:])
        scores = self.head(torch.cat([self.local_norm(features), unpooled], dim=1))
        return {"out": upsample(scores, images.shape[2:])}
