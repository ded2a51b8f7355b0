"""The part of the report that says what the data are: classes, sizes, sheets of pictures, and what the gate found."""

import math
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from pipeline.gate.page import findings_in
from pipeline.insight import ALL, AREAS, VOID
from pipeline.report import pictures
from pipeline.report.runs import read_csv
from pipeline.report.tables import DASH
from pipeline.splits import SPLITS
from pipeline.structures import LabelSpace

MOST_SIZES = 3  # named of each split


def data_section(folder: Path, preview: Path, label_space: LabelSpace) -> dict:
    """What page.html names of the data set; empty parts where a file is not there.

    Parameters
    ----------
    folder : data/insight
    preview : the sheet of the augmentation policy
    """
    rows = read_csv(folder / "classes.csv")
    void = {row["split"]: float(row["share"] or 0) for row in rows if row["class"] == VOID and row["split"] != ALL}
    return {
        "balance": _balance(rows, label_space) if rows else [],
        "void": {split: _percent(share) for split, share in void.items()} if any(void.values()) else {},
        "sizes": _sizes(read_csv(folder / "sizes.csv")),
        "truth": pictures.sheet(folder / "truth.jpg"),
        "augmented": pictures.sheet(preview),
        "findings": Markup(findings_in(folder / "gate.html")),  # made by a template that escapes what it is given
    }


def _balance(rows: Sequence[dict[str, str]], label_space: LabelSpace) -> list[dict]:
    """A row for each class: its share of the pixels and its images in each split, its segments and how large they are."""
    found = {(row["split"], row["class"]): row for row in rows}
    largest = max((float(row["area_95"]) for row in rows if row["split"] == ALL and row.get("area_95")), default=1.0)
    lines = []
    for name, colour, isthing in zip(label_space.names, label_space.colours, label_space.isthing, strict=True):
        whole = found[ALL, name]
        cells = [_cell(found.get((split, name))) for split in SPLITS]
        segments, images = int(whole["segments"]), int(whole["images"])
        lines.append(
            {
                "name": name,
                "colour": "#{:02x}{:02x}{:02x}".format(*colour),
                "kind": "thing" if isthing else "stuff",
                "cells": cells,
                "per_image": f"{segments / images:.1f}" if images else DASH,
                "area": _area(whole, largest) if segments else None,
            }
        )
    return lines


def _cell(row: dict[str, str] | None) -> dict:
    """A class in a split; `is_missing` where no image has it."""
    if row is None:
        return {"share": None, "text": DASH, "images": None, "is_missing": False}
    share, images = float(row["share"] or 0), int(row["images"])
    return {"share": share, "text": _percent(share), "deep": math.sqrt(share), "images": images, "is_missing": not images}


def _area(row: dict[str, str], largest: float) -> dict:
    """Quantiles as places along a logarithmic line from 1 px to the largest, in %, and as text."""
    values = dict(zip(AREAS, (float(row[name]) for name in AREAS), strict=True))
    places = {name: round(100 * math.log(max(1.0, value)) / math.log(max(2.0, largest)), 1) for name, value in values.items()}
    texts = {name: short(value) for name, value in values.items()}
    return {
        "low": min(100.0, places["area_05"]),
        "high": min(100.0, places["area_95"]),
        "at": min(100.0, places["area_50"]),
        "median": values["area_50"],
        "text": f"{texts['area_05']} to {texts['area_95']}",
        "half": texts["area_half"],
        "half_value": values["area_half"],
    }


def _sizes(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """Split -> how large its images are, in words."""
    said = {}
    for split in SPLITS:
        here = [(int(row["images"]), int(row["width"]), int(row["height"])) for row in rows if row["split"] == split]
        if len(here) == 1:
            said[split] = "all {1}×{2}".format(*here[0])
        elif here:
            small, large = (choose(here, key=lambda one: one[1] * one[2]) for choose in (min, max))
            most = [f"{width}×{height} ({images})" for images, width, height in here[:MOST_SIZES] if images > 1]
            often = f"; most often {', '.join(most)}" if most else ""
            said[split] = f"{len(here)} sizes, {small[1]}×{small[2]} to {large[1]}×{large[2]}{often}"
    return said


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.0f} %"


def short(value: float) -> str:
    """An area in px with two digits.

    Examples
    --------
    >>> short(7.0), short(1234.0), short(96500.0), short(2.5e6)
    ('7', '1.2k', '96k', '2.5M')
    """
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.2g}{name}" if value < 100 * unit else f"{value / unit:.0f}{name}"
    return f"{value:.0f}"
