"""Print the layers of a network: `python -m pipeline.models unet --set width=16`; without a name, the networks.

Multiply-adds are those of torch's own counter, as in runs/K/cost.json: convolutions and matrix products, nothing else.
torchinfo's differ: they add biases and normalisation, take a transposed convolution at the size of its output (four times
its work at stride 2) and miss products outside of a layer. So it finds the layers and their shapes here, and no more.
"""

import argparse
import ast
import inspect
import sys
from collections.abc import Mapping, Sequence

import yaml

from pipeline import config, table
from pipeline.label_space import LabelSpace
from pipeline.models import NETWORKS
from pipeline.options import entry_faults
from pipeline.provenance import ROOT

INDENT = "  "


def build(model: str, options: Mapping[str, object], *, classes: int):
    """The network that `model` names, with random weights, after its options were checked.

    Raises
    ------
    ValueError : the table has no such network; or every fault of the options, a line each.
    """
    network = table.look_up(NETWORKS, model, kind="network")
    faults = entry_faults(NETWORKS, model, dict(options), kind="network", place="options", given={"label_space"})
    if faults:
        raise ValueError("\n".join(faults))
    random = {"pretrained": False} if "pretrained" in inspect.signature(network).parameters else {}
    # things, and behind them a class of stuff: a network that finds both has all its parts
    isthing = (*(True,) * max(1, classes - 1), False)[:classes]
    space = LabelSpace(tuple(f"class {index}" for index in range(classes)), ((0, 0, 0),) * classes, isthing)
    try:
        return network(space, **options | random)
    except (RuntimeError, IndexError, ZeroDivisionError) as error:  # torch's own checks of sizes
        raise ValueError(f"network {model} cannot be made with {dict(options)}: {str(error).splitlines()[0]}") from None


def layers(network, *, height: int, width: int, depth: int) -> list[tuple[str, str, str, int | None, int | None]]:
    """The network and the layers in it, in the order of their first call, for one picture of this size.

    Parameters
    ----------
    depth : levels of layers within layers, those of a list counted as their owner's

    Returns
    -------
    a tuple for each: its name, indented below the layer it is a part of; its type; the shape of its output without the
    batch; parameters and multiply-adds, those of its parts included, or None for a layer that was used before
    """
    import torch
    import torchinfo
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    images = torch.zeros(1, 3, height, width)
    try:
        with counter:
            summary = torchinfo.summary(network, input_data=images, mode="eval", device="cpu", verbose=0)
    except RuntimeError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ValueError(f"{type(network).__name__} cannot take a picture of {height} x {width} px: {reason}") from None
    flops = {name: sum(kinds.values()) for name, kinds in counter.get_flop_counts().items()}
    names = {id(module): name for name, module in network.named_modules()}
    root, rows, shown = type(network).__name__, [], []
    for layer in summary.summary_list:
        name = names[id(layer.module)]
        above = [one for one in dict.fromkeys(shown) if one and name.startswith(f"{one}.")]
        if not layer.output_size or len(above) >= depth:
            continue  # a list, which is no layer itself; or too deep
        is_new = name not in shown
        shown.append(name)
        parameters = sum(parameter.numel() for parameter in layer.module.parameters())
        multiply_adds = flops.get(f"{root}.{name}" if name else root, 0) // 2
        cost = (parameters, multiply_adds) if is_new or not parameters else (None, None)
        label = INDENT * (len(above) + 1) + name.removeprefix(f"{above[-1]}." if above else "") if name else root
        rows.append((label, layer.class_name, _shape(layer.output_size), *cost))
    return rows


def _shape(size: Sequence) -> str:
    """[1, 64, 90, 120] as "64 x 90 x 120"; of several outputs the first."""
    while size and isinstance(size[0], list | tuple):
        size = size[0]
    return " x ".join(str(side) for side in size[1:])


def layer_table(network, *, size: tuple[int, int], depth: int) -> str:
    """The text that is printed for a network and a picture of `size`, height and width in px."""
    height, width = (side + -side % network.stride for side in size)  # as inference pads
    rows = layers(network, height=height, width=width, depth=depth)
    cells = [("layer", "type", "output", "parameters", "multiply-adds")]
    cells += [(*texts, _number(parameters), _number(multiply_adds)) for *texts, parameters, multiply_adds in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = ["  ".join(f"{cell:{'<' if at < 3 else '>'}{widths[at]}}" for at, cell in enumerate(row)) for row in cells]
    rule = "-" * len(lines[0])
    padded = "" if (height, width) == size else f", padded to {height} x {width}"
    frozen = sum(parameter.numel() for parameter in network.parameters() if not parameter.requires_grad)
    return "\n".join(
        [
            *(lines[0], rule, *lines[1:], rule),
            f"parameters     {rows[0][3]:,}" + (f", {frozen:,} of them frozen" if frozen else ""),
            f"multiply-adds  {rows[0][4]:,} for a picture of {size[0]} x {size[1]} px{padded}",
            f"classes        {network.label_space.num_classes}",
            "A line counts what is indented under it; multiply-adds as in runs/K/cost.json.",
        ]
    )


def _number(value: int | None) -> str:
    return "again" if value is None else f"{value:,}" if value else "-"


def overview(entries: Mapping[str, str]) -> str:
    """A line for each of {key: network}: the key, the network where it is called otherwise, and what it is."""
    width = max(map(len, entries), default=0)
    return "\n".join(
        f"{key:{width}}  {'' if key == model else f'{model}: '}{first_line(model)}" for key, model in entries.items()
    )


def first_line(model: str) -> str:
    """What a network's file says of itself, read from the source: nothing is imported."""
    if model not in NETWORKS:
        table.look_up(NETWORKS, model, kind="network")  # raises with the choices
    tree = ast.parse((ROOT / table.module_file(NETWORKS, model)).read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").splitlines()[0]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.models", description="print the layers of a network")
    parser.add_argument("name", nargs="?", help="a network, or with --params a key of `networks`; left out: list them")
    parser.add_argument("--params", metavar="FILE", help="a params file, such as params.yaml, whose networks are meant")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", type=_setting, action="append", default=[], help="an option; may be repeated"
    )
    parser.add_argument("--size", metavar=("H", "W"), type=_positive, nargs=2, default=(360, 480), help="px (360 480)")
    parser.add_argument("--classes", metavar="N", type=_positive, default=11, help="11 where left out")
    parser.add_argument("--depth", metavar="N", type=_positive, default=3, help="levels of layers within layers (3)")
    arguments = parser.parse_args(argv)
    try:
        print(_answer(arguments))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _answer(arguments: argparse.Namespace) -> str:
    name, options = arguments.name, {}
    if arguments.params is None:
        if name is None:
            return overview({one: one for one in sorted(NETWORKS)})
        model = name
    else:
        entries = config.load(arguments.params).networks
        if name is None:
            return overview({key: entry.fit.model for key, entry in entries.items()})
        if name not in entries:
            raise ValueError(f"{arguments.params}: no network {name!r}; choose one of: {', '.join(entries)}")
        model, options = entries[name].fit.model, entries[name].fit.options
    network = build(model, options | dict(arguments.set), classes=arguments.classes)
    return layer_table(network, size=tuple(arguments.size), depth=arguments.depth)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _setting(text: str) -> tuple[str, object]:
    """The option and the value, as YAML reads it, of "key=value"."""
    key, sign, value = text.partition("=")
    try:
        if key and sign:
            return key, yaml.safe_load(value)
    except yaml.YAMLError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not key=value with a YAML value, such as width=16 or widths=[16, 32]")


if __name__ == "__main__":
    sys.exit(main())
