"""The predict half of an entry in params.yaml: what does not depend on the fit."""

import math
from collections.abc import Sequence
from pathlib import Path

from pipeline.files import read_json
from pipeline.table import with_options


def segment_options(
    *,
    flip: bool = False,
    window: int | None = None,
    overlap: float = 0.5,
    scales: Sequence[float] = (1.0,),
    postprocess: Sequence = (),
    instances: str | dict | None = "components",
    painting: dict | None = None,
) -> dict:
    """The predict half of a network's entry, checked and completed.

    Parameters
    ----------
    flip : bool
        Average the class probabilities of the image and of its mirror image.
    window : px of the image scaled to the training size, rounded up to the network's stride
        Cover a larger image with square windows of this side and merge them, weighed by a Gaussian. None: the image at once.
    overlap : share of a window that the next one covers too, 0..<1 (nnU-Net: 0.5)
    scales : factors on both sides of the image, or of each window
        Average the class probabilities over them. Scaled sides are rounded to the network's stride.
    postprocess : names of `pipeline.postprocess.POSTPROCESSES`, or mappings with name and options
        What follows the network's prediction, in this order. Options left out are fitted on the validation split.
    instances : see `division`
    painting : options of `pipeline.painting.fused`, for a network that finds things and stuff
        Which things and stuff get a place in the panoptic map, which is painted at the size that the network sees. None: its
        defaults.

    Returns
    -------
    {"flip": bool, "window": int or None, "overlap": float, "scales": [float], "postprocess": [{"name": text, "options": {}}],
    "instances": {"name": text, "options": {}} or None, "painting": {} or None}
    """
    if not isinstance(flip, bool):
        raise ValueError(f"predict.flip: {flip!r} is neither true nor false")
    if window is not None and (type(window) is not int or window < 1):
        raise ValueError(f"predict.window: {window!r} is no number of pixels; write 512, or null for none")
    if not _is_number(overlap) or not 0 <= overlap < 1:
        raise ValueError(f"predict.overlap: {overlap!r} is no share of a window; write a number from 0 to below 1")
    if not isinstance(scales, list | tuple) or not scales or not all(_is_number(scale) and scale > 0 for scale in scales):
        raise ValueError(f"predict.scales: {scales!r} is no list of factors above 0; write [1.0] for the image as it is")
    if not isinstance(postprocess, list | tuple):
        raise ValueError(f"predict.postprocess: {postprocess!r} is no list; write [{postprocess}]")
    if painting is not None and not isinstance(painting, dict):
        raise ValueError(f"predict.painting: {painting!r} is no mapping of options; write {{}} for the defaults")
    entries = [with_options(entry) for entry in postprocess]
    return {
        "flip": flip,
        "window": window,
        "overlap": overlap,
        "scales": list(scales),
        "postprocess": entries,
        "instances": division(instances),
        "painting": painting,
    }


def classical_options(*, instances: str | dict | None = "components") -> dict:
    """The predict half of a classical method's entry, completed; see `division`."""
    return {"instances": division(instances)}


def division(instances: str | dict | None) -> dict | None:
    """How a semantic prediction is divided into things where it is scored.

    A name of `pipeline.postprocess.DIVISIONS`, or a mapping with name and options. None: not at all, and the method has no
    scores of instances and panoptic segments. Data without things is never divided, nor is what has instances of its own.
    """
    return None if instances is None else with_options(instances)


def scored_options(folder: Path) -> dict:
    """The options that a run was scored with, from predict.json beside the `folder` of its model; {} where none is there.

    Raises
    ------
    ValueError : the file is damaged.
    """
    path = folder.parent / "predict.json"
    if not path.is_file():
        return {}
    try:
        given = dict(read_json(path))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: is no mapping in JSON, or damaged: {error}; fetch a whole copy") from None
    return given.get("options", given)


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
