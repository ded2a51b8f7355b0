"""Boxes that a fitted run finds, in place of boxes that somebody drew."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from pipeline import coco_form
from pipeline.boxes import Boxed
from pipeline.image_files import images_below
from pipeline.inference import Fitted
from pipeline.painting import panoptic_form
from pipeline.pictures import read_picture
from pipeline.spread import spread
from pipeline.structures import SURE, InstanceSet, LabelSpace, Prediction, SemanticMap


def detect(run: Fitted, images: Path, *, least_score: float | None = None, threads: int = 1) -> tuple[list[Boxed], list[dict]]:
    """Every picture in a folder and below with the boxes of its objects, and COCO's categories of the things.

    Parameters
    ----------
    run : of a method that finds objects; of a semantic one, they are told apart as they were for its scores
    least_score : of an object, from which it gets a box; None: SURE, and any where a score is only a share of the picture
    threads : of the CPU; a network uses them by itself

    Raises
    ------
    ValueError : the run knows no things; there is no picture; or every picture that cannot be used, a line each.
    """
    if not run.label_space.has_things:
        raise ValueError(f"{run.description.get('name', 'the run')}: its classes are all stuff, and have no boxes")
    pictures = images_below(images)
    if not pictures:
        raise ValueError(f"{images}: no picture in it")
    found = list(spread(partial(_boxed, run, images, least_score), pictures, threads=min(threads, run.threads)))
    faults, first = [one for one in found if isinstance(one, str)], {}
    twice = [one for one in found if isinstance(one, Boxed) and first.setdefault(one.key, one) is not one]
    faults += [f"{one.path}: its files would be those of {first[one.key].path}; rename one" for one in twice]
    if faults:
        raise ValueError("\n".join(faults))
    things = [one for one in coco_form.categories(run.label_space) if one["isthing"]]
    return found, [{"id": one["id"], "name": one["name"]} for one in things]


def _boxed(run: Fitted, images: Path, least_score: float | None, path: Path) -> Boxed | str:
    """The boxes in a picture, the highest score first, or why it cannot be used."""
    try:
        image = read_picture(path, may_turn=False)
        prediction = run.divided(run.segment(image))
        found = objects_of(prediction, run.label_space)
    except ValueError as error:
        return str(error) if str(error).startswith(str(path)) else f"{path}: {error}"
    if least_score is None:
        least_score = 0.0 if isinstance(prediction, SemanticMap) and prediction.probabilities is None else SURE
    found = found[(found.scores >= least_score) & found.masks.any(axis=(1, 2))]
    order = np.argsort(-found.scores, kind="stable")
    labels = tuple(run.label_space.names[found.classes[index]] for index in order)
    return Boxed(path.relative_to(images).as_posix(), path, found.boxes[order], labels)


def objects_of(prediction: Prediction, label_space: LabelSpace) -> InstanceSet:
    """The objects of a prediction of any kind, overlapping ones too.

    Raises
    ------
    ValueError : a semantic map whose things nobody told apart.
    """
    if isinstance(prediction, InstanceSet):
        return prediction
    panoptic = panoptic_form(prediction)
    if panoptic is None:
        raise ValueError("its things are not told apart, and have no boxes; score the run with `instances: components`")
    return panoptic.every_object(label_space)
