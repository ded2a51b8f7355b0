"""What a step does to the weights: rates by part, precision, clipping, the optimiser, the average; and their state."""

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from pipeline.models._network import Network
from pipeline.training.processes import Processes

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
NORMS = nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm
POOLS = nn.MaxPool2d | nn.AvgPool2d


def training_options(
    *,
    accumulate: int = 1,
    average: float | None = None,
    clip_norm: float | None = None,
    compile: bool = False,
    encoder_rate: float = 1.0,
    freeze_encoder_epochs: int = 0,
    layer_decay: float = 1.0,
    processes: int = 1,
    seeds: list[int] | None = None,
) -> dict:
    """The `training` options of a network's fit, checked and completed.

    Parameters
    ----------
    accumulate : batches whose gradients make one step, each weighing as its samples do
    average : decay of an exponential moving average of the weights, such as 0.999; validated and kept in their place
    clip_norm : the gradient of all weights together is shortened to this length, where it is longer
    compile : bool
        `torch.compile`: a minute or more at the start, faster steps after it.
    encoder_rate : factor on the learning rate of the encoder
    freeze_encoder_epochs : epochs at the start in which the encoder, its batch statistics too, stays as it is
    layer_decay : factor on the learning rate for each stage of the encoder further from the decoder
    processes : that train together, each on its share of every batch; one GPU each, or a share of the threads; batch
        normalisation sees each one's own pictures. Part of no `fit_key`: a training may go on with another number.
    seeds : the network is fitted and scored once for each; null for the seed of params.yaml alone

    Raises
    ------
    ValueError : an option out of its range.
    """
    rules = {
        "accumulate": (accumulate >= 1, "at least 1"),
        "average": (average is None or 0 < average < 1, "null, or between 0 and 1"),
        "clip_norm": (clip_norm is None or clip_norm > 0, "null, or more than 0"),
        "encoder_rate": (encoder_rate >= 0, "0 or more"),
        "freeze_encoder_epochs": (freeze_encoder_epochs >= 0, "0 or more"),
        "layer_decay": (0 < layer_decay <= 1, "more than 0, and 1 at most"),
        "processes": (processes >= 1, "at least 1"),
        "seeds": (
            seeds is None or (seeds and min(seeds) >= 0 and len(set(seeds)) == len(seeds)),
            "null, or different numbers of 0 or more",
        ),
    }
    given = locals()
    options = {name: given[name] for name in inspect.signature(training_options).parameters}
    faults = [f"training.{name}: {options[name]!r}; give {wanted}" for name, (is_good, wanted) in rules.items() if not is_good]
    if faults:
        raise ValueError("\n".join(faults))
    return options


class Updates:
    """Turns losses into better weights; all its state goes into a checkpoint.

    Parameters
    ----------
    network : on `device`
    optimizer : {"name", "learning_rate", "options"} as in params.yaml
    precision : "auto" (bfloat16 on a GPU that has it), "float32", "bfloat16" or "float16"
    processes : those that train together
    average, clip_norm, encoder_rate, layer_decay : see `training_options`
    """

    def __init__(
        self,
        network: Network,
        *,
        optimizer: dict,
        precision: str,
        device: torch.device,
        processes: Processes,
        average: float | None,
        clip_norm: float | None,
        encoder_rate: float,
        layer_decay: float,
    ):
        self.network, self.device, self.processes, self.clip_norm = network, device, processes, clip_norm
        groups = rate_groups(network, encoder_rate=encoder_rate, layer_decay=layer_decay)
        # fused: one pass over the weights in place of one for each operation. SGD's, with momentum, fails where an encoder
        # thaws, and after a step that the scaler skips it goes on with momentum that was never written
        is_fused = optimizer["name"] != "sgd"
        build = OPTIMIZERS[optimizer["name"]]
        self.optimizer = build(groups, lr=optimizer["learning_rate"], fused=is_fused, **optimizer["options"])
        self.dtype = _autocast_type(precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.average = average
        self.averaged = None if average is None else AveragedModel(network, multi_avg_fn=self._move_average)
        if self.averaged is not None:
            self.averaged.module.criterion = network.criterion  # not a copy: its weights may change over the training

    @property
    def evaluated(self) -> Network:
        """The network to validate and to keep: the averaged one where there is an average."""
        return self.network if self.averaged is None else self.averaged.module

    @property
    def rate(self) -> float:
        """The learning rate of the current step, before the factors of the parts."""
        return self.optimizer.param_groups[0]["lr"]  # that of what is not in the encoder, which has no factor

    def set_rate(self, rate: float) -> None:
        """The learning rate from the next step on, before the factors of the parts."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate"]

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a () loss to what `step` will use."""
        self.scaler.scale(loss).backward()

    def step(self) -> None:
        """Use the gradients, and forget them."""
        parameters = [parameter for parameter in self.network.parameters() if parameter.grad is not None]
        self.processes.sum_gradients(parameters)
        if self.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)

    def _move_average(self, averaged: list[torch.Tensor], weights: list[torch.Tensor], _: torch.Tensor) -> None:
        """Update the average; its decay rises from 0 to `average`, so that the random start is soon forgotten.

        References
        ----------
        min(decay, (1 + steps) / (10 + steps)), as in TensorFlow's ExponentialMovingAverage.
        """
        steps = self.averaged.n_averaged.item()  # on the CPU; for the copy that torch hands over we would wait for the GPU
        torch._foreach_lerp_(averaged, weights, 1 - min(self.average, (1 + steps) / (10 + steps)))

    def state_dict(self) -> dict:
        state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        state["scaler"] = self.scaler.state_dict()
        state["averaged"] = None if self.averaged is None else self.averaged.state_dict()
        return state

    def load_state_dict(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])


def rate_groups(network: Network, *, encoder_rate: float, layer_decay: float) -> list[dict]:
    """The trained parameters in groups for an optimiser, each with "rate", its factor on the learning rate.

    What is not in `network.encoder` has 1. The encoder's last stage has `encoder_rate`, the one before it that times
    `layer_decay`, and so on down to the stem; one group for everything where both are 1.

    Raises
    ------
    ValueError : other factors than 1 for a network without an encoder.

    References
    ----------
    Howard and Ruder 2018, arXiv:1801.06146, section 3.2 (discriminative fine-tuning).
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if encoder_rate == layer_decay == 1:
        return [{"params": trained, "rate": 1.0}]
    stages = encoder_stages(encoder_of(network, option="encoder_rate and layer_decay"))
    inside = {parameter for stage in stages for parameter in stage}
    groups = [{"params": [parameter for parameter in trained if parameter not in inside], "rate": 1.0}]
    for depth, stage in enumerate(reversed(stages)):
        kept = [parameter for parameter in stage if parameter.requires_grad]
        if kept:
            groups.append({"params": kept, "rate": encoder_rate * layer_decay**depth})
    return groups


def encoder_stages(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters of an encoder's stages, the stem first: its blocks of layers, and the bare layers up to a pooling.

    A normalisation belongs to what it follows. A ResNet has five stages (the stem and layer1 to layer4), an EfficientNet eight,
    a VGG five.
    """
    stages: list[list[nn.Parameter]] = [[]]
    is_open = True  # whether a bare layer goes on with the last stage
    for part in _parts(encoder):
        own = list(part.parameters())
        if isinstance(part, NORMS) or (own and is_open and not any(part.children())):
            stages[-1] += own
        elif own:
            stages.append(own)
            is_open = not any(part.children())
        is_open = is_open and not isinstance(part, POOLS)
    return [stage for stage in stages if stage]


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """Its children, and in place of a list of blocks each of its blocks."""
    for child in module.children():
        inside = list(child.children())
        is_list = isinstance(child, nn.ModuleList) or (
            isinstance(child, nn.Sequential) and all(isinstance(one, nn.Sequential) for one in inside)
        )
        yield from inside if is_list else [child]


def encoder_of(network: Network, *, option: str) -> nn.Module:
    """`network.encoder`; ValueError where there is none."""
    if not isinstance(getattr(network, "encoder", None), nn.Module):
        raise ValueError(f"training: {option} need an encoder, and {type(network).__name__} has none")
    return network.encoder


class FrozenEncoder:
    """Keeps the encoder of a network as it is during the first epochs.

    Parameters
    ----------
    epochs : 0 freezes nothing
    """

    def __init__(self, network: Network, *, epochs: int):
        self.epochs = epochs
        if epochs:
            self.encoder = encoder_of(network, option="freeze_encoder_epochs")
            self.trained = [parameter for parameter in self.encoder.parameters() if parameter.requires_grad]

    def apply(self, epoch: int) -> None:
        """Freeze or thaw for `epoch`, 1-based; to be called after `network.train()`."""
        if not self.epochs:
            return
        is_frozen = epoch <= self.epochs
        for parameter in self.trained:
            parameter.requires_grad_(not is_frozen)
        if is_frozen:
            self.encoder.eval()


def _autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else None
    return PRECISIONS.get(precision)
