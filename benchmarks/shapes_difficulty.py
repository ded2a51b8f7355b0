"""How far a random forest on local filters gets on the generated data set `shapes`.

    python -m benchmarks.shapes_difficulty [--images N]

The filters are those of the interactive labelling tools: smoothed intensity, gradient and Hessian eigenvalues of each
colour at several scales. The data set promises that this forest stays below a test mIoU of 0.60.
"""

import argparse
from pathlib import Path

import numpy as np

from pipeline.datasets.shapes import LABEL_SPACE, read
from pipeline.sources import Record

MARK = 0.60


def features(image: np.ndarray) -> np.ndarray:
    """(H*W, F) float32: the responses of the filters of an (H, W, 3) uint8 image, sigma 1 to 16 px."""
    from skimage.feature import multiscale_basic_features

    responses = multiscale_basic_features(image, channel_axis=-1, sigma_min=1, sigma_max=16)
    return responses.reshape(-1, responses.shape[-1])


def pixel_sample(records: list[Record], *, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, F) features and (N,) labels of `pixels` random pixels of each record."""
    chosen_features, chosen_labels = [], []
    for index, record in enumerate(records):
        sample = record.decode()
        labels = sample.truth.semantic(LABEL_SPACE).ravel()
        chosen = np.random.default_rng([0, index]).choice(labels.size, pixels, replace=False)
        chosen_features.append(features(sample.image)[chosen])
        chosen_labels.append(labels[chosen])
    return np.concatenate(chosen_features), np.concatenate(chosen_labels)


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """(C,) IoU of each class of a (C, C) table of pixels, truth by row; NaN where neither side has the class."""
    hit = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - hit
    return np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)


def forest_iou(*, images: int, pixels: int, trees: int) -> np.ndarray:
    """(C,) IoU on the test split of a forest fitted on `images` training pictures; counts summed over the split."""
    from sklearn.ensemble import RandomForestClassifier

    source = read(Path(), train=images)
    train = [record for record in source if record.split == "train"]
    test = [record for record in source if record.split == "test"]
    forest = RandomForestClassifier(trees, min_samples_leaf=2, random_state=0, n_jobs=-1)
    forest.fit(*pixel_sample(train, pixels=pixels))
    classes = LABEL_SPACE.num_classes
    confusion = np.zeros((classes, classes), np.int64)
    for record in test:
        sample = record.decode()
        truth = sample.truth.semantic(LABEL_SPACE).ravel().astype(np.int64)
        predicted = forest.predict(features(sample.image))
        confusion += np.bincount(truth * classes + predicted, minlength=classes**2).reshape(classes, classes)
    return class_iou(confusion)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shapes_difficulty", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=120, help="training pictures (default: %(default)s)")
    parser.add_argument("--pixels", type=int, default=500, help="pixels drawn from each (default: %(default)s)")
    parser.add_argument("--trees", type=int, default=40, help="trees of the forest (default: %(default)s)")
    options = parser.parse_args(argv)
    scores = forest_iou(images=options.images, pixels=options.pixels, trees=options.trees)
    for name, score in zip(LABEL_SPACE.names, scores, strict=True):
        print(f"{name:<10} {score:.3f}")
    mean = float(np.nanmean(scores))
    print(f"{'mIoU':<10} {mean:.3f}  (mark: below {MARK})")
    return 0 if mean < MARK else 1


if __name__ == "__main__":
    raise SystemExit(main())
