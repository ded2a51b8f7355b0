"""Fit one network as its entry in params.yaml says, and describe the result."""

from pathlib import Path

import torch

from pipeline import files
from pipeline.arrays import TrainingArrays
from pipeline.losses import LOSSES
from pipeline.models import NETWORKS
from pipeline.models._network import Network
from pipeline.provenance import code_files, fit_key
from pipeline.table import look_up, module_file
from pipeline.training import criterion
from pipeline.training.batch_size import chosen_batch_size
from pipeline.training.loop import Trainer, pick_device
from pipeline.training.processes import Processes
from pipeline.training.state import Checkpoint, Progress, weights_of
from pipeline.training.watch import Watch


def network_key(name: str, fit: dict, arrays: TrainingArrays, *, seed: int, threads: int) -> str:
    """The `fit_key` of a network: fit params, training arrays and the code that this fit runs.

    The number of processes and the list of seeds are no part of it: this is one seed's, however many processes train it.
    """
    entries = [module_file(NETWORKS, fit["model"]), *(module_file(LOSSES, loss["name"]) for loss in fit["loss"])]
    files = code_files("stages/train.py", *entries)
    training = {option: value for option, value in fit["training"].items() if option not in ("processes", "seeds")}
    return fit_key(name, fit={**fit, "training": training, "seed": seed, "threads": threads}, inputs=arrays.sha256, files=files)


def fit_network(
    fit: dict,
    arrays: TrainingArrays,
    checkpoint: Checkpoint,
    *,
    seed: int,
    workers: int,
    watch: Watch,
    processes: Processes,
) -> tuple[Network, Progress]:
    """Train from wherever the checkpoint stands to the end.

    Parameters
    ----------
    fit : the fit half of a network's entry
    workers : processes that make batches; the result does not depend on it
    processes : those that train together, this one among them

    Returns
    -------
    the network with the weights of its best epoch (in the first process), and how the training went
    """
    trainer = make_trainer(fit, arrays, checkpoint, seed=seed, workers=workers, watch=watch, processes=processes)
    return trainer.network, trainer.run()


def make_trainer(
    fit: dict, arrays: TrainingArrays, checkpoint: Checkpoint, *, seed: int, processes: Processes, **options
) -> Trainer:
    """The trainer of an entry; `options` are those of `Trainer` that are not in params.yaml."""
    device = pick_device()
    asked = ("optimizer", "schedule", "epochs", "early_stop", "precision", "training")

    def fresh(batch_size: int, processes: Processes = processes) -> Trainer:
        network = build_network(fit, arrays, seed=seed, device=device)
        given = {name: fit[name] for name in asked} | {"seed": seed, "device": device, "processes": processes}
        return Trainer(network, arrays, checkpoint, batch_size=batch_size, **given, **options)

    batch_size = chosen_batch_size(
        fit["batch_size"], checkpoint, arrays, trial=lambda: fresh(2, Processes()), device=device, processes=processes
    )
    return fresh(batch_size)


def build_network(fit: dict, arrays: TrainingArrays, *, seed: int, device: torch.device) -> Network:
    """The network of an entry with its criterion; the same seed gives the same weights."""
    torch.manual_seed(seed)
    network = look_up(NETWORKS, fit["model"], kind="network")(arrays.label_space, **fit["options"])
    network.criterion = criterion.build(
        fit["loss"],
        ignore_label=arrays.label_space.void,
        statistics={"class_pixels": arrays.class_pixels, "class_image_pixels": arrays.class_image_pixels},
        device=device,
    )
    return network.to(device, memory_format=torch.channels_last)


def save_network(folder: Path, network: Network) -> None:
    """Write the weights; `pipeline.inference.load` reads them."""
    files.write_bytes(folder / "weights.safetensors", weights_of(network))


def write_run(folder: Path, model: dict, arrays: TrainingArrays, network: Network, progress: Progress) -> None:
    """Write what a training leaves: model/, history.csv and fit_cost.json.

    Parameters
    ----------
    folder : runs/NAME
    model : name, fit, seed, threads and fit_key
    """
    write_model(folder / "model", model, arrays, network, progress)
    files.write_csv(folder / "history.csv", progress.history)
    cost = {
        "fit_seconds": progress.elapsed_s,
        "peak_memory_mb": progress.peak_memory_mb,
        "load_average": progress.load_average,
        "under_load": progress.under_load,
    }
    files.write_json(folder / "fit_cost.json", cost)


def write_model(folder: Path, model: dict, arrays: TrainingArrays, network: Network, progress: Progress) -> None:
    """Write the fitted network: its weights, and model.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_network(folder, network)
    files.write_json(folder / "model.json", _described(model, arrays, network, progress))


def _described(model: dict, arrays: TrainingArrays, network: Network, progress: Progress) -> dict:
    """model.json: everything needed to use the weights elsewhere, and to know where they come from."""
    best = next((row for row in progress.history if row["epoch"] == progress.best_epoch), {})
    return {
        "name": model["name"],
        "kind": "network",
        "method": model["fit"]["model"],
        "options": model["fit"]["options"],
        "label_space": arrays.label_space.to_json(),
        "short_side": arrays.short_side,
        "mean": list(network.mean),
        "std": list(network.std),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "batch_size": progress.batch_size,
        "best_epoch": progress.best_epoch,
        **{f"best_{name}": best[name] for name in ("val_miou", "val_mask_ap") if name in best},
        **model,
    }
