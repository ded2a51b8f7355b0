"""PSPNet: a dilated ResNet, and averages over a pyramid of areas beside its last map."""

from collections.abc import Sequence

from torch import nn

from pipeline.models import _encoders
from pipeline.models._blocks import fcn_head, initialise
from pipeline.models._network import SemanticNetwork, upsample
from pipeline.models._pyramid_pooling import PyramidPooling
from pipeline.structures import LabelSpace


class PSPNet(SemanticNetwork):
    """Pyramid scene parsing network.

    Parameters
    ----------
    encoder : a timm model that gives feature maps and can be dilated (paper: ResNet-50 and deeper; `resnet50s` has the three
        3x3 convolutions of 64, 64 and 128 channels that the authors' code starts with)
    pretrained : True, False, or a .safetensors file; see `_encoders.create`
    output_stride : 8, 16 or 32, px of the input for one value of the last map (paper: 8)
    bins : areas per side that the map is averaged over, one branch each (paper: 1, 2, 3, 6)
    width : channels of the 3x3 convolution before the classifier (authors' code: 512)
    auxiliary_weight : of the loss of a second classifier, on the last stage but one; 0 for none (paper: 0.4)

    Raises
    ------
    ValueError : an option out of its choices.

    References
    ----------
    Zhao et al. 2017, arXiv:1612.01105, sections 3.2, 3.3 and 4, figures 3 and 4; layers and dilations as in the
    authors' code (hszhao/PSPNet and hszhao/semseg); dropout of single values as in the first (semseg drops whole channels).
    There the sides are 8 n + 1 px and the logits are brought to them with
    corners aligned; here they are multiples of 8 px and pixel areas are aligned.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        encoder: str = "resnet50s",
        pretrained: bool | str = True,
        output_stride: int = 8,
        bins: Sequence[int] = (1, 2, 3, 6),
        width: int = 512,
        auxiliary_weight: float = 0.4,
    ):
        super().__init__(label_space)
        self.encoder = _encoders.create_atrous(encoder, pretrained=pretrained, output_stride=output_stride)
        self.mean, self.std = self.encoder.mean, self.encoder.std
        self.stride = self.output_stride = output_stride
        *_, before, channels = self.encoder.channels
        pyramid = PyramidPooling(channels, bins=bins)
        self.head = nn.Sequential(pyramid, fcn_head(pyramid.outputs, label_space.num_classes, width=width))
        initialise(self.head)
        if auxiliary_weight:
            self.head_weights = {"auxiliary": auxiliary_weight}
            self.auxiliary = fcn_head(before, label_space.num_classes)
            initialise(self.auxiliary)

    def forward(self, images):
        *_, before, features = self.encoder(images)
        heads = {"out": self.head(features)}
        if self.training and self.head_weights:
            heads["auxiliary"] = self.auxiliary(before)
        return {name: upsample(logits, images.shape[2:]) for name, logits in heads.items()}
