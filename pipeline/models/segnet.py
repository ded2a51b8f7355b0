"""SegNet: an encoder, its mirror image, and between them the places of the pooled maxima."""

from torch import nn

from pipeline.models import _vgg
from pipeline.models._blocks import convolution, initialise
from pipeline.models._network import SemanticNetwork
from pipeline.models._unpooling import pool, unpool
from pipeline.structures import LabelSpace


class SegNet(SemanticNetwork):
    """VGG16's 13 convolutions down and 13 up, each but the last with batch normalisation and ReLU.

    Parameters
    ----------
    width : channels of the first stage (paper: 64); the others have 2, 4, 8 and 8 times as many
    pretrained : False; True, ImageNet weights of VGG16-BN for the encoder (timm's; from the internet); or a .safetensors file

    Raises
    ------
    ValueError : ImageNet weights for another width than the published one, or weights that do not fit.

    References
    ----------
    Badrinarayanan et al. 2015, arXiv:1511.00561, section 3 and figure 2 (29.5 million parameters). The last convolution is
    3x3, as in the authors' segnet_train.prototxt. There convolutions have biases, which the batch normalisation after them
    cancels; here only the last one has.
    """

    stride = 2 ** len(_vgg.DEPTHS)

    def __init__(self, label_space: LabelSpace, *, width: int = 64, pretrained: bool | str = True):
        super().__init__(label_space)
        self.encoder = _vgg.stages(width=width, batch_norm=True, pretrained=pretrained)
        self.decoder = _mirrored(width)
        self.head = nn.Conv2d(width, label_space.num_classes, 3, padding=1)
        initialise(self.decoder)
        initialise(self.head)

    def forward(self, images):
        features, places = images, []
        for stage in self.encoder:
            features, place = pool(stage(features))
            places.append(place)
        for stage in self.decoder:
            features = stage(unpool(features, places.pop()))
        return {"out": self.head(features)}


def _mirrored(width: int) -> nn.ModuleList:
    """The five stages of the decoder, coarsest first; the last layer of each brings it to the channels of the next stage.

    The finest stage lacks its last layer: that is the head.
    """
    widths = [multiple * width for multiple in _vgg.MULTIPLES]
    body = nn.ModuleList()
    for place in reversed(range(len(widths))):
        layers = [convolution(widths[place], widths[place]) for _ in range(_vgg.DEPTHS[place] - 1)]
        if place > 0:
            layers.append(convolution(widths[place], widths[place - 1]))
        body.append(nn.Sequential(*layers))
    return body
