"""The dense CRF against a brute-force mean field: processor seconds, and by how much they differ.

`OMP_NUM_THREADS=1 python -m benchmarks.dense_crf --camvid CamVid.zip`; without it, a picture of scikit-image's.
The predictions are made from the labels: blurred as by a coarse network, with noise in patches and in single pixels.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from pipeline import archive
from pipeline.datasets import camvid
from pipeline.label_space import LabelSpace
from pipeline.postprocess.dense_crf import DEEPLAB, DenseCRF
from pipeline.structures import SemanticMap

SETTINGS = [{}, {"theta_beta": 3.0}, {"theta_alpha": 80.0, "theta_beta": 13.0}]
CROP = 96, 128
SAMPLE = 16  # pixels for which brute force is timed: few enough for the processor's cache
NUM_CLASSES = 11
SPACE = LabelSpace(tuple(f"class {index}" for index in range(NUM_CLASSES)), ((0, 0, 0),) * NUM_CLASSES, (False,) * NUM_CLASSES)


def kernels(image: np.ndarray, rows: slice, *, theta_alpha: float, theta_beta: float) -> list[np.ndarray]:
    """Some rows of the appearance and of the smoothness kernel's matrix, as the paper has them; nothing of the pipeline's."""
    places = np.indices(image.shape[:2], np.float64).reshape(2, -1).T
    colours = image.reshape(-1, 3).astype(np.float64)
    found = []
    for features in (np.hstack([places / theta_alpha, colours / theta_beta]), places / 3):
        squares = np.square(features).sum(axis=1)
        distances = squares[rows, None] + squares - 2 * features[rows] @ features.T
        found.append(np.exp(-0.5 * distances.astype(np.float32)))
    return found


def brute_force(image: np.ndarray, probabilities: np.ndarray, options: dict) -> np.ndarray:
    """(C, H, W) marginals after 10 iterations with the matrix of all pairs."""
    weights = options["appearance_weight"], options["smoothness_weight"]
    thetas = {name: options[name] for name in ("theta_alpha", "theta_beta")}
    logs = np.log(probabilities.reshape(len(probabilities), -1).T)
    blocks = [slice(start, start + 256) for start in range(0, len(logs), 256)]
    sums = np.hstack([[part.sum(axis=1) for part in kernels(image, rows, **thetas)] for rows in blocks])
    matrix = np.empty((len(logs), len(logs)), np.float32)
    for rows in blocks:
        parts = zip(weights, kernels(image, rows, **thetas), sums, strict=True)
        matrix[rows] = sum(weight * part / np.sqrt(total[rows, None] * total) for weight, part, total in parts)
    np.fill_diagonal(matrix, 0)
    current = np.exp(logs)
    for _ in range(10):
        scores = logs + matrix @ current
        current = np.exp(scores - scores.max(axis=1, keepdims=True))
        current /= current.sum(axis=1, keepdims=True)
    return current.T.reshape(probabilities.shape)


def unsure(labels: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """(C, H, W) probabilities of a prediction that is mostly right, blurred at the edges, and noisy."""
    rng = np.random.default_rng(seed)
    height, width = labels.shape
    planes = []
    for index in range(NUM_CLASSES):
        blurred = cv2.GaussianBlur((labels == index).astype(np.float32), (0, 0), 5)
        patches = rng.standard_normal((height // 16 + 2, width // 16 + 2)).astype(np.float32)
        grain = rng.standard_normal((height, width)).astype(np.float32)
        planes.append(6 * blurred + cv2.resize(patches, (width, height)) + grain)
    odds = np.exp(np.stack(planes))
    return odds / odds.sum(axis=0)


def pictures(archive_file: Path | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Three validation pictures with their labels, or one with made-up ones, 480 x 360."""
    if archive_file is None:
        from skimage import data, segmentation

        image = cv2.resize(data.astronaut(), (480, 360), interpolation=cv2.INTER_AREA)
        return [(image, (segmentation.slic(image, 40, start_label=0) % NUM_CLASSES).astype(np.uint8))]
    with tempfile.TemporaryDirectory() as folder:
        archive.extract(archive_file, Path(folder))
        records = [record for record in camvid.read(Path(folder)).records if record.split == "val"]
        samples = [record.decode() for record in records[::35]]
    return [(sample.image, sample.truth.semantic(camvid.LABEL_SPACE)) for sample in samples]


def print_differences(found: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Lattice against brute force on the middle of each picture."""
    print(f"Against brute force on crops of {CROP[1]} x {CROP[0]}:")
    print("| picture | alpha, beta | same class | prediction itself | mean difference | 99.9 % below | largest |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for number, (image, labels) in enumerate(found):
        top, left = ((side - part) // 2 for side, part in zip(labels.shape, CROP, strict=True))
        window = np.s_[top : top + CROP[0], left : left + CROP[1]]
        probabilities = unsure(labels[window])
        given = SemanticMap.from_probabilities(probabilities, SPACE)
        for setting in SETTINGS:
            options = DEEPLAB | setting
            exact = brute_force(image[window], probabilities, options)
            solved = DenseCRF(SPACE, **options)(image[window], given)
            difference = np.abs(solved.probabilities - exact)
            same, before = (np.mean(one.labels == exact.argmax(axis=0)) for one in (solved, given))
            print(
                f"| {number} | {options['theta_alpha']:g}, {options['theta_beta']:g} | {same:.2%} | {before:.1%} "
                f"| {difference.mean():.4f} | {np.quantile(difference, 0.999):.2f} | {difference.max():.2f} |"
            )


def print_times(image: np.ndarray, labels: np.ndarray, *, repeats: int) -> None:
    """10 iterations with all that is built for them; of brute force what some pixels receive in one, scaled up."""
    probabilities = unsure(labels)
    given = SemanticMap.from_probabilities(probabilities, SPACE)
    current = np.ascontiguousarray(probabilities.reshape(NUM_CLASSES, -1).T)
    print(f"{image.shape[1]} x {image.shape[0]}, {NUM_CLASSES} classes, 10 iterations, processor seconds:")
    print("| alpha, beta | dense_crf | brute force |\n| --- | ---: | ---: |")
    for setting in SETTINGS:
        options = DEEPLAB | setting
        thetas = {name: options[name] for name in ("theta_alpha", "theta_beta")}
        crf = DenseCRF(SPACE, **options)
        seconds = _processor_seconds(lambda crf=crf: crf(image, given), repeats)
        part = _processor_seconds(lambda t=thetas: [one @ current for one in kernels(image, slice(SAMPLE), **t)], repeats)
        whole = part * 10 * len(current) / SAMPLE
        print(f"| {options['theta_alpha']:g}, {options['theta_beta']:g} | {seconds:.2f} | {whole:,.0f} |")


def _processor_seconds(run: Callable[[], object], repeats: int) -> float:
    """The median; processor time, since a shared machine's clock says little about one core."""
    seconds = []
    for _ in range(repeats + 1):  # the first warms up
        started_at_s = time.process_time()
        run()
        seconds.append(time.process_time() - started_at_s)
    return statistics.median(seconds[1:])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--camvid", type=Path, help="CamVid.zip")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args(argv)
    cv2.setNumThreads(1)
    found = pictures(arguments.camvid)
    print_times(*found[0], repeats=arguments.repeats)
    print_differences(found)


if __name__ == "__main__":
    main()
