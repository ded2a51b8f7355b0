"""Read what fitting and evaluation left in runs/K, each file when it is first asked for."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

FLOORS = ("majority_class", "spatial_prior")  # what no skill gives; keys of pipeline.classical.METHODS


@dataclass(frozen=True)
class Run:
    """One method's files.

    A file that a method cannot have (the history of something that is not trained) reads as empty; only `metrics.json`,
    which every evaluation writes, must be there.

    Parameters
    ----------
    key : the method's key in params.yaml
    folder : runs/K
    is_floor : True for a method without skill, against which the others are seen
    """

    key: str
    folder: Path
    is_floor: bool = False

    @cached_property
    def scores(self) -> dict[str, float]:
        """What the method could be scored for; a NaN or null is no score."""
        path = self.folder / "metrics.json"
        if not path.is_file():
            raise ValueError(f"{path}: missing, and {self.key} stands in params.yaml; run `dvc repro`")
        return {name: value for name, value in _read_json(path).items() if value is not None and not math.isnan(value)}

    @cached_property
    def costs(self) -> dict:
        """Costs of prediction."""
        return _read_json(self.folder / "cost.json")

    @cached_property
    def fit_costs(self) -> dict:
        return _read_json(self.folder / "fit_cost.json")

    @cached_property
    def model(self) -> dict:
        return _read_json(self.folder / "model" / "model.json")

    @cached_property
    def search(self) -> list[dict[str, str]]:
        """A row for each setting that a classical method tried on the validation split; none where it searched nothing."""
        return read_csv(self.folder / "model" / "search.csv")

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """One entry per epoch."""
        rows = read_csv(self.folder / "history.csv")
        return [{name: float(value) for name, value in row.items() if value} for row in rows]

    @cached_property
    def class_iou(self) -> dict[str, float | None]:
        """Class -> IoU; None where the split has the class neither in truth nor in prediction."""
        return {row["class"]: _number(row["iou"]) for row in read_csv(self.folder / "per_class.csv")}

    @cached_property
    def class_pixels(self) -> dict[str, int]:
        """Class -> pixels of it in the truth of the test split."""
        return {row["class"]: int(row["truth_pixels"] or 0) for row in read_csv(self.folder / "per_class.csv")}

    @cached_property
    def group_miou(self) -> dict[str, float | None]:
        return {row["group"]: _number(row["miou"]) for row in read_csv(self.folder / "per_group.csv")}

    @cached_property
    def group_images(self) -> dict[str, int]:
        return {row["group"]: int(row["images"]) for row in read_csv(self.folder / "per_group.csv")}

    @cached_property
    def seeds(self) -> list[dict[str, float]]:
        """The scores of each seed, where there are several; "seed" among them."""
        rows = read_csv(self.folder / "seeds.csv")
        return [{name: float(value) for name, value in row.items() if value} for row in rows]

    @cached_property
    def per_image(self) -> list[dict[str, str]]:
        return read_csv(self.folder / "per_image.csv")

    @cached_property
    def confusion(self) -> list[dict[str, str]]:
        return read_csv(self.folder / "confusion.csv")

    @cached_property
    def reliability(self) -> list[dict[str, float | None]]:
        """A bin of confidence in each row, its means None where no pixel fell into it; none without class probabilities."""
        return [{name: _number(value) for name, value in row.items()} for row in read_csv(self.folder / "reliability.csv")]

    @cached_property
    def samples(self) -> dict[str, Path]:
        """Image id -> layer of the prediction; that of the truth lies beside it in truth/."""
        return {path.stem: path for path in sorted((self.folder / "samples").glob("*.png"))}

    def true_sample(self, image: str) -> Path | None:
        """The layer of the truth in the form of this method's predictions, where one is kept."""
        path = self.folder / "samples/truth" / f"{image}.png"
        return path if path.is_file() else None


def find_runs(methods: Mapping[str, object], folder: str | Path) -> list[Run]:
    """The runs of the methods in params.yaml, in its order; what else lies in `folder` is left alone.

    Parameters
    ----------
    methods : key -> its section, `Params.methods`
    folder : runs/
    """
    return [
        Run(key, Path(folder) / key, is_floor=getattr(section.fit, "method", None) in FLOORS)
        for key, section in methods.items()
    ]


@dataclass(frozen=True)
class Counts:
    """Exact pixel counts of every method, image and class.

    Parameters
    ----------
    images : N image ids, sorted
    groups : N groups, one per image
    intersection, union : (M, N, C) int64 for M methods
    """

    images: tuple[str, ...]
    groups: tuple[str, ...]
    intersection: np.ndarray
    union: np.ndarray


def read_counts(runs: Sequence[Run]) -> Counts:
    """The counts behind the scores, on images and classes common to all `runs`.

    An image that a method does not list is one where neither its prediction nor the truth has any class: zeros.
    """
    group = {row["image"]: row["group"] for run in runs for row in run.per_image}
    images = sorted(group)
    classes = list(dict.fromkeys(row["class"] for run in runs for row in run.per_image))
    image_index = {name: index for index, name in enumerate(images)}
    class_index = {name: index for index, name in enumerate(classes)}
    intersection = np.zeros((len(runs), len(images), len(classes)), np.int64)
    union = np.zeros_like(intersection)
    for number, run in enumerate(runs):
        if not run.per_image:
            continue
        at = [image_index[row["image"]] for row in run.per_image], [class_index[row["class"]] for row in run.per_image]
        both = np.array([int(row["intersection"]) for row in run.per_image])
        either = np.array([int(row["truth_pixels"]) + int(row["predicted_pixels"]) for row in run.per_image]) - both
        intersection[number][at], union[number][at] = both, either
    return Counts(tuple(images), tuple(group[name] for name in images), intersection, union)


def confusion_matrix(run: Run, classes: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """The confusion matrix of a run, truth down and prediction across.

    Returns
    -------
    (C, P) int64 pixels, and the P names across: the classes, then what a method may answer beyond them ("(nothing)").
    """
    across = list(dict.fromkeys([*classes, *(row["predicted"] for row in run.confusion)]))
    rows, columns = ({name: index for index, name in enumerate(names)} for names in (classes, across))
    pixels = np.zeros((len(classes), len(across)), np.int64)
    for row in run.confusion:
        pixels[rows[row["truth"]], columns[row["predicted"]]] = int(row["pixels"])
    if len(across) > len(classes) and not pixels[:, len(classes) :].any():
        return pixels[:, : len(classes)], list(classes)
    return pixels, across


def row_shares(pixels: np.ndarray) -> np.ndarray:
    """Each row of a (C, P) count divided by its sum: float64; NaN in the row of a class that the truth lacks."""
    total = pixels.sum(axis=1, keepdims=True)
    return np.divide(pixels, total, out=np.full(pixels.shape, np.nan), where=total > 0)


def _number(text: str) -> float | None:
    return float(text) if text else None


def _read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a table; none where there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
