"""Check the data, split it, write the canonical data set and what it is made of: `python -m stages.convert`."""

import argparse
from pathlib import Path

from stages._run import run


def main(argv: list[str] | None = None) -> None:
    from pipeline import parent_death

    parent_death.die_with_parent()
    argparse.ArgumentParser(description=__doc__).parse_args(argv)

    from pipeline.check import load_params
    from pipeline.dataset_writer import write
    from pipeline.datasets import READERS
    from pipeline.files import read_json
    from pipeline.table import look_up

    params = load_params()
    raw, given = Path("data/raw"), params.dataset
    index = raw / "source.json"
    if not index.is_file():
        raise ValueError(f"{index}: no such file; run the download stage (dvc repro download)")
    dataset = write(
        look_up(READERS, given.reader, kind="reader")(raw, **given.options),
        "data/dataset",
        splits=given.splits.model_dump(),
        seed=params.seed,
        rules=params.gate.rules,
        origin={"reader": given.reader, "options": given.options, **read_json(index)},
        root=raw,
        insight_folder="data/insight",
    )
    counts = ", ".join(f"{len(dataset.ids(split))} {split}" for split in ("train", "val", "test"))
    print(f"data/dataset: {dataset.name}, {dataset.label_space.num_classes} classes, images: {counts}")


if __name__ == "__main__":
    run(main)
