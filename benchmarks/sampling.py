"""Training samples: reading the arrays against decoding and resizing the files each time. `python -m benchmarks.sampling`"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

from benchmarks._side_by_side import medians, print_table
from pipeline import arrays
from pipeline.dataset import Dataset
from pipeline.datasets import shapes
from pipeline.resizing import resize_labels
from pipeline.structures import LabelSpace, Sample


class Files:
    """Some samples as PNG or JPEG images and PNG index masks, and, for `arrays.write`, as a data set."""

    name = "benchmark"
    has_things = False  # the files side reads no objects

    def __init__(self, folder: Path, label_space: LabelSpace, samples: list[Sample], image_files: list[Path] | None):
        self.label_space, self._samples = label_space, {sample.id: sample for sample in samples}
        self.images = image_files or [folder / f"{name}.png" for name in self._samples]
        self.masks = [folder / f"{name}_mask.png" for name in self._samples]
        for sample, image, mask in zip(samples, self.images, self.masks, strict=True):
            if image_files is None:
                cv2.imwrite(str(image), sample.image[..., ::-1])
            cv2.imwrite(str(mask), sample.truth.semantic(label_space))

    def ids(self, split: str) -> list[str]:
        return list(self._samples)[: None if split == "train" else 1]

    def sample(self, split: str, id: str) -> Sample:
        return self._samples[id]


def collect(folder: Path, count: int) -> Files:
    """The first training samples of data/dataset where it is there, else generated ones of 480 x 360."""
    root = Path("data/dataset")
    if (root / "dataset.json").is_file():
        dataset = Dataset(root)
        ids = dataset.ids("train")[:count]
        samples = [dataset.sample("train", one) for one in ids]
        return Files(folder, dataset.label_space, samples, [dataset.image_file("train", one) for one in ids])
    source = shapes.read(Path(shapes.__file__), train=count, val=1, test=1, height=360, width=480)
    samples = [record.decode() for record in source.records if record.split == "train"]
    return Files(folder, source.label_space, samples, None)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--short-side", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        files = collect(Path(folder), arguments.pictures)
        arrays.write(files, Path(folder) / "arrays", short_side=arguments.short_side, policy={})
        split = arrays.TrainingArrays(Path(folder) / "arrays").split("train")

        def from_arrays() -> list[tuple[np.ndarray, np.ndarray]]:
            return [(split.image(index).copy(), split.target(index).labels.copy()) for index in range(len(split))]

        def from_files() -> list[tuple[np.ndarray, np.ndarray]]:
            return [_decode(*pair, *size) for *pair, size in zip(files.images, files.masks, split.sizes, strict=True)]

        for one, other in zip(from_arrays(), from_files(), strict=True):
            if not all(np.array_equal(*pair) for pair in zip(one, other, strict=True)):
                raise ValueError("the arrays differ from the decoded and resized files")
        native = files.sample("train", split.ids[0]).shape
        print(
            f"{len(split)} pictures of {native[1]} x {native[0]} to a short side of {arguments.short_side}; all samples equal"
        )
        sides = {"arrays, copied": from_arrays, "files, decoded and resized": from_files}
        print_table(medians(sides, repeats=arguments.repeats), amount=len(split), unit="samples/s")


def _decode(image_file: Path, mask_file: Path, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    image = cv2.imread(str(image_file), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    labels = cv2.imread(str(mask_file), cv2.IMREAD_UNCHANGED)
    interpolation = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation), resize_labels(labels, height, width)


if __name__ == "__main__":
    main()
