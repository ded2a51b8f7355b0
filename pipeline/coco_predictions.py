"""Write predictions as COCO's tools read them.

    panoptic/NAME.png  segment id = R + 256 G + 65536 B, 0 is nothing
    panoptic.json      what each segment is, for panopticapi; with images and categories
    instances.json     a list of objects with run lengths and scores, for `pycocotools.coco.COCO.loadRes`

A category id is the class index + 1, as in the data set that convert writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline import coco_form, files
from pipeline.mask_files import numbered, write
from pipeline.painting import panoptic_form
from pipeline.structures import InstanceSet, LabelSpace, PanopticMap, Prediction, SemanticMap

PANOPTIC, INSTANCES = "panoptic", "instances"


class CocoFolder:
    """Predictions of several pictures; maps are written at once, the tables by `close`.

    Parameters
    ----------
    ids : file name of each picture -> its id
    """

    def __init__(self, folder: Path, label_space: LabelSpace, ids: Mapping[str, int | str]):
        self.folder, self.label_space, self.ids = folder, label_space, ids
        self._found: dict[str, tuple[dict, dict, list[dict]]] = {}  # image, its segments, its objects

    def add(self, file_name: str, name: str, prediction: Prediction) -> None:
        """Write the map of a picture and keep what the tables say of it; may be called from several threads.

        Parameters
        ----------
        name : of the map, without suffix
        prediction : with its things told apart, if there are any

        Raises
        ------
        ValueError : things of a semantic map that nobody told apart.
        """
        panoptic, objects = self._both(prediction)
        write(self.folder / PANOPTIC / f"{name}.png", numbered(panoptic.segments, ".png"))
        height, width = panoptic.shape
        number = self.ids[file_name]
        image = {"id": number, "file_name": file_name, "height": height, "width": width}
        segments = coco_form.segment_info(panoptic.segments, panoptic.info)
        described = {"image_id": number, "file_name": f"{name}.png", "segments_info": segments}
        self._found[file_name] = image, described, _results(objects, number)

    def close(self) -> None:
        """Write the tables, the pictures in the order of `ids`."""
        done = [self._found[file_name] for file_name in self.ids if file_name in self._found]
        panoptic = {
            "images": [image for image, _, _ in done],
            "annotations": [segments for _, segments, _ in done],
            "categories": coco_form.categories(self.label_space),
        }
        _write(self.folder / f"{PANOPTIC}.json", panoptic)
        if self.label_space.has_things:
            _write(self.folder / f"{INSTANCES}.json", [one for _, _, objects in done for one in objects])

    def _both(self, prediction: Prediction) -> tuple[PanopticMap, InstanceSet]:
        """Segments without overlap, and objects: every one that was predicted, whatever its score."""
        panoptic = panoptic_form(prediction)
        if panoptic is None and self.label_space.has_things:
            raise ValueError("its things are not told apart, as COCO wants them; score the run with `instances: components`")
        if isinstance(prediction, SemanticMap) and panoptic is None:
            panoptic = PanopticMap.from_labels(prediction.semantic(self.label_space), self.label_space)
        if isinstance(prediction, InstanceSet):
            return panoptic, prediction
        return panoptic, panoptic.every_object(self.label_space)


def read_ids(file: Path, names: Sequence[str]) -> dict[str, int | str]:
    """The ids that a COCO file gives to pictures.

    Parameters
    ----------
    names : of files, in no folder; the file may name folders before them

    Raises
    ------
    ValueError : it is no COCO file, or has no image of that name, or several.
    """
    try:
        images = files.read_json(file)["images"]
        known = [(Path(one["file_name"]).name, one["id"]) for one in images]
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: is no COCO file with images, each with id and file_name: {error!r}") from None
    ids_of: dict[str, list] = {}
    for name, id in known:
        ids_of.setdefault(name, []).append(id)
    found = {name: ids_of.get(name, []) for name in names}
    if faults := [f"{file}: {len(ids)} images called {name}, wanted one" for name, ids in found.items() if len(ids) != 1]:
        raise ValueError("\n".join(faults))
    return {name: ids[0] for name, ids in found.items()}


def _results(objects: InstanceSet, image_id: int | str) -> list[dict]:
    """An entry for each object that has a pixel, the highest score first."""
    order = [index for index in np.argsort(-objects.scores, kind="stable") if objects.masks[index].any()]
    found = []
    for index in order:
        own = {"image_id": image_id, "category_id": int(objects.classes[index]) + 1}
        found.append({**own, **coco_form.run_lengths(objects.masks[index]), "score": float(objects.scores[index])})
    return found


def _write(path: Path, content: dict | list) -> None:
    files.write_text(path, json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")
