"""What every loss of the table keeps to, with one class and with several."""

import pytest
import torch

from pipeline import losses
from pipeline.table import look_up

LOSSES = {name: place for name, place in losses.LOSSES.items() if name != "own"}  # it stands for those of the network itself
VOID = 255
SHAPE = (2, 5, 7)  # B, H, W: odd sides
OTHER_OPTIONS = {  # beside the defaults, so that every way through a loss is gone
    "balanced_cross_entropy": {"beta": 0.3},
    "binary_cross_entropy": {"class_weights": "given"},
    "cross_entropy": {"class_weights": "given", "label_smoothing": 0.1},
    "dice": {"class_weights": "given", "smooth": 0.01},
    "focal": {"gamma": 0.5, "alpha": None},
    "focal_tversky": {"gamma": 0.75, "class_weights": "given"},
    "iou_balanced": {"eta": 0.5},
    "lovasz": {"class_weights": "given"},
    "shape_aware": {"class_weights": "given"},
}
CASES = [(name, {}) for name in LOSSES] + list(OTHER_OPTIONS.items())
every_case = pytest.mark.parametrize(
    "name, options", CASES, ids=[name + ("-other" if options else "") for name, options in CASES]
)
every_loss = pytest.mark.parametrize("name", LOSSES)
classes = pytest.mark.parametrize("num_classes", [1, 3])


def loss_of(name, logits, labels, **options):
    if options.get("class_weights") == "given":
        options["class_weights"] = torch.tensor([0.5, 2.0, 1.0], device=logits.device)[: logits.shape[1]]
    return look_up(LOSSES, name, kind="loss")(logits, labels, ignore_label=VOID, **options)


def batch(num_classes, *, dtype=torch.float32, seed=0):
    """Logits that want a gradient and labels, a fifth of them void."""
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(SHAPE[0], num_classes, *SHAPE[1:], generator=rng, dtype=torch.float64).to(dtype)
    labels = torch.randint(0, max(num_classes, 2), SHAPE, generator=rng)
    labels[torch.rand(SHAPE, generator=rng) < 0.2] = VOID
    return logits.requires_grad_(), labels


def gradient(loss, logits):
    (found,) = torch.autograd.grad(loss, logits)
    return found


def perfect(labels, num_classes):
    if num_classes == 1:
        return torch.where(labels == 1, 20.0, -20.0)[:, None]
    return 40.0 * (labels[:, None] == torch.arange(num_classes)[:, None, None]) - 20


def test_every_other_way_is_of_a_loss_of_the_table():
    assert set(OTHER_OPTIONS) <= set(LOSSES)


def test_own_is_no_loss_of_logits():
    with pytest.raises(ValueError, match="gives logits and has no losses of its own; name another, such as cross_entropy"):
        look_up(losses.LOSSES, "own", kind="loss")(*batch(3), ignore_label=VOID)


@classes
@every_case
def test_a_finite_number_with_a_finite_gradient(name, options, num_classes):
    logits, labels = batch(num_classes)
    loss = loss_of(name, logits, labels, **options)
    assert loss.shape == () and loss.dtype is torch.float32 and loss.isfinite()
    found = gradient(loss, logits)
    assert found.isfinite().all() and found.any()


@classes
@every_case
def test_extreme_logits_give_finite_numbers(name, options, num_classes):
    _, labels = batch(num_classes)
    for sign in (1, -1):
        logits = (sign * 50 * perfect(labels, num_classes)).requires_grad_()  # 1000 and -1000
        loss = loss_of(name, logits, labels, **options)
        assert loss.isfinite() and gradient(loss, logits).isfinite().all()


@classes
@every_case
def test_all_void_costs_nothing_and_has_a_gradient_of_zero(name, options, num_classes):
    logits, labels = batch(num_classes)
    loss = loss_of(name, logits, torch.full_like(labels, VOID), **options)
    assert loss.item() == 0
    assert torch.equal(gradient(loss, logits), torch.zeros_like(logits))


@classes
@every_case
def test_void_pixels_change_nothing(name, options, num_classes):
    logits, labels = batch(num_classes)
    is_void = (labels == VOID)[:, None].expand_as(logits)
    loss = loss_of(name, logits, labels, **options)
    slope = gradient(loss, logits)
    assert not slope[is_void].any()
    others = logits.detach().where(~is_void, 100 * torch.randn_like(logits)).requires_grad_()
    again = loss_of(name, others, labels, **options)
    assert torch.equal(again, loss) and torch.equal(gradient(again, others), slope)


@every_loss
def test_pictures_that_are_void_change_nothing(name):
    logits, labels = batch(3)
    both = torch.cat([logits, torch.randn_like(logits)]), torch.cat([labels, torch.full_like(labels, VOID)])
    assert loss_of(name, *both).item() == pytest.approx(loss_of(name, logits, labels).item(), rel=1e-6)


@classes
@every_loss
def test_the_perfect_prediction_is_the_cheapest_and_costs_nothing(name, num_classes):
    logits, labels = batch(num_classes)
    best, some = (loss_of(name, one, labels).item() for one in (perfect(labels, num_classes), logits))
    worst = loss_of(name, -perfect(labels, num_classes), labels).item()
    assert best < some < worst
    if name != "boundary":  # its least value is the mean distance inside, below 0
        assert 0 <= best < 1e-5


@every_loss
def test_a_perfect_empty_picture_costs_nothing(name):
    logits = torch.full((1, 1, 5, 7), -20.0, requires_grad=True)
    loss = loss_of(name, logits, torch.zeros(1, 5, 7, dtype=torch.int64))
    assert 0 <= loss.item() < 1e-5 and gradient(loss, logits).isfinite().all()


@every_case
def test_a_class_that_is_absent_leaves_finite_numbers(name, options):
    logits, labels = batch(3)
    labels[labels == 2] = 1
    loss = loss_of(name, logits, labels, **options)
    assert loss.isfinite() and gradient(loss, logits).isfinite().all()


@classes
@every_loss
def test_a_picture_of_one_pixel(name, num_classes):
    logits = torch.full((1, num_classes, 1, 1), 0.3, requires_grad=True)
    loss = loss_of(name, logits, torch.zeros(1, 1, 1, dtype=torch.int64))
    assert loss.isfinite() and gradient(loss, logits).isfinite().all()


@classes
@every_case
def test_the_gradient_is_right_in_double_precision(name, options, num_classes):
    if name == "iou_balanced":
        pytest.skip("its weights are constants by definition; tests/test_losses_by_hand.py has its gradient")
    logits, labels = batch(num_classes, dtype=torch.float64)
    assert loss_of(name, logits, labels, **options).dtype is torch.float64
    assert torch.autograd.gradcheck(lambda one: loss_of(name, one, labels, **options), logits)


@classes
@every_case
def test_the_order_of_the_pictures_does_not_matter(name, options, num_classes):
    logits, labels = batch(num_classes)
    turned = loss_of(name, logits.flip(0), labels.flip(0), **options)
    assert turned.item() == pytest.approx(loss_of(name, logits, labels, **options).item(), rel=1e-5)


@every_case
def test_the_place_in_the_picture_does_not_matter(name, options):
    logits, labels = batch(3)
    turned = loss_of(name, logits.transpose(2, 3), labels.transpose(1, 2), **options)
    assert turned.item() == pytest.approx(loss_of(name, logits, labels, **options).item(), rel=1e-5)


@classes
@every_case
def test_half_precision_is_computed_in_single(name, options, num_classes):
    logits, labels = batch(num_classes, dtype=torch.bfloat16)
    wanted = loss_of(name, logits.float(), labels, **options)
    assert torch.equal(loss_of(name, logits, labels, **options), wanted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss_of(name, logits, labels, **options)
    assert inside.dtype is torch.float32 and torch.equal(inside, wanted)
    assert gradient(inside, logits).isfinite().all()


@classes
@every_case
def test_the_same_bits_wherever_the_arrays_lie(name, options, num_classes):
    logits, labels = batch(num_classes)
    first = loss_of(name, logits, labels, **options)
    for shift in range(1, 4):
        moved = torch.empty(logits.numel() + shift)[shift:].view_as(logits).copy_(logits.detach()).requires_grad_()
        moved_labels = torch.empty(labels.numel() + shift, dtype=torch.int64)[shift:].view_as(labels).copy_(labels)
        again = loss_of(name, moved, moved_labels, **options)
        assert torch.equal(again, first) and torch.equal(
            gradient(again, moved), gradient(loss_of(name, logits, labels, **options), logits)
        )


@every_loss
def test_labels_out_of_range_are_refused(name):
    logits, labels = batch(3)
    labels[0, 0, :2] = torch.tensor([3, -1])
    with pytest.raises(ValueError, match=r"labels \[-1, 3\] are outside 0\.\.2 and not void \(255\)"):
        loss_of(name, logits, labels)
    with pytest.raises(ValueError, match=r"labels \[2\] are outside 0\.\.1"):
        loss_of(name, logits[:, :1], labels.clamp(0, 2))


@every_loss
def test_shapes_that_do_not_match_are_refused(name):
    logits, labels = batch(3)
    with pytest.raises(ValueError, match=r"logits are \(2, 3, 5, 7\) and labels \(2, 5, 6\); wanted"):
        loss_of(name, logits, labels[..., :6])


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("weighted_binary_cross_entropy", {"beta": -1.0}, "beta is -1.0; a weight is at least 0"),
        ("balanced_cross_entropy", {"beta": 1.5}, "beta is 1.5; a share is between 0 and 1"),
        ("focal", {"gamma": -1.0}, "gamma is -1.0; it is at least 0"),
        ("focal", {"alpha": 2.0}, "alpha is 2.0; a share is between 0 and 1"),
        ("dice", {"smooth": 0.0}, "smooth is not above 0"),
        ("jaccard", {"smooth": 0.0}, "smooth is not above 0"),
        ("tversky", {"alpha": -0.1}, "neither can be below 0"),
        ("focal_tversky", {"gamma": 0.0}, "gamma is 0.0; it is above 0"),
        ("iou_balanced", {"eta": -1.0}, "eta is -1.0; it is at least 0"),
        ("sensitivity_specificity", {"ratio": 2.0}, "ratio is 2.0; a share is between 0 and 1"),
        ("cross_entropy", {"label_smoothing": 1.5}, "label_smoothing is 1.5; a share is between 0 and 1"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    logits, labels = batch(3)
    with pytest.raises(ValueError, match=message):
        loss_of(name, logits, labels, **options)


@pytest.mark.gpu
@classes
@every_case
def test_on_a_gpu_the_same_value_and_the_same_bits_each_time(name, options, num_classes):
    logits, labels = batch(num_classes)
    wanted = loss_of(name, logits, labels, **options)
    slope = gradient(wanted, logits)
    results = []
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            there = logits.detach().cuda().requires_grad_()
            loss = loss_of(name, there, labels.cuda(), **options)
            results.append((loss, gradient(loss, there)))
    finally:
        torch.use_deterministic_algorithms(False)
    assert results[0][0].device.type == "cuda"
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
    assert torch.allclose(results[0][0].cpu(), wanted, atol=1e-5)
    assert torch.allclose(results[0][1].cpu(), slope, atol=1e-5)
