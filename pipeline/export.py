"""Write a fitted network as an ONNX file that takes plain RGB, and prove it equal to torch: `python -m pipeline.export runs/K`.

The graph's `images` are (B, 3, H, W) float32 RGB in 0..255, sides multiples of the stride; normalisation happens inside.
Its `logits` are (B, C, H, W). Everything else that a user of the file needs stands in its `metadata_props`.
"""

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnxruntime.capi import onnxruntime_pybind11_state as runtime
from timm.layers import padding
from torch import nn
from torch.export import Dim

from pipeline import files, inference
from pipeline.models import NETWORKS
from pipeline.models._network import SemanticNetwork
from pipeline.provenance import ROOT
from pipeline.table import look_up

TOLERANCE = 1e-3  # of the logits
MOST_BYTES = 2_000_000_000  # protobuf ends at 2 GiB
RUNTIME_ERRORS = (runtime.Fail, runtime.InvalidArgument, runtime.InvalidGraph, runtime.NotImplemented, runtime.RuntimeException)
USUAL_SIDE = 256  # px, the shorter side of the first check where training kept native sizes


class Difference(ValueError):
    """The exported network does not give what torch gives."""


class RawPictures(nn.Module):
    """The network with its normalisation before it: RGB in 0..255 and the network's other inputs, if any, to logits."""

    def __init__(self, network: SemanticNetwork):
        super().__init__()
        self.network = network
        self.register_buffer("shift", torch.tensor(network.mean)[:, None, None] * 255)
        self.register_buffer("scale", 1 / (torch.tensor(network.std)[:, None, None] * 255))

    def forward(self, images, **more):
        return self.network((images - self.shift) * self.scale, **more)["out"]


def export(run: Path, *, out: Path, opset: int | None = None, say: Callable[[str], None] = print) -> Path:
    """Write `out`/K.onnx, whole or not at all.

    Parameters
    ----------
    run : runs/K, or a fitted method's folder anywhere
    opset : version of the ONNX operators; the exporter's choice where left out
    say : gets a line per step

    Raises
    ------
    ValueError : the run is no semantic network, its weights do not fit one file, or the exporter cannot write it.
    Difference : onnxruntime gives something else than torch, for any size and for a fixed one.
    """
    say(f"{run}: loading")
    if out.resolve().is_relative_to(run.resolve()) or out.resolve().is_relative_to((ROOT / "runs").resolve()):
        raise ValueError(f"--out {out}: lies among the runs, where a new file makes the report stale; choose another folder")
    network, description = load_network(run)
    size = _usual_size(network.stride, description["short_side"])
    say("exporting for any batch, height and width")
    sizes = f"any size in steps of {network.stride}"
    try:
        content, difference = checked(network, description, size, is_dynamic=True, opset=opset, say=say)
    except (torch.onnx.OnnxExporterError, Difference) as error:
        sizes = f"fixed size {size[0]}x{size[1]}"
        say(f"not possible ({_reason(error)}); exporting for any batch and the {sizes}")
        try:
            content, difference = checked(network, description, size, is_dynamic=False, opset=opset, say=say)
        except torch.onnx.OnnxExporterError as worse:
            raise ValueError(f"{run}: the exporter cannot write this network: {_reason(worse)}") from None
    path = out / f"{description['name']}.onnx"
    files.write_bytes(path, content)
    version = next(one.version for one in onnx.ModelProto.FromString(content).opset_import if not one.domain)
    say(f"{path}: {len(content) / 1e6:.1f} MB, opset {version}, any batch, {sizes}, largest difference {difference:.1e}")
    return path


def load_network(run: Path) -> tuple[SemanticNetwork, dict]:
    """The network of a run and its model.json; ValueError where the run has none that gives logits."""
    folder = run / "model" if (run / "model").is_dir() else run
    fitted = inference.load(folder, device="cpu")
    network = getattr(fitted, "network", None)
    if not isinstance(network, SemanticNetwork):
        kind = f"{fitted.description['kind']} method {fitted.description['method']}"
        others = sorted(path.parent.parent for path in run.parent.glob("*/model/model.json") if _is_network(path))
        choices = ", ".join(str(one) for one in others if one != run) or "none is there yet"
        raise ValueError(f"{run}: the {kind} gives no logits; only semantic networks are exported: {choices}")
    num_bytes = sum(tensor.nbytes for tensor in network.state_dict().values())
    if num_bytes > MOST_BYTES:
        raise ValueError(f"{run}: weights of {num_bytes / 1e9:.1f} GB; one ONNX file holds at most {MOST_BYTES / 1e9:g} GB")
    return network, fitted.description


def checked(network, description, size, *, is_dynamic, opset, say) -> tuple[bytes, float]:
    """The bytes of the file, and by how much its logits differ from torch's; what can go wrong: see `to_onnx`, `Difference`."""
    model = to_onnx(network, size, is_dynamic=is_dynamic, opset=opset)
    model.metadata_props.update(_metadata(network, description, None if is_dynamic else size))
    content = onnx_ir.serde.serialize_model(model).SerializeToString(deterministic=True)
    shapes = _check_shapes(size, network.stride, is_dynamic=is_dynamic)
    say(f"comparing onnxruntime with torch on {len(shapes)} batches")
    return content, largest_difference(content, network, shapes)


def to_onnx(network: SemanticNetwork, size: tuple[int, int], *, is_dynamic: bool, opset: int | None) -> onnx_ir.Model:
    """The graph of a network from RGB to logits, without a trace of where and when it was made.

    Parameters
    ----------
    size : height and width, the graph's only ones where not `is_dynamic`

    Raises
    ------
    torch.onnx.OnnxExporterError : the exporter cannot.
    ValueError : it cannot in this opset.
    """
    if is_dynamic:  # traced with a side of one stride, the exporter would take that side for a constant
        size = max(size[0], 4 * network.stride), max(size[1], 5 * network.stride)
    images = _pictures(2, *size)
    inputs = _network_inputs(network, images) | {"images": torch.from_numpy(images).permute(0, 3, 1, 2).float()}
    sides = {axis: network.stride * Dim(name) if network.stride > 1 else Dim(name) for axis, name in ((2, "h"), (3, "w"))}
    free = {0: Dim("batch"), **(sides if is_dynamic else {})}
    with _quiet(), _constant_padding():
        program = torch.onnx.export(
            RawPictures(network).eval(),
            kwargs=inputs,
            dynamic_shapes=dict.fromkeys(inputs, free),
            input_names=list(inputs),
            output_names=["logits"],
            opset_version=opset,
            verbose=False,
        )
    given = program.model.opset_imports[""]
    if opset and given != opset:
        raise ValueError(f"--opset {opset}: the exporter gives {given} in its place; leave --opset out, or give another")
    return ClearMetadataAndDocStringPass()(program.model).model


def largest_difference(content: bytes, network: SemanticNetwork, shapes: list[tuple[int, int, int]]) -> float:
    """The largest absolute difference of the logits between onnxruntime and torch on (B, H, W) pictures.

    Raises
    ------
    Difference : it is above 1e-3, or a pixel's label differs although torch's two best logits lie further apart.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, torch.get_num_threads()  # 4: what fails is raised anyway
    largest = 0.0
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        for shape in shapes:
            images = _pictures(*shape)
            inputs = _network_inputs(network, images)
            with torch.inference_mode():
                expected = network(**inputs)["out"].numpy()
            raw = {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)}
            given = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()} | raw)[0]
            largest = max(largest, _difference(given, expected))
    except RUNTIME_ERRORS as error:
        raise Difference(f"onnxruntime cannot run the exported network: {_reason(error)}") from None
    return largest


def _difference(given: np.ndarray, expected: np.ndarray) -> float:
    """Of two (B, C, H, W) logits; raises Difference where they do not agree."""
    if given.shape != expected.shape:
        raise Difference(f"the exported network gives {given.shape} in place of {expected.shape}")
    difference = float(np.abs(given - expected).max())
    best = np.sort(expected, axis=1)[:, -2:]  # (B, 2, H, W), or (B, 1, H, W) for one class
    is_clear = best[:, -1] - best[:, 0] > TOLERANCE
    other_labels = int((is_clear & (given.argmax(axis=1) != expected.argmax(axis=1))).sum())
    if not difference <= TOLERANCE or other_labels:  # NaN too
        batch, _, height, width = expected.shape
        raise Difference(
            f"the exported network differs from torch by {difference:.2g} (at most {TOLERANCE:g} is allowed) and in "
            f"{other_labels} labels on {batch} pictures of {height}x{width}"
        )
    return difference


def _pictures(batch: int, height: int, width: int) -> np.ndarray:
    """(B, H, W, 3) uint8: areas and edges of coarse noise with fine noise upon them, always the same.

    Without the fine noise, max pooling would have to choose among equal values. Which one has the largest rounding error
    depends on the processor, and a network that unpools to where the maximum was, as SegNet does, then gives other logits.
    """
    random = np.random.default_rng([batch, height, width])
    coarse = random.integers(0, 224, (batch, -(-height // 8), -(-width // 8), 3))
    fine = random.integers(0, 32, (batch, height, width, 3))
    return (coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width] + fine).astype(np.uint8)


def _network_inputs(network: SemanticNetwork, images: np.ndarray) -> dict[str, torch.Tensor]:
    """What `forward` takes for (B, H, W, 3) uint8 pictures: the normalised images, and what the network needs beside them."""
    normalised = network.normalised(torch.from_numpy(np.ascontiguousarray(images)))
    return network.export_inputs(normalised) if hasattr(network, "export_inputs") else {"images": normalised}


def _usual_size(stride: int, short_side: int | None) -> tuple[int, int]:
    """Height and width of a 4:3 picture in training, filled up to the stride."""
    side = short_side or USUAL_SIDE
    return -(-side // stride) * stride, -(-side * 4 // (3 * stride)) * stride


def _check_shapes(size: tuple[int, int], stride: int, *, is_dynamic: bool) -> list[tuple[int, int, int]]:
    """(B, H, W) of the batches to compare: as in training, and where sizes are free, odd multiples of the stride and one."""
    free = [(3, 3 * stride, 5 * stride), (1, stride, 2 * stride)]
    return [(1, *size), *(free if is_dynamic else [(3, *size)])]


def _metadata(network: SemanticNetwork, description: dict, fixed: tuple[int, int] | None) -> dict[str, str]:
    """What a user of the file must know, as ONNX wants it: texts."""
    space = network.label_space
    sizes = f"height {fixed[0]}, width {fixed[1]}" if fixed else f"height and width multiples of {network.stride}"
    facts = {
        "input": f"images: (B, 3, H, W) float32 RGB in 0..255, {sizes}; scale the picture so that its shorter side has "
        "short_side px where that is a number, then fill up with 0 on the right and below; normalisation is inside",
        "output": "logits: (B, C, H, W); the label of a pixel is the argmax over C",
        "sizes": list(fixed) if fixed else "dynamic",
        "stride": network.stride,
        "short_side": description["short_side"],
        "classes": list(space.names),
        "colours": [list(colour) for colour in space.colours],
        "isthing": list(space.isthing),
        "void": space.void,
        **{key: description[key] for key in ("name", "method", "options", "fit_key")},
    }
    if hasattr(network, "export_inputs"):
        facts["more_inputs"] = " ".join((type(network).export_inputs.__doc__ or "").split())
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in sorted(facts.items())
    }


def _is_network(path: Path) -> bool:
    """Whether a model.json is that of a semantic network."""
    given = files.read_json(path)
    return given["kind"] == "network" and issubclass(look_up(NETWORKS, given["method"], kind="network"), SemanticNetwork)


def _reason(error: BaseException) -> str:
    """The first line of what lies at the bottom of an exporter's error."""
    while error.__cause__:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """No logs and warnings of the exporter: what matters in them is found by the comparison."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def _constant_padding() -> Iterator[None]:
    """timm's "same" padding without the size: `kernel - stride` wherever the stride divides the size.

    So it is in all our networks, as their inputs' sides are multiples of the coarsest stride. From symbolic sizes timm's own
    formula takes the exporter minutes in place of seconds, and leaves rounding in floating point in the graph.
    """
    original = padding.get_same_padding
    padding.get_same_padding = lambda x, kernel_size, stride, dilation: max((kernel_size - 1) * dilation + 1 - stride, 0)
    try:
        yield
    finally:
        padding.get_same_padding = original


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="runs/K of a fitted network")
    parser.add_argument("--out", type=Path, default=Path("exports"), help="folder of K.onnx; exports where left out")
    parser.add_argument("--opset", type=int, help="version of the ONNX operators; the exporter's choice where left out")
    arguments = parser.parse_args(argv)
    try:
        export(arguments.run, out=arguments.out, opset=arguments.opset)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
