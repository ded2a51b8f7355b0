"""Patches: which are on an object and which on none, how they are cut out, and how their masks are put back."""

import torch

from pipeline.models._patches import boxes_of, canonical, cut, drawn, is_negative, jittered, mask_boxes, pasted

SCALES = (0.5, 1.0)


def truth_of(*boxes, crowd=()) -> dict[str, torch.Tensor]:
    return {"boxes": torch.tensor(boxes).view(-1, 4).float(), "crowd": torch.tensor(crowd).view(-1, 4).float()}


def test_an_object_fills_a_patch_by_its_longer_side():
    places = canonical(torch.tensor([[10.0, 20, 30, 100], [5, 5, 6, 6]]), object_px=92)
    assert torch.allclose(places, torch.tensor([[20, 60, 92 / 80], [5.5, 5.5, 92]]))
    assert torch.allclose(boxes_of(places[1:], side=160), torch.tensor([[5.5 - 80 / 92] * 2 + [5.5 + 80 / 92] * 2]))


def test_which_patches_are_negative():
    objects = torch.tensor([[100.0, 50, 0.5], [300, 50, 2]])
    places = torch.tensor(
        [
            [100, 50, 0.5],  # the first object
            [163, 50, 0.5],  # 31.5 px of the patch to the right of it
            [164, 50, 0.5],  # 32
            [100, 114, 0.5],  # 32 below
            [100, 50, 0.99],  # less than twice as large
            [100, 50, 1.0],  # twice
            [100, 50, 0.25],  # half
            [131, 81, 1.0],  # twice: where it is does not count
            [285, 50, 2.0],  # far from the first one, 30 px of the patch from the second
            [284, 50, 2.0],  # 32
        ]
    )
    assert is_negative(places, objects).tolist() == [False, False, True, True, False, True, True, True, False, True]
    assert is_negative(places, objects[:0]).all()


def test_a_positive_patch_is_a_little_off_its_object():
    torch.manual_seed(0)
    places = jittered(torch.tensor([[100.0, 50, 0.5]]).expand(4000, 3))
    octaves = (places[:, 2] / 0.5).log2()
    shifts = (places[:, :2] - torch.tensor([100.0, 50])) * places[:, 2:]
    for off, most in ((octaves, 0.25), (shifts[:, 0], 16), (shifts[:, 1], 16)):
        assert off.abs().max() <= most + 1e-4 and off.min() < -0.95 * most and off.max() > 0.95 * most


def test_half_of_the_patches_are_on_objects_and_the_others_on_none():
    truth = truth_of((20, 20, 60, 80), (100, 10, 120, 30))
    torch.manual_seed(0)
    places, kinds, objects = drawn(truth, (120, 160), count=60, object_px=92, scales=SCALES)
    wanted = canonical(truth["boxes"], object_px=92)
    assert kinds.tolist() == [1] * 30 + [0] * 30 and set(objects.tolist()) == {0, 1}
    assert not is_negative(places[:30], wanted).any() and is_negative(places[30:], wanted).all()
    assert (places[:30, 2] / wanted[objects, 2]).log2().abs().max() <= 0.2501
    x, y, scale = places[30:].T
    assert x.min() >= 0 and x.max() < 160 and y.min() >= 0 and y.max() < 120
    assert scale.min() >= 0.5 * 2**-0.25 and scale.max() <= 2**0.25
    torch.manual_seed(0)
    assert torch.equal(places, drawn(truth, (120, 160), count=60, object_px=92, scales=SCALES)[0])


def test_a_picture_without_objects_has_negative_patches_alone():
    places, kinds, objects = drawn(truth_of(), (40, 50), count=8, object_px=92, scales=SCALES)
    assert kinds.tolist() == [0] * 8 and places.shape == (8, 3) and len(objects) == 0


def test_a_patch_in_a_crowd_is_no_negative():
    options = {"count": 40, "object_px": 92, "scales": SCALES}
    _, kinds, _ = drawn(truth_of(crowd=(-999, -999, 999, 999)), (120, 160), **options)
    assert kinds.tolist() == [-1] * 40
    places, kinds, _ = drawn(truth_of(crowd=(-999, -999, 80, 999)), (120, 160), **options)
    x0, _, x1, _ = boxes_of(places, side=92).clamp(min=0, max=160).T  # what shows of them
    assert (kinds == 0).all() and ((80 - x0) / (x1 - x0)).max() <= 0.7


def test_where_everything_is_near_an_object_no_patch_is_negative():
    _, kinds, _ = drawn(truth_of((0, 0, 16, 20)), (20, 16), count=8, object_px=20, scales=(1.0,))
    assert kinds.tolist() == [1] * 4 + [-1] * 4


def test_a_cut_shows_what_is_there_and_nothing_beyond_the_edge():
    pictures = torch.arange(2 * 6 * 8).view(2, 1, 6, 8).float()
    rows = torch.tensor([0, 1, 1])
    boxes = torch.tensor([[1.0, 1, 4, 4], [-3, -3, 1, 1], [2, 0, 8, 6]])
    parts = cut(pictures, rows[:1], boxes[:1], (3, 3))
    assert torch.equal(parts[0, 0], pictures[0, 0, 1:4, 1:4])
    parts = cut(pictures, rows[1:2], boxes[1:2], (4, 4))
    assert torch.equal(parts[0, 0, :2], torch.zeros(2, 4)) and parts[0, 0, 3, 3] == pictures[1, 0, 0, 0]
    (part,) = cut(pictures, rows[2:], boxes[2:], (3, 3))  # each pixel the mean of 2 x 2
    assert torch.allclose(part[0], pictures[1, 0, :, 2:].view(3, 2, 3, 2).mean(dim=(1, 3)))
    assert cut(pictures, rows[:0], boxes[:0], (3, 3)).shape == (0, 1, 3, 3)


def test_a_mask_is_put_back_where_its_patch_was():
    logits = torch.full((1, 4, 4), -9.0)
    logits[:, :, 2:] = 9.0  # the right half
    found = pasted(logits, torch.tensor([[10.0, 4, 18, 12]]), (20, 30), threshold=0.5)
    wanted = torch.zeros(20, 30, dtype=torch.bool)
    wanted[4:12, 14:18] = True
    assert torch.equal(found[0], wanted)
    found = pasted(logits, torch.tensor([[-6.0, -2, 2, 6]]), (20, 30), threshold=0.5)
    wanted = torch.zeros(20, 30, dtype=torch.bool)
    wanted[:6, :2] = True
    assert torch.equal(found[0], wanted)
    assert not pasted(logits, torch.tensor([[40.0, 4, 48, 12]]), (20, 30), threshold=0.5).any()
    assert pasted(torch.zeros(1, 4, 4), torch.tensor([[0.0, 0, 8, 8]]), (8, 8), threshold=0.49).all()
    assert not pasted(torch.zeros(1, 4, 4), torch.tensor([[0.0, 0, 8, 8]]), (8, 8), threshold=0.51).any()


def test_boxes_around_masks():
    masks = torch.zeros(2, 5, 7, dtype=torch.bool)
    masks[0, 1:3, 2:7] = masks[1, 4, 0] = True
    assert mask_boxes(masks).tolist() == [[2, 1, 7, 3], [0, 4, 1, 5]]
    assert mask_boxes(masks[:0]).shape == (0, 4)
