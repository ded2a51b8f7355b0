"""DeepMask: of every patch of a picture a mask of the object in its middle, and how sure it is that one stands there."""

from torch.nn.functional import interpolate

from pipeline.models._proposals import ProposalNetwork, mask_loss


class DeepMask(ProposalNetwork):
    """Class-agnostic proposals, with the layers of the authors' code, facebookresearch/deepmask; see `ProposalNetwork`.

    Parameters
    ----------
    encoder : a model that gives a map of stride 16; what it has behind it is left out
    pretrained : True, False, or a .safetensors file with the encoder's weights, see `_encoders.create`; or with those of a
        whole trained DeepMask, to go on from
    freeze_norm : the encoder's batch normalisation keeps its statistics and weights, as in the authors' code
    patch_px : side of a patch (2015 paper: 224)
    border_px : what the encoder sees around a patch, since it pads with zeros; its map is cut by as much
    width : channels before the layer that sees a whole patch
    rank : values of that layer, of which the pixels of the mask are linear functions
    mask_px : side of the mask, which is stretched over the patch
    score_width : values of the hidden layer of the score
    dropout : share of the values in front of both layers of the score that are switched off in training
    patches : of a picture that are trained on, half of them on objects (authors' code: batches of 32, half of them on objects)
    score_weight : of the loss of the scores; that of the masks weighs 1
    scales : at which a picture, at the size of the training arrays, is searched; an object is found where its longer side is
        about 4/7 of `patch_px` at one of them (2015 paper, with its larger patches: 2^-2 to 2^1)
    mask_threshold : probability above which a pixel belongs to the mask
    score_threshold : objects below it are left out
    nms_threshold : of two objects whose boxes overlap by more (IoU) the surer one stays; None: all stay, as in the papers
    most_objects : of a picture

    Raises
    ------
    ValueError : an encoder without this map, sizes that are no multiples of 16, no scale, a threshold outside 0..1,
        or weights that do not fit.

    References
    ----------
    Pinheiro et al. 2015, Learning to Segment Object Candidates, arXiv:1506.06204; the encoder, the size of the patches and the
    layer of low rank that both branches share are those of DeepMask in Pinheiro et al. 2016, arXiv:1603.08695, section 4.
    Patches are drawn by the rule of the first paper: a positive one is off its object by at most 16 px along an axis and
    2^(1/4) in scale, a negative one off every object by at least 32 px or 2. What is not theirs: encoders keep their zero
    padding, where the authors mirror; objects are drawn from those of the picture, without their draw of a class, small ones
    too. The distances are px of a patch, whatever its size: an object should be much larger, and so `patch_px` 96 at least.
    """

    def masks(self, codes, windows):
        return self.mask_branch(codes).view(-1, self.mask_px, self.mask_px)

    def mask_losses(self, codes, windows, wanted):
        # at twice the size, as in the authors' code
        logits = interpolate(self.masks(codes, windows)[:, None], scale_factor=2, mode="bilinear")[:, 0]
        return {"mask": mask_loss(logits, wanted)}
