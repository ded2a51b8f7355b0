"""Bring the source of the data set to data/raw: `python -m stages.download`."""

import argparse
from pathlib import Path

from stages._run import run


def main(argv: list[str] | None = None) -> None:
    from pipeline import parent_death

    parent_death.die_with_parent()
    argparse.ArgumentParser(description=__doc__).parse_args(argv)

    from pipeline.check import load_params
    from pipeline.download import INDEX, obtain
    from pipeline.files import read_json

    dataset = load_params().dataset
    obtain(dataset.source, "data/raw", sha256=dataset.sha256, downloads="downloads")
    files = read_json(Path("data/raw") / INDEX)["files"]
    print(f"data/raw: {len(files)} files of {dataset.source}")


if __name__ == "__main__":
    run(main)
