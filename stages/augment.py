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
    given = {"short_side": params.augment.short_side, "encode_above_gib": params.augment.encode_above_gib}
    arrays.write(Dataset(Path("data/dataset")), folder, policy=policy, **given)
    written = arrays.TrainingArrays(folder)
    train, val = written.split("train"), written.split("val")
    preview.contact_sheet(train, folder / "preview.png", label_space=written.label_space, policy=policy, seed=params.seed)
    sizes = len(set(train.sizes))
    print(f"augment: {len(train)} train and {len(val)} val pictures, {sizes} sizes in train, stored as {written.storage}")


if __name__ == "__main__":
    run(main)
