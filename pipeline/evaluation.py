"""One protocol for every method: predict a split, score it at native resolution, keep some pictures, measure the cost."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline import files, sample_pictures
from pipeline.inference import Fitted
from pipeline.metrics import METRICS
from pipeline.spread import spread
from pipeline.structures import Prediction, Sample
from pipeline.table import look_up


def score(
    method: Fitted,
    samples: Sequence[Sample],
    *,
    pictured: Sequence[str],
    pictures: Path,
    show: Callable[[Iterable], Iterable] = iter,
) -> tuple[dict[str, float], dict[str, list[dict]]]:
    """Predict every sample, score it with every metric of the table, and write the pictures of the ids in `pictured`.

    Parameters
    ----------
    samples : of a split, opened one by one
    pictured : ids of samples
    pictures : folder that gets them, see `pipeline.sample_pictures`
    show : goes through what it is given and tells of the progress

    Returns
    -------
    {score: number}, flat, and {table: rows}, of all metrics together. What a metric cannot say is absent.

    Raises
    ------
    ValueError : a prediction has not the size of its image.
    """
    metrics = [look_up(METRICS, name, kind="metric")(method.label_space) for name in METRICS]
    pictures.mkdir(parents=True, exist_ok=True)

    def predict(index: int) -> tuple[Sample, Prediction]:
        sample = samples[index]
        return sample, method.divided(method.segment(sample.image))

    for sample, prediction in show(spread(predict, range(len(samples)), threads=method.threads)):
        if prediction.shape != sample.shape:
            raise ValueError(f"{sample.id}: the prediction is {prediction.shape} and the image {sample.shape} (height, width)")
        for metric in metrics:
            metric.update(sample, prediction)
        if sample.id in pictured:
            sample_pictures.write(pictures, sample, prediction, method.label_space)
    scores: dict[str, float] = {}
    tables: dict[str, list[dict]] = {}
    for metric in metrics:
        scores |= metric.scores()
        tables |= metric.tables()
    return scores, tables


def seed_rows(method: Fitted, scores: Mapping[str, float], others: Iterable[Fitted], samples: Sequence[Sample]) -> list[dict]:
    """A row of scores for each seed that a network was fitted with, its own `scores` first; none where it was fitted once."""
    rows = []
    for other in others:
        with TemporaryDirectory() as unused:
            again, _ = score(other, samples, pictured=(), pictures=Path(unused))
        rows.append({"seed": other.description["seed"], **again})
    return [{"seed": method.description["seed"], **scores}, *rows] if rows else []


def write(folder: Path, scores: Mapping[str, float], tables: Mapping[str, Sequence[dict]]) -> None:
    """Write metrics.json and a CSV file for each table; a metric names in `columns` those of a table that may have no row."""
    files.write_json(folder / "metrics.json", dict(scores))
    columns: dict[str, Sequence[str]] = {}
    for name in METRICS:
        columns |= getattr(look_up(METRICS, name, kind="metric"), "columns", {})
    for name, rows in tables.items():
        files.write_csv(folder / f"{name}.csv", rows, columns=columns.get(name))


def evenly(ids: Sequence[str], count: int) -> list[str]:
    """`count` of the ids, spread evenly; the same ones for every method.

    Examples
    --------
    >>> evenly(["a", "b", "c", "d", "e"], 2)
    ['a', 'e']
    """
    places = np.linspace(0, len(ids) - 1, min(count, len(ids))).round().astype(int)
    return [ids[place] for place in places]
