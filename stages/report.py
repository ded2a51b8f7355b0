"""Compare all methods of params.yaml: one page, and tables for `dvc plots`. `python -m stages.report`."""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from stages._run import run


def main(argv: list[str] | None = None) -> None:
    from pipeline import parent_death

    parent_death.die_with_parent()
    argparse.ArgumentParser(description=__doc__).parse_args(argv)

    from pipeline.check import load_params
    from pipeline.dataset import Dataset
    from pipeline.report import page, plots
    from pipeline.report.compare import compare
    from pipeline.report.runs import find_runs, read_counts
    from pipeline.report.tables import comparison_table

    params = load_params()
    dataset, out = Dataset(Path("data/dataset")), Path("report")
    runs = find_runs(params.methods, "runs")
    counts = read_counts(runs)
    comparison = compare(counts, seed=params.seed)
    table = comparison_table(runs, comparison)
    page.write_page(
        out / "index.html",
        dataset=dataset,
        runs=runs,
        counts=counts,
        comparison=comparison,
        table=table,
        insight=Path("data/insight"),
        preview=Path("data/train/preview.png"),
    )
    plots.write_curves(runs, out / "curves.csv")
    plots.write_confusion(runs, dataset.label_space.names, out / "confusion.csv")
    print(f"report: {len(runs)} methods, {out / 'index.html'}")
    _send_what_is_missing()


def _send_what_is_missing() -> None:
    """Give the tracking store the runs it lacks; the report is written already, and no tracking fault can spoil it."""
    if find_spec("mlflow") is None:
        return
    from pipeline import tracking

    for name, outcome in tracking.sync().items():
        if outcome.startswith("failed"):
            print(f"tracking: {name}: {outcome}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
