"""What every network of the table keeps to, and what is true of each."""

import json
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import config, inference
from pipeline.models import NETWORKS, _encoders
from pipeline.models._network import SemanticNetwork, Targets
from pipeline.table import look_up
from pipeline.training import criterion, fit
from tests.networks import count, mixed, space, truth

PRESET = Path(__file__).parent.parent / "presets/camvid_networks.yaml"
# the light configuration of every network under the name of its entry, as the last preset with it says, and without weights
PRESETS = [
    PRESET.with_name(f"{name}.yaml")
    for name in ("shapes_panoptic", "camvid_networks", "penn_fudan_instances", "penn_fudan_proposals")
]
ENTRIES = {name: (entry.fit.model, entry.fit.options) for path in PRESETS for name, entry in config.load(path).networks.items()}
FEWER = {"deepmask": {"most_objects": 50}, "sharpmask": {"most_objects": 50}}  # than a thousand masks of a picture
LIGHT = {
    name: (model, options | ({"pretrained": False} if "encoder" in options else {}) | FEWER.get(name, {}))
    for name, (model, options) in ENTRIES.items()
}
SEMANTIC = [name for name, (model, _) in LIGHT.items() if issubclass(look_up(NETWORKS, model, kind="network"), SemanticNetwork)]


def build(name, *, num_classes=3, seed=0, **options):
    torch.manual_seed(seed)
    model, light = LIGHT[name]
    network = look_up(NETWORKS, model, kind="network")(mixed(num_classes), **(light | options))
    loss = [{"name": "cross_entropy", "weight": 1.0, "options": {}}]
    network.criterion = criterion.build(loss, ignore_label=255, statistics={}, device=torch.device("cpu"))
    return network


# batch normalisation after global pooling: at no size can they train on one picture
GLOBAL_NORMALISATION = {"deeplabv3", "deeplabv3_plus", "fastfcn", "gated_scnn", "pspnet"}
# at any; the others from 2 px on
COARSEST_NOT_NORMALISED = {
    *("deepmask", "fcn_plain", "mask_rcnn", "panoptic_fpn", "segnet", "segnet_basic", "sharpmask", "yolact"),
}
# all of the encoder, or its normalisation
PARTLY_FROZEN = {"deepmask", "mask_rcnn", "panoptic_fpn", "sharpmask", "unet_frozen", "yolact"}
OTHER_OUTPUTS = {"gated_scnn": {"edges"}}  # beside the heads that the criterion sees


def _without_weights(create):
    def checked(name, *, pretrained, **options):
        assert not pretrained, "loading asks for ImageNet weights"
        return create(name, pretrained=pretrained, **options)

    return checked


def alike(one, other):
    """Whether two predictions of a kind say the same, probabilities and scores but for rounding."""
    if is_dataclass(one):
        parts = [field.name for field in fields(one)]
        return type(one) is type(other) and all(alike(getattr(one, part), getattr(other, part)) for part in parts)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return one is other is None or np.allclose(one, other, atol=1e-6)


def test_every_network_of_the_table_is_tested_here():
    assert {model for model, _ in LIGHT.values()} == set(NETWORKS)


@pytest.mark.parametrize("num_classes", [1, 5])
@pytest.mark.parametrize("name", SEMANTIC)
def test_logits_have_the_size_of_the_input(name, num_classes):
    network = build(name, num_classes=num_classes).eval()
    height, width = 2 * network.stride, 3 * network.stride
    assert network(torch.zeros(2, 3, height, width))["out"].shape == (2, num_classes, height, width)


@pytest.mark.parametrize("name", LIGHT)
def test_the_gradient_reaches_every_parameter(name):
    network = build(name)
    side = 2 * network.stride
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)  # FCN's scores start at zero and let no gradient through in the first step
    labels = torch.arange(2 * side * side).reshape(2, side, side) % 3
    losses = network.losses(torch.rand(2, 3, side, side, generator=torch.manual_seed(1)), truth(labels))
    sum(losses.values()).backward()
    frozen = {key for key, parameter in network.named_parameters() if not parameter.requires_grad}
    assert all(key.startswith("encoder.") for key in frozen) and bool(frozen) == (name in PARTLY_FROZEN)
    trained = {key: parameter for key, parameter in network.named_parameters() if key not in frozen}
    assert [key for key, one in trained.items() if one.grad is None] == []
    # the authors of Gated-SCNN have biases before both batch norms of their gates, which cancel them: 0 but for rounding
    gates = {f"shape_stream.{bias}.bias" for gate in range(3) for bias in (f"gating.{gate}", f"gates.{gate}.attention.3")}
    cancelled = gates if name == "gated_scnn" else set()
    assert all(trained[key].grad.abs().max() < 1e-5 for key in cancelled)
    assert [key for key, one in trained.items() if key not in cancelled and not one.grad.any()] == []


@pytest.mark.parametrize("name", LIGHT)
def test_the_seed_decides_the_weights(name):
    one, same, other = (build(name, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", LIGHT)
def test_losses_and_predictions_of_one_pass_are_those_of_two(name):
    network = build(name).eval()
    images = torch.rand(2, 3, 2 * network.stride, 2 * network.stride, generator=torch.manual_seed(0))
    targets = truth(torch.zeros(2, *images.shape[2:], dtype=torch.int64))
    losses, predictions = network.assess(images, targets)
    assert losses == network.losses(images, targets)
    expected = network.predict(images)
    assert all(alike(a, b) for a, b in zip(predictions, expected, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (37, 50), (64, 96)])
@pytest.mark.parametrize("name", LIGHT)
def test_saved_and_loaded_it_segments_any_size_the_same(name, size, tmp_path, monkeypatch):
    network = build(name)
    side = 4 * network.stride
    network.losses(torch.rand(2, 3, side, side), truth(torch.zeros(2, side, side, dtype=torch.int64)))  # moves statistics
    network.eval()
    network.painting = {}  # loaded, it is what the predict half says: nothing here
    fit.save_network(tmp_path, network)
    description = {
        "name": name,
        "kind": "network",
        "method": LIGHT[name][0],
        # ENTRIES may say nothing of weights or ask for them: all stand in the file
        "options": ENTRIES[name][1] | FEWER.get(name, {}),
        "label_space": network.label_space.to_json(),
        "short_side": None,
        "mean": list(network.mean),
        "std": list(network.std),
    }
    (tmp_path / "model.json").write_text(json.dumps(description))
    monkeypatch.setattr(_encoders, "bundled_weights", lambda _: pytest.fail("loading reads ImageNet weights"))
    monkeypatch.setattr(_encoders, "timm_model", _without_weights(_encoders.timm_model))
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    prediction = inference.load(tmp_path, device="cpu").segment(image)
    padded = np.pad(image, [(0, -size[0] % network.stride), (0, -size[1] % network.stride), (0, 0)])
    with torch.no_grad():
        (expected,) = network.predict(network.normalised(torch.from_numpy(padded)[None]), probabilities=True)
    assert prediction.shape == size and alike(prediction, expected.cropped(*size))


@pytest.mark.parametrize("name", SEMANTIC)
def test_probabilities_are_the_softmax_of_the_logits(name):
    network = build(name).eval()
    images = torch.rand(1, 3, network.stride, 2 * network.stride)
    with torch.no_grad():
        (prediction,) = network.predict(images, probabilities=True)
        assert np.allclose(prediction.probabilities, network(images)["out"][0].softmax(dim=0).numpy(), atol=1e-6)


@pytest.mark.parametrize("strides", [1, 2])  # sides of the coarsest map, px
@pytest.mark.parametrize("name", LIGHT)
def test_a_batch_of_one_trains_or_is_one_clear_error(name, strides):
    network = build(name)
    side = strides * network.stride
    batch = torch.rand(1, 3, side, side), truth(torch.zeros(1, side, side, dtype=torch.int64))
    model = LIGHT[name][0]
    if model in GLOBAL_NORMALISATION or (strides == 1 and model not in COARSEST_NOT_NORMALISED):
        message = (
            rf"^a batch of 1 picture of {side} x {side} px cannot train {type(network).__name__}: batch normalisation would "
            r"have one value per channel; give at least 2 pictures \(batch_size: 2\)$"
        )
        with pytest.raises(ValueError, match=message):
            network.losses(*batch)
    else:
        assert sum(network.losses(*batch).values()).isfinite()


def test_other_errors_of_a_batch_of_one_stay_as_they_are():
    labels = Targets(torch.zeros(1, 32, 32, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="to have 3 channels, but got 4"):
        build("unet").losses(torch.rand(1, 4, 32, 32), labels)


@pytest.mark.parametrize("name", LIGHT)
def test_losses_assessment_and_predictions_each_call_the_network_once(name):
    # `network.compile()` replaces the call: what went past it would not be compiled
    network, calls = build(name), []
    network.register_forward_hook(lambda *_: calls.append(1))
    side = 2 * network.stride
    images, targets = torch.rand(2, 3, side, side), truth(torch.zeros(2, side, side, dtype=torch.int64))
    network.losses(images, targets)
    assert len(calls) == 1
    network.eval().assess(images, targets)
    assert len(calls) == 2
    network.predict(images)
    assert len(calls) == 3


@pytest.mark.parametrize("name", LIGHT)
def test_bfloat16_and_a_batch_without_labels_give_finite_losses(name):
    network = build(name).to(memory_format=torch.channels_last)
    side = 2 * network.stride
    images = torch.rand(2, 3, side, side, generator=torch.manual_seed(0))
    for labels in (torch.ones(2, side, side, dtype=torch.int64), torch.full((2, side, side), 255)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = network.losses(images, truth(labels))
        assert sum(losses.values()).isfinite()
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("name", SEMANTIC)
def test_auxiliary_heads_are_there_in_training_only(name):
    network = build(name)
    images = torch.rand(2, 3, 2 * network.stride, 2 * network.stride)
    heads, others = network(images), OTHER_OUTPUTS.get(name, set())
    assert set(heads) == {"out", *network.head_weights} | others
    assert all(heads[head].shape == heads["out"].shape for head in network.head_weights)
    assert set(network.eval()(images)) == {"out"} | others


def test_unet_is_the_published_network():
    # figure 1 with one input channel and two classes has 31,030,658 parameters; two more input channels add 2 * 9 * 64
    network = look_up(NETWORKS, "unet", kind="network")(space(2))
    assert count(network) == 31_030_658 + 2 * 9 * 64


@pytest.mark.parametrize(
    "name, options",
    [
        ("pspnet", {"width": 0}),
        ("deeplabv1", {"rate": 0}),
        ("deeplabv2", {"rates": [0]}),
        ("deeplabv3", {"width": 0}),
        ("parsenet", {"channels": 0}),
        ("fcn_plain", {"widths": [0]}),
        ("segnet", {"width": 0}),
        ("segnet_basic", {"width": 0}),
        ("gated_scnn", {"shape_stride": 64}),
    ],
)
def test_sizes_that_make_no_network_are_refused(name, options):
    with pytest.raises(ValueError, match=r"at least 1|a shape_stride of 1 to 32"):
        build(name, **options)


@pytest.mark.gpu
@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gpu_trains_and_predicts(name, dtype):
    network = build(name).to("cuda", memory_format=torch.channels_last)
    side = 2 * network.stride
    images = torch.rand(2, 3, side, side, device="cuda")
    with torch.autocast("cuda", dtype=dtype, enabled=dtype is not torch.float32):
        losses = network.losses(images, truth(torch.ones(2, side, side, dtype=torch.int64, device="cuda")))
        sum(losses.values()).backward()
        assert sum(losses.values()).isfinite()
        assert len(network.eval().predict(images)) == 2
