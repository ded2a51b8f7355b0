"""`python -m pipeline.models`: what it prints is right, and what it refuses it explains."""

import json
import re
from pathlib import Path

import pytest
import torch
import torchinfo
from torch import nn

from pipeline import config, inference
from pipeline.models import NETWORKS
from pipeline.models.__main__ import build, first_line, layers, main, overview
from pipeline.training import fit

PARAMS = str(Path(__file__).parent.parent / "params.yaml")
LITE0 = {"encoder": "tf_efficientnet_lite0", "pretrained": False}
SMALL = {  # layers of every kind: transposed, grouped, used twice, unpooling, and matrix products outside of layers
    "deeplabv2": {**LITE0, "output_stride": 16, "scales": [1.0, 0.5]},
    "fcn8s": {**LITE0, "channels": 8},
    "gated_scnn": {**LITE0, "output_stride": 16, "width": 16, "shape_widths": [8, 8, 4, 4]},
    "pspnet": {"encoder": "resnet18", "pretrained": False, "width": 16},
    "segnet": {"width": 4, "pretrained": False},
    "unet": {"width": 4, "depth": 2},
    "unet_encoder": {**LITE0, "widths": [8, 4]},
}
FINDING_OBJECTS = {  # networks without logits; nothing is found, since what is found adds to the work
    "mask_rcnn": {**LITE0, "width": 8, "box_width": 8, "mask_widths": [8], "proposals": 20, "score_threshold": 1.0},
    "deepmask": {**LITE0, "patch_px": 32, "width": 8, "rank": 8, "mask_px": 8, "scales": [0.5, 1.0], "score_threshold": 1.0},
    "sharpmask": {**LITE0, "patch_px": 32, "width": 8, "rank": 8, "mask_px": 8, "scales": [0.5, 1.0], "score_threshold": 1.0},
    "panoptic_fpn": {
        **LITE0,
        "width": 8,
        "box_width": 8,
        "mask_widths": [8],
        "proposals": 1,  # more of them may overlap and be left out, by the picture
        "score_threshold": 1.0,
        "semantic_width": 8,
    },
    "yolact": {**LITE0, "width": 8, "prototypes": 4, "score_threshold": 1.0},
}


def settings(options: dict) -> list[str]:
    return [f"--set={option}={value}" for option, value in options.items()]


def printed(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments: str) -> str:
    assert main(list(arguments)) == 1
    output = capsys.readouterr()
    assert not output.out and "Traceback" not in output.err
    return output.err


def number_after(word: str, text: str) -> int:
    return int(re.search(rf"^{word}\s+([\d,]+)", text, flags=re.MULTILINE)[1].replace(",", ""))


def products_and_the_rest(network, height: int, width: int) -> tuple[int, int]:
    """What torchinfo counts, in two: products of convolutions and their inputs, put right; and all that is no such product.

    A transposed convolution multiplies each weight once for every pixel of its input, not of its output. The rest are
    biases, normalisation, and layers of other kinds, for which each parameter counts once.
    """
    products, rest = [], []

    def look(layer, inputs, output):
        weights = layer.weight.numel()
        pixels_in, pixels_out = (one.shape[2:].numel() for one in (inputs[0], output))
        if isinstance(layer, nn.Conv2d):
            products.append(weights * pixels_out)
            rest.append(layer.bias.numel() * pixels_out if layer.bias is not None else 0)
        elif isinstance(layer, nn.ConvTranspose2d):
            products.append(weights * pixels_in)
            rest.append(weights * (pixels_out - pixels_in) + (layer.bias.numel() * pixels_out if layer.bias is not None else 0))
        else:
            rest.append(sum(parameter.numel() for parameter in layer.parameters()))

    # torchinfo adds up layers without parts; timm's normalisation with an activation in it is none
    counted = [layer for layer in network.modules() if hasattr(layer, "weight") and not any(layer.children())]
    hooks = [layer.register_forward_hook(look) for layer in counted]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, height, width))
    for hook in hooks:
        hook.remove()
    return sum(products), sum(rest)


@pytest.mark.parametrize("name, options", [*SMALL.items(), *FINDING_OBJECTS.items()])
def test_totals_are_those_of_cost_json(name, options, tmp_path, capsys):
    text = printed(capsys, name, *settings(options), "--size", "60", "90", "--classes", "3")
    network = build(name, options, classes=3)
    fit.save_network(tmp_path, network)
    description = {"name": name, "kind": "network", "method": name, "options": options, "short_side": None}
    description |= {"label_space": network.label_space.to_json(), "mean": network.mean, "std": network.std}
    (tmp_path / "model.json").write_text(json.dumps(description))
    cost = inference.load(tmp_path, device="cpu").cost(60, 90)
    assert (number_after("parameters", text), number_after("multiply-adds", text)) == tuple(cost.values())


@pytest.mark.parametrize("name", SMALL)
def test_why_torchinfo_counts_otherwise(name):
    network = build(name, SMALL[name], classes=3)
    height, width = 4 * network.stride, 6 * network.stride
    products, rest = products_and_the_rest(network, height, width)
    theirs = torchinfo.summary(network, input_data=torch.zeros(1, 3, height, width), verbose=0, device="cpu").total_mult_adds
    assert theirs == products + rest
    ours = layers(network, height=height, width=width, depth=1)[0][4]
    if name in ("fcn8s", "pspnet"):  # a bilinear filter that is no Conv layer; averages outside of layers
        assert ours > products
    else:
        assert ours == products


@pytest.mark.parametrize("name", SMALL)
def test_the_first_line_has_the_shape_of_the_logits(name):
    network = build(name, SMALL[name], classes=3)
    height, width = 2 * network.stride, 4 * network.stride
    assert layers(network, height=height, width=width, depth=1)[0][2] == f"3 x {height} x {width}"


def test_lines_add_up():
    network = build("unet_encoder", {"encoder": "resnet18", "widths": [8, 4]}, classes=3)
    rows = layers(network, height=64, width=96, depth=9)
    depths = [len(label) - len(label.lstrip()) for label, *_ in rows]
    for at, (label, _, _, parameters, multiply_adds) in enumerate(rows):
        below = []
        for row, depth in zip(rows[at + 1 :], depths[at + 1 :], strict=True):
            if depth <= depths[at]:
                break
            below += [row] if depth == depths[at] + 2 else []
        if below:
            assert parameters == sum(row[3] for row in below), label
            assert multiply_adds == sum(row[4] for row in below), label


def test_a_table_worked_out_by_hand(capsys):
    text = printed(capsys, "unet", "--set", "width=2", "--set", "depth=1", "--size", "3", "4", "--classes", "5", "--depth", "1")
    lines = [line.split() for line in text.splitlines()]
    # the picture is padded to 4 x 4: 16 px above, 4 px below the pooling
    assert lines[2][:7] == ["UNet", "UNet", "5", "x", "4", "x", "4"]
    wanted = [
        # two 3x3 convolutions, 3 to 2 and 2 to 2 channels, with biases
        ["down.0", "Sequential", "2", "x", "4", "x", "4", str(54 + 2 + 36 + 2), f"{16 * (54 + 36):,}"],
        ["pool", "MaxPool2d", "2", "x", "2", "x", "2", "-", "-"],
        ["down.1", "Sequential", "4", "x", "2", "x", "2", str(72 + 4 + 144 + 4), str(4 * (72 + 144))],
        # transposed, 2x2, 4 to 2 channels: every weight once for each of the 4 px that come in
        ["widen.0", "ConvTranspose2d", "2", "x", "4", "x", "4", str(32 + 2), str(4 * 32)],
        ["up.0", "Sequential", "2", "x", "4", "x", "4", str(72 + 2 + 36 + 2), f"{16 * (72 + 36):,}"],
        ["head", "Conv2d", "5", "x", "4", "x", "4", str(10 + 5), str(16 * 10)],
    ]
    found = [line for line in lines[3:] if len(line) > 2 and "Dropout" not in line[1]]
    assert found[: len(wanted)] == wanted
    assert number_after("multiply-adds", text) == 16 * 90 + 4 * 216 + 4 * 32 + 16 * 108 + 160
    assert "for a picture of 3 x 4 px, padded to 4 x 4" in text


def test_a_layer_used_twice_is_counted_once(capsys):
    text = printed(capsys, "deeplabv2", *settings(SMALL["deeplabv2"]), "--depth", "1")
    lines = [line.split() for line in text.splitlines() if line.startswith("  encoder")]
    assert len(lines) == 2 and lines[1][-2:] == ["again", "again"]


def test_it_fits_a_terminal_of_120_columns(capsys):
    text = printed(capsys, "gated_scnn", *settings(SMALL["gated_scnn"]))
    assert max(map(len, text.splitlines())) <= 120


def test_no_weights_are_fetched(monkeypatch, capsys):
    from pipeline.models import _encoders

    monkeypatch.setattr(_encoders, "bundled_weights", lambda name: pytest.fail("weights were asked for"))
    assert "unet_encoder" not in refused(capsys, "unet_encoder", "--set", "encoder=nope", "--set", "pretrained=true")
    printed(capsys, "unet_encoder", "--set", "encoder=tf_efficientnet_lite0", "--set", "pretrained=true", "--depth", "1")


def test_an_entry_of_a_params_file(capsys):
    text = printed(capsys, "unet", "--params", PARAMS, "--depth", "1")  # params.yaml sets its width to 16
    assert text == printed(capsys, "unet", "--set", "width=16", "--depth", "1")
    narrower = printed(capsys, "unet", "--params", PARAMS, "--set", "width=4", "--depth", "1")
    assert number_after("parameters", narrower) < number_after("parameters", text)


def test_frozen_parameters_are_told(capsys):
    options = ("--set", "encoder=tf_efficientnet_lite0", "--set", "freeze_encoder=true", "--depth", "1")
    assert re.search(r"^parameters +[\d,]+, [\d,]+ of them frozen$", printed(capsys, "unet_encoder", *options), re.MULTILINE)


def test_without_a_name_the_networks_are_listed(capsys):
    lines = printed(capsys).splitlines()
    assert [line.split()[0] for line in lines] == sorted(NETWORKS)
    assert all(line.endswith(".") and len(line.split()) > 1 for line in lines)


def test_without_a_name_the_networks_of_a_params_file_are_listed(capsys):
    lines = printed(capsys, "--params", PARAMS).splitlines()
    assert [line.split()[0] for line in lines] == list(config.load(PARAMS).networks)
    assert overview({"mine": "unet"}) == f"mine  unet: {first_line('unet')}"


def test_faults_are_short(capsys):
    assert refused(capsys, "unett") == (
        f"error: unknown network 'unett'; choose one of: {', '.join(sorted(NETWORKS))}. Did you mean unet?\n"
    )
    assert refused(capsys, "unet_encoder") == "error: options.encoder: missing; network unet_encoder needs it\n"
    assert refused(capsys, "nope", "--params", PARAMS).startswith(
        f"error: {PARAMS}: no network 'nope'; choose one of: fcn_plain"
    )
    assert refused(capsys, "unet", "--params", "nope.yaml") == "error: nope.yaml: no such file; copy one from presets/\n"
    assert "is unknown to timm" in refused(capsys, "unet_encoder", "--set", "encoder=nope")


def test_every_wrong_option_is_told_at_once(capsys):
    faults = refused(capsys, "fcn_plain", *(f"--set={text}" for text in ("widths=[a]", "dropuot=1", "dropout=1e-3")))
    assert faults.splitlines() == [
        "error: options.widths: ['a'] is no Sequence[int]",
        "options.dropuot: network fcn_plain has no such option; it takes: batch_norm, dropout, widths. Did you mean dropout?",
        "options.dropout: '1e-3' is no float (YAML reads 1e-3 as text; write 0.001 or 1.0e-3)",
    ]
    assert refused(capsys, "unet", "--set", "width=true") == "error: options.width: True is no int\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "width"], "'width' is not key=value"),
        (["--set", "width=[1"], "'width=\\[1' is not key=value"),
        (["--size", "0", "4"], "'0' is no whole number above 0"),
        (["--classes", "-1"], "'-1' is no whole number above 0"),
        (["--depth", "two"], "'two' is no whole number above 0"),
    ],
)
def test_a_malformed_argument_is_refused(arguments, said, capsys):
    with pytest.raises(SystemExit):
        main(["unet", *arguments])
    assert re.search(said, capsys.readouterr().err)
