"""YOLACT part by part with numbers worked out by hand, and its layers against the published ones."""

import itertools
import math

import pytest
import torch

from pipeline.models._anchors import anchor_boxes, decoded, encoded, hard_cross_entropy, matched
from pipeline.models.yolact import YOLACT, MaskScorer, fast_nms, inside, semantic_loss, shrunk
from tests.networks import count, published, space

LIGHT = {"encoder": "tf_efficientnet_lite0", "pretrained": False, "width": 8, "prototypes": 4}
NO_CROWD = torch.zeros(0, 4)


def picture(boxes, labels, *, crowd=NO_CROWD, size=(32, 32)) -> dict[str, torch.Tensor]:
    """The truth of one picture whose objects fill their boxes."""
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64), "masks": masks, "crowd": crowd}


def test_yolact_base_has_the_published_layers():
    # yolact_base of the authors' code, dbolya/yolact: data/config.py and yolact.py; COCO has 80 things, k = 32, 3 ratios
    network = published(YOLACT, num_classes=80, isthing=True)
    convolution = 256 * 256 * 9 + 256
    assert count(network.encoder) == 42_500_160  # ResNet-101 without its classifier
    lateral = (512 + 1024 + 2048) * 256 + 3 * 256
    assert count(network.pyramid) == lateral + 3 * convolution + 2 * convolution  # P3 to P5, then P6 and P7
    assert count(network.protonet) == 4 * convolution + 256 * 32 + 32
    outputs = 3 * (81 + 4 + 32)
    assert count(network.head) == convolution + (256 * 9 + 1) * outputs
    assert count(network.semantic) == 256 * 80 + 80
    assert count(network) == 50_157_071  # what the authors' network has


def test_the_re_scoring_has_the_published_layers():
    # maskiou_net of yolact_plus_base: 8, 16, 32, 64, 128 channels, all 3 x 3 with stride 2, and 80 classes
    widths = (1, 8, 16, 32, 64, 128)
    convolutions = sum(9 * below * above + above for below, above in itertools.pairwise(widths))
    assert count(MaskScorer(80)) == convolutions + 128 * 80 + 80
    assert MaskScorer(2)(torch.rand(3, 138, 138)).shape == MaskScorer(2)(torch.rand(3, 5, 70)).shape == (3, 2)
    assert MaskScorer(2)(torch.rand(0, 20, 20)).shape == (0, 2)


def test_anchors_by_hand():
    levels = [torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 1)]
    boxes = anchor_boxes(levels, (8, 16), sides=(4, 6), ratios=(1.0, 4.0))
    assert boxes.tolist() == [
        *([2, 2, 6, 6], [0, 3, 8, 5]),  # centre 4, 4: a square of 4 px, and twice as wide and half as high
        *([10, 2, 14, 6], [8, 3, 16, 5]),
        *([5, 1, 11, 7], [2, 2.5, 14, 5.5]),
    ]


def test_the_anchors_follow_the_outputs_of_the_head():
    network = YOLACT(space(2, isthing=True), **LIGHT)
    levels = network.pyramid(network.encoder(torch.rand(1, 3, 64, 96))[2:])
    assert [tuple(level.shape[2:]) for level in levels] == [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
    outputs = [torch.cat(parts, dim=1) for parts in zip(*map(network.head, levels), strict=True)]
    anchors = anchor_boxes(levels, (64, 96), sides=network.anchor_sizes, ratios=network.anchor_ratios)
    assert len(anchors) == 3 * (96 + 24 + 6 + 2 + 1)
    assert [tuple(one.shape) for one in outputs] == [(1, len(anchors), values) for values in (3, 4, 4)]
    # a bias for the third ratio alone is seen at every third anchor
    torch.nn.init.zeros_(network.head.boxes.weight)
    network.head.boxes.bias.data[8:] = 7.0
    offsets = network.head(levels[0])[1][0]
    assert (offsets[2::3] == 7).all() and not offsets[0::3].any() and not offsets[1::3].any()


def test_offsets_by_hand_and_back():
    anchors = torch.tensor([[0.0, 0, 10, 20]])
    box = torch.tensor([[2.0, 5, 12, 45]])  # the centre 2 and 15 px further, as wide and twice as high
    offsets = encoded(box, anchors)
    assert offsets[0].tolist() == pytest.approx([0.2 / 0.1, 0.75 / 0.1, 0, math.log(2) / 0.2])
    assert torch.allclose(decoded(offsets, anchors), box, atol=1e-5)


def test_which_object_an_anchor_is_on():
    anchors = torch.tensor(
        [[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 4.5], [0, 0, 10, 3], [40, 40, 50, 50], [60, 60, 61, 61]]
    )
    # IoU with the first object: 1, 0.9, 0.45, 0.3, 0, 0; the second meets none well, and gets the best for it
    labels, objects = matched(anchors, picture([(0, 0, 10, 10), (49, 49, 60, 60)], [2, 1], size=(64, 64)))
    assert labels.tolist() == [2, 2, -1, 0, 1, 0]
    assert objects[:2].tolist() == [0, 0] and objects[4] == 1


def test_two_objects_do_not_share_an_anchor():
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 4, 4]])
    _, objects = matched(anchors, picture([(0, 0, 10, 10), (0, 0, 10, 9)], [1, 1]))
    assert objects.tolist() == [0, 1]  # the second object is left the small anchor, though the large one fits it better


def test_more_objects_than_anchors():
    labels, objects = matched(torch.tensor([[0.0, 0, 8, 8]]), picture([(0, 0, 2, 2), (0, 0, 8, 7), (9, 9, 10, 10)], [1, 2, 1]))
    assert labels.tolist() == [2] and objects.tolist() == [1]


def test_an_anchor_in_a_crowd_is_no_background():
    anchors = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]])
    crowd = torch.tensor([[0.0, 0, 31, 11]])
    assert matched(anchors, picture([(0, 0, 10, 10)], [1], crowd=crowd))[0].tolist() == [1, -1, 0]
    assert matched(anchors, picture([], [], crowd=crowd))[0].tolist() == [-1, -1, 0]


def test_hard_negatives_by_hand():
    # one anchor on an object of label 1, one that is neither, five of background: the three worst of them count
    logits = torch.zeros(1, 7, 2)
    logits[0, 2:, 1] = torch.tensor([5.0, 1.0, 3.0, 2.0, 4.0])
    labels = torch.tensor([[1, -1, 0, 0, 0, 0, 0]])
    worst = sum(math.log(1 + math.exp(one)) for one in (5, 4, 3))
    assert hard_cross_entropy(logits, labels).item() == pytest.approx(math.log(2) + worst, rel=1e-6)


def test_a_picture_without_an_object_trains_three_anchors():
    logits = torch.zeros(1, 7, 2)
    assert hard_cross_entropy(logits, torch.zeros(1, 7, dtype=torch.int64)).item() == pytest.approx(3 * math.log(2))


def test_fast_suppression_counts_what_is_itself_suppressed():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 4, 10, 14], [0, 8, 10, 18], [50, 50, 60, 60]])  # neighbours have IoU 6/14
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.1]])
    things, places = fast_nms(boxes, scores, threshold=0.4)
    assert things.tolist() == [0, 0] and places.tolist() == [0, 3]  # plain suppression would keep the third box too
    assert fast_nms(boxes, scores, threshold=0.5)[1].tolist() == [0, 1, 2, 3]


def test_fast_suppression_sees_each_class_for_itself():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9]])
    things, places = fast_nms(boxes, torch.tensor([[0.9, 0.8], [0.2, 0.3]]), threshold=0.5)
    assert list(zip(things.tolist(), places.tolist(), strict=True)) == [(0, 0), (1, 1)]
    assert all(len(one) == 0 for one in fast_nms(boxes[:0], torch.zeros(2, 0), threshold=0.5))


def test_pixels_in_a_box_and_one_around_it():
    found = inside(torch.tensor([[2.0, 1, 4, 2], [-5, -5, 99, 99]]), (4, 6))
    assert found[0].int().tolist() == [[0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]]
    assert found[1].all()


def test_a_mask_is_prototypes_times_coefficients_cut_to_its_box():
    network = YOLACT(space(1, isthing=True), **LIGHT, score_threshold=0.4).eval()
    prototypes = torch.zeros(4, 8, 8)
    prototypes[0, :, :4], prototypes[1] = 1.0, 1.0
    # 4 everywhere; 4 on the left half and -4 on the right
    coefficients = torch.tensor([[0.0, 4.0, 0, 0], [8.0, -4.0, 0, 0], [0.0, 4.0, 0, 0]])
    anchors = torch.tensor([[0.0, 0, 32, 12], [0, 0, 32, 32], [0, 20, 32, 32]])
    logits = torch.tensor([[0.0, 2.0], [0.0, 1.0], [0.0, -2.0]])
    found = network._found(logits, torch.zeros(3, 4), coefficients, prototypes, anchors=anchors, size=(32, 32))
    assert found["labels"].tolist() == [1, 1]
    assert found["scores"].tolist() == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))])
    wanted = torch.zeros(2, 32, 32, dtype=torch.bool)
    wanted[0, :16] = True  # the box ends behind row 2 of the prototypes, and one row more is left: 16 px
    wanted[1, :, :16] = True
    assert torch.equal(found["masks"], wanted)


def test_the_mask_loss_is_the_mean_over_the_box():
    network = YOLACT(space(1, isthing=True), **LIGHT)
    truth = picture([(8, 8, 24, 24)], [1])  # 4 x 4 of the prototypes, 6 x 6 with the margin
    losses = network._mask_losses(truth, torch.tensor([0]), torch.zeros(1, 4), torch.rand(4, 8, 8))
    assert losses["mask"].item() == pytest.approx(36 / 16 * math.log(2), rel=1e-6)
    many = network._mask_losses(truth, torch.zeros(250, dtype=torch.int64), torch.zeros(250, 4), torch.rand(4, 8, 8))
    assert many["mask"].item() == pytest.approx(250 * 36 / 16 * math.log(2), rel=1e-5)  # 100 of them stand for all


def test_an_object_of_one_pixel_weighs_no_more_than_a_pixel_of_the_prototypes():
    network = YOLACT(space(1, isthing=True), **LIGHT)
    losses = network._mask_losses(picture([(9, 9, 10, 10)], [1]), torch.tensor([0]), torch.zeros(1, 4), torch.rand(4, 8, 8))
    assert losses["mask"].item() <= 9 * math.log(2) + 1e-5


def test_the_semantic_loss_by_hand():
    # two classes, 2 x 2 px: the first class has the left half, the second nothing
    truth = picture([(0, 0, 16, 32)], [1])
    logits = torch.zeros(1, 2, 2, 2)
    assert semantic_loss(logits, [truth]).item() == pytest.approx(2 * math.log(2))
    logits[0, 0] = torch.tensor([[50.0, -50.0], [50.0, -50.0]])
    assert semantic_loss(logits, [truth]).item() == pytest.approx(math.log(2))
    assert semantic_loss(logits, [picture([], [])]).item() == pytest.approx(25 + math.log(2))


def test_masks_are_shrunk_and_may_vanish():
    masks = picture([(0, 0, 16, 32), (5, 5, 6, 6)], [1, 1])["masks"]
    assert shrunk(masks, (2, 2)).tolist() == [[[True, False], [True, False]], [[False, False], [False, False]]]
    assert shrunk(masks[:0], (2, 2)).shape == (0, 2, 2)


def test_re_scoring_multiplies_by_the_expected_iou():
    options = {**LIGHT, "score_threshold": 0.0}
    torch.manual_seed(0)
    plain = YOLACT(space(1, isthing=True), **options).eval()
    again = YOLACT(space(1, isthing=True), **options, rescore=True).eval()
    again.load_state_dict(plain.state_dict(), strict=False)
    torch.nn.init.zeros_(again.scorer.layers[-2].weight)
    again.scorer.layers[-2].bias.data[:] = 0.25
    with torch.no_grad():
        images = torch.rand(1, 3, 64, 64)
        one, other = plain(images)[0][0], again(images)[0][0]
    assert len(one["scores"]) and torch.allclose(0.25 * one["scores"], other["scores"])


def test_the_re_scoring_learns_the_iou_of_masks_that_are_large_enough():
    network = YOLACT(space(1, isthing=True), **LIGHT, rescore=True)
    torch.nn.init.zeros_(network.scorer.layers[-2].weight)
    network.scorer.layers[-2].bias.data[:] = 1.0
    truth, every = picture([(0, 0, 32, 32), (0, 0, 4, 4)], [1, 1]), torch.tensor([0, 1])
    prototypes = torch.zeros(4, 8, 8)
    prototypes[0, :, :4], prototypes[1] = 2.0, 1.0
    coefficients = torch.tensor([[1.0, -1.0, 0, 0]]).expand(2, 4)  # a mask of the left half: IoU 1/2 with the first object
    losses = network._mask_losses(truth, every, coefficients, prototypes)
    assert losses["rescore"].item() == pytest.approx(0.5 * 0.5**2)  # smooth L1; the second object, of 1 px, is too small


def test_the_weights_of_the_losses():
    objects = picture([(4, 4, 28, 28)], [1])
    torch.manual_seed(0)
    plain = YOLACT(space(1, isthing=True), **LIGHT, box_weight=1.0, mask_weight=1.0).eval()
    weighed = YOLACT(space(1, isthing=True), **LIGHT).eval()
    weighed.load_state_dict(plain.state_dict())
    images = torch.rand(1, 3, 32, 32)
    one, other = plain(images, [objects])[1], weighed(images, [objects])[1]
    factors = {"class": 1, "box": 1.5, "mask": 6.125, "semantic": 1}
    assert {name: (other[name] / one[name]).item() for name in one} == pytest.approx(factors)
