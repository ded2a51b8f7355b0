"""Mask R-CNN: boxes proposed from a feature pyramid, and for each a class, a better box and a mask."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign, box_iou
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from pipeline.models import _encoders, _multipath
from pipeline.models._instances import InstanceNetwork, check_limits, in_crowd, strided
from pipeline.structures import LabelSpace

LOSSES = {  # torchvision's names -> ours
    "loss_objectness": "objectness",
    "loss_rpn_box_reg": "proposal_box",
    "loss_classifier": "class",
    "loss_box_reg": "box",
    "loss_mask": "mask",
}
PREFIXES = {"backbone.body.": "encoder.", "backbone.fpn.": "pyramid."}  # of torchvision's weights -> ours
PER_CLASS = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")  # weights that depend on the classes


class MaskRCNN(InstanceNetwork):
    """torchvision's Mask R-CNN on an encoder of timm or torchvision; the defaults are its `maskrcnn_resnet50_fpn`.

    Parameters
    ----------
    encoder : a model that gives maps of stride 4, 8, 16, 32
    pretrained : True, False, or a .safetensors file; see `_encoders.create`. A file with a whole Mask R-CNN under torchvision's
        names, such as its COCO weights, fills this one; what it has for other classes is left out.
    freeze_norm : the encoder's batch normalisation keeps its statistics and weights, as in the paper
    width : channels of the pyramid
    anchor_sizes : px, the side of a square anchor at each level: the encoder's maps, and half the last one
    anchor_ratios : height to width of the anchors at each place
    train_proposals, proposals : boxes that go to the second stage in training and in prediction
    sampled_anchors, sampled_proposals : how many of a picture are trained on; half of the anchors and a quarter of the
        proposals at most are objects
    box_width : values of the two hidden layers behind a box's 7 x 7 features
    mask_widths : channels of the convolutions on a box's 14 x 14 features, and the last ones of the mask of 28 x 28
    foveal : factors of at least 1; the hidden layers see the box so many times enlarged about its centre, each for itself.
        [1.0] is Mask R-CNN's, [1.0, 1.5, 2.0, 4.0] MultiPath's
    skip : a box's features come from all levels of the pyramid, normalised, instead of the one that its size assigns
    integral : IoU with an object from which on a proposal is one; a classifier is trained for each threshold, and their
        probabilities are averaged. [0.5] is Mask R-CNN's, [0.5, 0.55, 0.6, 0.65, 0.7, 0.75] MultiPath's
    score_threshold : objects below it are left out
    nms_threshold : of two objects of a class that overlap by more (IoU of their boxes) the surer one stays
    most_objects : of a picture

    Raises
    ------
    ValueError : an encoder without these maps, another number of anchor sizes, factors below 1, thresholds outside 0..1, or
        weights that do not fit.

    References
    ----------
    He et al. 2017, Mask R-CNN, arXiv:1703.06870; Ren et al. 2015, Faster R-CNN, arXiv:1506.01497; Lin et al. 2017, Feature
    Pyramid Networks, arXiv:1612.03144. Crowds are left out as in Detectron. `foveal`, `skip` and `integral` are of Zagoruyko
    et al. 2016, A MultiPath Network for Object Detection, arXiv:1604.02135; where they differ says `_multipath`.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        encoder: str = "resnet50",
        pretrained: bool | str = True,
        freeze_norm: bool = True,
        width: int = 256,
        anchor_sizes: Sequence[int] = (32, 64, 128, 256, 512),
        anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        train_proposals: int = 2000,
        proposals: int = 1000,
        sampled_anchors: int = 256,
        sampled_proposals: int = 512,
        box_width: int = 1024,
        mask_widths: Sequence[int] = (256, 256, 256, 256),
        foveal: Sequence[float] = (1.0,),
        skip: bool = False,
        integral: Sequence[float] = (0.5,),
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        most_objects: int = 100,
    ):
        _multipath.check(foveal=foveal, integral=integral)
        check_limits(most_objects=most_objects, score_threshold=score_threshold, nms_threshold=nms_threshold)
        is_whole = isinstance(pretrained, str) and _holds_detector(pretrained)
        super().__init__(label_space, encoder=encoder, pretrained=False if is_whole else pretrained, freeze_norm=freeze_norm)
        self.places = strided(self.encoder, first=4)
        channels = [self.encoder.channels[place] for place in self.places]
        if len(anchor_sizes) != len(channels) + 1:
            raise ValueError(
                f"anchor_sizes: {list(anchor_sizes)} for a pyramid of {len(channels) + 1} levels; give one for each"
            )
        self.pyramid = FeaturePyramidNetwork(channels, width, extra_blocks=LastLevelMaxPool())
        anchors = AnchorGenerator(tuple((size,) for size in anchor_sizes), (tuple(anchor_ratios),) * len(anchor_sizes))
        self.rpn = _Proposals(
            anchors,
            RPNHead(width, len(anchor_ratios)),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=sampled_anchors,
            positive_fraction=0.5,
            pre_nms_top_n={"training": train_proposals, "testing": proposals},  # of each level
            post_nms_top_n={"training": train_proposals, "testing": proposals},
            nms_thresh=0.7,
        )
        names, num_labels = [str(level) for level in range(len(channels))], len(self.things) + 1
        self.roi_heads = _Heads(
            _multipath.box_pool(names, width, foveal=foveal, skip=skip, side=7),
            TwoMLPHead(len(foveal) * width * 7**2, box_width),
            _multipath.box_predictor(box_width, num_labels, classifiers=len(integral)),
            thresholds=integral,
            batch_size_per_image=sampled_proposals,
            positive_fraction=0.25,
            bbox_reg_weights=None,  # 10, 10, 5, 5
            score_thresh=score_threshold,
            nms_thresh=nms_threshold,
            detections_per_img=most_objects,
            mask_roi_pool=MultiScaleRoIAlign(names, output_size=14, sampling_ratio=2),
            mask_head=MaskRCNNHeads(width, mask_widths, 1),
            mask_predictor=MaskRCNNPredictor(mask_widths[-1], mask_widths[-1], num_labels),
        )
        if is_whole:
            self._fill(pretrained)

    def forward(self, images, truth=None):
        maps = self.encoder(images)
        levels = self.pyramid(OrderedDict((str(level), maps[place]) for level, place in enumerate(self.places)))
        pictures = ImageList(images, [tuple(images.shape[2:])] * len(images))
        losses = {} if truth is None else self._losses(pictures, levels, truth)
        return [] if self.training else self._found(pictures, levels), losses

    def _losses(self, pictures, levels, truth):
        was_training = self.training
        for stage in (self.rpn, self.roi_heads):
            stage.train()  # torchvision's stages give losses in this mode only; nothing else differs in it
        proposals, first = self.rpn(pictures, levels, truth)
        _, second = self.roi_heads(levels, proposals, pictures.image_sizes, truth)
        for stage in (self.rpn, self.roi_heads):
            stage.train(was_training)
        return {name: (first | second)[theirs] for theirs, name in LOSSES.items()}

    def _found(self, pictures, levels):
        proposals, _ = self.rpn(pictures, levels)
        found, _ = self.roi_heads(levels, proposals, pictures.image_sizes)
        for one in found:
            one["masks"] = _pasted(one["masks"], one["boxes"], pictures.image_sizes[0])
        return found

    def _fill(self, pretrained: str) -> None:
        """Take the weights of a whole Mask R-CNN; those of other classes stay as they are."""
        path = _encoders.pinned_file(pretrained)
        given, own = {}, self.state_dict()
        for theirs, tensor in load_file(path).items():
            prefix = next((one for one in PREFIXES if theirs.startswith(one)), "")
            name = PREFIXES.get(prefix, "") + theirs.removeprefix(prefix)
            if not name.startswith(PER_CLASS) or own[name].shape == tensor.shape:
                given[name] = tensor
        for module_name, module in self.named_modules():
            name = f"{module_name}.running_var"
            if module in self.frozen and name in given:  # torchvision's COCO weights want nothing added to the variance
                given[name] = given[name] - module.eps
        try:
            missing, unexpected = self.load_state_dict(given, strict=False)
        except RuntimeError as error:
            raise ValueError(f"pretrained: {path} does not fit: {str(error).splitlines()[1].strip()}") from None
        lacking = [name for name in missing if not name.startswith(PER_CLASS) and not name.endswith("num_batches_tracked")]
        if lacking or unexpected:
            raise ValueError(f"pretrained: {path} does not fit: lacks {lacking[:3]}, has {unexpected[:3]} in their place")


class _Proposals(RegionProposalNetwork):
    """torchvision's region proposal network, to which an anchor in a crowd is no background."""

    def assign_targets_to_anchors(self, anchors, targets):
        labels, matched = super().assign_targets_to_anchors(anchors, targets)
        for row, boxes, truth in zip(labels, anchors, targets, strict=True):
            row[(row == 0) & in_crowd(boxes, truth["crowd"])] = -1  # not sampled
        return labels, matched


class _Heads(_multipath.IntegralHeads):
    """torchvision's heads, which do not learn from proposals in a crowd that are none of the objects told apart."""

    def select_training_samples(self, proposals, targets):
        kept = []
        for boxes, truth in zip(proposals, targets, strict=True):
            is_object = (box_iou(boxes, truth["boxes"]) >= self.thresholds[0]).any(dim=1)
            kept.append(boxes[is_object | ~in_crowd(boxes, truth["crowd"])])
        return super().select_training_samples(kept, targets)


def _pasted(masks: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(N, 1, 28, 28) probabilities, each stretched over its box: (N, H, W) bool, the probability above one half.

    torchvision's own stretches up to one pixel too far. One by one: as numbers all of them would be many.
    """
    pasted = torch.zeros(len(masks), *size, dtype=torch.bool, device=masks.device)
    last = torch.tensor([size[1], size[0]], device=boxes.device)
    for row, mask, box in zip(pasted, masks, boxes.detach(), strict=True):
        low, high = box[:2].floor().long().clamp(min=0), torch.minimum(box[2:].ceil().long(), last)
        x, y = (
            torch.arange(start, end, device=box.device) + 0.5 for start, end in zip(low.tolist(), high.tolist(), strict=True)
        )
        x, y = ((centres - box[axis]) / (box[axis + 2] - box[axis]) * 2 - 1 for axis, centres in enumerate((x, y)))
        y, x = torch.meshgrid(y, x, indexing="ij")
        sampled = F.grid_sample(mask[None].float(), torch.stack([x, y], dim=-1)[None], align_corners=False)[0, 0]
        row[low[1] : high[1], low[0] : high[0]] = sampled > 0.5
    return pasted


def _holds_detector(pretrained: str) -> bool:
    with safe_open(_encoders.pinned_file(pretrained), framework="pt") as given:
        return any(name.startswith("roi_heads.") for name in given.keys())  # noqa: SIM118 - no mapping
