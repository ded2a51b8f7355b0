"""Tables for `dvc plots`: the curves of all networks in one file, and all confusion matrices in another."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline import files
from pipeline.report.runs import Run, confusion_matrix, row_shares

CURVES = ("train_loss", "val_loss", "val_miou", "val_mask_ap")


def write_curves(runs: Sequence[Run], path: Path) -> None:
    """One row per method, epoch and quantity; the header alone where nothing was trained."""
    rows = [
        {"method": run.key, "epoch": int(epoch["epoch"]), "quantity": quantity, "value": f"{epoch[quantity]:.6g}"}
        for run in runs
        for quantity in CURVES
        for epoch in run.history
        if quantity in epoch
    ]
    files.write_csv(path, rows, columns=("method", "epoch", "quantity", "value"))


def write_confusion(runs: Sequence[Run], classes: Sequence[str], path: Path) -> None:
    """One row per method and pair of classes; `share` is of the truth's pixels, empty where the truth lacks the class."""
    rows = []
    for run in runs:
        pixels, across = confusion_matrix(run, classes)
        shares = row_shares(pixels)
        for i, truth in enumerate(classes):
            for j, predicted in enumerate(across):
                share = None if np.isnan(shares[i, j]) else f"{shares[i, j]:.6g}"
                row = {"method": run.key, "truth": truth, "predicted": predicted, "pixels": int(pixels[i, j]), "share": share}
                rows.append(row)
    files.write_csv(path, rows, columns=("method", "truth", "predicted", "pixels", "share"))
