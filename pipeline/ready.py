"""What a name stands for, ready to segment pictures: a classical method without training, a fitted run, a model in MLflow."""

import ast
import difflib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors import SafetensorError

from pipeline import drawing, inference, overlay
from pipeline.check import predict_faults
from pipeline.classical import METHODS
from pipeline.classical._method import Method, Segmenting
from pipeline.classical._regions import relabelled
from pipeline.options import classes_of, entry_faults
from pipeline.overlay import segment_colours
from pipeline.postprocess import FUSIONS
from pipeline.prediction_options import scored_options
from pipeline.search import build
from pipeline.structures import SURE, InstanceSet, LabelSpace, PanopticMap, Prediction, Prompt, Sample
from pipeline.table import module_file

IN_MLFLOW = ("models:/", "runs:/")  # what the address of a model in MLflow begins with


@dataclass(frozen=True)
class Segmentation:
    """What is written, told and drawn of one picture.

    Parameters
    ----------
    labels : (H, W) uint8, uint16 or int32, the smallest that holds them: segment number or class index
    parts : (H, W) integers, the same or the objects in them, which lines are drawn around
    objects : class -> number of objects; empty where the method tells none apart
    faint : class -> how many of them are too unsure to be drawn
    prediction : what a fitted run said, the things in it told apart where that was asked for; None without classes
    """

    labels: np.ndarray
    parts: np.ndarray
    objects: dict[int, int]
    faint: dict[int, int] = field(default_factory=dict)
    prediction: Prediction | None = None


class Ready(ABC):
    """A method that segments pictures from several threads.

    `takes` are the parts of a prompt that it looks at, whose scribbles hold labels of `label_space`. `threads` is how many
    pictures may be segmented at once, `clear` the label that an overlay leaves as it is.
    """

    label_space: LabelSpace
    method: Method | None = None  # the classical one behind it
    takes: tuple[str, ...] = ()
    threads = 1
    clear: int | None = None
    has_classes = True  # or labels are numbers of segments
    needs_pictures = False  # that is, `prepare` must be called

    def prepare(self, pictures: Sequence[np.ndarray], *, seed: int) -> None:
        """Learn from pictures without truth, opened one by one."""
        return

    def works_at(self, shape: tuple[int, int], prompt: Prompt | None) -> tuple[int, int]:
        """Height and width that a classical method brings a picture of this shape to; the shape itself for another method."""
        return shape if self.method is None else self.method.works_at(shape, prompt)

    @abstractmethod
    def segment(self, image: np.ndarray, prompt: Prompt | None, *, divided: bool = False) -> Segmentation:
        """(H, W, 3) uint8 RGB to its segmentation; `divided`: with things told apart in its prediction."""

    def overlay(self, image: np.ndarray, found: Segmentation) -> np.ndarray:
        """(h, w, 3) uint8 RGB, the picture with its segments in colour; a small one with objects enlarged, see `drawing`."""
        if found.prediction is not None and drawing.has_objects(found.prediction):
            size = drawing.roomy_size(image.shape[:2])
            return drawing.over(image, drawing.layer(found.prediction, self.label_space, size))
        return overlay.draw(image, found.labels, found.parts, colours=self.colours(found.labels), clear=self.clear)

    @abstractmethod
    def colours(self, labels: np.ndarray) -> np.ndarray:
        """(N, 3) uint8 with a colour for every value in `labels`."""

    @abstractmethod
    def name_of(self, label: int) -> str:
        """What a label is called."""


def choose(name: str, options: dict, *, classes: int, threads: int) -> Ready:
    """The method of that name.

    Parameters
    ----------
    name : a classical method, the folder of a run or of its model, or an address in MLflow
    options : of the classical method, or the predict half of the run, over what it was scored with
    classes : how many the scribbles name, 0 where there are none
    threads : of the CPU

    Raises
    ------
    ValueError : nothing of that name is there, or it must be fitted first; or every fault of the options, a line each.
    """
    if name.startswith(IN_MLFLOW):
        from pipeline import tracking

        with TemporaryDirectory() as folder:
            return _Run(tracking.download_model(name, Path(folder)), options, threads=threads)
    if name in METHODS:
        return _Untrained(name, options, classes=classes, threads=threads)
    for folder in (Path(name) / "model", Path(name)):
        if (folder / "model.json").is_file():
            return _Run(folder, options, threads=threads)
    raise ValueError(_unknown(name))


def with_prompt(part: str) -> list[str]:
    """The classical methods that look at a part of a prompt."""
    return [name for name in METHODS if part in _takes_of(name)]


class _Untrained(Ready):
    """A classical method that has segments and no classes."""

    has_classes = False

    def __init__(self, name: str, options: dict, *, classes: int, threads: int):
        if not _needs_no_truth(name):
            run = Path("runs") / name
            how = "" if (run / "model/model.json").is_file() else "fit it first (an entry in params.yaml, `dvc repro`), then "
            raise ValueError(f"{name} learns from pictures with truth; {how}give {run} in its place")
        _refuse(entry_faults(METHODS, name, options, kind="classical method", place="--set", given={"label_space"}))
        names = tuple(str(label) for label in range(max(classes, 2)))
        self.label_space = LabelSpace(names, ((0, 0, 0),) * len(names), (False,) * len(names))
        self.method: Segmenting = build(name, options, self.label_space, threads=threads)
        self.takes, self.threads = self.method.takes, threads
        self.needs_pictures = type(self.method).prepare is not Segmenting.prepare

    def prepare(self, pictures, *, seed):
        self.method.prepare(_Samples(pictures), np.random.default_rng(seed))

    def segment(self, image, prompt, *, divided=False):
        found = self.method.segments(image, prompt)
        if found.min() < 0 or found.max() > 65535:
            found = relabelled(found)
        labels = found.astype(next(kind for kind in (np.uint8, np.uint16, np.int32) if found.max() <= np.iinfo(kind).max))
        return Segmentation(labels, labels, {})

    def colours(self, labels):
        return segment_colours(int(labels.max()) + 1)

    def name_of(self, label):
        return str(label)


class _Samples(Sequence):
    """Pictures as samples of which nothing is labelled."""

    def __init__(self, pictures: Sequence[np.ndarray]):
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        image = self.pictures[index]
        return Sample(str(index), None, str(index), image, PanopticMap(np.zeros(image.shape[:2], np.int32), ()))


class _Run(Ready):
    """A fitted method, with the prediction options it was scored with where they stand beside it."""

    def __init__(self, folder: Path, options: dict, *, threads: int):
        _refuse(_predict_faults(inference.described(folder), options))
        try:
            self.fitted = inference.load(folder, predict=scored_options(folder) | options, threads=threads)
        except (OSError, SafetensorError) as error:
            raise ValueError(f"{folder}: no whole copy of a fitted method: {error}") from None
        self.label_space, self.threads = self.fitted.label_space, self.fitted.threads
        self.takes, self.clear = _takes(self.fitted), self.label_space.void
        self.method = getattr(self.fitted, "method", None)

    def segment(self, image, prompt, *, divided=False):
        prediction = self.fitted.segment(image, prompt)
        if divided:
            prediction = self.fitted.divided(prediction)
        labels = prediction.semantic(self.label_space)
        parts, objects = _objects(prediction, labels)
        counts = {label: count for label, count in objects.items() if self.label_space.isthing[label]}
        return Segmentation(labels, parts, counts, _faint(prediction), prediction)

    def colours(self, labels):
        return self.label_space.palette

    def name_of(self, label):
        return "void" if label == self.clear else self.label_space.names[label]


def _predict_faults(description: dict, options: dict) -> list[str]:
    """What is wrong with prediction options for the kind of method that model.json describes."""
    if description["kind"] == "classical":
        return [f"--set.{option}: the options of a fitted classical method belong to its fit" for option in options]
    if description["kind"] == "fusion":
        given = {"semantic", "instance", "label_space"}
        return entry_faults(FUSIONS, description["method"], options, kind="fusion", place="--set", given=given)
    return predict_faults("segment", options, place="--set", without=("instances",))  # things are told apart for scores only


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise ValueError("\n".join(fault.replace("--set.", "--set ", 1) for fault in faults))


def _takes(fitted: inference.Fitted) -> tuple[str, ...]:
    """The parts of a prompt that a fitted method looks at, those of a fusion's two methods together."""
    if isinstance(fitted, inference.FittedFusion):
        return tuple(dict.fromkeys((*_takes(fitted.semantic), *_takes(fitted.instance))))
    method = getattr(fitted, "method", None)
    return method.takes if isinstance(method, Method) else ()


def _objects(prediction: Prediction, labels: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    """(H, W) what lines are drawn around, and class -> number of objects."""
    if isinstance(prediction, PanopticMap):
        return prediction.segments, Counter(segment.category for segment in prediction.info)
    if isinstance(prediction, InstanceSet):
        prediction = prediction[prediction.scores >= SURE]  # as in the labels
        parts = np.zeros(prediction.shape, np.int32)
        for index in np.argsort(prediction.scores, kind="stable"):
            parts[prediction.masks[index]] = index + 1
        return parts, Counter(prediction.classes[prediction.masks.any(axis=(1, 2))].tolist())
    return labels, {}


def _faint(prediction: Prediction) -> dict[int, int]:
    """Class -> number of objects that `drawing` leaves out for their scores."""
    if not isinstance(prediction, InstanceSet):
        return {}
    has_pixels = prediction.masks.any(axis=(1, 2))
    return Counter(prediction.classes[has_pixels & (prediction.scores < SURE)].tolist())


def _unknown(name: str) -> str:
    """The error text for a name that is nothing: the choices, and what may have been meant."""
    runs = sorted(path.parent.parent.as_posix() for path in Path("runs").glob("*/model/model.json"))
    usable = [one for one in METHODS if _needs_no_truth(one)]
    known = {one.removeprefix("runs/"): one for one in runs} | {one: one for one in (*runs, *usable)}
    near = difflib.get_close_matches(name, known, n=1)
    what = "a folder without model.json, no fitted method" if Path(name).is_dir() else "no method"
    return "\n".join(
        [
            f"{name!r} is {what}." + (f" Did you mean {known[near[0]]}?" if near else ""),
            f"  without training: {', '.join(usable)}",
            f"  fitted: {', '.join(runs) or 'no run in runs/ here; any folder with a model.json'}",
            "  in MLflow: models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID/model",
        ]
    )


def _needs_no_truth(name: str) -> bool:
    """Whether a classical method has segments before it is fitted."""
    return any(node.name == Segmenting.__name__ for node in classes_of(*_place(name)))


def _takes_of(name: str) -> tuple[str, ...]:
    """The parts of a prompt that a classical method looks at."""
    for node in classes_of(*_place(name)):
        for line in node.body:
            targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == "takes" for target in targets):
                return ast.literal_eval(line.value)
    return ()


def _place(name: str) -> tuple[str, str]:
    """The file and the class of a classical method."""
    return module_file(METHODS, name), METHODS[name].split(":")[1]
