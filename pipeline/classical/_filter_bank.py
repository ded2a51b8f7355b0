"""The bank of filters at several scales by which pixel classifiers describe a pixel."""

from collections.abc import Iterator, Sequence
from itertools import chain

import cv2
import numpy as np
from skimage.feature import local_binary_pattern

from pipeline.classical._method import grey, lab

BORDER = cv2.BORDER_REFLECT_101
PLANES = 9  # of each scale
PATTERNS = 10  # kinds of local binary pattern: uniform with 0..8 neighbours as light, and all others
STRIP_PIXELS = 1 << 19  # filtered at once: about 0.14 GB of planes, whatever the size of the picture
STEP = np.array([-0.5, 0, 0.5], np.float32)  # central difference
KEEP = np.ones(1, np.float32)


class FilterBank:
    """What a pixel's surroundings look like at several scales, in the manner of ilastik and of trainable Weka segmentation.

    At every scale the Gaussian means of L, a and b (CIE Lab) and, of L alone, the gradient's magnitude, the eigenvalues of the
    Hessian (larger first) and of the structure tensor, and the Laplacian. Then, where asked for, how frequent each kind of
    local binary pattern is nearby, and the pixel's place. Borders are mirrored.

    Parameters
    ----------
    sigmas : px, standard deviations of the Gaussians; at least one, all above 0
    texture_sigma : px, of the Gaussian that weighs the local binary patterns nearby; 0 leaves them out
    place : adds x and y as shares of the width and the height

    References
    ----------
    Berg et al. 2019, ilastik, Nature Methods 16; Arganda-Carreras et al. 2017, Trainable Weka Segmentation, Bioinformatics
    33(15); Ojala et al. 2002, Multiresolution gray-scale and rotation invariant texture classification, IEEE TPAMI 24(7).
    """

    def __init__(self, *, sigmas: Sequence[float], texture_sigma: float, place: bool):
        if not len(sigmas) or not all(0 < one <= 100 for one in sigmas) or not 0 <= texture_sigma <= 100:
            raise ValueError(
                f"filter bank: sigmas {list(sigmas)}, texture_sigma {texture_sigma}; give above 0 to 100 px, and 0 to 100 px"
            )
        self.sigmas, self.texture_sigma, self.place = tuple(sigmas), texture_sigma, place
        widest = max(*self.sigmas, texture_sigma)
        self.halo = _radius(widest) + 3  # px around a pixel that its values depend on

    def __len__(self) -> int:
        return PLANES * len(self.sigmas) + PATTERNS * (self.texture_sigma > 0) + 2 * self.place

    def planes(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB to (D, H, W) float32, a plane for each filter."""
        return self._part(image, 0, len(image))

    def strips(self, image: np.ndarray, *, pixels: int = STRIP_PIXELS) -> Iterator[tuple[slice, np.ndarray]]:
        """The same planes by strips of rows, so that memory is bounded: (rows, (D, h, W) float32).

        Parameters
        ----------
        pixels : of a strip, without the rows around it that it needs; it has 16 rows at least
        """
        height, width = image.shape[:2]
        rows = max(pixels // width, 16)
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            yield slice(top, bottom), self._part(image, top, bottom)

    def _part(self, image: np.ndarray, top: int, bottom: int) -> np.ndarray:
        height, width = image.shape[:2]
        first, last = max(top - self.halo, 0), min(bottom + self.halo, height)
        part = image[first:last]
        inside = slice(top - first, bottom - first)
        planes = np.empty((len(self), bottom - top, width), np.float32)
        filled = self._fill(planes, part, inside)
        if self.place:
            planes[filled] = (np.arange(width, dtype=np.float32) + 0.5) / width
            planes[filled + 1] = ((np.arange(top, bottom, dtype=np.float32) + 0.5) / height)[:, None]
        return planes

    def _fill(self, planes: np.ndarray, part: np.ndarray, inside: slice) -> int:
        """Write the planes of colour and texture; how many."""
        light, *colours = cv2.split(lab(part))
        slopes = [cv2.Sobel(light, -1, *order, borderType=BORDER) for order in ((1, 0), (0, 1))]
        products = [slopes[first] * slopes[second] for first, second in ((0, 0), (0, 1), (1, 1))]
        found = (plane for sigma in self.sigmas for plane in _at_scale(light, colours, products, sigma))
        if self.texture_sigma:
            found = chain(found, _patterns(part, self.texture_sigma))
        filled = 0
        for filled, plane in enumerate(found, start=1):
            planes[filled - 1] = plane[inside]
        return filled


def _at_scale(
    light: np.ndarray, colours: Sequence[np.ndarray], products: Sequence[np.ndarray], sigma: float
) -> Iterator[np.ndarray]:
    """The planes of one scale; `products` are of the derivatives of `light`: across twice, across and down, down twice."""
    smooth = gaussian(light, sigma)
    across, down = (cv2.sepFilter2D(smooth, -1, *kernels, borderType=BORDER) for kernels in ((STEP, KEEP), (KEEP, STEP)))
    hessian = (
        cv2.sepFilter2D(across, -1, STEP, KEEP, borderType=BORDER),
        cv2.sepFilter2D(across, -1, KEEP, STEP, borderType=BORDER),
        cv2.sepFilter2D(down, -1, KEEP, STEP, borderType=BORDER),
    )
    yield smooth
    yield from (gaussian(colour, sigma) for colour in colours)
    yield _length(across, down)
    yield from _eigenvalues(*hessian)
    yield from _eigenvalues(*(gaussian(product, sigma) for product in products))
    yield hessian[0] + hessian[2]


def gaussian(plane: np.ndarray, sigma: float) -> np.ndarray:
    """(H, W) float32 smoothed by a Gaussian of `sigma` px, cut at four of them as SciPy's is."""
    size = 2 * _radius(sigma) + 1
    return cv2.GaussianBlur(plane, (size, size), sigma, borderType=BORDER)


def _radius(sigma: float) -> int:
    return int(4 * sigma + 0.5)


def _eigenvalues(xx: np.ndarray, xy: np.ndarray, yy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the symmetric matrix at each pixel, the larger first."""
    middle, spread = (xx + yy) / 2, _length((xx - yy) / 2, xy)
    return middle + spread, middle - spread


def _length(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    return np.sqrt(across * across + down * down)  # the last bits of cv2.magnitude depend on where in memory its result lies


def _patterns(image: np.ndarray, sigma: float) -> Iterator[np.ndarray]:
    """How frequent each kind of local binary pattern is around a pixel, PATTERNS planes of 0..1."""
    kinds = local_binary_pattern(grey(image), 8, 1, "uniform")
    for kind in range(PATTERNS):
        yield gaussian((kinds == kind).astype(np.float32), sigma)
