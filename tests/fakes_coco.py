"""Tiny trees in the official layout of COCO 2017: the real ids and names, masks drawn by hand."""

from pathlib import Path

import numpy as np
from pycocotools import mask as coco

from pipeline.datasets._coco_classes import MERGED_STUFF, STUFF, THINGS
from pipeline.files import write_json
from tests import fakes

HEIGHT, WIDTH = 24, 32
IDS = {"train2017": (9, 25, 30, 34), "val2017": (139, 285)}


def name_of(id: int) -> str:
    return f"{id:012}"


def write_images(root: Path, *, parts=("train2017", "val2017"), folder: str = ".") -> Path:
    """train2017/000000000009.jpg ..."""
    for part in parts:
        for id in IDS[part]:
            fakes.save(root / folder / part / f"{name_of(id)}.jpg", fakes.picture(id, HEIGHT, WIDTH))
    return root


def listed(part: str) -> list[dict]:
    """The table `images`, with what COCO's has beside the sizes."""
    return [
        {
            "license": 3,
            "file_name": f"{name_of(id)}.jpg",
            "coco_url": f"http://images.cocodataset.org/{part}/{name_of(id)}.jpg",
            "height": HEIGHT,
            "width": WIDTH,
            "date_captured": "2013-11-14 11:18:45",
            "flickr_url": "http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg",
            "id": id,
        }
        for id in IDS[part]
    ]


def write_table(root: Path, kind: str, part: str, annotations: list[dict], **more) -> Path:
    """annotations/KIND_PART.json, its tables in COCO's order."""
    tables = {"instances": THINGS, "stuff": STUFF, "panoptic": THINGS | MERGED_STUFF}[kind]
    extra = (lambda id: {"isthing": int(id in THINGS), "color": list(tables[id][1])}) if kind == "panoptic" else lambda id: {}
    content = {
        "info": {"description": "COCO 2017 Dataset", "year": 2017},
        "licenses": [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "Attribution License"}],
        "images": listed(part),
        "annotations": annotations,
        "categories": [{"supercategory": "any", **extra(id), "id": id, "name": name} for id, (name, _) in tables.items()],
    }
    path = root / f"annotations/{kind}_{part}.json"
    write_json(path, content | more)
    return path


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def polygon(x0, y0, x1, y1) -> list[float]:
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def compressed(mask: np.ndarray) -> dict:
    """Run lengths as the string of stuff_*2017.json."""
    code = coco.encode(np.asfortranarray(mask).view(np.uint8))
    return {"size": list(map(int, code["size"])), "counts": code["counts"].decode()}


def run_lengths(mask: np.ndarray) -> dict:
    """Run lengths as the list that a crowd of instances_*2017.json has."""
    flat = mask.ravel(order="F")
    starts = np.flatnonzero(np.diff(flat.astype(int))) + 1
    counts = np.diff([0, *starts, flat.size]).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": [0, *counts] if flat[0] else counts}


def thing(id: int, image: int, category: int, segmentation, *, iscrowd: int = 0) -> dict:
    return {
        "segmentation": segmentation,
        "area": 1.0,
        "iscrowd": iscrowd,
        "image_id": image,
        "bbox": [0.0, 0.0, 1.0, 1.0],
        "category_id": category,
        "id": id,
    }


def write_instances(root: Path) -> Path:
    """A table of one polygon with a cup of two on it, both kinds of run lengths, a crowd; image 285 has none."""
    for part, ids in IDS.items():
        first = ids[0]
        annotations = [
            thing(7, first, 47, [polygon(4, 5, 8, 9), polygon(10, 5, 12, 9)]),  # the cup stands before its table in the file
            thing(8, first, 67, [polygon(2, 3, 20, 15)]),
            thing(9, first, 90, compressed(box(25, 0, 30, 4))),
            thing(900100000010, first, 1, run_lengths(box(0, 0, 32, 20)), iscrowd=1),
            *(thing(10 + id, id, 17, [polygon(1, 1, 9, 9)]) for id in ids[1:] if id != 285),
        ]
        write_table(root, "instances", part, annotations)
    return root


def stuff_ids(seed: int) -> np.ndarray:
    """(H, W) uint8 of category ids: unlabelled, banner, wood and "other" in stripes, their order by seed."""
    return np.array([0, 92, 182, 183], np.uint8)[(np.arange(WIDTH) // 4 + seed) % 4][None].repeat(HEIGHT, axis=0)


def write_stuff(root: Path) -> Path:
    """stuff_PART.json: one code for each category of an image."""
    for part, ids in IDS.items():
        codes = [
            thing(number, id, int(category), compressed(stuff_ids(id) == category))
            for number, (id, category) in enumerate((id, category) for id in ids for category in (92, 182, 183))
        ]
        write_table(root, "stuff", part, codes)
    return root


def write_pixelmaps(root: Path) -> Path:
    """annotations/stuff_PART_pixelmaps/ID.png."""
    for part, ids in IDS.items():
        for id in ids:
            fakes.save(root / f"annotations/stuff_{part}_pixelmaps/{name_of(id)}.png", stuff_ids(id))
    return root


SEGMENTS = {3_937_500: (1, 0), 16_777_215: (1, 1), 66_051: (184, 0), 5: (200, 0)}  # id -> category, iscrowd


def segments(seed: int) -> np.ndarray:
    """(H, W) of segment ids: a person, a crowd, trees and a rug; the upper row is in no segment."""
    ids = np.full((HEIGHT, WIDTH), 66_051)
    ids[18:] = 5
    ids[4:20, 3 + seed % 4 : 9] = 3_937_500
    ids[6:16, 20:30] = 16_777_215
    ids[0] = 0
    return ids


def write_panoptic(root: Path, *, folder: str = "annotations") -> Path:
    """panoptic_PART.json and the maps, segment id = R + 256 G + 65536 B."""
    for part, ids in IDS.items():
        annotations = []
        for id in ids:
            here = segments(id)
            colours = np.stack([here & 255, here >> 8 & 255, here >> 16], axis=2).astype(np.uint8)
            fakes.save(root / folder / f"panoptic_{part}/{name_of(id)}.png", colours)
            info = [
                {"id": one, "category_id": category, "iscrowd": crowd, "area": int((here == one).sum()), "bbox": [0, 0, 1, 1]}
                for one, (category, crowd) in SEGMENTS.items()
            ]
            annotations.append({"segments_info": info, "file_name": f"{name_of(id)}.png", "image_id": id})
        write_table(root, "panoptic", part, annotations)
    return root
