"""Windows, scales and mirror images: the same as worked out whole, in bounded memory."""

import json
import re

import cv2
import numpy as np
import pytest
import torch

from benchmarks.large_picture import measured
from pipeline import inference, sliding
from pipeline.models import NETWORKS
from pipeline.models.fcn_plain import FCNPlain
from pipeline.postprocess import POSTPROCESSES
from pipeline.training import fit
from tests.fake_instance_network import FakeInstanceNetwork
from tests.tiny import SPACE

STRIDE = 4
SIZES = [(1, 1), (37, 50), (64, 96), (5, 90)]


def write(folder, network, method, options, short_side=None):
    fit.save_network(folder, network)
    description = {"name": "small", "kind": "network", "method": method, "options": options, "short_side": short_side}
    description |= {"label_space": SPACE.to_json(), "mean": list(network.mean), "std": list(network.std)}
    (folder / "model.json").write_text(json.dumps(description))


@pytest.fixture
def method(tmp_path):
    """(short_side, prediction options) -> a fitted network of stride 4; always the same weights."""
    torch.manual_seed(0)
    network = FCNPlain(SPACE, widths=[4, 8])
    network(torch.rand(2, 3, 16, 16))  # moves the batch statistics
    torch.nn.init.normal_(network.head.bias)  # else classes tie where no feature is above 0

    def build(short_side=None, **predict):
        write(tmp_path, network, "fcn_plain", {"widths": [4, 8]}, short_side)
        return inference.load(tmp_path, predict=predict, device="cpu")

    return build


def picture(height, width):
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)


def shares(fitted, image):
    """(C, H, W) float64 of the network itself, the picture padded to its stride."""
    padded = np.pad(image, [(0, -side % STRIDE) for side in image.shape[:2]] + [(0, 0)])
    with torch.inference_mode():
        logits = fitted.network(fitted.network.normalised(torch.from_numpy(padded)[None]))["out"][0]
    return logits.softmax(dim=0).numpy()[:, : image.shape[0], : image.shape[1]].astype(np.float64)


def dense_merge(fitted, image, tops, lefts, window):
    """All windows summed in full, in double precision, and divided by the sum of their weights."""
    offsets = np.arange(window) - (window - 1) / 2
    gaussian = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * (window / 8) ** 2))
    sums, total = np.zeros((SPACE.num_classes, *image.shape[:2])), np.zeros(image.shape[:2])
    for top in tops:
        for left in lefts:
            part = np.s_[top : top + window, left : left + window]
            sums[:, *part] += gaussian * shares(fitted, image[part])
            total[part] += gaussian
    return sums / total


def assert_same(prediction, expected, *, tolerance=1e-5):
    assert np.abs(prediction.probabilities - expected).max() < tolerance
    assert np.array_equal(prediction.labels, expected.argmax(axis=0))


@pytest.mark.parametrize(
    "window, overlap, tops, lefts",
    [
        (16, 0.5, [0, 7, 14, 21], [0, 7, 14, 20, 27, 34]),  # 21 px by steps of at most 8, 34 px by 5 steps of 6.8
        (16, 0.0, [0, 10, 21], [0, 11, 23, 34]),
        (13, 0.0, [0, 10, 21], [0, 11, 23, 34]),  # rounded up to 16
        (32, 0.75, [0, 5], [0, 6, 12, 18]),
    ],
)
def test_windows_merge_as_a_plain_dense_sum_does(method, window, overlap, tops, lefts):
    image, fitted = picture(37, 50), method(window=window, overlap=overlap)
    expected = dense_merge(fitted, image, tops, lefts, -(-window // STRIDE) * STRIDE)
    assert np.abs(expected - shares(fitted, image)).max() > 0.01  # windows do change something here
    assert_same(fitted.segment(image), expected)


@pytest.mark.parametrize("options", [{}, {"flip": True}, {"scales": [0.5, 1.0]}])
@pytest.mark.parametrize("size", SIZES)
def test_one_window_is_no_window(method, size, options):
    image = picture(*size)
    covered, whole = method(window=96, **options).segment(image), method(**options).segment(image)
    assert np.array_equal(covered.probabilities, whole.probabilities)
    assert np.array_equal(covered.labels, whole.labels)


@pytest.mark.parametrize("short_side", [None, 24])
@pytest.mark.parametrize("size", SIZES[1:])
def test_scale_one_alone_is_the_network_itself_at_the_native_size(method, size, short_side):
    image = picture(*size)
    fitted = method(short_side, scales=[1.0])
    scale = short_side / min(size) if short_side else 1
    small = [round(side * scale) for side in size]
    scaled = image if short_side is None else cv2.resize(image, small[::-1], interpolation=3 if scale < 1 else 1)
    native = [cv2.resize(plane, size[::-1]) for plane in shares(fitted, scaled).astype(np.float32)]
    assert_same(fitted.segment(image), np.stack(native), tolerance=1e-6)


def test_scales_and_mirror_images_are_averaged(method):
    image, fitted = picture(32, 48), method(scales=[0.75, 1.0, 1.5], flip=True)
    found = []
    for height, width in ((24, 36), (32, 48), (48, 72)):
        scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if height < 32 else cv2.INTER_LINEAR)
        for step in (1, -1):
            planes = shares(fitted, scaled[:, ::step])[:, :, ::step]
            found.append([cv2.resize(np.ascontiguousarray(plane), (48, 32)) for plane in planes])
    assert_same(fitted.segment(image), np.mean(found, axis=0))


def test_scaled_sides_are_multiples_of_the_stride_so_that_no_padding_shows(method, monkeypatch):
    fitted, seen = method(scales=[0.6, 0.01], window=16), set()
    predict = fitted._predict
    monkeypatch.setattr(fitted, "_predict", lambda image: seen.add(image.shape[:2]) or predict(image))
    fitted.segment(picture(37, 50))
    assert seen == {(8, 8), (4, 4)}  # 9.6 px is nearer to 8 than to 12; at least one stride


@pytest.mark.parametrize("short_side", [None, 24, 41])
@pytest.mark.parametrize("size", SIZES)
def test_probabilities_sum_to_one_at_any_size(method, size, short_side):
    if short_side and size == (1, 1):
        short_side = 7
    prediction = method(short_side, window=16, overlap=0.3, scales=[0.5, 1.0, 1.25], flip=True).segment(picture(*size))
    assert prediction.probabilities.shape == (3, *size) and prediction.probabilities.dtype == np.float32
    assert np.abs(prediction.probabilities.sum(axis=0) - 1).max() < 1e-5
    assert np.array_equal(prediction.labels, prediction.probabilities.argmax(axis=0))


@pytest.mark.parametrize("window", [None, 8, 16])
@pytest.mark.parametrize("short_side", [None, 5, 24, 61])
def test_bands_are_resized_as_the_whole_is(method, short_side, window, monkeypatch):
    image, fitted = picture(37, 50), method(short_side, window=window)
    whole = fitted.segment(image)
    monkeypatch.setattr(sliding, "CHUNK_VALUES", 400)  # two rows of 50 px and 3 classes
    banded = fitted.segment(image)
    assert_same(banded, whole.probabilities)  # OpenCV rounds places to 1e-6
    if window and short_side:
        size = [round(side * short_side / 37) for side in image.shape[:2]]
        small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if short_side < 37 else cv2.INTER_LINEAR)
        planes = method(window=window).segment(small).probabilities
        assert_same(banded, np.stack([cv2.resize(plane, (50, 37)) for plane in planes]))


@pytest.mark.parametrize("short_side", [None, 24])
def test_of_a_huge_picture_only_labels_are_kept(method, short_side, monkeypatch):
    image, fitted = picture(37, 50), method(short_side, window=16)
    whole = fitted.segment(image)
    monkeypatch.setattr(sliding, "KEPT_VALUES", 3 * 37 * 50 - 1)
    prediction = fitted.segment(image)
    assert prediction.probabilities is None and np.array_equal(prediction.labels, whole.labels)
    monkeypatch.setattr(sliding, "KEPT_VALUES", 3 * 37 * 50)
    assert np.array_equal(fitted.segment(image).probabilities, whole.probabilities)


def test_a_postprocess_of_a_huge_picture_is_refused_before_any_work(method, monkeypatch):
    monkeypatch.setitem(POSTPROCESSES, "favour", "tests.fake_postprocess:Favour")
    monkeypatch.setattr(sliding, "KEPT_VALUES", 5549)
    fitted = method(window=16, postprocess=["favour"])
    monkeypatch.setattr(fitted, "_predict", lambda image: pytest.fail("it predicts first"))
    message = "small: predict.postprocess needs the class probabilities of the image, and those of 37 x 50 px and 3 classes"
    with pytest.raises(ValueError, match=message):
        fitted.segment(picture(37, 50))
    with pytest.raises(ValueError, match="more than the 5549 that are kept"):
        fitted._example(_Sample(picture(37, 50)), [])


def test_a_postprocess_that_moves_no_label_is_left_out_of_a_huge_picture(method, monkeypatch):
    image = picture(37, 50)
    plain = method(window=16).segment(image)
    fitted = method(window=16, postprocess=["temperature"])
    assert fitted.segment(image).probabilities is not None
    monkeypatch.setattr(sliding, "KEPT_VALUES", 5549)
    assert np.array_equal(fitted.segment(image).labels, plain.labels)
    found = fitted.fit_prediction(lambda count: [_Sample(image)])
    assert found["search"] == [] and found["options"]["postprocess"] == [{"name": "temperature", "options": {}}]


class _Sample:
    def __init__(self, image):
        self.image = image


@pytest.mark.parametrize("used", [{"window": 512}, {"scales": [1.0, 1.5]}, {"flip": True}])
def test_averaging_needs_probabilities_and_says_so(used, tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "fake", "tests.fake_instance_network:FakeInstanceNetwork")
    write(tmp_path, FakeInstanceNetwork(SPACE), "fake", {})
    [option] = used
    off = {"window": "null", "scales": "[1.0]", "flip": "false"}[option]
    message = f"small: predict.{option} averages class probabilities, and fake has none; set {option}: {off}"
    with pytest.raises(ValueError, match=re.escape(message)):
        inference.load(tmp_path, predict=used, device="cpu").segment(picture(16, 16))
    assert inference.load(tmp_path, device="cpu").segment(picture(16, 16)).shape == (16, 16)


def test_masks_beyond_memory_are_refused_before_they_are_made(tmp_path, monkeypatch):
    monkeypatch.setitem(NETWORKS, "fake", "tests.fake_instance_network:FakeInstanceNetwork")
    write(tmp_path, FakeInstanceNetwork(SPACE), "fake", {})
    method = inference.load(tmp_path, device="cpu")
    found = len(method.segment(picture(16, 16)))
    monkeypatch.setattr(inference, "MASK_BYTES", found * 16 * 16)
    assert len(method.segment(picture(16, 16))) == found > 0
    monkeypatch.setattr(inference, "MASK_BYTES", found * 16 * 16 - 1)
    with pytest.raises(
        ValueError, match=f"small: {found} masks of 16 x 16 px are more than the .* GiB that are kept; give smaller"
    ):
        method.segment(picture(16, 16))


def test_the_cost_is_that_of_all_passes(method):
    multiply_adds = {side: method().cost(side, side)["multiply_adds"] for side in (8, 16)}
    found = method(window=16, overlap=0.5, scales=[0.5, 1.0], flip=True).cost(40, 24)
    assert found["multiply_adds"] == 2 * 8 * (multiply_adds[8] + multiply_adds[16])  # 4 x 2 windows, and their mirror images
    assert found["parameters"] == method().cost(8, 8)["parameters"]
    assert method(window=16).cost(16, 8)["multiply_adds"] == method().cost(16, 8)["multiply_adds"]


@pytest.mark.parametrize(
    "options, message",
    [
        *(
            ({"overlap": value}, "predict.overlap: .* is no share of a window")
            for value in (1, 1.5, -0.1, float("nan"), True, "0.5")
        ),
        *(({"window": value}, "predict.window: .* is no number of pixels") for value in (0, -8, 1.5, True, "512")),
        *(
            ({"scales": value}, "predict.scales: .* is no list of factors above 0")
            for value in ([], [0], [-1.0], 1.0, ["1"], "1")
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        inference.segment_options(**options)


@pytest.mark.parametrize("overlap", [0, 0.5, 0.9, 0.999999])
@pytest.mark.parametrize("side, window", [(1, 1), (2, 1), (100, 7), (101, 64), (64, 64), (30, 64), (1000, 1)])
def test_windows_cover_every_pixel_and_overlap_as_asked(side, window, overlap):
    starts = sliding.starts(side, window, overlap)
    assert starts[0] == 0 and starts[-1] == max(0, side - window)
    steps = np.diff(starts)
    assert (steps > 0).all() and (steps <= max(1, np.ceil(window * (1 - overlap)))).all()
    total = np.zeros(side)
    for start, share in zip(starts, sliding.weights(side, window, overlap), strict=True):
        total[start : start + window] += share
    assert np.allclose(total, 1, atol=1e-6)


@pytest.mark.slow
def test_a_huge_picture_takes_the_stated_memory():
    side, classes, window = 12_000, 11, 512
    row = measured(side=side, classes=classes, window=window, overlap=0.0)
    stated = 3 * side**2 + side**2 + 4 * (classes * window * side + 5 * sliding.CHUNK_VALUES)
    network = 300 * 2**20  # for one window: 8 and 11 channels of 512 x 512 px are 21 MB
    assert row["peak_mb"] - row["libraries_mb"] < (stated + network) / 2**20
    assert row["peak_mb"] < 4 * classes * side**2 / 2**20  # the class probabilities alone, 6 GB
