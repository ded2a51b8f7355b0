"""SharpMask: DeepMask's masks made anew from its code, and sharpened step by step with finer and finer maps of the encoder."""

from itertools import pairwise

from torch import nn

from pipeline.models._proposals import STRIDE, ProposalNetwork, mask_loss

WIDTH = 32  # k of the paper: channels of the first mask, and of what is seen beside it; halved by each module
MOST_HIDDEN = 64


class SharpMask(ProposalNetwork):
    """Class-agnostic proposals whose masks have the resolution of the picture; see `ProposalNetwork`.

    The paper trains a DeepMask first, then the refinement alone with all the rest frozen: give the first one's weights,
    runs/KEY/model/weights.safetensors, as `pretrained`. With other values all is trained at once, DeepMask's own masks as a
    third loss, `coarse`.

    Parameters
    ----------
    encoder : a model that gives maps of stride 2, 4, 8 and 16
    pretrained : True, False, or a .safetensors file with the encoder's weights; or with those of a DeepMask that was trained
        with the same options: they stay as they are, its scores too, and the one loss is `mask`
    others : see `DeepMask`

    Raises
    ------
    ValueError : an encoder without these maps, or whatever is wrong with a DeepMask.

    References
    ----------
    Pinheiro et al. 2016, Learning to Refine Object Segments, arXiv:1603.08695: sections 3.2 (the modules as two branches that
    are added, of which the horizontal one is computed once for a picture), 3.3 (training in two stages). Layers as in the
    authors' code, facebookresearch/deepmask, but that the horizontal branches see the border before it is cut off: so that a
    patch alone gives what it gives in its picture; and that they begin with batch normalisation: an encoder's maps may be
    large (a standard deviation of 6 to 9 in tf_efficientnet_lite0), and the narrow layers behind can die of the first steps.
    """

    def add_layers(self, *, rank, is_trained):
        strides = [STRIDE // 2**step for step in range(4)]
        lacking = sorted(set(strides) - set(self.encoder.strides))
        if lacking:
            raise ValueError(f"the encoder has maps of strides {self.encoder.strides}; SharpMask needs {lacking} too")
        self.places = [self.encoder.strides.index(stride) for stride in strides]
        self.trains_scores = not is_trained
        if is_trained:
            for module in (self.encoder, self.trunk, self.mask_branch, self.score_branch):
                self.frozen.append(module.eval().requires_grad_(False))
        self.start = nn.Linear(rank, WIDTH * (self.patch_px // STRIDE) ** 2)
        widths = [WIDTH // 2**step for step in range(5)]
        channels = [self.encoder.channels[place] for place in self.places]
        self.horizontal = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(inputs), convolutions(inputs, min(MOST_HIDDEN, inputs // 2), width, width // 2))
            for inputs, width in zip(channels, widths[:-1], strict=True)
        )
        self.vertical = nn.ModuleList(convolutions(width, width, width // 2) for width in widths[:-1])
        self.last = convolutions(widths[-1], 1)

    def details(self, maps):
        branches = zip(self.places, self.horizontal, strict=True)
        return [self.inner(branch(maps[place]), self.encoder.strides[place]) for place, branch in branches]

    def masks(self, codes, windows):
        cells = self.patch_px // STRIDE
        mask = self.start(codes).view(-1, WIDTH, cells, cells)
        for window, branch in zip(windows, self.vertical, strict=True):
            mask = nn.functional.interpolate((window + branch(mask)).relu(), scale_factor=2)  # nearest neighbour
        return self.last(mask)[:, 0]

    def mask_losses(self, codes, windows, wanted):
        losses = super().mask_losses(codes, windows, wanted)
        if self.trains_scores:
            coarse = self.mask_branch(codes).view(-1, self.mask_px, self.mask_px)
            losses["coarse"] = mask_loss(coarse, wanted)
        return losses


def convolutions(*widths: int) -> nn.Sequential:
    """3x3 convolutions with ReLU between them; the edge is repeated beyond itself."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate"), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])
