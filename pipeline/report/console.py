"""The comparison on the terminal. Imports neither matplotlib nor torch: it ends every `make`, and should cost nothing."""

from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from pipeline.report.compare import Comparison
from pipeline.report.tables import DASH, Row, Table

SHOWN = (  # what a narrow terminal lacks goes from the end
    "miou",
    "miou_over_seeds",
    "mask_ap",
    "latency_ms",
    "fit_seconds",
    "pq",
    "pixel_accuracy",
    "parameters",
)


def console_table(table: Table, comparison: Comparison | None, *, report: Path, console: Console | None = None) -> None:
    """Print the comparison, one line per method, and where the report lies.

    Parameters
    ----------
    table, comparison : of the same runs
    report : the page to point at
    console : where to print; the terminal where left out
    """
    console = console or Console()
    keys = list(SHOWN)
    printed = _table(table, keys)
    unbounded = console.options.update(width=1000)
    while len(keys) > 1 and console.measure(printed, options=unbounded).maximum > console.width:
        keys.pop()
        printed = _table(table, keys)
    console.print(printed)
    for note in _notes(table, comparison):
        console.print(note, style="dim", highlight=False)
    console.print(f"report: {report}", highlight=False, soft_wrap=True)


def _table(table: Table, keys: list[str]) -> RichTable:
    printed = RichTable(box=None, header_style="bold", pad_edge=False)
    printed.add_column("Method", no_wrap=True)
    chosen = [index for key in keys for index, column in enumerate(table.columns) if column.key == key]
    for index in chosen:
        printed.add_column(table.columns[index].title, justify="right", no_wrap=True)
        if table.columns[index].key == "miou":
            printed.add_column("95 % interval", justify="right", no_wrap=True)
            printed.add_column("vs best", justify="right", no_wrap=True)
    for row in table.rows:
        printed.add_row(*_line(row, table, chosen), style="dim" if row.run.is_floor else "bold" if row.is_best else "")
    return printed


def _line(row: Row, table: Table, chosen: list[int]) -> list[Text]:
    line = [Text(row.run.key + (" (floor)" if row.run.is_floor else ""))]
    for index in chosen:
        cell = row.cells[index]
        line.append(Text(cell.text + (" †" if cell.note else "")))
        if table.columns[index].key == "miou":
            line += [Text(_interval(row)), Text(_behind(row))]
    return line


def _interval(row: Row) -> str:
    estimate = row.estimate
    return str(estimate.interval) if estimate else DASH


def _behind(row: Row) -> str:
    if row.is_best:
        return "best"
    if row.estimate is None or row.estimate.p_value is None:
        return DASH
    return "behind" if row.estimate.is_real else "not clear"


def _notes(table: Table, comparison: Comparison | None) -> list[str]:
    notes = []
    if comparison:
        notes.append(f"interval, vs best: {comparison.resamples} resamples of {comparison.num_units} test {comparison.unit}s")
    if any(cell.note for row in table.rows for cell in row.cells):
        notes.append("† measured while the machine was busy")
    return notes
