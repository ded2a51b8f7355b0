"""The plain ways to do what the classical methods do, with scikit-image, SciPy, scikit-learn and NumPy as in their manuals.

Each takes an (H, W, 3) uint8 picture and gives an (H, W) map of segments.
"""

import cv2
import numpy as np
from scipy import ndimage
from skimage import color, feature, filters, graph, measure, segmentation
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture


def mean_threshold(image: np.ndarray) -> np.ndarray:
    light = color.rgb2gray(image)
    return light > light.mean()


def naive_mean_threshold(image: np.ndarray) -> np.ndarray:
    """The textbook's loop, which takes the mean anew for each pixel: quadratic in the number of pixels."""
    light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    out = np.zeros(light.shape, bool)
    for row in range(light.shape[0]):
        for column in range(light.shape[1]):
            out[row, column] = light[row, column] > np.mean(light)
    return out


def otsu(image: np.ndarray) -> np.ndarray:
    light = color.rgb2gray(image)
    return light > filters.threshold_otsu(light)


def multi_otsu(image: np.ndarray) -> np.ndarray:
    light = color.rgb2gray(image)
    return np.digitize(light, filters.threshold_multiotsu(light, classes=3))


def adaptive(image: np.ndarray, *, kind: str, window_px: int, offset: float) -> np.ndarray:
    light = color.rgb2gray(image)
    return light > filters.threshold_local(light, window_px, method=kind, offset=offset / 255)


def hysteresis(image: np.ndarray) -> np.ndarray:
    light = color.rgb2gray(image)
    return filters.apply_hysteresis_threshold(light, *filters.threshold_multiotsu(light, classes=3))


def kmeans(image: np.ndarray, *, clusters: int, space: str) -> np.ndarray:
    """Clusters of one picture, found on all of its pixels."""
    pixels = (color.rgb2lab(image) if space == "lab" else image / 255).reshape(-1, 3)
    return KMeans(clusters, n_init=3, random_state=0).fit_predict(pixels).reshape(image.shape[:2])


def gaussian_mixture(image: np.ndarray, *, components: int) -> np.ndarray:
    """Components of one picture, found on all of its pixels."""
    pixels = color.rgb2lab(image).reshape(-1, 3)
    return GaussianMixture(components, random_state=0).fit_predict(pixels).reshape(image.shape[:2])


def mean_shift(image: np.ndarray) -> np.ndarray:
    """OpenCV's filter on the whole picture, then the parts that are alike."""
    colours = cv2.pyrMeanShiftFiltering(cv2.cvtColor(image, cv2.COLOR_RGB2Lab), 8, 8 * 2.55, maxLevel=0)
    return measure.label(colours.astype(np.int64) @ [1 << 16, 1 << 8, 1], connectivity=1)


def watershed_gradient(image: np.ndarray) -> np.ndarray:
    """From the flat places, the relief in whole grey levels."""
    slope = filters.sobel(filters.gaussian(color.rgb2gray(image), 2))
    relief = np.round(255 * slope).astype(np.uint8)
    markers = measure.label(relief == ndimage.minimum_filter(relief, 15))
    return segmentation.watershed(relief, markers)


def watershed_distance(image: np.ndarray) -> np.ndarray:
    light = filters.gaussian(color.rgb2gray(image), 2)
    things = light > filters.threshold_otsu(light)
    distance = ndimage.distance_transform_edt(things)
    peaks = feature.peak_local_max(distance, min_distance=7, labels=measure.label(things))
    markers = np.zeros(distance.shape, int)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return segmentation.watershed(-distance, markers, mask=things)


def felzenszwalb(image: np.ndarray) -> np.ndarray:
    return segmentation.felzenszwalb(image, scale=100, sigma=0.8, min_size=50)


def slic_merge(image: np.ndarray, *, superpixels: int, compactness: float, merge: float) -> np.ndarray:
    """The compactness is in CIE Lab units, as in the paper: scikit-image divides by their span only the colours."""
    colours = color.rgb2lab(image)
    relative = compactness / (colours.max() - colours.min())
    regions = segmentation.slic(image, n_segments=superpixels, compactness=relative, start_label=0)
    return graph.cut_threshold(regions, graph.rag_mean_color(colours, regions), merge)


def edges(image: np.ndarray, *, operator: str) -> np.ndarray:
    """Regions between the strongest edges, a share 0.3 of all pixels, which go to the nearest region."""
    strength = getattr(filters, operator)(filters.gaussian(color.rgb2gray(image), 1))
    regions = measure.label(strength <= np.quantile(strength, 0.7), connectivity=1)
    return segmentation.expand_labels(regions, distance=max(regions.shape))


def canny(image: np.ndarray, *, threshold: float) -> np.ndarray:
    """Regions between the lines of Canny's detector, which go to the nearest region."""
    high = threshold * 4 * 2**0.5  # from the scale of scikit-image's Sobel filter to that of SciPy's, which its Canny uses
    lines = feature.canny(color.rgb2gray(image), 1, 0.4 * high, high)
    return segmentation.expand_labels(measure.label(~lines, connectivity=1), distance=max(lines.shape))


def flood(image: np.ndarray, *, tolerance: float) -> np.ndarray:
    colours = color.rgb2lab(filters.gaussian(image, 1, channel_axis=-1))
    start = tuple(side // 2 for side in image.shape[:2])
    is_near = (np.abs(colours - colours[start]) <= tolerance).all(axis=2)
    return segmentation.flood(is_near, start, connectivity=1)


def random_walker(image: np.ndarray) -> np.ndarray:
    """From the darkest and the lightest fifth."""
    light = color.rgb2gray(image)
    low, high = np.quantile(light, (0.2, 0.8))
    markers = np.zeros(light.shape, np.int32)
    markers[light < low], markers[light > high] = 1, 2
    return segmentation.random_walker(light, markers, beta=130, mode="cg_j")


def chan_vese(image: np.ndarray, *, iterations: int) -> np.ndarray:
    return segmentation.morphological_chan_vese(color.rgb2gray(image), iterations, init_level_set="checkerboard")


def geodesic_contour(image: np.ndarray, *, iterations: int) -> np.ndarray:
    slope = segmentation.inverse_gaussian_gradient(color.rgb2gray(image), sigma=2)
    start = np.zeros(slope.shape, np.int8)
    start[5:-5, 5:-5] = 1
    return segmentation.morphological_geodesic_active_contour(slope, iterations, init_level_set=start, balloon=-1)


def snake(image: np.ndarray, *, iterations: int) -> np.ndarray:
    height, width = image.shape[:2]
    turn = np.linspace(0, 2 * np.pi, 200)
    start = np.column_stack([height / 2 + 0.45 * height * np.sin(turn), width / 2 + 0.45 * width * np.cos(turn)])
    light = filters.gaussian(color.rgb2gray(image), 2)
    found = segmentation.active_contour(light, start, alpha=0.01, beta=0.1, gamma=0.01, max_num_iter=iterations)
    return measure.grid_points_in_poly(light.shape, found)


def grabcut(image: np.ndarray) -> np.ndarray:
    """OpenCV's own, on the whole picture: scikit-image has none."""
    height, width = image.shape[:2]
    box = round(0.1 * width), round(0.1 * height), round(0.8 * width), round(0.8 * height)
    mask, models = np.zeros(image.shape[:2], np.uint8), np.zeros((2, 1, 65))
    cv2.grabCut(np.ascontiguousarray(image[..., ::-1]), mask, box, *models, 5, cv2.GC_INIT_WITH_RECT)
    return mask % 2


def filter_bank(image: np.ndarray) -> np.ndarray:
    """Multi-scale features of every pixel, (H, W, D), as in scikit-image's example of a trainable segmentation."""
    return feature.multiscale_basic_features(image, sigma_min=0.7, sigma_max=6, workers=1, channel_axis=-1)
