"""Rates by part, the frozen encoder, clipping, the moving average, and options that make no sense."""

import pytest
import timm
import torch
from torch import nn

from pipeline.models._network import SemanticNetwork
from pipeline.structures import LabelSpace
from pipeline.training.processes import Processes
from pipeline.training.updates import FrozenEncoder, Updates, encoder_stages, rate_groups, training_options

SPACE = LabelSpace(("one", "two"), ((0, 0, 0), (255, 255, 255)), (False, False))
SGD = {"name": "sgd", "learning_rate": 1.0, "options": {}}


class Small(SemanticNetwork):
    """A stem with its normalisation, two stages, and a head."""

    def __init__(self):
        super().__init__(SPACE)
        self.encoder = nn.Sequential()
        self.encoder.stem = nn.Conv2d(3, 4, 1, bias=False)
        self.encoder.norm = nn.BatchNorm2d(4)
        self.encoder.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 4, 1)) for _ in range(2)])
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, images):
        features = self.encoder.norm(self.encoder.stem(images))
        for stage in self.encoder.stages:
            features = stage(features)
        return {"out": self.head(features)}


def updates(network, **options):
    given = {"average": None, "clip_norm": None, "encoder_rate": 1.0, "layer_decay": 1.0} | options
    return Updates(network, optimizer=SGD, precision="float32", device=torch.device("cpu"), processes=Processes(), **given)


def test_a_normalisation_belongs_to_the_stage_before_it():
    network = Small()
    stages = list(encoder_stages(network.encoder))
    assert [len(stage) for stage in stages] == [3, 2, 2]  # weight, and the norm's two; weight and bias; weight and bias
    assert stages[0][1] is network.encoder.norm.weight


@pytest.mark.parametrize(
    "name, starts",
    [
        ("resnet50", ["conv1.weight", *(f"layer{stage}.0.conv1.weight" for stage in (1, 2, 3, 4))]),
        ("tf_efficientnet_lite0", ["conv_stem.weight", *(f"blocks.{stage}.0.conv" for stage in range(7))]),
        ("vgg16_bn", [f"features_{layer}.weight" for layer in (0, 7, 14, 24, 34)]),
        ("convnext_tiny", ["stem_0.weight", *(f"stages_{stage}." for stage in range(4))]),
    ],
)
def test_the_stages_of_an_encoder_are_those_of_its_paper(name, starts):
    with torch.device("meta"):
        encoder = timm.create_model(name, features_only=True, pretrained=False)
    name_of = {parameter: name for name, parameter in encoder.named_parameters()}
    stages = encoder_stages(encoder)
    assert len(stages) == len(starts)
    assert all(name_of[stage[0]].startswith(start) for stage, start in zip(stages, starts, strict=True))
    assert [one for stage in stages for one in stage] == list(name_of)


def test_rates_fall_from_the_decoder_to_the_stem():
    network = Small()
    groups = rate_groups(network, encoder_rate=0.1, layer_decay=0.5)
    rate_of = {parameter: group["rate"] for group in groups for parameter in group["params"]}
    assert rate_of[network.head.weight] == 1
    assert rate_of[network.encoder.stages[1][0].weight] == pytest.approx(0.1)
    assert rate_of[network.encoder.stages[0][0].weight] == pytest.approx(0.05)
    assert rate_of[network.encoder.stem.weight] == rate_of[network.encoder.norm.bias] == pytest.approx(0.025)
    assert len(rate_of) == len(list(network.parameters()))


def test_the_rates_reach_the_weights():
    network = Small()
    plan = updates(network, encoder_rate=0.0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    plan.set_rate(0.5)
    plan.backward(sum(parameter.sum() for parameter in network.parameters()))  # every gradient is 1
    plan.step()
    after = network.state_dict()
    assert torch.equal(after["encoder.stem.weight"], before["encoder.stem.weight"])
    torch.testing.assert_close(after["head.weight"], before["head.weight"] - 0.5)


def test_a_network_without_an_encoder_has_no_rates_by_layer():
    network = Small()
    network.encoder, network.body = None, network.encoder
    with pytest.raises(ValueError, match="encoder_rate and layer_decay need an encoder, and Small has none"):
        rate_groups(network, encoder_rate=0.5, layer_decay=1.0)
    with pytest.raises(ValueError, match="freeze_encoder_epochs need an encoder"):
        FrozenEncoder(network, epochs=1)


def test_a_frozen_encoder_thaws():
    network = Small()
    network.encoder.stages[0].requires_grad_(False)  # by the network's own will
    frozen = FrozenEncoder(network, epochs=2)
    for epoch, is_trained in ((1, False), (2, False), (3, True)):
        network.train()
        frozen.apply(epoch)
        assert network.encoder.stem.weight.requires_grad is is_trained
        assert network.encoder.norm.training is is_trained
        assert not network.encoder.stages[0][0].weight.requires_grad
        assert network.head.training and network.head.weight.requires_grad


def test_a_long_gradient_is_shortened_and_a_short_one_is_not():
    for clip_norm, length in ((0.5, 0.5), (100.0, None)):
        network = Small()
        plan = updates(network, clip_norm=clip_norm)
        before = nn.utils.parameters_to_vector(network.parameters())
        plan.backward(sum(parameter.sum() for parameter in network.parameters()))
        plan.step()  # at a rate of 1 the step is the gradient
        moved = (nn.utils.parameters_to_vector(network.parameters()) - before).norm().item()
        assert moved == pytest.approx(length or len(before) ** 0.5, rel=1e-4)


def test_the_average_follows_its_equation():
    network, decay = Small(), 0.15  # above (1 + 0) / (10 + 0), and below what follows
    plan = updates(network, average=decay)
    expected = None
    for step in range(3):
        plan.backward(network.head.weight.sum())
        plan.step()
        weight = network.head.weight.detach().clone()
        current = min(decay, (1 + step) / (10 + step))
        expected = weight if step == 0 else current * expected + (1 - current) * weight
    torch.testing.assert_close(plan.evaluated.head.weight.detach(), expected)
    assert plan.evaluated is not network


def test_without_an_average_the_network_itself_is_validated():
    network = Small()
    assert updates(network).evaluated is network


@pytest.mark.parametrize(
    "option, value",
    [
        ("accumulate", 0),
        ("average", 1.0),
        ("clip_norm", 0.0),
        ("encoder_rate", -0.1),
        ("freeze_encoder_epochs", -1),
        ("layer_decay", 1.5),
        ("processes", 0),
        ("seeds", []),
        ("seeds", [1, 1]),
        ("seeds", [-1]),
    ],
)
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(ValueError, match=rf"training\.{option}: .*; give "):
        training_options(**{option: value})


def test_all_faults_are_told_at_once():
    with pytest.raises(ValueError, match=r"accumulate(.|\n)*average"):
        training_options(accumulate=0, average=2.0)


def test_a_step_that_overflows_leaves_momentum_as_it_was():
    network = Small()
    momentum = {**SGD, "options": {"momentum": 0.9}}
    options = {"average": None, "clip_norm": None, "encoder_rate": 1.0, "layer_decay": 1.0}
    plan = Updates(
        network, optimizer=momentum, precision="float16", device=torch.device("cpu"), processes=Processes(), **options
    )
    before = network.head.weight.detach().clone()
    plan.backward(network.head.weight.sum() * torch.inf)
    plan.step()  # skipped
    assert torch.equal(network.head.weight, before)
    plan.backward(network.head.weight.sum())
    plan.step()
    torch.testing.assert_close(network.head.weight.detach(), before - 1)  # the gradient, and no momentum from before
