"""A part of a real street scene, and a prediction for it that is mostly right."""

import zipfile

import cv2
import numpy as np
import pytest

from tests.project import ROOT

ARCHIVE = ROOT.parent / "shared/data/CamVid.zip"


def real_crop(height, width):
    """The middle of a validation picture of CamVid, and its labels."""
    if not ARCHIVE.is_file():
        pytest.skip("the CamVid archive is not beside this checkout: ../shared/data/CamVid.zip")
    with zipfile.ZipFile(ARCHIVE) as archive:
        folders = {}
        for folder in ("CamVid/val/", "CamVid/valannot/"):
            name = min(name for name in archive.namelist() if name.startswith(f"{folder}0016E5_08001"))
            folders[folder] = np.frombuffer(archive.read(name), np.uint8)
    image = cv2.imdecode(folders["CamVid/val/"], cv2.IMREAD_COLOR_RGB)
    labels = cv2.imdecode(folders["CamVid/valannot/"], cv2.IMREAD_UNCHANGED)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    window = np.s_[top : top + height, left : left + width]
    return image[window], labels[window]


def unsure(labels, num_classes, seed=0):
    """A prediction that knows the truth, blurred and with noise in patches and pixels."""
    rng = np.random.default_rng(seed)
    height, width = labels.shape
    logits = []
    for index in range(num_classes):
        patches = rng.standard_normal((height // 16 + 2, width // 16 + 2)).astype(np.float32)
        blurred = cv2.GaussianBlur((labels == index).astype(np.float32), (0, 0), 5)
        logits.append(6 * blurred + cv2.resize(patches, (width, height)) + rng.standard_normal((height, width)))
    return softmax(np.stack(logits))


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=0))
    return (odds / odds.sum(axis=0)).astype(np.float32)
