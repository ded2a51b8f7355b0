"""Any prediction as a layer over its picture: the one place that asks which kind it is.

A semantic map becomes the colours of its classes. Objects are drawn with outline, box, class and score: each in a colour of its
own, or those of a panoptic map in shades of their class's colour, with the stuff around them in the colours of its classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.object_layer import OPACITY, Objects, draw
from pipeline.overlay import segment_colours
from pipeline.resizing import resize_image, resize_labels
from pipeline.structures import SURE, InstanceSet, LabelSpace, PanopticMap, Prediction, Sample, SemanticMap

MOST_OBJECTS = 100  # those with the highest scores; more make no readable picture
SHOWN_PX = 720  # longer side of a layer with objects: a page shows it at half of that, and whole where it is clicked on
LEAST_SHOWN_PX = 480  # longer side from which a picture has room for text; a smaller one is enlarged by a whole number
SHADES = (0.0, 0.5, -0.45, 0.25, -0.25, 0.7, -0.6)  # towards white, or below 0 towards black: a class's things in turn


def has_objects(prediction: Prediction) -> bool:
    """Whether the layer of a prediction shows objects."""
    return not isinstance(prediction, SemanticMap)


def has_stuff(prediction: Prediction) -> bool:
    """Whether the layer of a prediction shows stuff, in the colours of the classes."""
    return not isinstance(prediction, InstanceSet)


def truth_like(prediction: Prediction, sample: Sample, label_space: LabelSpace) -> Prediction:
    """The truth in the form of the prediction, to be drawn beside it."""
    match prediction:
        case SemanticMap():
            return SemanticMap(sample.truth.semantic(label_space))
        case InstanceSet():
            return sample.objects(label_space)
        case PanopticMap():
            return sample.truth


def shown_size(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of a picture on a page, large or small as it may be."""
    return tuple(max(1, round(side * SHOWN_PX / max(shape))) for side in shape)


def roomy_size(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of a picture, times the whole number that makes room for text.

    Examples
    --------
    >>> roomy_size((120, 160)), roomy_size((480, 640))
    ((360, 480), (480, 640))
    """
    return tuple(side * -(-LEAST_SHOWN_PX // max(shape)) for side in shape)


def layer(prediction: Prediction, label_space: LabelSpace, size: tuple[int, int], *, is_truth: bool = False) -> np.ndarray:
    """What lies over the picture.

    Parameters
    ----------
    size : height and width of a layer with objects
    is_truth : every object is drawn, and none has a score

    Returns
    -------
    (H, W, 3) uint8 RGB, the class colours of a semantic map at its own size; or (h, w, 4) uint8 RGBA with objects
    """
    if not has_objects(prediction):
        return label_space.paint(prediction.semantic(label_space))
    found = np.zeros((*size, 4), np.uint8)
    if isinstance(prediction, PanopticMap):
        labels = resize_labels(prediction.semantic(label_space), *size)
        is_stuff = np.isin(labels, [index for index, isthing in enumerate(label_space.isthing) if not isthing])
        found[..., :3][is_stuff] = label_space.paint(labels)[is_stuff]
        found[..., 3][is_stuff] = round(255 * OPACITY)
    draw(found, _objects(prediction, label_space, is_truth=is_truth))
    return found


def over(image: np.ndarray, found: np.ndarray) -> np.ndarray:
    """An (h, w, 4) layer over its (H, W, 3) uint8 RGB picture: (h, w, 3), the picture brought to the size of the layer."""
    image = resize_image(image, *found.shape[:2]).astype(np.float32)
    share = found[..., 3:].astype(np.float32) / 255
    return np.rint(image + (found[..., :3] - image) * share).astype(np.uint8)


def shown(prediction: InstanceSet | PanopticMap, label_space: LabelSpace, *, is_truth: bool = False) -> InstanceSet:
    """The objects that are drawn, the highest score first."""
    if isinstance(prediction, PanopticMap):
        found = prediction.instances(label_space)  # each is part of the answer, whatever its score
    elif is_truth:
        found = prediction
    else:
        found = prediction[prediction.scores >= SURE]  # most of the others are wrong, and would hide these
    found = found[found.masks.any(axis=(1, 2))]
    return found[np.argsort(-found.scores, kind="stable")[:MOST_OBJECTS]]


def counts(prediction: InstanceSet | PanopticMap, label_space: LabelSpace, *, is_truth: bool = False) -> tuple[int, int]:
    """How many objects are drawn, and how many are not."""
    found = prediction.instances(label_space) if isinstance(prediction, PanopticMap) else prediction
    drawn = len(shown(prediction, label_space, is_truth=is_truth))
    return drawn, len(found) - drawn


def _objects(prediction: InstanceSet | PanopticMap, label_space: LabelSpace, *, is_truth: bool) -> Objects:
    found = shown(prediction, label_space, is_truth=is_truth)
    colours = segment_colours(len(found))
    if isinstance(prediction, PanopticMap):
        for category in np.unique(found.classes).tolist():
            own = np.flatnonzero(found.classes == category)
            colours[own] = [shade(label_space.colours[category], number) for number in range(len(own))]
    texts = []
    for category, score, iscrowd in zip(found.classes, found.scores, found.iscrowd, strict=True):
        name = label_space.names[category] + " (crowd)" * bool(iscrowd)
        texts.append((name,) if is_truth else (f"{name} {score:.2f}", f"{score:.2f}"))
    return Objects(found.masks, found.boxes, colours, texts)


def shade(colour: Sequence[int], number: int) -> tuple[int, int, int]:
    """A colour, made lighter and darker by turns.

    Examples
    --------
    >>> shade((200, 100, 0), 0), shade((200, 100, 0), 1), shade((200, 100, 0), 2)
    ((200, 100, 0), (228, 178, 128), (110, 55, 0))
    """
    share = SHADES[number % len(SHADES)]
    end = 255 if share > 0 else 0
    return tuple(round(one + (end - one) * abs(share)) for one in colour)
