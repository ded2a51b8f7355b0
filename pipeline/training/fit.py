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
from pipeline.training.loop import Trainer, Watch, pick_device
from pipeline.training.state import Checkpoint, Progress, weights_of


def network_key(name: str, fit: dict, arrays: TrainingArrays, *, seed: int, threads: int) -> str:
    """The `fit_key` of a network: fit params, training arrays and the code that this fit runs."""
    entries = [module_file(NETWORKS, fit["model"]), *(module_file(LOSSES, loss["name"]) for loss in fit["loss"])]
    files = code_files("stages/train.py", *entries)
    return fit_key(name, fit={**fit, "seed": seed, "threads": threads}, inputs=arrays.sha256, files=files)


def fit_network(
    fit: dict, arrays: TrainingArrays, checkpoint: Checkpoint, *, seed: int, threads: int, workers: int, watch: Watch
) -> tuple[Network, Progress]:
    """Train from wherever the checkpoint stands to the end.

    Parameters
    ----------
    fit : the fit half of a network's entry
    workers : processes that make batches; the result does not depend on it

    Returns
    -------
    the network with the weights of its best epoch, and how the training went
    """
    torch.set_num_threads(threads)
    device = pick_device()
    network = build_network(fit, arrays, seed=seed, device=device)
    trainer = Trainer(
        network,
        arrays,
        checkpoint,
        optimizer=fit["optimizer"],
        schedule=fit["schedule"],
        epochs=fit["epochs"],
        batch_size=fit["batch_size"],
        early_stop=fit["early_stop"],
        precision=fit["precision"],
        seed=seed,
        device=device,
        workers=workers,
        watch=watch,
    )
    return network, trainer.run()


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
    (folder / "model").mkdir(parents=True, exist_ok=True)
    save_network(folder / "model", network)
    files.write_json(folder / "model/model.json", _described(model, arrays, network, progress))
    files.write_csv(folder / "history.csv", progress.history)
    cost = {
        "fit_seconds": progress.elapsed_s,
        "peak_memory_mb": progress.peak_memory_mb,
        "load_average": progress.load_average,
        "under_load": progress.under_load,
    }
    files.write_json(folder / "fit_cost.json", cost)


def _described(model: dict, arrays: TrainingArrays, network: Network, progress: Progress) -> dict:
    """model.json: everything needed to use the weights elsewhere, and to know where they come from."""
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
        "best_epoch": progress.best_epoch,
        "best_val_miou": progress.best_miou,
        **model,
    }
