"""Tiny trees as annotation tools export them, and what the canonical data set holds of a source, read by pycocotools."""

import json
import pickle
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import yaml
from PIL import Image
from pycocotools.coco import COCO

from pipeline.dataset_writer import write as write_dataset
from pipeline.files import write_json
from pipeline.sources import Source
from tests import fakes

HEIGHT, WIDTH = 24, 32


def box_mask(x0, y0, x1, y1) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def square(x0, y0, x1, y1) -> list:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def runs(flat: np.ndarray) -> list[tuple[int, int]]:
    """(value, count) of each run."""
    starts = np.flatnonzero(np.diff(flat.astype(int), prepend=-1))
    return list(zip(flat[starts].astype(int).tolist(), np.diff([*starts, flat.size]).tolist(), strict=True))


def darwin(name: str, annotations: list, *, path: str = "/", uploaded: str | None = None, **more) -> dict:
    """The content of a file of Darwin JSON 2.0 for one image, with what V7 puts into it."""
    address = "https://darwin.v7labs.com/api/v2/teams/mine"
    slot = {
        "type": "image",
        "slot_name": "0",
        "width": WIDTH,
        "height": HEIGHT,
        "thumbnail_url": f"{address}/files/1/thumbnail",
        "source_files": [{"file_name": uploaded or name, "storage_key": f"x/{name}", "url": f"{address}/uploads/1"}],
    }
    info = {"item_id": "0191", "dataset": {"name": "mine", "slug": "mine"}, "team": {"name": "Mine", "slug": "mine"}}
    return {
        "version": "2.0",
        "schema_ref": "https://darwin-public.s3.eu-west-1.amazonaws.com/darwin_json/2.0/schema.json",
        "item": {"name": name, "path": path, "source_info": info, "slots": [slot | more]},
        "annotations": annotations,
        "properties": [],
    }


def darwin_one(label: str, kind: str, data: dict, **more) -> dict:
    """An annotation of an image."""
    return {"id": f"id of {label}", "name": label, kind: data, "properties": [], "slot_names": ["0"]} | more


def darwin_path(points: list) -> list[dict]:
    return [{"x": x, "y": y} for x, y in points]


def darwin_polygon(label: str, *paths: list, **more) -> dict:
    points = np.concatenate([np.array(path, float) for path in paths])
    (x, y), (right, below) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    box = {"bounding_box": {"x": x, "y": y, "w": right - x, "h": below - y}}
    return darwin_one(label, "polygon", {"paths": [darwin_path(path) for path in paths]}, **box, **more)


def darwin_layer(values: np.ndarray, value_of: dict) -> dict:
    """The raster layer of masks: (H, W) integers, 0 where there is no mask."""
    pairs = [number for run in runs(values.ravel()) for number in run]
    data = {"dense_rle": pairs, "mask_annotation_ids_mapping": value_of, "total_pixels": values.size}
    return darwin_one("__raster_layer__", "raster_layer", data)


def write_darwin(root: Path, items: dict[str, list]) -> Path:
    """images/NAME.png and annotations/NAME.json; a name may hold folders, which V7 keeps in `path`."""
    for seed, (name, annotations) in enumerate(items.items()):
        fakes.save(root / "images" / f"{name}.png", fakes.picture(seed))
        folder, _, stem = name.rpartition("/")
        content = darwin(f"{stem}.png", annotations, path=f"/{folder}")
        write_json(root / "annotations" / f"{name}.json", content)
    return root


def yolo_line(category: int, points: list) -> str:
    """A line of a file of labels: x and y as shares of the width and the height."""
    shares = (np.array(points, float) / [WIDTH, HEIGHT]).ravel()
    return " ".join([str(category), *(f"{share:.10g}" for share in shares)])


def write_yolo(root: Path, labels: dict[str, list[str]], *, layout: str = "images/{split}/{name}", **data) -> Path:
    """data.yaml and for each SPLIT/NAME an image and its lines.

    `layout` is "images/{split}/{name}" as in Ultralytics' own data sets, or "{split}/images/{name}" as Roboflow exports.
    """
    for seed, (key, lines) in enumerate(labels.items()):
        split, _, name = key.partition("/")
        image = root / layout.format(split=split, name=f"{name}.png")
        fakes.save(image, fakes.picture(seed))
        label = Path(str(image).replace("/images/", "/labels/")).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    folders = {
        split: layout.format(split=split, name="").rstrip("/") for split in dict.fromkeys(key.split("/")[0] for key in labels)
    }
    (root / "data.yaml").write_text(yaml.safe_dump({"names": {0: "cat", 1: "dog"}, **folders} | data), encoding="utf-8")
    return root


def cvat_shape(kind: str, label: str, **attributes) -> str:
    """A shape as CVAT writes it; an attribute of the object stands in it."""
    given = {"label": label, "source": "manual", "occluded": 0} | attributes | {"z_order": attributes.get("z_order", 0)}
    written = " ".join(f"{key}={quoteattr(str(value))}" for key, value in given.items())
    return f'<{kind} {written}>\n<attribute name="colour">red</attribute>\n</{kind}>'


def cvat_polygon(label: str, points: list, **more) -> str:
    return cvat_shape("polygon", label, points=";".join(f"{x:.2f},{y:.2f}" for x, y in points), **more)


def cvat_mask(label: str, mask: np.ndarray, *, left: int, top: int, width: int, height: int, **more) -> str:
    """The part of a mask within a window, as CVAT writes it."""
    pairs = runs(mask[top : top + height, left : left + width].ravel())
    lengths = [0] * (pairs[0][0] == 1) + [count for _, count in pairs]
    window = {"left": left, "top": top, "width": width, "height": height}
    return cvat_shape("mask", label, rle=", ".join(map(str, lengths)), **window, **more)


CVAT_LABELS = (("cat", "#ff0102", "any"), ("dog", "#0a0B0c", "polygon"), ("night", "#000000", "tag"))


def write_cvat(root: Path, images: dict[str, list[str]], *, labels=CVAT_LABELS, subsets: bool = False) -> Path:
    """images/NAME and annotations.xml; with `subsets` as a project exports it, the first folder of each name its subset."""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<annotations>",
        "<version>1.1</version>",
        "<meta>",
        "<task>",
        "<labels>",
    ]
    for name, colour, kind in labels:
        lines += ["<label>", f"<name>{escape(name)}</name>", f"<color>{colour}</color>", f"<type>{kind}</type>"]
        lines += [
            "<attributes>",
            "<attribute>",
            "<name>colour</name>",
            "<mutable>False</mutable>",
            "</attribute>",
            "</attributes>",
        ]
        lines += ["</label>"]
    lines += ["</labels>", "<owner>", "<username>name</username>", "</owner>", "</task>", "</meta>"]
    for number, (name, shapes) in enumerate(images.items()):
        fakes.save(root / "images" / name, fakes.picture(number))
        subset, _, inner = name.partition("/")
        about = f"name={quoteattr(inner)} subset={quoteattr(subset)} task_id='4'" if subsets else f"name={quoteattr(name)}"
        lines += [f'<image id="{number}" {about} width="{WIDTH}" height="{HEIGHT}">', *shapes, "</image>"]
    (root / "annotations.xml").write_text("\n".join([*lines, "</annotations>", ""]), encoding="utf-8")
    return root


def read_back(source: Source, folder: Path, root: Path) -> dict[str, tuple[np.ndarray, list[tuple[int, np.ndarray]]]]:
    """Write the canonical data set of a source and read it with pycocotools and Pillow.

    Returns
    -------
    id -> (class of every pixel, 255 for void; (class, mask) of every object)
    """
    shares = {"train": 0.5, "val": 0.25, "test": 0.25}
    source = pickle.loads(pickle.dumps(source))  # as for the processes that convert it
    write_dataset(source, folder, splits=shares, seed=0, rules={"duplicate_image": "ignore"}, origin={}, root=root)
    found = {}
    for split in ("train", "val", "test"):
        coco, panoptic = COCO(folder / f"instances_{split}.json"), json.loads((folder / f"panoptic_{split}.json").read_text())
        for image, entry in zip(panoptic["images"], panoptic["annotations"], strict=True):
            ids = np.asarray(Image.open(folder / "panoptic" / split / entry["file_name"]).convert("RGB")) @ [1, 256, 65536]
            labels = np.full(ids.shape, 255)
            for segment in entry["segments_info"]:
                labels[ids == segment["id"]] = segment["category_id"] - 1
            objects = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
            masks = [(one["category_id"] - 1, coco.annToMask(one).astype(bool)) for one in objects]
            found[entry["file_name"].removesuffix(".png")] = labels, masks
    return found
