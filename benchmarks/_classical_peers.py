"""The plain ways to do what the classical methods do, with scikit-image, SciPy, scikit-learn and NumPy as in their manuals.

Each takes an (H, W, 3) uint8 picture and gives an (H, W) map of segments.
"""

import cv2
import numpy as np
from scipy import ndimage
from skimage import color, feature, filters, graph, measure, segmentation
from skimage.util import img_as_float
from sklearn.cluster import KMeans


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


def kmeans(image: np.ndarray, *, clusters: int) -> np.ndarray:
    """Clusters of one picture, found on all of its pixels."""
    pixels = color.rgb2lab(image).reshape(-1, 3)
    return KMeans(clusters, n_init=3, random_state=0).fit_predict(pixels).reshape(image.shape[:2])


def nearest_centres(image: np.ndarray, *, centres: np.ndarray) -> np.ndarray:
    """The nearest of given centres for each pixel."""
    pixels = color.rgb2lab(image).reshape(-1, 3)
    return ((pixels[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1).reshape(image.shape[:2])


def watershed_gradient(image: np.ndarray) -> np.ndarray:
    slope = filters.sobel(filters.gaussian(color.rgb2gray(image), 2))
    markers = measure.label(slope == ndimage.minimum_filter(slope, 15))
    return segmentation.watershed(slope, markers)


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
    regions = segmentation.slic(image, n_segments=superpixels, compactness=compactness, start_label=0)
    colours = color.rgb2lab(image)
    return graph.cut_threshold(regions, graph.rag_mean_color(colours, regions), merge)


def edges(image: np.ndarray, *, operator: str) -> np.ndarray:
    """Closed regions between the strongest edges, a share 0.3 of all pixels."""
    strength = getattr(filters, operator)(filters.gaussian(color.rgb2gray(image), 1))
    return measure.label(strength < np.quantile(strength, 0.7), connectivity=1)


def flood(image: np.ndarray, *, tolerance: float) -> np.ndarray:
    light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return segmentation.flood(light, tuple(side // 2 for side in light.shape), tolerance=tolerance)


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
    return feature.multiscale_basic_features(img_as_float(image), sigma_min=0.7, sigma_max=10, channel_axis=-1)
