"""The comparison as tables of finished cells, for the page, the console and the csv file alike."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.report.compare import Comparison, Estimate
from pipeline.report.runs import Run

DASH = "–"
HIGHER, LOWER, UNKNOWN = 1, -1, 0  # which way is better


@dataclass(frozen=True)
class Column:
    """One quantity of the comparison.

    Parameters
    ----------
    key : its name in the files
    title : heading, with the unit
    meaning : one sentence, shown when pointed at
    better : HIGHER, LOWER or UNKNOWN
    """

    key: str
    title: str
    meaning: str
    better: int = HIGHER


@dataclass(frozen=True)
class Cell:
    """What stands in a table: `text` to read, `value` to sort by (None sorts last), `note` where there is something to add."""

    text: str
    value: float | None = None
    is_best: bool = False
    note: str = ""


@dataclass(frozen=True)
class Row:
    run: Run
    cells: tuple[Cell, ...]  # one per column
    estimate: Estimate | None
    is_best: bool


@dataclass(frozen=True)
class Table:
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]  # the highest mIoU first


SCORES = (
    Column("miou", "mIoU", "mean over the classes of intersection / union, counted over the whole test split"),
    Column("pixel_accuracy", "Pixel accuracy", "share of labelled pixels that got their class"),
    Column("mean_pixel_accuracy", "Mean pixel accuracy", "share of each class's pixels found, averaged over the classes"),
    Column("mean_dice", "Mean Dice", "mean over the classes of 2 intersection / (truth + prediction)"),
    Column("frequency_weighted_iou", "FW IoU", "IoU averaged with each class's share of pixels as weight"),
    Column("boundary_iou", "Boundary IoU", "IoU of the bands along the outlines, 2 % of the diagonal wide"),
    Column("boundary_f1", "Boundary F1", "share of the outlines that meet the true ones, at 0.75 % of the diagonal"),
    Column("ece", "ECE", "expected calibration error: how far confidence is from the share of right answers", LOWER),
    Column(
        "oracle_miou",
        "Majority oracle mIoU",
        "no score of the method: mIoU if each of its segments had its most frequent true class, image by image",
    ),
    Column(
        "variation_of_information",
        "VoI",
        "variation of information of segments and objects, in bits, whatever the class",
        LOWER,
    ),
    Column("adapted_rand_error", "Rand error", "1 - F1 of pairs of pixels in one segment, whatever the class", LOWER),
    Column("boundary_recall", "Boundary recall", "share of the true borders with a segment's border within 2 px"),
    Column("box_ap", "Box AP", "average precision of boxes, averaged over IoU 0.50 to 0.95"),
    Column("mask_ap", "Mask AP", "average precision of object masks, averaged over IoU 0.50 to 0.95"),
    Column("mask_ap50", "Mask AP50", "average precision of object masks at IoU 0.50"),
    Column("pq", "PQ", "panoptic quality: SQ times RQ"),
    Column("sq", "SQ", "segmentation quality: mean IoU of the matched segments"),
    Column("rq", "RQ", "recognition quality: F1 of the matched segments"),
)
_PARTS = {
    "pq_things": ("PQ things", "panoptic quality of the things"),
    "sq_things": ("SQ things", "segmentation quality of the things"),
    "rq_things": ("RQ things", "recognition quality of the things"),
    "pq_stuff": ("PQ stuff", "panoptic quality of the stuff"),
    "sq_stuff": ("SQ stuff", "segmentation quality of the stuff"),
    "rq_stuff": ("RQ stuff", "recognition quality of the stuff"),
}
_FOUND = {  # of masks or boxes
    "ap50": ("AP50", "average precision of {} at IoU 0.50"),
    "ap75": ("AP75", "average precision of {} at IoU 0.75"),
    "ap_small": ("AP small", "average precision of {} of objects up to 32 x 32 px"),
    "ap_medium": ("AP medium", "average precision of {} of objects from 32 x 32 to 96 x 96 px"),
    "ap_large": ("AP large", "average precision of {} of objects from 96 x 96 px on"),
    "ar1": ("AR1", "share of the objects found with the first of the {} of each class in an image"),
    "ar10": ("AR10", "share of the objects found with ten {} of each class in an image"),
    "ar100": ("AR100", "share of the objects found with a hundred {} of each class in an image"),
    "ar_small": ("AR small", "share of the objects up to 32 x 32 px found with a hundred {} of each class"),
    "ar_medium": ("AR medium", "share of the objects from 32 x 32 to 96 x 96 px found with a hundred {} of each class"),
    "ar_large": ("AR large", "share of the objects from 96 x 96 px on found with a hundred {} of each class"),
    "proposal_ar10": ("proposals AR10", "share of the objects found with ten {} in an image, whatever the class"),
    "proposal_ar100": ("proposals AR100", "share of the objects found with a hundred {} in an image, whatever the class"),
    "proposal_ar1000": ("proposals AR1000", "share of the objects found with a thousand {} in an image, whatever the class"),
}
DETAILS = (  # scores that stand in a table of their own
    *(Column(key, title, meaning) for key, (title, meaning) in _PARTS.items()),
    *(
        Column(f"{kind}_{key}", f"{kind.capitalize()} {title}", meaning.format(plural))
        for kind, plural in (("mask", "masks"), ("box", "boxes"))
        for key, (title, meaning) in _FOUND.items()
        if f"{kind}_{key}" not in {column.key for column in SCORES}
    ),
)
OVER_SEEDS = Column("miou_over_seeds", "mIoU over seeds", "mean ± standard deviation over the seeds it was fitted with")
COSTS = (
    Column("parameters", "Parameters", "numbers that training can change", LOWER),
    Column("multiply_adds", "Multiply-adds", "multiplications with addition, for one image", LOWER),
    Column("latency_ms", "Latency ms", "time for one image, from array to prediction", LOWER),
    Column("images_per_s", "Images/s", "throughput", HIGHER),
    Column("peak_memory_mb", "Memory MB", "highest memory of the process while it predicts", LOWER),
    Column("fit_seconds", "Fit time", "time from the training arrays to the fitted method", LOWER),
)


def comparison_table(runs: Sequence[Run], comparison: Comparison | None) -> Table:
    """Every method with its scores, but for `DETAILS`, and costs, the highest mIoU first; what a method lacks is a dash.

    Parameters
    ----------
    runs : the methods, in the order of params.yaml, which decides between equals
    comparison : of the same runs in the same order; None where nothing could be resampled
    """
    columns = score_columns(runs)
    repeated = (OVER_SEEDS,) if any(run.seeds for run in runs) else ()
    estimates = comparison.estimates if comparison else [None] * len(runs)
    marks = {column.key: _best(column, runs) for column in columns}
    rows = [
        Row(
            run,
            (
                *(_score_cell(run.scores.get(column.key), marks[column.key]) for column in columns),
                *(_seeds_cell(run) for _ in repeated),
                *(_cost_cell(run, column) for column in COSTS),
            ),
            estimate,
            is_best=comparison is not None and comparison.best == index,
        )
        for index, (run, estimate) in enumerate(zip(runs, estimates, strict=True))
    ]
    return Table((*columns, *repeated, *COSTS), tuple(sorted(rows, key=lambda row: -_sortable(row.run.scores.get("miou")))))


def score_columns(runs: Sequence[Run]) -> tuple[Column, ...]:
    """The scores that any run has: known ones in their fixed order, then new ones by name, whose better side is unknown."""
    present = {name for run in runs for name in run.scores}
    known = tuple(column for column in SCORES if column.key in present)
    new = sorted(present - {column.key for column in (*SCORES, *DETAILS)})
    return (*known, *(Column(name, name.replace("_", " "), f"{name} of metrics.json", UNKNOWN) for name in new))


def detail_table(runs: Sequence[Run]) -> Table:
    """The scores of objects and segments in detail, the methods in the order of `runs`; no column where no run has one."""
    present = {name for run in runs for name in run.scores}
    columns = tuple(column for column in DETAILS if column.key in present)
    marks = [_best(column, runs) for column in columns]
    rows = (
        tuple(_score_cell(run.scores.get(column.key), mark) for column, mark in zip(columns, marks, strict=True))
        for run in runs
    )
    return Table(columns, tuple(Row(run, cells, None, is_best=False) for run, cells in zip(runs, rows, strict=True)))


def heat_table(rows: Sequence[str], columns: Sequence[dict[str, float | None]]) -> list[list[Cell]]:
    """Cells of scores in 0..1, the best of each row marked.

    Parameters
    ----------
    rows : R names
    columns : C methods, each with name -> score
    """
    cells = []
    for name in rows:
        values = [column.get(name) for column in columns]
        best = max((round(value, 3) for value in values if value is not None), default=None)
        cells.append([_score_cell(value, best) for value in values])
    return cells


def seconds(value: float) -> str:
    """A duration to read.

    Examples
    --------
    >>> seconds(0.012), seconds(7.26), seconds(133), seconds(5400)
    ('0.01 s', '7.3 s', '2 min 13 s', '1 h 30 min')
    """
    if value < 9.95:
        return f"{value:.2f} s" if value < 0.995 else f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def scaled(value: float) -> str:
    """A count to read.

    Examples
    --------
    >>> scaled(0), scaled(950), scaled(24_300), scaled(4_210_000), scaled(1.5e9)
    ('0', '950', '24.3 k', '4.21 M', '1.50 G')
    """
    for size, letter in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}" if value / size >= 100 else f"{value / size:#.3g}{letter}"
    return f"{value:.0f}"


def plain(value: float) -> str:
    """Three digits that count.

    Examples
    --------
    >>> plain(0.0012), plain(0.1234), plain(7.26), plain(63.24), plain(1234.5)
    ('< 0.01', '0.123', '7.26', '63.2', '1234')
    """
    if 0 < value < 0.01:
        return "< 0.01"
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


FORMATS: dict[str, Callable[[float], str]] = {"parameters": scaled, "multiply_adds": scaled, "fit_seconds": seconds}


def _cost_cell(run: Run, column: Column) -> Cell:
    measured = run.fit_costs if column.key == "fit_seconds" else run.costs
    value = measured.get(column.key)
    if value is None:
        return Cell(DASH)
    is_clocked = column.key not in ("parameters", "multiply_adds")
    note = ""
    if is_clocked and measured.get("under_load"):
        note = f"measured under load: load average {measured.get('load_average', 0):.1f}"
    return Cell(FORMATS.get(column.key, plain)(value), float(value), note=note)


def _seeds_cell(run: Run) -> Cell:
    values = [row["miou"] for row in run.seeds if "miou" in row]
    if len(values) < 2:
        return Cell(DASH)
    mean = statistics.mean(values)
    return Cell(f"{mean:.3f} ± {statistics.stdev(values):.3f} ({len(values)})", mean)


def _score_cell(value: float | None, best: float | None) -> Cell:
    if value is None:
        return Cell(DASH)
    return Cell(f"{value:.3f}", value, is_best=best is not None and round(value, 3) == best)


def _best(column: Column, runs: Sequence[Run]) -> float | None:
    """The best printed value of a column; floors do not compete, and where all are equal there is nothing to mark."""
    values = {round(run.scores[column.key], 3) for run in runs if not run.is_floor and column.key in run.scores}
    if column.better == UNKNOWN or len(values) < 2:
        return None
    return max(values) if column.better == HIGHER else min(values)


def _sortable(value: float | None) -> float:
    return -math.inf if value is None else value
