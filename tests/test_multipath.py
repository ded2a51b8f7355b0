"""MultiPath's options of Mask R-CNN: regions, levels and thresholds by hand and by plain torch; off, they are torchvision's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import MultiScaleRoIAlign, roi_align

from pipeline.models._multipath import IGNORED, RegionPool, box_loss, enlarged, integral_loss, labels_at, mask_loss
from pipeline.models._network import Targets
from pipeline.models.mask_rcnn import MaskRCNN, _pasted
from pipeline.structures import InstanceSet
from tests.networks import many_objects, space
from tests.project import OWN
from tests.test_instance_networks import HEIGHT, SMALL, TWO, WIDTH, build, losses_of, pictures, rectangles
from tests.test_mask_rcnn import read_masks_where_they_are, saved
from tests.test_training import FIT, StopAt, Stopped, assert_same, train
from tests.tiny import POLICY, training_arrays

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75]
FOVEAL, SKIP, INTEGRAL = {"foveal": [1.0, 1.5, 2.0, 4.0]}, {"skip": True}, {"integral": THRESHOLDS}
EVERY = FOVEAL | SKIP | INTEGRAL
NAMED = {"foveal": FOVEAL, "skip": SKIP, "integral": INTEGRAL, "foveal and integral": FOVEAL | INTEGRAL, "every": EVERY}
any_options = pytest.mark.parametrize("options", NAMED.values(), ids=NAMED)
SIZE = (64, 64)  # px of the pictures whose levels are made up here


def made_up_levels(width: int = 3) -> dict[str, torch.Tensor]:
    """Of strides 4 and 8, for two pictures."""
    drawn = torch.Generator().manual_seed(0)
    return {str(at): torch.randn(2, width, 64 // stride, 64 // stride, generator=drawn) for at, stride in enumerate((4, 8))}


def rows(*numbers) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32)


BOXES = [rows((10, 20, 30, 60), (0, 0, 64, 64)), rows((5, 5, 9, 8))]


def test_enlarged_boxes_by_hand():
    box = rows((10, 20, 30, 60))  # 20 px wide, 40 px high, about (20, 40)
    assert enlarged(box, 1) is box
    assert enlarged(box, 1.5).tolist() == [[5, 10, 35, 70]]
    assert enlarged(box, 2.0).tolist() == [[0, 0, 40, 80]]
    assert enlarged(box, 4.0).tolist() == [[-20, -40, 60, 120]]
    assert enlarged(torch.zeros(0, 4), 2.0).shape == (0, 4)


def test_regions_stand_side_by_side_each_from_the_level_of_its_size():
    # sqrt(area) / 224 decides the level of torchvision's: below 112 px the finest of these two, 112 to 224 px the other
    pool = RegionPool(["0", "1"], 3, foveal=[1.0, 2.0, 4.0], skip=False, side=7)
    levels, boxes = made_up_levels(), [rows((10, 20, 30, 60), (14, 14, 50, 50)), rows((5, 5, 9, 8))]
    pooled = pool(levels, boxes, [SIZE] * 2)
    assert pooled.shape == (3, 9, 7, 7)
    for place, factor in enumerate((1, 2, 4)):
        region = [enlarged(one, factor) for one in boxes]
        fine, coarse = (roi_align(levels[str(at)], region, 7, 1 / stride, 2) for at, stride in enumerate((4, 8)))
        wanted = fine.clone()
        if factor == 4:
            # 80 x 160 px and 144 x 144 px, both of at least 112 px; the third stays small
            wanted[:2] = coarse[:2]
        torch.testing.assert_close(pooled[:, 3 * place : 3 * place + 3], wanted)
    assert list(pool.parameters()) == []


def test_outside_the_picture_are_zeros():
    pool = RegionPool(["0"], 1, foveal=[1.0, 2.0], skip=False, side=7)
    near, far = pool({"0": torch.ones(1, 1, 16, 16)}, [rows((0, 0, 64, 64))], [SIZE])[0]
    assert (near == 1).all()
    # from -32 to 96 px in steps of 18.3: the second has one of its two samples at 0, the sixth at 64 px, where the map ends
    assert far[0].tolist() == [0] * 7 and (far[2:5, 2:5] == 1).all() and far[3].tolist()[:2] == [0, 0.5]


def test_skip_features_are_those_of_every_level_normalised_concatenated_and_mixed():
    torch.manual_seed(0)
    pool = RegionPool(["0", "1"], 3, foveal=[1.0, 1.5], skip=True, side=7)
    levels = made_up_levels()
    pooled = pool(levels, BOXES, [SIZE] * 2)
    assert pooled.shape == (3, 6, 7, 7)
    for place, factor in enumerate((1, 1.5)):
        parts = []
        for at, stride in enumerate((4, 8)):
            values = roi_align(levels[str(at)], [enlarged(one, factor) for one in BOXES], 7, 1 / stride, 2)
            lengths = values.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
            parts.append(values / lengths * (3 * 7 * 7) ** 0.5)
        mix = pool.mixes[place]
        wanted = torch.einsum("oi,nihw->nohw", mix.weight[:, :, 0, 0], torch.cat(parts, dim=1)) + mix.bias[:, None, None]
        torch.testing.assert_close(pooled[:, 3 * place : 3 * place + 3], wanted, atol=1e-4, rtol=1e-4)


def test_levels_without_a_feature_have_a_finite_gradient():
    pool = RegionPool(["0"], 3, foveal=[1.0], skip=True, side=7)
    level = torch.zeros(2, 3, 16, 16, requires_grad=True)
    pool({"0": level}, BOXES, [SIZE] * 2).sum().backward()
    assert level.grad.isfinite().all() and level.grad.abs().max() < 1e4


@pytest.mark.parametrize("skip", [False, True])
def test_no_box_has_no_features(skip):
    pool = RegionPool(["0", "1"], 3, foveal=[1.0, 2.0], skip=skip, side=7)
    assert pool(made_up_levels(), [torch.zeros(0, 4)] * 2, [SIZE] * 2).shape == (0, 6, 7, 7)


# boxes that overlap (0, 0, 10, 10) by 1, 0.8, 0.6, 0.5 and not at all; torchvision has found the labels at 0.5
FIVE = rows((0, 0, 10, 10), (0, 0, 10, 8), (0, 0, 10, 6), (0, 0, 10, 5), (30, 30, 40, 40))
LABELS = torch.tensor([2, 2, 2, 2, 0])
NOWHERE = torch.zeros(0, 4)


def test_labels_by_hand_at_each_threshold():
    truth = {"boxes": FIVE[:1], "crowd": NOWHERE}
    assert labels_at([0.5, 0.55, 0.6, 0.75, 0.85], FIVE, LABELS, truth).tolist() == [
        [2, 2, 2, 2, 0],
        [2, 2, 2, 0, 0],
        [2, 2, 2, 0, 0],  # from the threshold on
        [2, 2, 0, 0, 0],
        [2, 0, 0, 0, 0],
    ]
    assert labels_at([0.5], FIVE, LABELS, truth).tolist() == [[2, 2, 2, 2, 0]]


def test_a_box_in_a_crowd_that_is_no_object_at_a_threshold_is_left_out_there():
    truth = {"boxes": FIVE[:1], "crowd": rows((0, 0, 20, 7))}  # the whole picture's first has 0.7 in it, the second 0.875
    found = labels_at([0.5, 0.75, 0.9], FIVE, LABELS, truth)
    assert found.tolist() == [[2, 2, 2, 2, 0], [2, 2, IGNORED, IGNORED, 0], [2, IGNORED, IGNORED, IGNORED, 0]]


def test_a_picture_without_objects_is_background_at_each_threshold():
    labels = torch.zeros(5, dtype=torch.int64)
    assert not labels_at(THRESHOLDS, FIVE, labels, {"boxes": NOWHERE, "crowd": NOWHERE}).any()
    assert labels_at([0.5, 0.6], NOWHERE, labels[:0], {"boxes": FIVE, "crowd": FIVE}).shape == (2, 0)


def test_the_integral_loss_by_hand():
    # probabilities 1/4 and 3/4, 1/2 and 1/2: ln 4, ln 4/3 and ln 2
    sure, even = [0.0, float(np.log(3))], [0.0, 0.0]
    logits = torch.tensor([[sure, even], [sure, even], [sure, even]])
    labels = torch.tensor([[0, 1], [1, IGNORED], [IGNORED, IGNORED]])
    wanted = ((np.log(4) + np.log(2)) / 2 + np.log(4 / 3) + 0) / 3
    assert integral_loss(logits, labels).item() == pytest.approx(wanted, abs=1e-6)


def test_one_threshold_is_the_mean_cross_entropy_to_the_bit():
    logits, labels = torch.randn(1, 50, 4, generator=torch.Generator().manual_seed(0)), torch.arange(50)[None] % 4
    assert torch.equal(integral_loss(logits, labels), F.cross_entropy(logits[0], labels[0]))


def test_the_box_loss_by_hand():
    # two labels; of the first box the object's offsets are off by 1 and by 1/18, half of the place where smooth L1 turns
    deltas = rows((9, 9, 9, 9, 1, 0, 1 / 18, 0), (9, 9, 9, 9, 9, 9, 9, 9))
    offsets = torch.zeros(2, 4)
    wanted = (1 - 1 / 18) + 0.5 * (1 / 18) ** 2 * 9
    assert box_loss(deltas, torch.tensor([1, 0]), offsets).item() == pytest.approx(wanted / 2)
    assert box_loss(deltas[:0], torch.zeros(0, dtype=torch.int64), offsets[:0]) == 0


def iou(one, other) -> float:
    """Of two boxes, in plain numbers."""
    sides = [min(one[at + 2], other[at + 2]) - max(one[at], other[at]) for at in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def test_the_loss_of_the_classes_is_the_mean_over_the_thresholds():
    """All steps again in plain numbers, of the proposals that were drawn and the logits that they got."""
    network = build("mask_rcnn", **INTEGRAL).train()
    drawings, outputs, heads = [], [], network.roi_heads
    draw = heads.select_training_samples
    heads.select_training_samples = lambda *given: drawings.append(draw(*given)) or drawings[-1]
    heads.box_predictor.register_forward_hook(lambda _, __, output: outputs.append(output[0]))
    # a fine mesh around the objects, so that proposals of each overlap are among those drawn
    shifts = torch.cartesian_prod(*[torch.arange(-6.0, 7, 2)] * 4)
    near = torch.cat([torch.from_numpy(box) + shifts for box in TWO.boxes])
    network.rpn.forward = lambda *_: ([near, near], {"loss_objectness": 0.0, "loss_rpn_box_reg": 0.0})
    objects = (TWO, InstanceSet.empty(HEIGHT, WIDTH))
    losses = network.losses(pictures(), Targets(torch.zeros(2, HEIGHT, WIDTH, dtype=torch.int64), objects))
    (boxes, _, labels, _), (all_logits,) = drawings[0], outputs
    total, counts = 0.0, set()
    for place, threshold in enumerate(THRESHOLDS):
        entropies = []
        logits = iter(all_logits[place])
        for picture, (drawn, at_half) in enumerate(zip(boxes, labels, strict=True)):
            truth = list(zip(objects[picture].boxes.tolist(), (1, 2), strict=False))
            for box, label in zip(drawn.tolist(), at_half.tolist(), strict=True):
                overlap, best = max(((iou(box, one), number) for one, number in truth), default=(0.0, 0))
                wanted = best if overlap >= threshold else 0
                assert place or label == wanted
                entropies.append(-next(logits).log_softmax(dim=0)[wanted].item())
        counts.add(sum(entropies))
        total += np.mean(entropies)
    assert len(counts) == len(THRESHOLDS)  # each threshold says something else
    assert losses["class"].item() == pytest.approx(total / len(THRESHOLDS), rel=1e-5)


def test_the_score_is_the_mean_of_the_probabilities():
    heads = build("mask_rcnn", integral=[0.5, 0.75]).roi_heads
    probabilities = torch.tensor([[[0.2, 0.7, 0.1]], [[0.4, 0.3, 0.3]]])  # (n, N, labels)
    boxes, scores, labels = heads.postprocess_detections(
        probabilities.log() + 5, torch.zeros(1, 12), [rows((2, 3, 20, 30))], [SIZE]
    )
    assert labels[0].tolist() == [1, 2] and boxes[0].tolist() == [[2, 3, 20, 30]] * 2
    assert scores[0].tolist() == pytest.approx([0.5, 0.2], abs=1e-6)


def test_classifiers_that_agree_are_one():
    plain, several = build("mask_rcnn", score_threshold=0.0), build("mask_rcnn", score_threshold=0.0, **INTEGRAL)
    state = plain.state_dict()
    for part in ("weight", "bias"):
        name = f"roi_heads.box_predictor.cls_score.{part}"
        state[name] = torch.cat([state[name]] * len(THRESHOLDS))
    several.load_state_dict(state)
    with torch.no_grad():
        for one, other in zip(plain.eval().predict(pictures()), several.eval().predict(pictures()), strict=True):
            assert len(one) > 10 and np.array_equal(one.masks, other.masks) and np.array_equal(one.classes, other.classes)
            assert np.allclose(one.scores, other.scores, atol=1e-6)


def torchvisions(heads) -> RoIHeads:
    """torchvision's heads of the same parts."""
    parts = [heads.box_roi_pool, heads.box_head, heads.box_predictor]
    drawn = {"fg_iou_thresh": 0.5, "bg_iou_thresh": 0.5, "batch_size_per_image": 32, "positive_fraction": 0.25}
    same = ("score_thresh", "nms_thresh", "detections_per_img", "mask_roi_pool", "mask_head", "mask_predictor")
    return RoIHeads(*parts, bbox_reg_weights=None, **drawn, **{name: getattr(heads, name) for name in same})


def test_masks_are_trained_where_they_are_pasted():
    # a box of 28 x 28 px, its left half an object: each value of the mask is a pixel, and what fits costs nothing
    truth = torch.zeros(1, 40, 50, dtype=torch.uint8)
    truth[0, 4:32, 10:24] = 1
    logits = torch.full((1, 2, 28, 28), -200.0)
    logits[..., :14] = 200.0
    boxes = rows((10, 4, 38, 32))
    picture = {"masks": truth, "labels": torch.tensor([1])}
    assert mask_loss(logits, [boxes], [torch.tensor([0])], [picture]) == 0
    assert torch.equal(_pasted(logits[:, 1:].sigmoid(), boxes, (40, 50)), truth.bool())
    nothing = {"masks": truth[:0], "labels": torch.zeros(0, dtype=torch.int64)}
    assert mask_loss(logits[:0], [boxes[:0]], [torch.zeros(0, dtype=torch.int64)], [nothing]) == 0


def test_without_options_it_is_torchvision_to_the_bit(monkeypatch):
    read_masks_where_they_are(monkeypatch)
    network = build("mask_rcnn", score_threshold=0.0)
    heads, plain = network.roi_heads, torchvisions(network.roi_heads)
    assert type(heads.box_roi_pool) is MultiScaleRoIAlign and type(heads.box_predictor) is FastRCNNPredictor
    assert heads.state_dict().keys() == plain.state_dict().keys()
    levels = {str(at): torch.randn(2, 16, HEIGHT // stride, WIDTH // stride) for at, stride in enumerate((4, 8, 16, 32))}
    boxes = torch.rand(2, 60, 4) * 40
    boxes = list(boxes + rows((0, 0, 20, 20)))
    truth = [network._truth(TWO, torch.device("cpu"))] * 2
    found = []
    for one in (heads, plain):
        torch.manual_seed(1)
        losses = one.train()(levels, boxes, [(HEIGHT, WIDTH)] * 2, truth)[1]
        with torch.no_grad():
            found.append((losses, one.eval()(levels, boxes, [(HEIGHT, WIDTH)] * 2)[0]))
    (losses, objects), (their_losses, their_objects) = found
    assert losses == their_losses and losses["loss_box_reg"] > 0 and losses["loss_mask"] > 0
    for ours, theirs in zip(objects, their_objects, strict=True):
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert len(ours["scores"]) > 10


def test_the_defaults_written_out_are_the_defaults():
    written = build("mask_rcnn", foveal=[1], skip=False, integral=[0.5]).state_dict()
    assert written.keys() == (plain := build("mask_rcnn").state_dict()).keys()
    assert all(torch.equal(plain[name], written[name]) for name in plain)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"foveal": []}, r"^foveal: \[\] are no factors of at least 1 that rise; give \[1\.0\] or \[1\.0, 1\.5, 2\.0, 4\.0\]$"),
        ({"foveal": [0.5, 1.0]}, r"foveal: \[0\.5, 1\.0\] are no factors"),
        ({"foveal": [2.0, 1.0]}, r"foveal: \[2\.0, 1\.0\] are no factors"),
        ({"foveal": [1.0, float("inf")]}, r"foveal: \[1\.0, inf\] are no factors"),
        ({"foveal": [float("nan")]}, r"foveal: \[nan\] are no factors"),
        ({"integral": []}, r"^integral: \[\] are no IoU thresholds between 0 and 1 that rise; give \[0\.5\] or"),
        ({"integral": [0.5, 1.0]}, r"integral: \[0\.5, 1\.0\] are no IoU"),
        ({"integral": [0.0]}, r"integral: \[0\.0\] are no IoU"),
        ({"integral": [50, 75]}, r"integral: \[50, 75\] are no IoU"),
        ({"integral": [0.5, 0.5]}, r"integral: \[0\.5, 0\.5\] are no IoU"),
        ({"integral": [0.75, 0.5]}, r"integral: \[0\.75, 0\.5\] are no IoU"),
        ({"foveal": [0.0], "integral": [2.0]}, r"^foveal: .*\nintegral: "),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build("mask_rcnn", **options)


def test_the_first_threshold_decides_what_is_drawn():
    heads = build("mask_rcnn", integral=[0.7]).roi_heads
    truth = {"boxes": FIVE[:1], "labels": torch.ones(1, dtype=torch.int64), "crowd": rows((0, 0, 10, 9))}
    truth |= {"masks": torch.ones(1, HEIGHT, WIDTH, dtype=torch.uint8)}
    boxes, _, labels, _ = heads.select_training_samples([FIVE], [truth])
    pairs = {tuple(box.tolist()): label.item() for box, label in zip(boxes[0], labels[0], strict=True)}
    assert pairs == {(0, 0, 10, 10): 1, (0, 0, 10, 8): 1, (30, 30, 40, 40): 0}  # the two others lie in the crowd


@any_options
def test_the_gradient_reaches_every_parameter(options):
    network = build("mask_rcnn", **options).train()
    objects = many_objects(HEIGHT, WIDTH, classes=(1, 3))
    losses = network.losses(pictures(), Targets(torch.zeros(2, HEIGHT, WIDTH, dtype=torch.int64), (objects, TWO)))
    sum(losses.values()).backward()
    trained = {name: one for name, one in network.named_parameters() if one.requires_grad}
    assert [name for name, one in trained.items() if one.grad is None or not one.grad.any()] == []
    classifiers = trained["roi_heads.box_predictor.cls_score.weight"].grad.unflatten(0, (-1, 3))
    assert classifiers.flatten(start_dim=1).any(dim=1).all()


BAD_INPUT = {
    "no object": InstanceSet.empty(HEIGHT, WIDTH),
    "one pixel": InstanceSet.build(rectangles((7, 9, 8, 10)), [3]),
    # in both pictures: no proposal is left to train on
    "a crowd alone": InstanceSet.build(rectangles((0, 0, WIDTH, HEIGHT)), [1], iscrowd=[True]),
    "an object in a crowd": InstanceSet.build(rectangles((0, 0, WIDTH, HEIGHT), (5, 5, 60, 60)), [1, 3], iscrowd=[True, False]),
}


def check_training(objects, **options):
    network = build("mask_rcnn", **options).train()
    losses = network.losses(pictures(), Targets(torch.zeros(2, HEIGHT, WIDTH, dtype=torch.int64), (objects,) * 2))
    assert all(loss.isfinite() and loss >= 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters() if parameter.grad is not None)
    with torch.no_grad():
        assert len(network.eval().predict(pictures())) == 2


@pytest.mark.parametrize("options", [{}, *NAMED.values()], ids=["none", *NAMED])
@pytest.mark.parametrize("objects", BAD_INPUT.values(), ids=BAD_INPUT)
def test_any_objects_train(options, objects):
    check_training(objects, **options)


@pytest.mark.parametrize("objects", ["no object", "an object in a crowd"])
def test_bfloat16_trains(objects):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        check_training(BAD_INPUT[objects], **EVERY)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gpu_trains_and_predicts(dtype):
    network = build("mask_rcnn", **EVERY).train().to("cuda", memory_format=torch.channels_last)
    with torch.autocast("cuda", dtype=dtype, enabled=dtype is not torch.float32):
        losses = network.losses(pictures().cuda(), Targets(torch.zeros(2, HEIGHT, WIDTH, dtype=torch.int64), (TWO, TWO)))
        sum(losses.values()).backward()
        assert sum(losses.values()).isfinite()
        assert len(network.eval().predict(pictures().cuda())) == 2


@any_options
def test_validation_repeats(options):
    assert losses_of(network := build("mask_rcnn", **options), TWO) == losses_of(network, TWO)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    torch.set_num_threads(1)
    return training_arrays(tmp_path_factory.mktemp("tiny"), train=5, val=2, policy=POLICY | {"crop": [32, 32]})


def test_resuming_equals_not_stopping(arrays, tmp_path):
    options = SMALL["mask_rcnn"] | EVERY | {"freeze_norm": False}
    fit = FIT | {"model": "mask_rcnn", "options": options, "loss": OWN, "epochs": 2, "batch_size": 2}
    fit |= {"training": {"average": 0.9, "clip_norm": 1.0}}
    weights, progress = train(arrays, tmp_path / "unstopped", fit=fit)
    with pytest.raises(Stopped):
        train(arrays, tmp_path / "stopped", fit=fit, watch=StopAt(4))
    again, resumed = train(arrays, tmp_path / "stopped", fit=fit)
    assert_same(again, weights)
    assert resumed.history == progress.history


def test_weights_of_a_plain_network_fill_one_with_an_integral_loss_and_no_other(tmp_path):
    whole = {}  # under torchvision's names
    for name, tensor in build("mask_rcnn").state_dict().items():
        ours = next((one for one in ("encoder.", "pyramid.") if name.startswith(one)), "")
        theirs = {"encoder.": "backbone.body.", "pyramid.": "backbone.fpn.", "": ""}[ours]
        whole[theirs + name.removeprefix(ours)] = tensor
    pinned = saved(whole, tmp_path / "plain.safetensors")
    filled = MaskRCNN(space(2, isthing=True), **SMALL["mask_rcnn"] | {"pretrained": pinned} | INTEGRAL).state_dict()
    assert torch.equal(filled["roi_heads.box_head.fc6.weight"], whole["roi_heads.box_head.fc6.weight"])
    assert filled["roi_heads.box_predictor.cls_score.weight"].shape == (6 * 3, 16)
    with pytest.raises(ValueError, match=r"plain\.safetensors does not fit: size mismatch for roi_heads\.box_head\.fc6"):
        MaskRCNN(space(2, isthing=True), **SMALL["mask_rcnn"] | {"pretrained": pinned} | FOVEAL)
    with pytest.raises(ValueError, match=r"plain\.safetensors does not fit: lacks \['roi_heads\.box_roi_pool\.mixes"):
        MaskRCNN(space(2, isthing=True), **SMALL["mask_rcnn"] | {"pretrained": pinned} | SKIP)


@pytest.mark.slow
def test_it_fits_two_objects():
    masks = rectangles((8, 8, 40, 40), (50, 20, 90, 60))
    image = torch.full((1, HEIGHT, WIDTH, 3), 60, dtype=torch.uint8)
    for mask, colour in zip(masks, ((200, 40, 40), (40, 200, 40)), strict=True):
        image[0, torch.from_numpy(mask)] = torch.tensor(colour, dtype=torch.uint8)
    small = {"anchor_sizes": [8, 16, 32, 64, 128], "box_width": 64, "width": 32, "mask_widths": [16, 16]}
    network = build("mask_rcnn", **EVERY | small, pretrained=True).train()
    images, optimizer = network.normalised(image), torch.optim.AdamW(network.parameters(), lr=0.001)
    targets = Targets(torch.zeros(1, HEIGHT, WIDTH, dtype=torch.int64), (InstanceSet.build(masks, [1, 3]),))
    for _ in range(80):
        optimizer.zero_grad()
        sum(network.losses(images, targets).values()).backward()
        optimizer.step()
    with torch.no_grad():
        (found,) = network.eval().predict(images)
    for mask, wanted in zip(masks, (1, 3), strict=True):
        surest = np.flatnonzero(found.classes == wanted)[0]
        overlap = (found.masks[surest] & mask).sum() / (found.masks[surest] | mask).sum()
        assert found.scores[surest] > 0.5 and overlap > 0.7
