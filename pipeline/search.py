"""The options of a classical method that are searched on the validation split, and how."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.classical import METHODS
from pipeline.classical._method import Method
from pipeline.dataset import Dataset
from pipeline.metrics.confusion import class_iou, count_pairs
from pipeline.structures import LabelSpace, Sample
from pipeline.table import look_up

SEARCH_IMAGES = 60  # of each split, evenly spread: what a setting is fitted on, and what it is scored on
BUILT = 10_000  # combinations at most that are built to see whether they can be; that takes a second


def build(name: str, options: dict, label_space: LabelSpace, *, threads: int) -> Method:
    """The method of that name, not yet fitted."""
    method = look_up(METHODS, name, kind="classical method")(label_space, **options)
    method.threads = threads
    return method


def settings(fit: dict) -> Iterator[dict]:
    """Every combination of the values that the `search` of an entry's fit half tries, option -> value."""
    for values in itertools.product(*fit["search"].values()):
        yield dict(zip(fit["search"], values, strict=True))


def build_faults(fit: dict, *, place: str) -> list[str]:
    """What a method itself refuses of the combinations of an entry's options; each fault once, with the first that has it."""
    space, faults = LabelSpace(("background", "object"), ((0, 0, 0), (255, 255, 255)), (False, False)), {}
    for setting in itertools.islice(settings(fit), BUILT):
        try:
            build(fit["method"], fit["options"] | setting, space, threads=1)
        except ValueError as error:
            tried = ", ".join(f"{option} {value}" for option, value in setting.items())
            faults.setdefault(str(error), f"{place}: {tried}: {error}")
    return list(faults.values())


def best_options(fit: dict, dataset: Dataset, *, seed: int, threads: int) -> tuple[dict, list[dict]]:
    """The options of an entry with those that its `search` leaves open found on the validation split.

    Every combination of the values is fitted on up to 60 training images and scored on up to 60 validation images; the highest
    mIoU wins, the first of equals.

    Parameters
    ----------
    fit : the fit half of an entry: method, options, and search, option -> values to try

    Returns
    -------
    the options, and a row for each combination tried: its values and `val_miou`; no row where nothing is searched

    Raises
    ------
    ValueError : there is no validation image to search on, or the method refuses a combination.
    """
    if not fit["search"]:
        return fit["options"], []
    train, validation = (_Chosen(dataset, split) for split in ("train", "val"))
    if not len(validation):
        raise ValueError("search: the data set has no validation image to search on; set search: {}, or dataset.splits.val")
    if faults := build_faults(fit, place="search"):
        raise ValueError("\n".join(faults))
    rows = []
    for setting in settings(fit):
        method = build(fit["method"], fit["options"] | setting, dataset.label_space, threads=threads)
        method.fit(train, np.random.default_rng(seed))
        rows.append({**setting, "val_miou": _miou(method, validation)})
    best = max(rows, key=lambda row: row["val_miou"])
    return fit["options"] | {option: best[option] for option in fit["search"]}, rows


class _Chosen(Sequence):
    """Some samples of a split, evenly spread, opened when they are asked for."""

    def __init__(self, dataset: Dataset, split: str):
        ids = dataset.ids(split)
        places = np.linspace(0, len(ids) - 1, min(SEARCH_IMAGES, len(ids))).round().astype(int)
        self.dataset, self.split, self.ids = dataset, split, [ids[place] for place in places]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset.sample(self.split, self.ids[index])


def _miou(method: Method, samples: Sequence[Sample]) -> float:
    """mIoU over the samples by the protocol of the evaluation, 0 where nothing is labelled."""
    space = method.label_space

    def count(sample: Sample) -> np.ndarray:
        predicted, truth = method.segment(sample.image).semantic(space), sample.truth.semantic(space)
        return count_pairs(truth, predicted, num_classes=space.num_classes, void=space.void)

    iou = class_iou(sum(method.each(count, samples)))
    known = iou[~np.isnan(iou)]
    return float(known.mean()) if len(known) else 0.0
