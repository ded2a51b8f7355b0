"""What a training must remember to go on as if it had never stopped."""

from __future__ import annotations

import io
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save
from torch import nn

from pipeline import files

if TYPE_CHECKING:
    from pipeline.training.updates import Updates


@dataclass
class Progress:
    """Where a training stands. Nothing random is here: order, augmentation and dropout follow from seed and step."""

    step: int = 0  # optimiser steps done
    epoch: int = 0  # epochs finished
    best_epoch: int = 0
    best_score: float = -1.0  # of what the network is judged by
    stale_epochs: int = 0  # since the best one
    batch_size: int = 0  # samples of all processes together; what "auto" found
    elapsed_s: float = 0.0
    peak_memory_mb: float = 0.0
    load_average: float = 0.0  # at the last save
    under_load: bool = False  # others kept the machine busy during a part of it
    is_finished: bool = False
    sums: dict[str, float] = field(default_factory=dict)  # of this epoch's losses so far, weighted by samples
    seen: int = 0  # samples behind `sums`
    history: list[dict] = field(default_factory=list)


class Checkpoint:
    """A folder that holds the newest state, and the weights of the best epoch.

    Every file is written beside its place and moved there, so that a kill at any moment leaves a whole one. The best
    weights bear their epoch's number and are written before the state that names them.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def _state(self) -> Path:
        return self.folder / "last.pt"

    def best_weights(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch:05d}.safetensors"

    def save(self, progress: Progress, updates: Updates) -> None:
        whole = io.BytesIO()
        torch.save({"progress": asdict(progress), "updates": updates.state_dict()}, whole)
        files.write_bytes(self._state, whole.getbuffer())

    def save_best(self, network: nn.Module, epoch: int) -> None:
        files.write_bytes(self.best_weights(epoch), weights_of(network))

    def drop_old_best(self, epoch: int) -> None:
        """Remove the weights of earlier best epochs; called once a state that names `epoch` is on disk."""
        for path in self.folder.glob("best-*.safetensors"):
            if path != self.best_weights(epoch):
                path.unlink()

    def load(self, updates: Updates) -> Progress:
        """Fill `updates` from disk and return the progress; a fresh one where nothing is saved."""
        if not self._state.is_file():
            return Progress()
        state = torch.load(self._state, map_location="cpu", weights_only=True)
        updates.load_state_dict(state["updates"])
        return Progress(**state["progress"])

    def load_best(self, network: nn.Module, epoch: int) -> None:
        network.load_state_dict(load_file(self.best_weights(epoch)))


def weights_of(network: nn.Module) -> bytes:
    """The network's state as a safetensors file."""
    return save({key: tensor.detach().cpu().contiguous() for key, tensor in network.state_dict().items()})


def drop_finished(folder: Path, *, but: Collection[str]) -> None:
    """Remove the finished trainings under checkpoints/NAME but those named; interrupted ones stay, they are worth hours."""
    for path in sorted(folder.glob("*")):
        state = path / "last.pt"
        if path.name in but or not state.is_file():
            continue
        if torch.load(state, map_location="cpu", weights_only=True, mmap=True)["progress"]["is_finished"]:
            shutil.rmtree(path)
