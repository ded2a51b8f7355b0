"""DeepMask and SharpMask: a patch alone and in its picture, published sizes, losses, options, learning."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.metrics.instances import Instances
from pipeline.models import _encoders, _proposals
from pipeline.models._network import Targets
from pipeline.models._patches import boxes_of, cut, mask_boxes
from pipeline.models.deepmask import DeepMask
from pipeline.models.sharpmask import SharpMask
from pipeline.provenance import file_hash
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Sample
from tests.networks import count, published, space

BOTH = pytest.mark.parametrize("kind", [DeepMask, SharpMask])
SCALES = (0.5, 1.0)


class Encoder(nn.Module):
    """Four convolutions of stride 2: the last value sees 31 px around it."""

    channels, strides, mean, std = (8, 16, 24, 32), (2, 4, 8, 16), (0.5,) * 3, (0.5,) * 3

    def __init__(self):
        super().__init__()
        widths = zip((3, *self.channels), self.channels, strict=False)
        self.layers = nn.ModuleList(nn.Conv2d(*pair, 3, stride=2, padding=1) for pair in widths)

    def forward(self, images):
        maps = [images]
        for layer in self.layers:
            maps.append(layer(maps[-1]).relu())
        return maps[1:]


@pytest.fixture
def small(monkeypatch):
    """Builds a small network on that encoder, in evaluation mode."""
    monkeypatch.setattr(_encoders, "create", lambda *_, **__: Encoder())

    def build(kind, *, seed=0, label_space=None, **options):
        torch.manual_seed(seed)
        sizes = {"patch_px": 32, "width": 16, "rank": 32, "mask_px": 16, "score_width": 16, "scales": SCALES}
        return kind(label_space or space(1, isthing=True), **{**sizes, "pretrained": False, **options}).eval()

    return build


def picture(seed: int, *, height: int = 48, width: int = 64) -> tuple[np.ndarray, InstanceSet]:
    """Two bright rectangles of 16 to 28 px on dark noise, which do not touch."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
    masks = np.zeros((2, height, width), bool)
    for index, mask in enumerate(masks):
        rows, columns = rng.integers(16, 29, 2)
        y, x = rng.integers(0, height - rows + 1), index * width // 2 + rng.integers(0, width // 2 - columns + 1)
        mask[y : y + rows, x : x + columns] = True
        image[mask] = rng.integers(150, 256, 3)
    return image, InstanceSet.build(masks, [0, 0])


@BOTH
@pytest.mark.parametrize("scale", SCALES)
def test_a_patch_alone_gives_what_it_gives_in_its_picture(small, kind, scale):
    # as wide as the last value of the encoder sees, and three convolutions more on maps of stride 16
    network = small(kind, border_px=80)
    images = 10 * torch.randn(1, 3, 70, 90, generator=torch.manual_seed(1))
    side = network.patch_px + 2 * network.border_px
    with torch.no_grad():
        level = network._level(images, scale)
        rows, columns = level.scores.shape[1:]
        assert (rows, columns) == (math.ceil(70 * scale / 16) + 1, math.ceil(90 * scale / 16) + 1)
        scores, masks = [], []
        for y, x in ((0, 0), (1, 2), (rows - 1, columns - 1)):
            place = torch.tensor([[x * 16 / scale, y * 16 / scale, scale]])
            patch = cut(images, torch.tensor([0]), boxes_of(place, side=side), (side, side))
            codes, score, details = network.look(patch)
            alone = network.masks(codes[:, 0, 0], details)
            windows = [network._windows(detail[0], rows)[:, [y], [x]].transpose(0, 1) for detail in level.details]
            inside = network.masks(level.codes[:, y, x], windows)
            assert torch.allclose(alone, inside, atol=1e-4)
            assert score.sigmoid().item() == pytest.approx(level.scores[0, y, x].item(), abs=1e-4)
            scores.append(score.item())
            masks.append(alone)
        assert np.ptp(scores) > 1e-3 and (masks[0] - masks[1]).abs().max() > 1e-3  # they differ from place to place


def test_without_a_border_the_padding_shows(small):
    network, images = small(DeepMask, border_px=0), torch.randn(1, 3, 70, 90, generator=torch.manual_seed(1))
    with torch.no_grad():
        level = network._level(images, 1.0)
        patch = cut(images, torch.tensor([0]), boxes_of(torch.tensor([[32.0, 32, 1]]), side=32), (32, 32))
        assert not torch.allclose(network.look(patch)[0][0, 0, 0], level.codes[0, 2, 2], atol=1e-4)


def test_the_authors_deepmask():
    # ResNet-50 up to conv4: 1000 classes and conv5 less
    encoder = 25_557_032 - 2_049_000 - 14_964_736
    trunk = (1024 + 1) * 128 + (128 * 10 * 10 + 1) * 512
    mask, score = (512 + 1) * 56 * 56, (512 + 1) * 1024 + 1025
    assert count(published(DeepMask, isthing=True)) == encoder + trunk + mask + score


def test_the_authors_sharpmask():
    added = (512 + 1) * 32 * 10 * 10 + (9 * 2 + 1)
    horizontal = [(1024, 64, 32, 16), (512, 64, 16, 8), (256, 64, 8, 4), (64, 32, 4, 2)]
    vertical = [(32, 32, 16), (16, 16, 8), (8, 8, 4), (4, 4, 2)]
    added += sum(2 * widths[0] for widths in horizontal)  # ours: their normalisation
    for widths in horizontal + vertical:
        added += sum((9 * inputs + 1) * outputs for inputs, outputs in pairwise(widths))
    assert count(published(SharpMask, isthing=True)) - count(published(DeepMask, isthing=True)) == added


def test_sharpmask_sees_the_same_in_an_encoders_maps_however_large_they_are(small):
    network = small(SharpMask).train()
    maps = [
        torch.randn(2, inputs, 96 // stride, 96 // stride)
        for inputs, stride in zip(network.encoder.channels, network.encoder.strides, strict=True)
    ]
    for one, enlarged in zip(network.details(maps), network.details([10 * one for one in maps]), strict=True):
        assert torch.allclose(one, enlarged, atol=1e-3) and one.std() > 0.01


@pytest.mark.parametrize("encoder", ["resnet18", "tf_efficientnet_lite0", "torchvision/mobilenet_v3_large"])
def test_what_an_encoder_has_behind_the_last_map_is_left_out(encoder):
    whole = _encoders.create(encoder, pretrained=False).eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.manual_seed(0))
    place = whole.strides.index(16)
    with torch.no_grad():
        wanted, before = whole(images)[: place + 1], count(whole)
        _proposals.shorten(whole, place)
        assert all(torch.equal(*pair) for pair in zip(whole(images)[: place + 1], wanted, strict=True))
    assert count(whole) < before
    sum(one.sum() for one in whole(images)[: place + 1]).backward()
    assert all(parameter.grad is not None for parameter in whole.parameters())


def targets_of(objects) -> Targets:
    return Targets(torch.zeros(len(objects), *objects[0].shape, dtype=torch.int64), tuple(objects))


@BOTH
def test_masks_learn_from_objects_alone(small, kind):
    network = small(kind)
    losses = network.losses(torch.zeros(2, 3, 48, 64), targets_of([InstanceSet.empty(48, 64)] * 2))
    assert losses["score"] > 0 and all(loss == 0 for name, loss in losses.items() if name != "score")
    crowd = InstanceSet.build(np.ones((1, 48, 64), bool), [0], iscrowd=[True])
    assert sum(network.losses(torch.zeros(1, 3, 48, 64), targets_of([crowd])).values()) < losses["score"]


def test_the_losses_by_hand(small):
    network = small(DeepMask, score_weight=0.25)
    for layer in (network.mask_branch, network.score_branch[-1]):
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, math.log(3))
    masks = np.zeros((1, 64, 64), bool)
    masks[:, 16:35, 16:35] = True  # what an object has in a patch: 19 of 32 px
    losses = network.losses(torch.zeros(1, 3, 64, 64), targets_of([InstanceSet.build(masks, [0])]))
    # log(1 + e^-x) and log(1 + e^x), half of the patches positive
    assert losses["score"].item() == pytest.approx(0.25 * (math.log(4 / 3) + math.log(4)) / 2, rel=1e-5)
    assert math.log(4 / 3) < losses["mask"].item() < math.log(4)
    share = (math.log(4) - losses["mask"].item()) / math.log(3)  # of the patches that the object covers
    assert 2**-0.5 * (19 / 32) ** 2 * 0.5 < share < 2**0.5 * (19 / 32) ** 2


def test_the_wanted_mask_is_that_of_the_object_drawn(small, monkeypatch):
    network, seen = small(DeepMask), []
    monkeypatch.setattr(_proposals, "mask_loss", lambda logits, wanted: logits.sum() * 0)
    monkeypatch.setattr(DeepMask, "mask_losses", lambda self, codes, windows, wanted: seen.append(wanted(32)) or {})
    monkeypatch.setattr("pipeline.models._patches.JITTER_PX", 0)
    monkeypatch.setattr("pipeline.models._patches.JITTER_OCTAVES", 0)
    masks = np.zeros((1, 64, 64), bool)
    masks[:, 20:58, 10:29] = True  # 38 x 19 px, seen at half the size
    network.losses(torch.zeros(1, 3, 64, 64), targets_of([InstanceSet.build(masks, [0])]))
    assert seen[0].shape == (4, 32, 32) and all(torch.equal(one, seen[0][0]) for one in seen[0])
    (box,) = mask_boxes(seen[0][:1]).tolist()  # 19 x 9.5 px about the middle
    assert box == pytest.approx([16 - 4.75, 16 - 9.5, 16 + 4.75, 16 + 9.5], abs=0.75)


@BOTH
def test_what_is_found_has_the_first_thing_class(small, kind):
    label_space = LabelSpace(("sky", "cat", "dog"), ((0, 0, 0),) * 3, (False, True, True))
    network = small(kind, label_space=label_space, most_objects=20)
    with torch.no_grad():
        (found,) = network.predict(torch.randn(1, 3, 48, 64))
    assert 0 < len(found) <= 20 and set(found.classes) == {1} and (np.diff(found.scores) <= 0).all()


def test_of_overlapping_objects_the_surer_one_stays_where_it_is_asked_for(small):
    images = torch.randn(1, 3, 48, 64, generator=torch.manual_seed(3))
    with torch.no_grad():
        (all_of_them,) = small(DeepMask).predict(images)
        (kept,) = small(DeepMask, nms_threshold=0.3).predict(images)
    assert 0 < len(kept) < len(all_of_them) and kept.scores[0] == all_of_them.scores[0]
    low, high = np.maximum(kept.boxes[:, None, :2], kept.boxes[:, :2]), np.minimum(kept.boxes[:, None, 2:], kept.boxes[:, 2:])
    inside, areas = (high - low).clip(0).prod(axis=2), (kept.boxes[:, 2:] - kept.boxes[:, :2]).prod(axis=1)
    ious = inside / (areas[:, None] + areas - inside)
    assert ious[~np.eye(len(kept), dtype=bool)].max(initial=0) <= 0.3 + 1e-6


@BOTH
@pytest.mark.parametrize(
    "options, message",
    [
        ({"patch_px": 40}, "patch_px: 40, border_px: 16; both must be multiples of 16 px"),
        ({"border_px": 8}, "patch_px: 32, border_px: 8; both must be multiples"),
        ({"scales": []}, r"scales: \[\], patches: 8; give scales above 0"),
        ({"patches": 1}, "patches: 1; give scales above 0 and at least 2 patches"),
    ],
)
def test_options_that_make_no_network_are_refused(small, kind, options, message):
    with pytest.raises(ValueError, match=message):
        small(kind, **options)


def test_an_encoder_without_the_maps_is_refused(small, monkeypatch):
    monkeypatch.setattr(Encoder, "strides", (3, 4, 8, 16))
    with pytest.raises(ValueError, match=r"maps of strides \(3, 4, 8, 16\); SharpMask needs \[2\] too"):
        small(SharpMask)
    monkeypatch.setattr(Encoder, "strides", (2, 4, 8, 32))
    with pytest.raises(ValueError, match=r"has maps of strides \(2, 4, 8, 32\), none of them 16"):
        small(DeepMask)


def saved(network, path) -> str:
    save_file(network.state_dict(), path)
    return f"{path}#sha256={file_hash(path)}"


def test_a_sharpmask_refines_a_deepmask_that_stays_as_it_is(small, tmp_path):
    first = small(DeepMask, seed=1)
    network = small(SharpMask, pretrained=saved(first, tmp_path / "deepmask.safetensors")).train()
    image, objects = picture(0)
    images = network.normalised(torch.from_numpy(image)[None])
    losses = network.losses(images, targets_of([objects]))
    assert list(losses) == ["mask"] and not network.encoder.training and not network.score_branch.training
    losses["mask"].backward()
    given = {name for name, _ in first.named_parameters()}
    assert all((parameter.grad is None) == (name in given) for name, parameter in network.named_parameters())
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in first.state_dict().items())
    with torch.no_grad():
        assert torch.equal(network.eval()._level(images, 1.0).scores, first._level(images, 1.0).scores)


def test_a_deepmask_goes_on_from_another(small, tmp_path):
    first = small(DeepMask, seed=1)
    again = small(DeepMask, pretrained=saved(first, tmp_path / "deepmask.safetensors"))
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in first.state_dict().items())
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_a_deepmask_of_other_sizes_is_refused(small, tmp_path):
    pinned = saved(small(DeepMask), tmp_path / "deepmask.safetensors")
    with pytest.raises(ValueError, match=r"deepmask\.safetensors does not fit: size mismatch for trunk"):
        small(SharpMask, pretrained=pinned, rank=16)


def recall(network, pictures) -> float:
    """AR of ten proposals an image."""
    metric = Instances(network.label_space)
    for index, (image, objects) in enumerate(pictures):
        segments = PanopticMap(np.zeros(image.shape[:2], np.int32), ())
        with torch.no_grad():
            (found,) = network.eval().predict(network.normalised(torch.from_numpy(image)[None]))
        metric.update(Sample(str(index), "test", str(index), image, segments, objects), found)
    return metric.scores()["mask_proposal_ar10"]


@pytest.mark.parametrize("kind", [DeepMask, pytest.param(SharpMask, marks=pytest.mark.slow)])
def test_it_learns(small, kind):
    torch.set_num_threads(1)
    sizes = {"patch_px": 96, "mask_px": 24, "patches": 8, "scales": (1.5, 2.1, 3.0)}
    network = small(kind, **sizes, mask_threshold=0.5, nms_threshold=0.5, score_weight=0.5)
    pictures = [picture(seed) for seed in range(2)]
    before = recall(network, pictures)
    images = network.normalised(torch.stack([torch.from_numpy(image) for image, _ in pictures]))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    network.train()
    for step in range(100):
        torch.manual_seed(step)
        optimizer.zero_grad()
        sum(network.losses(images, targets_of([objects for _, objects in pictures])).values()).backward()
        optimizer.step()
    after = recall(network, pictures)
    assert before <= 0.1 and after >= 0.6
