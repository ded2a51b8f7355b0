"""Scenes, and the files that fitting and evaluating methods of a given skill would leave behind, made in milliseconds."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.structures import LabelSpace, PanopticMap, Sample

LABELS = LabelSpace(
    names=("sky", "ground", "disc", "box"),
    colours=((120, 180, 220), (120, 100, 70), (220, 60, 60), (240, 200, 40)),
    isthing=(False, False, True, True),
)


def make_samples(count: int, *, groups: int | None = None, height: int = 48, width: int = 64) -> list[Sample]:
    """Test scenes, each its own group or of `groups` in turn."""
    return [make_sample(index, groups=groups, height=height, width=width) for index in range(count)]


def make_sample(index: int, *, groups: int | None = None, height: int = 48, width: int = 64, split: str = "test") -> Sample:
    """Sky, ground, a disc and a box, with a void strip at the left."""
    rng = np.random.default_rng([3, index])
    labels = np.zeros((height, width), np.uint8)
    labels[height // 2 + int(rng.integers(-4, 5)) :] = 1
    centre = (int(rng.integers(width // 4, width)), int(rng.integers(height // 4, height)))
    cv2.circle(labels, centre, int(rng.integers(height // 10, height // 4)), 2, -1)
    x, y = (int(rng.integers(side // 2)) for side in (width, height))
    cv2.rectangle(labels, (x, y), (x + width // 5, y + height // 4), 3, -1)
    labels[:, :2] = LABELS.void
    noise = rng.normal(0, 22, (height, width, 3))
    image = np.clip(LABELS.paint(labels) * 0.6 + 50 + noise, 0, 255).astype(np.uint8)
    group = f"scene{index % groups}" if groups else f"image{index:03d}"
    return Sample(f"image{index:03d}", split, group, image, PanopticMap.from_labels(labels, LABELS))


class FakeDataset:
    """What the report asks of a data set, held in memory."""

    name, label_space, origin, sha256 = "scenes", LABELS, {"reader": "made for a test"}, "5" * 64

    def __init__(self, samples: Sequence[Sample]):
        self._samples = {sample.id: sample for sample in samples}

    def ids(self, split: str) -> list[str]:
        return list(self._samples) if split == "test" else []

    def group(self, one: str) -> str:
        return self._samples[one].group

    def sample(self, split: str, one: str) -> Sample:
        return self._samples[one]


def make_run(
    folder: Path,
    samples: Sequence[Sample],
    *,
    skill: float,
    latency_ms: float = 10.0,
    epochs: int = 0,
    under_load: bool = False,
) -> None:
    """Write the files of one method that gets the share `skill` of the coarse blocks of each picture right."""
    for part in (folder, folder / "model", folder / "samples"):
        part.mkdir(parents=True, exist_ok=True)
    matrices = []
    for index, sample in enumerate(samples):
        truth = sample.truth.semantic(LABELS)
        predicted = predict(truth, skill=skill, seed=[index, len(folder.name), int(1000 * skill)])
        if index < 3:
            cv2.imwrite(str(folder / "samples" / f"{sample.id}.png"), LABELS.paint(predicted)[..., ::-1])
        known = truth != LABELS.void
        matrices.append(np.bincount(truth[known].astype(int) * 4 + predicted[known], minlength=16).reshape(4, 4))
    write_scores(folder, np.array(matrices), samples)
    write_costs(folder, skill=skill, latency_ms=latency_ms, under_load=under_load)
    model = {
        "name": folder.name,
        "kind": "network",
        "fit_key": f"{int(skill * 1e6):064d}",
        "seed": 0,
        "threads": 2,
        "best_epoch": epochs,
        "fit": {"a": 1},
    }
    (folder / "model" / "model.json").write_text(json.dumps(model))
    if epochs:
        write_history(folder, epochs=epochs, skill=skill)


def write_costs(folder: Path, *, skill: float, latency_ms: float, under_load: bool) -> None:
    costs = {
        "parameters": int(1e7 * skill**3),
        "multiply_adds": 1.3e9 * skill,
        "latency_ms": latency_ms,
        "images_per_s": 1000 / latency_ms,
        "peak_memory_mb": 512.4,
        "load_average": 3.2,
        "under_load": under_load,
    }
    (folder / "cost.json").write_text(json.dumps(costs))
    (folder / "fit_cost.json").write_text(json.dumps({"fit_seconds": 133.0, "peak_memory_mb": 900.0, "under_load": False}))


def predict(truth: np.ndarray, *, skill: float, seed: list[int]) -> np.ndarray:
    """The truth, with a random share 1 - skill of blocks of 8 x 8 pixels given to the class beside it; void to class 0."""
    rng = np.random.default_rng(seed)
    height, width = truth.shape
    wrong = rng.random((height // 8 + 1, width // 8 + 1)).repeat(8, 0).repeat(8, 1)[:height, :width] > skill
    predicted = np.where(truth == LABELS.void, 0, truth)
    return np.where(wrong, (predicted + 1) % 4, predicted).astype(np.uint8)


def write_scores(folder: Path, matrices: np.ndarray, samples: Sequence[Sample]) -> None:
    """All score files from the (N, C, C) confusion matrices of N images."""
    names = LABELS.names
    write_csv(
        folder / "per_image.csv",
        ("image", "group", "class", "intersection", "truth_pixels", "predicted_pixels"),
        [
            (sample.id, sample.group, names[c], one[c, c], one[c].sum(), one[:, c].sum())
            for sample, one in zip(samples, matrices, strict=True)
            for c in range(4)
            if one[c].sum() or one[:, c].sum()
        ],
    )
    total = matrices.sum(axis=0)
    classes = ious(total)
    write_csv(
        folder / "per_class.csv",
        ("class", "iou", "dice", "accuracy", "truth_pixels", "predicted_pixels"),
        [(names[c], "" if np.isnan(classes[c]) else classes[c], "", "", total[c].sum(), total[:, c].sum()) for c in range(4)],
    )
    groups = sorted({sample.group for sample in samples})
    members = {group: [i for i, sample in enumerate(samples) if sample.group == group] for group in groups}
    write_csv(
        folder / "per_group.csv",
        ("group", "miou", "pixel_accuracy", "images"),
        [(group, np.nanmean(ious(matrices[index].sum(axis=0))), "", len(index)) for group, index in members.items()],
    )
    rows = [(names[i], names[j], total[i, j]) for i in range(4) for j in range(4)]
    write_csv(folder / "confusion.csv", ("truth", "predicted", "pixels"), [*rows, *((name, "(nothing)", 0) for name in names)])
    scores = {"miou": float(np.nanmean(classes)), "pixel_accuracy": float(np.trace(total) / total.sum())}
    scores["mean_dice"] = float(np.nanmean(2 * classes / (1 + classes)))
    (folder / "metrics.json").write_text(json.dumps(scores))


def write_reliability(folder: Path, bins: Sequence[tuple[int, int, float, float]]) -> None:
    """Bins of a fifteenth, from (index, pixels, confidence, accuracy), the others empty; and the ECE that follows from them."""
    rows = [[index / 15, (index + 1) / 15, 0, "", ""] for index in range(15)]
    for index, *found in bins:
        rows[index][2:] = found
    write_csv(folder / "reliability.csv", ("low", "high", "pixels", "confidence", "accuracy"), rows)
    scores = json.loads((folder / "metrics.json").read_text())
    gaps = [pixels * abs(confidence - accuracy) for _, pixels, confidence, accuracy in bins]
    scores["ece"] = sum(gaps) / sum(pixels for _, pixels, *_ in bins)
    (folder / "metrics.json").write_text(json.dumps(scores))


def write_history(folder: Path, *, epochs: int, skill: float) -> None:
    rows = [(epoch, 0.2 + 1.5 / epoch, 0.4 + 1.2 / epoch, skill * (1 - 0.7**epoch), 0.002) for epoch in range(1, epochs + 1)]
    write_csv(folder / "history.csv", ("epoch", "train_loss", "val_loss", "val_miou", "learning_rate"), rows)


def ious(matrix: np.ndarray) -> np.ndarray:
    """(C,) IoU of a confusion matrix; NaN for a class that is nowhere."""
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix)
    return np.divide(np.diag(matrix), union, out=np.full(len(matrix), np.nan), where=union > 0)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
