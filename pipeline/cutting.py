"""From boxes to masks: a classical method that takes a box, or what a fitted run predicts there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from pipeline import inference
from pipeline.boxes import Boxed
from pipeline.classical import METHODS
from pipeline.classical._method import Segmenting
from pipeline.options import entry_faults
from pipeline.prediction_options import scored_options
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Prediction, Prompt
from pipeline.table import look_up

BACKGROUND = "background"

Cut = Callable[[np.ndarray, Boxed], list[np.ndarray]]  # (H, W, 3) uint8 RGB and its boxes to a mask (H, W) of each


def choose(method: str, options: dict, *, threads: int) -> tuple[Cut, int]:
    """How a method cuts objects out of their boxes, and how many pictures it may work on at once.

    Raises
    ------
    ValueError : there is no such method, or it takes no box; or every fault of the options.
    """
    if method in METHODS:
        entry = look_up(METHODS, method, kind="classical method")
        if not (issubclass(entry, Segmenting) and "box" in entry.takes):
            raise ValueError(f"--method {method}: takes no box; those that do: {_taking_boxes()}")
        faults = entry_faults(METHODS, method, options, kind="classical method", place="--set", given={"label_space"})
        if faults:
            raise ValueError("\n".join(faults))
        space = LabelSpace((BACKGROUND, "object"), ((0, 0, 0), (255, 255, 255)), (False, True))
        return partial(_cut_by_box, method=entry(space, **options)), threads
    folder = model_of(method)
    if folder is None:
        raise ValueError(
            f"--method {method}: neither the folder of a fitted run, such as runs/unet_encoder, nor a method that takes a box: "
            f"{_taking_boxes()}"
        )
    if options:
        raise ValueError(f"--set {', '.join(options)}: a run is used as it was scored; see {folder.parent / 'predict.json'}")
    fitted = as_scored(folder, threads=threads)
    return partial(_cut_by_prediction, fitted=fitted), fitted.threads


def model_of(run: str | Path) -> Path | None:
    """The folder of a fitted method, from that of its run or from itself; None where it is neither."""
    return next((folder for folder in (Path(run) / "model", Path(run)) if (folder / "model.json").is_file()), None)


def as_scored(model: Path, *, threads: int) -> inference.Fitted:
    """A fitted method with the prediction options that it was scored with."""
    return inference.load(model, predict=scored_options(model), threads=threads)


def _taking_boxes() -> str:
    names = [name for name in METHODS if "box" in look_up(METHODS, name, kind="classical method").takes]
    return ", ".join(names) or "none"


def _cut_by_box(image: np.ndarray, given: Boxed, *, method: Segmenting) -> list[np.ndarray]:
    return [(method.segments(image, Prompt(box=box)) == 1) & _within(box, image.shape[:2]) for box in given.boxes]


def _cut_by_prediction(image: np.ndarray, given: Boxed, *, fitted: inference.Fitted) -> list[np.ndarray]:
    takes_box = "box" in getattr(getattr(fitted, "method", None), "takes", ())
    if not takes_box:
        return objects_in(fitted.segment(image), given.boxes, given.labels, fitted.label_space)
    masks = []
    for box, label in zip(given.boxes, given.labels, strict=True):
        masks += objects_in(fitted.segment(image, Prompt(box=box)), box[None], [label], fitted.label_space)
    return masks


def objects_in(prediction: Prediction, boxes: np.ndarray, labels: Sequence[str], label_space: LabelSpace) -> list[np.ndarray]:
    """What a prediction, of whichever kind, has in each box.

    Where it tells objects apart, that whose own box has the highest intersection over union with the box, whatever its class.
    Else, and for a label that is stuff, the pixels of the label's class; of a label that is no class of the method, the pixels
    of the class most frequent in the box but for the background.

    Parameters
    ----------
    boxes : (N, 4) x0, y0, x1, y1 in pixels
    labels : what each box is around

    Returns
    -------
    (H, W) bool each, within its box; empty where nothing is found
    """
    things = prediction.instances(label_space) if isinstance(prediction, PanopticMap) else prediction
    own_boxes = things.boxes if isinstance(things, InstanceSet) else np.zeros((0, 4))
    semantic = None if isinstance(prediction, InstanceSet) else prediction.semantic(label_space)
    masks = []
    for box, label in zip(boxes, labels, strict=True):
        within, fits = _within(box, prediction.shape), _overlaps(own_boxes, box)
        is_stuff = label in label_space.names and not label_space.isthing[label_space.names.index(label)]
        if fits.any() and not (is_stuff and semantic is not None):
            masks.append(things.masks[fits.argmax()] & within)
        elif semantic is not None:
            masks.append((semantic == _class_in(semantic[within], label, label_space)) & within)
        else:
            masks.append(np.zeros(prediction.shape, bool))
    return masks


def _class_in(labels: np.ndarray, name: str, label_space: LabelSpace) -> int:
    """The class of that name, else the most frequent one of some labels but for the background; -1 where there is none."""
    if name in label_space.names:
        return label_space.names.index(name)
    counts = np.bincount(labels, minlength=label_space.num_classes)[: label_space.num_classes]
    if BACKGROUND in label_space.names:
        counts[label_space.names.index(BACKGROUND)] = 0
    return int(counts.argmax()) if counts.any() else -1


def _within(box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: every pixel that a box touches."""
    x0, y0, x1, y1 = *np.floor(box[:2]).astype(int), *np.ceil(box[2:]).astype(int)
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def _overlaps(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(N,) intersection over union of boxes with one that is not empty."""
    low, high = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    return common / ((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod() - common)
