"""DeepLab v3: a dilated ResNet with a multi-grid last stage, and atrous spatial pyramid pooling with image pooling."""

from collections.abc import Sequence

from torch import nn

from pipeline.models import _encoders
from pipeline.models._aspp import ASPP, published_rates
from pipeline.models._blocks import convolution, fcn_head, initialise
from pipeline.models._network import SemanticNetwork, upsample
from pipeline.structures import LabelSpace


class DeepLabV3(SemanticNetwork):
    """DeepLab v3, the network with parallel modules.

    Parameters
    ----------
    encoder : a timm model that gives feature maps and can be dilated (paper: ResNet-101 where ASPP is used, and ResNet-50)
    pretrained : True, False, or a .safetensors file; see `_encoders.create`
    output_stride : 8, 16 or 32, px of the input for one value of the last map (paper: 16 in training)
    multi_grid : factors of the dilation of each block of a ResNet's last stage (paper: 1, 2, 4); None for 1 in all of them,
        the only choice with encoders of another kind
    rates : dilations of ASPP's branches; None for the paper's, which follow the output stride: 6, 12, 18 at 16, doubled at 8
    width : channels of ASPP's branches (paper: 256)
    head_convolution : bool
        A 3x3 convolution between ASPP and the classifier, as torchvision and segmentation_models_pytorch have it; the paper
        has none.
    auxiliary_weight : of the loss of a second classifier, on the last stage but one (paper: 0, none; torchvision: 0.5)

    Raises
    ------
    ValueError : an option out of its choices.

    References
    ----------
    Chen et al. 2017, arXiv:1706.05587, sections 3.1 to 3.3, figure 5 and table 5. Here the logits are brought to the input's
    size with pixel areas aligned, in the authors' code (tensorflow/models, research/deeplab) with corners aligned.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        encoder: str = "resnet101",
        pretrained: bool | str = True,
        output_stride: int = 16,
        multi_grid: Sequence[int] | None = (1, 2, 4),
        rates: Sequence[int] | None = None,
        width: int = 256,
        head_convolution: bool = False,
        auxiliary_weight: float = 0.0,
    ):
        super().__init__(label_space)
        self.encoder = _encoders.create_atrous(
            encoder, pretrained=pretrained, output_stride=output_stride, multi_grid=multi_grid
        )
        self.mean, self.std = self.encoder.mean, self.encoder.std
        self.stride = self.output_stride = output_stride
        *_, before, channels = self.encoder.channels
        rates = published_rates(output_stride) if rates is None else rates
        layers = [ASPP(channels, rates=rates, outputs=width), nn.Conv2d(width, label_space.num_classes, 1)]
        if head_convolution:
            layers.insert(1, convolution(width, width))
        self.head = nn.Sequential(*layers)
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
