"""Gated-SCNN is the published network, and its losses are the paper's."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage

from pipeline import inference
from pipeline.models import _edges
from pipeline.models._network import Targets
from pipeline.models.gated_scnn import GatedConvolution, GatedSCNN
from pipeline.resizing import resize_image
from pipeline.structures import SemanticMap
from pipeline.training import criterion, fit
from tests.networks import space

VOID = 255
SMALL = {"encoder": "resnet18", "output_stride": 32, "width": 8, "shape_widths": (8, 8, 4, 4), "shape_stride": 2}
# nv-tlabs/GSCNN, network/gscnn.py: its name, our name, inputs, outputs, kernel, dilation, stride of the result, bias.
# Its body is a WideResNet-38 with maps of 64, 128, 256, 512 and 4096 channels at strides 1, 2, 4, 8 and 8, from which
# m1 enters the shape stream, m2 the decoder, and m3, m4, m7 gate; ResNet's maps have 64, 256, 512, 1024 and 2048
# channels at strides 2, 4, 8, 8 and 8.
LAYERS = (
    ("dsn3", "shape_stream.gating.0", 512, 1, 1, 1, 8, True),
    ("dsn4", "shape_stream.gating.1", 1024, 1, 1, 1, 8, True),
    ("dsn7", "shape_stream.gating.2", 2048, 1, 1, 1, 8, True),
    ("res1.conv1", "shape_stream.blocks.0.conv1", 64, 64, 3, 1, 1, False),
    ("res1.conv2", "shape_stream.blocks.0.conv2", 64, 64, 3, 1, 1, False),
    ("d1", "shape_stream.narrow.0", 64, 32, 1, 1, 1, True),
    ("res2.conv1", "shape_stream.blocks.1.conv1", 32, 32, 3, 1, 1, False),
    ("res2.conv2", "shape_stream.blocks.1.conv2", 32, 32, 3, 1, 1, False),
    ("d2", "shape_stream.narrow.1", 32, 16, 1, 1, 1, True),
    ("res3.conv1", "shape_stream.blocks.2.conv1", 16, 16, 3, 1, 1, False),
    ("res3.conv2", "shape_stream.blocks.2.conv2", 16, 16, 3, 1, 1, False),
    ("d3", "shape_stream.narrow.2", 16, 8, 1, 1, 1, True),
    ("fuse", "shape_stream.edge", 8, 1, 1, 1, 1, False),
    ("cw", "fusion.join", 2, 1, 1, 1, 1, False),
    ("gate1._gate_conv.1", "shape_stream.gates.0.attention.1", 33, 33, 1, 1, 1, True),
    ("gate1._gate_conv.3", "shape_stream.gates.0.attention.3", 33, 1, 1, 1, 1, True),
    ("gate1", "shape_stream.gates.0.convolution", 32, 32, 1, 1, 1, False),
    ("gate2._gate_conv.1", "shape_stream.gates.1.attention.1", 17, 17, 1, 1, 1, True),
    ("gate2._gate_conv.3", "shape_stream.gates.1.attention.3", 17, 1, 1, 1, 1, True),
    ("gate2", "shape_stream.gates.1.convolution", 16, 16, 1, 1, 1, False),
    ("gate3._gate_conv.1", "shape_stream.gates.2.attention.1", 9, 9, 1, 1, 1, True),
    ("gate3._gate_conv.3", "shape_stream.gates.2.attention.3", 9, 1, 1, 1, 1, True),
    ("gate3", "shape_stream.gates.2.convolution", 8, 8, 1, 1, 1, False),
    ("aspp.features.0", "fusion.aspp.branches.0.0", 2048, 256, 1, 1, 8, False),
    ("aspp.features.1", "fusion.aspp.branches.1.0", 2048, 256, 3, 12, 8, False),
    ("aspp.features.2", "fusion.aspp.branches.2.0", 2048, 256, 3, 24, 8, False),
    ("aspp.features.3", "fusion.aspp.branches.3.0", 2048, 256, 3, 36, 8, False),
    ("aspp.img_conv", "fusion.aspp.branches.4.convolution.0", 2048, 256, 1, 1, None, False),
    ("aspp.edge_conv", "fusion.edges.0", 1, 256, 1, 1, 8, False),
    ("bot_aspp", "fusion.aspp.project", 1280 + 256, 256, 1, 1, 8, False),
    ("bot_fine", "low_level", 256, 48, 1, 1, 4, False),
    ("final_seg.0", "decoder.0.0", 256 + 48, 256, 3, 1, 4, False),
    ("final_seg.3", "decoder.1.0", 256, 256, 3, 1, 4, False),
    ("final_seg.6", "head", 256, 19, 1, 1, 4, False),
)
# batch normalisations: two in each residual block, two in each gate, one after each of aspp's six convolutions, two at the end
NORMALISED = 2 * (64 + 64 + 32 + 32 + 16 + 16) + 2 * (33 + 1 + 17 + 1 + 9 + 1) + 2 * 256 * (6 + 2)


def small(*, num_classes=3, seed=0, **options) -> GatedSCNN:
    torch.manual_seed(seed)
    network = GatedSCNN(space(num_classes), pretrained=False, **(SMALL | options))
    loss = [{"name": "cross_entropy", "weight": 1.0, "options": {}}]
    network.criterion = criterion.build(loss, ignore_label=VOID, statistics={}, device=torch.device("cpu"))
    return network


def count(*modules: torch.nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_layer_by_layer_it_is_the_authors_network():
    network = GatedSCNN(space(19), pretrained=False).eval()
    sizes = {}
    for _, name, *_ in LAYERS:
        layer = network.get_submodule(name)
        layer.register_forward_hook(lambda _, inputs, output, name=name: sizes.update({name: output.shape[2:]}))
    with torch.no_grad():
        network(torch.zeros(1, 3, 64, 96))
    for theirs, name, inputs, outputs, kernel, dilation, stride, bias in LAYERS:
        layer = network.get_submodule(name)
        wanted = (inputs, outputs, (kernel, kernel), (1, 1), (dilation, dilation), bias)
        found = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.dilation, layer.bias is not None)
        assert found == wanted, theirs
        assert sizes[name] == ((64 // stride, 96 // stride) if stride else (1, 1)), theirs
    parts = (network.shape_stream, network.fusion, network.low_level, network.decoder, network.head)
    convolutions = [part for module in parts for part in module.modules() if isinstance(part, torch.nn.Conv2d)]
    assert len(convolutions) == len(LAYERS)
    by_hand = sum(inputs * outputs * kernel**2 + bias * outputs for _, _, inputs, outputs, kernel, *_, bias in LAYERS)
    # the body: torchvision's resnet101 has 44,549,160 parameters, 2,049,000 of them in its last layer
    assert count(network) == by_hand + NORMALISED + 44_549_160 - 2_049_000 == 59_516_077


@pytest.mark.parametrize(("encoder", "percent"), [("resnet50", 0.43), ("resnet101", 0.29)])
def test_the_shape_stream_adds_what_table_5_says(encoder, percent):
    with torch.device("meta"):
        network = GatedSCNN(space(19), encoder=encoder, pretrained=False)
    # without the shape stream it is DeepLab v3+: also without the branch of the edges and its columns of the projection
    added = count(network.shape_stream, network.fusion.join, network.fusion.edges) + 256 * 256
    assert round(100 * added / (count(network) - added), 2) == percent


def test_a_gate_worked_out_by_hand():
    gate = GatedConvolution(2).eval()
    with torch.no_grad():
        gate.attention[3].weight.zero_()
        gate.attention[3].bias.zero_()
        gate.attention[4].bias.fill_(math.log(3))  # an attention of 3/4 everywhere
        gate.convolution.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, -1.0]])[:, :, None, None])
        result = gate(torch.tensor([4.0, 8.0]).reshape(1, 2, 1, 1), torch.zeros(1, 1, 1, 1))
    assert result.flatten().tolist() == pytest.approx([4 * 1.75, (4 - 8) * 1.75])


def test_the_gate_sees_both_streams():
    torch.manual_seed(0)
    gate = GatedConvolution(2).eval()
    features, gating = torch.rand(1, 2, 3, 3, requires_grad=True), torch.rand(1, 1, 3, 3, requires_grad=True)
    gate(features, gating).sum().backward()
    assert gating.grad.abs().sum() > 0 and features.grad.abs().sum() > 0


def test_edges_of_labels_worked_out_by_hand():
    labels = torch.tensor([[0, 0, 0, 1, 1, 1, VOID, 2]]).expand(7, 8)[None]
    edges = _edges.label_edges(labels, void=VOID)[0]
    # two pixels on each side of the change from 0 to 1; the 2 is two pixels from the last 1, and void is nothing
    assert edges.tolist() == [[False, True, True, True, True, True, False, True]] * 7
    corner = torch.zeros(1, 5, 5, dtype=torch.int64)
    corner[0, 0, 0] = 1
    assert _edges.label_edges(corner, void=VOID)[0].int().tolist() == [
        [1, 1, 1, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize("radius_px", [1, 2, 3])
def test_edges_are_those_of_distance_transforms(radius_px):
    # the authors' definition, datasets/edge_utils.py: a class's distance inside plus its distance outside is at most 2;
    # here without their border around the picture, and without void, which they take for one more class
    labels = np.kron(np.random.default_rng(0).integers(0, 4, (5, 6)), np.ones((5, 7), int))
    wanted = np.zeros(labels.shape, bool)
    for index in range(4):
        mask = labels == index
        wanted |= (ndimage.distance_transform_edt(mask) + ndimage.distance_transform_edt(~mask)) <= radius_px
    found = _edges.label_edges(torch.from_numpy(labels)[None], void=VOID, radius_px=radius_px)[0]
    assert np.array_equal(found.numpy(), wanted) and wanted.any() and not wanted.all()


def test_edge_loss_worked_out_by_hand():
    labels = torch.tensor([[[0, 0, 0, 0, 1, 1, 1, 1, 1, VOID]]])  # pixels 2 to 5 are edges: 4 of 9
    logits = torch.zeros(1, 1, 1, 10)
    # edges weigh 5/9, the five others 4/9: (4 * 5/9 + 5 * 4/9) log 2 / 9
    wanted = 40 / 81 * math.log(2)
    assert _edges.edge_cross_entropy(logits, labels, void=VOID).item() == pytest.approx(wanted)
    logits[..., 9] = 50.0  # void
    assert _edges.edge_cross_entropy(logits, labels, void=VOID).item() == pytest.approx(wanted)
    right = torch.where(torch.tensor([0, 0, 1, 1, 1, 1, 0, 0, 0, 0]) == 1, 50.0, -50.0).reshape(1, 1, 1, 10)
    assert _edges.edge_cross_entropy(right, labels, void=VOID).item() == pytest.approx(0, abs=1e-6)
    wrong = _edges.edge_cross_entropy(-right, labels, void=VOID).item()
    assert wrong == pytest.approx(40 / 81 * 50)


def test_boundary_strength_is_a_sobel_filter():
    step = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]).expand(4, 6)[None, None]
    found = _edges.boundary_strength(step)[0, 0]
    assert found.tolist() == pytest.approx(np.float32([[0, 1, 1, 0]] * 2) / math.sqrt(2), abs=1e-5)
    maps = torch.rand(2, 3, 8, 9, generator=torch.manual_seed(0))
    for one, strength in zip(maps.flatten(0, 1).numpy(), _edges.boundary_strength(maps).flatten(0, 1), strict=True):
        wanted = np.hypot(ndimage.sobel(one, 0), ndimage.sobel(one, 1)) / 4 / math.sqrt(2)
        assert np.allclose(strength, wanted[1:-1, 1:-1], atol=1e-6)


def test_boundary_loss_worked_out_by_hand():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]).expand(5, 8)[None]
    options = {"void": VOID, "temperature": 1.0, "noise": False}
    right = torch.stack([labels == 0, labels == 1], dim=1) * 100.0
    assert _edges.boundary_difference(right, labels, **options).item() == pytest.approx(0, abs=1e-5)
    nothing = torch.tensor([100.0, 0.0])[:, None, None].expand(1, 2, 5, 8)
    # no boundary predicted; where the truth has one, the difference is 1 over the root of 2; half of that
    assert _edges.boundary_difference(nothing, labels, **options).item() == pytest.approx(0.5 / math.sqrt(2), abs=1e-5)
    # predicted one pixel to the left: in columns 2 to 5 the strengths differ by 1, 0, 1 over the root of 2
    shifted = torch.roll(right, -1, dims=3)
    shifted[..., -1] = right[..., -1]
    wanted = 0.5 * (1 / 2 + 1 / 2) / math.sqrt(2)
    assert _edges.boundary_difference(shifted, labels, **options).item() == pytest.approx(wanted, abs=1e-5)


def test_void_has_no_boundary():
    labels = torch.tensor([0, 0, 0, VOID, 1, 1, 1]).expand(5, 7)[None]
    for logits in (torch.zeros(1, 2, 5, 7), torch.stack([labels == 0, labels == 1], dim=1) * 100.0):
        found = _edges.boundary_difference(logits, labels, void=VOID, temperature=1.0, noise=False)
        assert found.item() == pytest.approx(0, abs=1e-5)


def test_noisy_classes_are_drawn_with_their_probabilities(monkeypatch):
    seen = []
    strength = _edges.boundary_strength
    monkeypatch.setattr(_edges, "boundary_strength", lambda shares: seen.append(shares) or strength(shares))
    logits = torch.tensor([0.7, 0.2, 0.1]).log()[:, None, None].expand(1, 3, 100, 100)
    torch.manual_seed(0)
    _edges.boundary_difference(logits, torch.zeros(1, 100, 100, dtype=torch.int64), void=VOID, temperature=0.001, noise=True)
    assert seen[0].mean(dim=(0, 2, 3)).tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.015)  # three standard deviations
    assert ((seen[0] > 0.99).sum(dim=1) == 1).float().mean() > 0.99  # a cold softmax chooses


def test_cross_entropy_on_predicted_edges_worked_out_by_hand():
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 0.0], [0.0, 0.0]]).T.reshape(1, 2, 1, 4)
    labels = torch.tensor([[[0, 1, 0, VOID]]])
    edge_logits = torch.tensor([1.5, 1.4, 1.3, 9.0]).reshape(1, 1, 1, 4)  # the logistic function is 0.8 at 1.386
    found = _edges.cross_entropy_on_edges(logits, edge_logits, labels, void=VOID).item()
    assert found == pytest.approx((math.log(2) + math.log(1 + math.exp(2))) / 2)
    assert _edges.cross_entropy_on_edges(logits, torch.zeros(1, 1, 1, 4), labels, void=VOID).item() == 0


def test_picture_edges_are_those_of_the_bytes():
    generator = np.random.default_rng(0)
    pictures = np.kron(generator.integers(0, 256, (2, 6, 8, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    network = small()
    edges = _edges.picture_edges(network.normalised(torch.from_numpy(pictures)), mean=network.mean, std=network.std)
    wanted = np.stack([cv2.Canny(picture, 10, 100) for picture in pictures])[:, None] / 255
    assert np.array_equal(edges.numpy(), wanted.astype(np.float32)) and 0 < wanted.mean() < 1


def test_edges_may_come_as_a_second_input():
    network = small().eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.manual_seed(1))
    given = network.export_inputs(images)
    assert list(given) == ["images", "edges"] and given["images"] is images and given["edges"].shape == (2, 1, 64, 64)
    assert torch.equal(network(**given)["out"], network(images)["out"])
    assert not torch.equal(network(images, 1 - given["edges"])["out"], network(images)["out"])


def test_the_edges_that_a_fitted_network_uses_are_those_that_its_file_asks_for(tmp_path):
    network = small().eval()
    fit.save_network(tmp_path, network)
    description = {"name": "g", "kind": "network", "method": "gated_scnn", "options": SMALL | {"pretrained": False}}
    description |= {"label_space": network.label_space.to_json(), "mean": network.mean, "std": network.std, "short_side": 48}
    (tmp_path / "model.json").write_text(json.dumps(description))
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)
    found = inference.load(tmp_path, device="cpu").segment(image)
    scaled = np.pad(resize_image(image, 48, 80), [(0, 16), (0, 16), (0, 0)])  # filled up to multiples of 32, with 0
    edges = torch.from_numpy(cv2.Canny(scaled, 10, 100))[None, None] / 255
    with torch.no_grad():
        logits = network(network.normalised(torch.from_numpy(scaled)[None]), edges)["out"]
    wanted = SemanticMap.from_probabilities(logits[0, :, :48, :80].softmax(dim=0).numpy(), network.label_space)
    assert np.allclose(found.probabilities, wanted.resized(96, 160).probabilities, atol=1e-5)


def test_a_compiled_network_is_compiled_and_loses_the_same():
    images = torch.randn(2, 3, 64, 64, generator=torch.manual_seed(1))
    targets = Targets(torch.arange(2 * 64 * 64).reshape(2, 64, 64) // 1000 % 3)
    network, convolutions = small().eval(), []

    def backend(graph, inputs):
        convolutions.append(sum("conv2d" in str(node.target) for node in graph.graph.nodes))
        return graph

    plain = network.losses(images, targets)
    network.compile(backend=backend)
    assert network.losses(images, targets) == plain
    assert sum(convolutions) == sum(isinstance(layer, torch.nn.Conv2d) for layer in network.modules())


def test_each_loss_has_its_weight():
    images = torch.randn(2, 3, 64, 64, generator=torch.manual_seed(1))
    labels = torch.arange(2 * 64 * 64).reshape(2, 64, 64) // 1000 % 3
    plain, heavy = (
        network.eval().losses(images, Targets(labels))
        for network in (
            small(edge_weight=1.0, attention_weight=1.0, boundary_weight=1.0),
            small(edge_weight=2.0, attention_weight=3.0, boundary_weight=0.0),
        )
    )
    assert list(plain) == ["cross_entropy", "edge", "boundary", "attention"] and min(plain.values()) > 0
    wanted = [plain["cross_entropy"], 2 * plain["edge"], 0 * plain["boundary"], 3 * plain["attention"]]
    assert [loss.item() for loss in heavy.values()] == pytest.approx([loss.item() for loss in wanted])


def test_the_noise_follows_torchs_seed_and_is_off_in_evaluation():
    images = torch.randn(2, 3, 64, 64, generator=torch.manual_seed(1))
    targets = Targets(torch.arange(2 * 64 * 64).reshape(2, 64, 64) // 1000 % 3)

    def boundary(network, seed):
        torch.manual_seed(seed)
        return network.losses(images, targets)["boundary"].item()

    network = small().train()
    assert boundary(network, 3) == boundary(network, 3) != boundary(network, 4)
    network.eval()
    assert boundary(network, 3) == boundary(network, 4)
    assert network.assess(images, targets)[0] == network.losses(images, targets)


def test_nothing_labelled_costs_nothing():
    network = small().train()
    losses = network.losses(torch.randn(2, 3, 64, 64), Targets(torch.full((2, 64, 64), VOID)))
    assert [loss.item() for loss in losses.values()] == [0, 0, 0, 0]
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_losses_are_float32_under_autocast():
    network = small().eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.manual_seed(1))
    targets = Targets(torch.arange(2 * 64 * 64).reshape(2, 64, 64) // 1000 % 3)
    exact = network.losses(images, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = network.losses(images, targets)
    assert {loss.dtype for loss in rounded.values()} == {torch.float32}
    assert [loss.item() for loss in rounded.values()] == pytest.approx([loss.item() for loss in exact.values()], rel=0.1)
    sum(rounded.values()).backward()


@pytest.mark.parametrize("options", [{"shape_widths": (8,)}, {"shape_widths": (8,) * 6}, {"shape_stride": 0}])
def test_an_impossible_shape_stream_is_refused(options):
    with pytest.raises(ValueError, match="give 2 to 5 shape_widths, and a shape_stride of 1 to 32"):
        small(**options)
