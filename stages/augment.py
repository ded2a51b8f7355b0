"""Decode and resize train and val once into training arrays, and draw the augmentation policy: `python -m stages.augment`."""

import argparse
from pathlib import Path

from stages._run import run


def main(argv: list[str] | None = None) -> None:
    from pipeline import parent_death

    parent_death.die_with_parent()
    argparse.ArgumentParser(description=__doc__).parse_args(argv)

    from pipeline import arrays, preview
    from pipeline.check import load_params
    from pipeline.dataset import Dataset

    params = load_params()
    policy, folder = params.augment.policy.model_dump(), Path("data/train")
    arrays.write(Dataset(Path("data/dataset")), folder, short_side=params.augment.short_side, policy=policy)
    written = arrays.TrainingArrays(folder)
    train, val = written.split("train"), written.split("val")
    preview.contact_sheet(train, folder / "preview.png", label_space=written.label_space, policy=policy, seed=params.seed)
    print(f"augment: {len(train)} train and {len(val)} val pictures, {len(set(train.sizes))} sizes in train")


if __name__ == "__main__":
    run(main)
