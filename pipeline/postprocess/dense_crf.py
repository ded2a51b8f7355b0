"""Fully connected conditional random field: pixels near each other and of like colour should have one class."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from pipeline.postprocess._gaussian_filters import ExactFilter, LatticeFilter, PictureFilter
from pipeline.postprocess._postprocess import Example, Postprocess
from pipeline.structures import LabelSpace, SemanticMap

# the thetas first: settings that differ in their weights alone follow each other and share the kernels
DEEPLAB = {"theta_alpha": 49.0, "theta_beta": 5.0, "appearance_weight": 4.0, "smoothness_weight": 3.0}
# the corners of the coarse search, and the factor of a fine step: half the distance between the corners, as a ratio
COARSE = {"appearance_weight": (2.5, 10.0), "theta_alpha": (50.0, 100.0), "theta_beta": (3.0, 10.0)}
EXACT_PIXELS = 64 * 64  # up to here the appearance kernel is the full matrix, 64 MiB
FIT_IMAGES = 12
WINDOW_PX = 480  # of a larger picture `fit` needs a window of this side
_BLOCK = 16  # classes filtered at a time: what a filter needs beside its input then does not grow with the classes
_CHUNK = 1 << 16  # values normalised at a time: few enough that the work stays in the processor's cache


class DenseCRF(Postprocess):
    """Mean field in a fully connected CRF with an appearance kernel, a smoothness kernel and the Potts model.

    The energy of a labelling x is sum_i -log p_i(x_i) + sum_{i<j} [x_i != x_j] k_ij; for pixels at s with colours c in 0..255
    k_ij = appearance_weight N(exp(-|s_i - s_j|^2 / (2 theta_alpha^2) - |c_i - c_j|^2 / (2 theta_beta^2)))
    + smoothness_weight N(exp(-|s_i - s_j|^2 / (2 theta_gamma^2))).
    N is the symmetric normalisation of the authors' code of 2013: K becomes D^-1/2 K D^-1/2, where D has the row sums of K, so
    that a weight means the same in flat and in busy regions. A pixel sends itself no message, as in algorithm 1 (the authors'
    code leaves that term in). A class of probability 0 stays impossible.

    Parameters
    ----------
    iterations : of mean field (DeepLab: 10)
    appearance_weight, theta_alpha, theta_beta : a number, pixels, grey levels
        None: what `fit` finds; without it 4, 49 and 5, as in the script that DeepLab's authors published for LargeFOV.
    smoothness_weight : None: 3 (DeepLab), or 0 where `fit` finds that better
    theta_gamma : pixels (DeepLab: 3)

    Notes
    -----
    The smoothness kernel is exact but for a cut at 5 theta_gamma, and so is the appearance kernel up to 64 x 64 pixels: within
    1e-4 of brute force (the most was 5e-5, over smooth pictures, textures, noise and a photograph of 48 x 40 and 64 x 64).
    Larger pictures take the permutohedral lattice, as the authors' code does. On crops of CamVid, 128 x 96, 99.2 to 99.8 % of
    the pixels then get the same class as by brute force (82 to 90 % have it before); probabilities differ by 0.0004 to 0.0016
    on average, 99.9 % of them by less than 0.11, the largest by 0.28. `benchmarks/dense_crf.py` measures that.

    Time grows with the classes and with the cells of the lattice, of which busy pictures and small thetas need more: 480 x 360
    with 11 classes takes 0.4 to 0.6 s of one core for photographs of CamVid, and up to 2.9 s for noise, where nearly all pixels
    have cells of their own (as bad as it gets); with 150 classes 7 and 27 s. Memory: four times the probabilities and the
    lattice; there 0.44 GB for such a photograph and 0.65 GB for noise, where the probabilities are 0.1 GB. A photograph
    enlarged to 2000 x 1500 takes 11 s and 1.4 GB with 11 classes, busier ones more. `fit` takes two minutes for 12 pictures of
    480 x 360; larger ones are cut to WINDOW_PX (`needed`).

    References
    ----------
    Kraehenbuehl and Koltun 2011, Efficient inference in fully connected CRFs, arXiv:1210.5644: eq. 3 and algorithm 1.
    Kraehenbuehl and Koltun 2013, Parameter learning and convergent inference for dense random fields: the code.
    Chen et al. 2015, DeepLab, arXiv:1412.7062, section 5: 10 iterations, the search from coarse to fine.
    """

    def __init__(
        self,
        label_space: LabelSpace,
        *,
        iterations: int = 10,
        appearance_weight: float | None = None,
        theta_alpha: float | None = None,
        theta_beta: float | None = None,
        smoothness_weight: float | None = None,
        theta_gamma: float = 3.0,
    ):
        super().__init__(label_space)
        searched = {
            "appearance_weight": appearance_weight,
            "theta_alpha": theta_alpha,
            "theta_beta": theta_beta,
            "smoothness_weight": smoothness_weight,
        }
        _check_options(searched | {"theta_gamma": theta_gamma}, iterations)
        self.iterations, self.theta_gamma = iterations, theta_gamma
        self.fixed = {name: value for name, value in searched.items() if value is not None}
        self.options = DEEPLAB | self.fixed
        self.fit_images = FIT_IMAGES if len(self.fixed) < len(DEEPLAB) else 0

    def __call__(self, image, prediction):
        _check_prediction(image, prediction)
        return next(self._solutions(image, prediction, [self.options]))

    def needed(self, example: Example, index: int) -> Example:
        """At most WINDOW_PX on a side, at a place that changes with the index; a small picture whole."""
        _check_prediction(example.image, example.prediction)
        cut = []
        for side, ratio in zip(example.labels.shape, (0.7549, 0.5698), strict=True):  # the R2 sequence fills the square evenly
            start = int(max(0, side - WINDOW_PX) * ((index + 1) * ratio % 1))
            cut.append(slice(start, start + WINDOW_PX))
        window = tuple(cut)
        labels, probabilities = example.prediction.labels, example.prediction.probabilities
        prediction = SemanticMap(labels[window].copy(), probabilities[:, *window].copy())
        return Example(example.image[window].copy(), prediction, example.labels[window].copy())

    def fit(self, examples: Sequence[Example]) -> dict:
        """Search the options left open for the best mIoU over all pixels of `examples`, coarse to fine.

        First no CRF and smoothness alone; then the corners of `COARSE`; then half a step to either side of the best of these,
        option by option; at last the best without smoothness: at most 17 settings, each a row of `self.search`. Of equals the
        first wins. Where no pixel is labelled there is nothing to find: {}. Examples are used whole, as `needed` left them.
        """
        for example in examples:
            _check_prediction(example.image, example.prediction)
        self.search, self.options = [], DEEPLAB | self.fixed
        is_open = [name for name in DEEPLAB if name not in self.fixed]
        if not is_open or all((one.labels == self.label_space.void).all() for one in examples):
            return {}
        self._try(self._grid({"appearance_weight": (0.0,), "smoothness_weight": (0.0, DEEPLAB["smoothness_weight"])}), examples)
        self._try(self._grid(COARSE), examples)
        for name, (low, high) in COARSE.items():
            step = math.sqrt(high / low)
            centre = self._best(with_appearance=True)
            self._try(self._grid({name: (_round(centre[name] / step), _round(centre[name] * step))}, centre), examples)
        self._try(self._grid({"smoothness_weight": (0.0,)}, self._best()), examples)
        best = self._best()
        self.options = {name: best[name] for name in DEEPLAB}
        return {name: best[name] for name in is_open}

    def _grid(self, values: dict[str, Iterable[float]], around: dict | None = None) -> list[dict]:
        """Every combination of the values of open options; the others as in `around`, else as they are."""
        choices = {name: values[name] for name in DEEPLAB if name in values and name not in self.fixed}
        centre = {name: (around or self.options)[name] for name in DEEPLAB}
        return [centre | dict(zip(choices, chosen, strict=True)) for chosen in itertools.product(*choices.values())]

    def _best(self, *, with_appearance: bool = False) -> dict:
        rows = [row for row in self.search if row["appearance_weight"] or not with_appearance]
        return max(rows or self.search, key=lambda row: row["miou"])

    def _try(self, settings: list[dict], pictures: Sequence[Example]) -> None:
        """Add a row to `self.search` for each setting that does not stand there yet."""
        tried = {_essence(row) for row in self.search}
        settings = [one for key, one in {_essence(one): one for one in settings}.items() if key not in tried]
        counts = np.zeros((len(settings), 3, self.label_space.num_classes), np.int64)
        for picture in pictures:
            solved = self._solutions(picture.image, picture.prediction, settings)
            for count, one in zip(counts, solved, strict=True):
                count += self._count(one.labels, picture.labels)
        self.search += [one | {"miou": _miou(*count)} for one, count in zip(settings, counts, strict=True)]

    def _count(self, predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(3, C): pixels right, in the truth and in the prediction of each class; void pixels count nowhere."""
        is_labelled = labels != self.label_space.void
        labels, predicted = labels[is_labelled], predicted[is_labelled]
        chosen = (labels[labels == predicted], labels, predicted)
        return np.stack([np.bincount(one, minlength=self.label_space.num_classes) for one in chosen])

    def _solutions(self, image: np.ndarray, prediction: SemanticMap, settings: Iterable[dict]) -> Iterator[SemanticMap]:
        """The picture solved under each setting; the appearance kernel of the setting before is used again where it fits."""
        logs = _by_pixel(prediction.probabilities)
        with np.errstate(divide="ignore"):
            np.log(logs, out=logs)  # the unary potentials, their sign turned
        smoothness = _normalised(PictureFilter(*prediction.shape, self.theta_gamma), len(logs))
        appearance, thetas = None, None
        for one in settings:
            if one["appearance_weight"] and thetas != (one["theta_alpha"], one["theta_beta"]):
                appearance = None  # frees the memory
                thetas = one["theta_alpha"], one["theta_beta"]
                appearance = _normalised(_appearance(image, *thetas), len(logs))
            pairs = [(one["appearance_weight"], appearance), (one["smoothness_weight"], smoothness)]
            pairs = [(weight, kernel) for weight, kernel in pairs if weight]
            if pairs:
                found = _mean_field(logs, pairs, self.iterations).T.reshape(prediction.probabilities.shape)
                yield SemanticMap.from_probabilities(np.ascontiguousarray(found), self.label_space)
            else:
                yield prediction


def _mean_field(logs: np.ndarray, kernels: Sequence[tuple], iterations: int) -> np.ndarray:
    """Algorithm 1: (N, C) log probabilities and pairs of weight and normalised kernel to (N, C) marginals."""
    count, num_classes = logs.shape
    own = sum(np.float32(weight) * np.minimum(kernel.own_weight(), 1) for weight, kernel in kernels)[:, None]
    step = max(1, _CHUNK // num_classes)
    chunks = [slice(start, start + step) for start in range(0, count, step)]
    blocks = [slice(start, start + _BLOCK) for start in range(0, num_classes, _BLOCK)]
    current, following = logs.copy(), np.empty_like(logs)
    for rows in chunks:
        _softmax(current[rows])
    for _ in range(iterations):
        for block in blocks:
            values = np.ascontiguousarray(current[:, block])
            messages = [(np.float32(weight), kernel.filter(values)) for weight, kernel in kernels]
            for rows in chunks:
                scores = logs[rows, block] - own[rows] * values[rows]  # a pixel sends itself no message
                for weight, message in messages:
                    scores += weight * message[rows]  # Potts: what agrees lowers the energy
                following[rows, block] = scores
                if block is blocks[-1]:
                    _softmax(following[rows])
        current, following = following, current
    return current


def _softmax(scores: np.ndarray) -> np.ndarray:
    """Over the columns of (n, C), in place; many times as fast as reductions along a short axis."""
    largest = scores[:, 0].copy()
    for column in range(1, scores.shape[1]):
        np.maximum(largest, scores[:, column], out=largest)
    scores -= largest[:, None]
    np.exp(scores, out=scores)
    scores /= np.einsum("nc->n", scores)[:, None]  # not by BLAS, see _gaussian_filters
    return scores


def _appearance(image: np.ndarray, theta_alpha: float, theta_beta: float) -> ExactFilter | LatticeFilter:
    height, width = image.shape[:2]
    features = np.empty((5, height, width), np.float32)
    features[:3] = image.transpose(2, 0, 1) / np.float32(theta_beta)
    features[3] = np.arange(width) / theta_alpha
    features[4] = (np.arange(height) / theta_alpha)[:, None]
    build = ExactFilter if height * width <= EXACT_PIXELS else LatticeFilter
    return build(features.reshape(5, -1))


def _normalised(kernel, count: int):
    """The kernel over the square roots of its row sums, from both sides."""
    kernel.scale(kernel.filter(np.ones((count, 1), np.float32))[:, 0] ** -0.5)
    return kernel


def _by_pixel(probabilities: np.ndarray) -> np.ndarray:
    """(C, H, W) to a new (H * W, C)."""
    return probabilities.reshape(len(probabilities), -1).T.copy(order="C")


def _essence(setting: dict) -> tuple:
    """What of a setting has an effect: without appearance its thetas have none."""
    weights = setting["appearance_weight"], setting["smoothness_weight"]
    return (*weights, setting["theta_alpha"], setting["theta_beta"]) if weights[0] else weights


def _miou(right: np.ndarray, labelled: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the classes that occur at all; a class absent from truth and prediction is left out."""
    union = labelled + predicted - right
    return float((right[union > 0] / union[union > 0]).mean())


def _round(value: float) -> float:
    return float(f"{value:.2g}")


def _check_options(numbers: dict, iterations: int) -> None:
    faults = [] if iterations >= 1 else [f"iterations is {iterations}, wanted at least 1"]
    for name, value in numbers.items():
        is_weight = name.endswith("weight")
        if value is not None and not (0 <= value < math.inf and (is_weight or value > 0)):
            faults.append(f"{name} is {value}, wanted a finite number {'of at least 0' if is_weight else 'above 0'}")
    if faults:
        raise ValueError(f"dense_crf: {'; '.join(faults)}")


def _check_prediction(image: np.ndarray, prediction: SemanticMap) -> None:
    if getattr(prediction, "probabilities", None) is None:
        raise ValueError("dense_crf: the prediction has no class probabilities; use it after a method that gives them")
    if image.shape[:2] != prediction.shape:
        raise ValueError(f"dense_crf: the picture is {image.shape[:2]} and the prediction {prediction.shape} (height, width)")
