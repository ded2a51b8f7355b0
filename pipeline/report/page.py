"""The report page: everything in one HTML file that reads without a network."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from pipeline import files, pages
from pipeline.dataset import Dataset
from pipeline.report import figures, pictures
from pipeline.report.compare import Comparison, miou
from pipeline.report.data import data_section
from pipeline.report.runs import Counts, Run, confusion_matrix, row_shares
from pipeline.report.tables import DASH, Cell, Row, Table, detail_table, heat_table
from pipeline.splits import SPLITS

MAX_GROUPS = 30  # more make no readable table
MAX_NUMBERED = 12  # classes up to which a confusion matrix has numbers in its cells
MAX_NAMED = 40  # and up to which it has names beside it
CELL_PX = 26
LEGIBLE = 3  # tiles beside each other where names are written in them
PLOT_PX = 240  # side of a reliability diagram


def write_page(
    path: Path,
    *,
    dataset: Dataset,
    runs: Sequence[Run],
    counts: Counts,
    comparison: Comparison | None,
    table: Table,
    insight: Path,
    preview: Path,
) -> None:
    """Write the report.

    Parameters
    ----------
    path : the HTML file
    dataset : the canonical data set; its test split gives the pictures
    runs : the methods, in the order of params.yaml
    counts, comparison, table : of the same runs
    insight : the folder of what the data set is made of
    preview : the sheet of the augmentation policy
    """
    context = _context(dataset, runs, counts, comparison, table)
    context["data"] = data_section(insight, preview, dataset.label_space)
    files.write_text(path, pages.render(Path(__file__).with_name("page.html"), context))


def _context(
    dataset: Dataset, runs: Sequence[Run], counts: Counts, comparison: Comparison | None, table: Table
) -> dict[str, object]:
    """Everything that page.html names."""
    styles = figures.method_styles(runs)
    samples = _samples(dataset, [row.run for row in table.rows], counts, runs)
    most_tiles = 1 + max((len(sample["tiles"]) for sample in samples), default=0)
    has_objects = any(tile["layer"] and tile["layer"].is_drawn for sample in samples for tile in sample["tiles"])
    ordered = [row.run for row in table.rows]
    names = dataset.label_space.names
    return {
        "dataset": _dataset_summary(dataset, runs),
        "headline": _headline(table, comparison),
        "comparison": comparison,
        "num_groups": len(set(counts.groups)),
        "table": table,
        "details": detail_table(ordered),
        "lines": [_comparison_line(row, table) for row in table.rows],
        "is_under_load": any(cell.note for row in table.rows for cell in row.cells),
        "runs": ordered,
        "colours": {key: style.colour for key, style in styles.items()},
        "class_table": list(zip(names, heat_table(names, [run.class_iou for run in ordered]), strict=True)),
        "group_table": _group_table(ordered),
        "curves": _markup(figures.curves_figure(runs, styles)),
        "trained": [run for run in runs if run.history],
        "latency": _markup(figures.latency_figure(runs, styles)),
        "confusions": [_confusion(run, names) for run in ordered if run.confusion],
        "cell": CELL_PX,
        "reliabilities": [_reliability(run) for run in ordered if run.reliability],
        "plot": PLOT_PX,
        "panel_px": min(660, max(300, 80 + 34 * len(names))),
        "samples": samples,
        "has_objects": has_objects,
        "tile_columns": _balanced(most_tiles, most=LEGIBLE if has_objects else 7),
        "provenance": [_provenance(run) for run in ordered],
        "dash": DASH,
    }


def _dataset_summary(dataset: Dataset, runs: Sequence[Run]) -> dict:
    space = dataset.label_space
    pixels = next((run.class_pixels for run in runs if run.class_pixels), {})
    total = sum(pixels.values())
    classes = [
        {
            "name": name,
            "colour": "#{:02x}{:02x}{:02x}".format(*colour),
            "kind": "thing" if isthing else "stuff",
            "share": f"{100 * pixels.get(name, 0) / total:.2g} %" if total else DASH,
        }
        for name, colour, isthing in zip(space.names, space.colours, space.isthing, strict=True)
    ]
    splits = []
    for split in SPLITS:
        ids = dataset.ids(split)
        splits.append({"name": split, "images": len(ids), "groups": len({dataset.group(one) for one in ids})})
    return {
        "name": dataset.name,
        "origin": {key: value for key, value in dataset.origin.items() if isinstance(value, str | int | float)},
        "sha256": dataset.sha256,
        "classes": classes,
        "shares": {one["name"]: one["share"] for one in classes},
        "splits": splits,
        "has_groups": any(split["groups"] != split["images"] for split in splits),
    }


def _headline(table: Table, comparison: Comparison | None) -> dict:
    """The answer in four numbers: the best method, its lead, what it costs, and the floor it stands above."""
    scored = [row for row in table.rows if "miou" in row.run.scores]
    if not scored:
        return {}
    best, floors = scored[0], [row for row in scored if row.run.is_floor]
    rivals = [row for row in scored[1:] if not row.run.is_floor]
    headline = {"best": best, "miou": best.cells[0].text, "floor": floors[0] if floors else None}
    if rivals:
        second = rivals[0]
        headline["second"] = second
        headline["lead"] = f"{best.run.scores['miou'] - second.run.scores['miou']:.3f}"
        headline["verdict"] = _verdict(second) if comparison else ""
    texts = {column.key: cell.text for cell, column in zip(best.cells, table.columns, strict=True)}
    return headline | {"latency": texts["latency_ms"], "fit": texts["fit_seconds"]}


def _verdict(row: Row) -> str:
    if row.estimate is None or row.estimate.p_value is None:
        return ""
    return "real" if row.estimate.is_real else "not clear"


def _comparison_line(row: Row, table: Table) -> dict:
    """One line of the comparison with what is drawn beside the score: a whisker of the interval, and the verdict."""
    top = max((one.estimate.interval.high for one in table.rows if one.estimate), default=1.0)
    best = next((one.run.scores.get("miou") for one in table.rows if one.is_best), None)
    line = {"row": row, "cells": list(zip(row.cells, table.columns, strict=True)), "whisker": None, "behind": None}
    if row.estimate and "miou" in row.run.scores:
        interval, scale = row.estimate.interval, 100 / max(top, 1e-9)
        line["whisker"] = {
            "low": round(interval.low * scale, 2),
            "high": round(interval.high * scale, 2),
            "at": round(row.run.scores["miou"] * scale, 2),
            "text": str(interval),
        }
        if row.estimate.behind is not None and best is not None:
            behind = row.estimate.behind
            line["behind"] = {
                "difference": signed(row.run.scores["miou"] - best),
                "interval": f"{signed(-behind.high)} to {signed(-behind.low)}",
                "verdict": _verdict(row),
                "p": f"{row.estimate.p_value:.3f}" if row.estimate.p_value >= 0.001 else "< 0.001",
            }
    return line


def signed(value: float) -> str:
    """A difference of scores with its sign.

    Examples
    --------
    >>> signed(-0.0531), signed(0.02), signed(-0.0001)
    ('−0.053', '+0.020', '0.000')
    """
    text = f"{abs(value):.3f}"
    return text if float(text) == 0 else ("−" if value < 0 else "+") + text


def _group_table(ordered: Sequence[Run]) -> list[tuple[str, int, list[Cell]]]:
    images = {group: count for run in ordered for group, count in run.group_images.items()}
    if not 2 <= len(images) <= MAX_GROUPS or max(images.values()) < 2:  # groups of one image are no groups
        return []
    names = sorted(images)
    cells = heat_table(names, [run.group_miou for run in ordered])
    return [(name, images[name], row) for name, row in zip(names, cells, strict=True)]


def _confusion(run: Run, classes: Sequence[str]) -> dict:
    """One panel: the matrix as a picture of one pixel per cell, with names and numbers over it where they fit."""
    pixels, across = confusion_matrix(run, classes)
    shares = row_shares(pixels)
    shown = np.argwhere(np.nan_to_num(shares) >= 0.005).tolist() if len(classes) <= MAX_NUMBERED else []
    numbers = [{"row": i, "column": j, "text": round(100 * shares[i, j]), "strong": shares[i, j] > 0.75} for i, j in shown]
    is_named = len(classes) <= MAX_NAMED
    gutter = min(130, 12 + 6 * max(len(name) for name in across)) if is_named else 0
    return {
        "run": run,
        "picture": pictures.heat(shares),
        "width": CELL_PX * len(across),
        "height": CELL_PX * len(classes),
        "gutter": gutter,
        "down": list(classes) if is_named else [],
        "across": across if is_named else [],
        "numbers": numbers,
    }


def _reliability(run: Run) -> dict:
    """One panel: a bar for each bin that has pixels, as high as its accuracy; the more pixels, the deeper its colour."""
    most = max(one["pixels"] for one in run.reliability)
    bars = [
        {
            "x": round(PLOT_PX * one["low"], 2),
            "width": round(PLOT_PX * (one["high"] - one["low"]), 2),
            "height": round(PLOT_PX * one["accuracy"], 2),
            "opacity": round(0.25 + 0.75 * (one["pixels"] / most) ** 0.5, 2),
            "text": f"{one['pixels']:.0f} pixels: confidence {one['confidence']:.3f}, accuracy {one['accuracy']:.3f}",
        }
        for one in run.reliability
        if one["pixels"]
    ]
    return {"run": run, "bars": bars, "ece": f"{run.scores['ece']:.3f}" if "ece" in run.scores else DASH}


def _samples(dataset: Dataset, ordered: Sequence[Run], counts: Counts, runs: Sequence[Run]) -> list[dict]:
    """For each kept test image: the photo, and each method's layer with its mIoU on that image alone.

    The truth stands in front of the first method of its form: classes, objects, or both.
    """
    kept = {one for run in ordered for one in run.samples}
    scores = miou(counts.intersection, counts.union)  # (M, N)
    position = {run.key: index for index, run in enumerate(runs)}
    samples = []
    for one in [name for name in dataset.ids("test") if name in kept]:
        sample = dataset.sample("test", one)
        index = counts.images.index(one) if one in counts.images else None
        classes = pictures.mask(dataset.label_space.paint(sample.truth.semantic(dataset.label_space)))
        tiles, truths = [], set()
        for run in ordered:
            layer = pictures.layer(run.samples[one]) if one in run.samples else None
            kept_truth = run.true_sample(one)
            truth = pictures.layer(kept_truth) if kept_truth else pictures.Layer(classes, is_drawn=False)
            if layer and truth not in truths:
                truths.add(truth)
                tiles.append({"run": None, "layer": truth, "miou": ""})
            score = float("nan") if index is None else scores[position[run.key], index]
            tiles.append({"run": run, "layer": layer, "miou": DASH if np.isnan(score) else f"{score:.2f}"})
        samples.append({"id": one, "photo": pictures.photo(sample.image), "tiles": tiles})
    return samples


def _balanced(count: int, *, most: int = 7) -> int:
    """How many of `count` tiles stand beside each other, so that the rows are equally long.

    Examples
    --------
    >>> _balanced(10), _balanced(7), _balanced(15)
    (5, 7, 5)
    """
    return -(-count // -(-count // most))


def _provenance(run: Run) -> dict:
    """What a result can be traced to."""
    model = run.model
    return {
        "run": run,
        "kind": model.get("kind", DASH),
        "fit_key": model.get("fit_key", ""),
        "seed": model.get("seed", DASH),
        "threads": model.get("threads", DASH),
        "best_epoch": model.get("best_epoch", DASH),
        "fit": json.dumps(model.get("fit", {}), indent=1, sort_keys=True) if model.get("fit") else "",
        "search": run.search,
    }


def _markup(svg: str | None) -> Markup | None:
    return Markup(svg) if svg else None  # drawn here, so it is no text to escape
