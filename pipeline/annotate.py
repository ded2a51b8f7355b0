"""Turn boxes into masks: `python -m pipeline.annotate own/images --boxes boxes.json --out own/annotations`.

The boxes are drawn by hand, or found: `--detector runs/mask_rcnn` takes those of every object that the run finds with a score
of at least `--score`; of a semantic run, those of its things as they were told apart for its scores.

METHOD is a classical method that takes a box, such as grabcut; or a fitted run, such as runs/unet_encoder: inside each box the
pixels of its class, or where the run does not know the label, of the class most frequent there but for the background; of a run
that tells objects apart, the object whose own box fits best. No mask reaches beyond its box.

FOLDER gets annotations.json (COCO instances), a NAME.json for each picture, which labelme opens for correction, and
overlays/NAME.png for a first look. Pictures that FILE does not name are passed over. The readers `labelme` and `coco_json`
make a data set of it. 16-bit, float and transparent pictures are read as `python -m pipeline.segment` reads them, and the line
that is printed for one says so; one with an EXIF turn is refused, since its boxes may be for either side up.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from pipeline import annotations, command, drawing, files, object_layer, overlay
from pipeline.boxes import FORMS, Boxed, read
from pipeline.cutting import Cut, as_scored, choose, model_of
from pipeline.detections import detect
from pipeline.image_files import images_below
from pipeline.pictures import picture_and_remarks
from pipeline.spread import spread
from pipeline.structures import SURE

METHOD, OUT = "grabcut", Path("annotations")
COCO_FILE, OVERLAYS = "annotations.json", "overlays"


@dataclass(frozen=True)
class _Done:
    """What annotations.json says of a picture, its ids left open, and a line for all that is to be told of it."""

    image: dict
    objects: list[tuple[str, dict]]  # label, annotation
    remarks: list[str]  # what was done to the picture to read it
    missed: list[str]  # the boxes in which nothing was found


def annotate(
    images: Path,
    find: Callable[..., tuple[list[Boxed], list[dict]]],
    out: Path,
    *,
    method: str,
    options: Mapping[str, object] | None = None,
    tolerance_px: float = 0.0,
    overwrite: bool = False,
    threads: int = 1,
) -> tuple[list[_Done], int]:
    """Write annotations of every picture for which `find` has an entry.

    Parameters
    ----------
    images : folder of the pictures
    find : gives the pictures with their boxes, and COCO's categories, of the folder and `threads`: `boxes.read` of a file, or
        `detections.detect` of a run
    out : folder; not within `images`, where the overlays would be taken for pictures
    method : a classical method that takes a box, or the folder of a run
    options : of the classical method; a run is used as it was scored
    tolerance_px : of the outlines in labelme's files, see `annotations.labelme_shapes`; the COCO file is exact
    overwrite : files in `out` may be replaced

    Returns
    -------
    (a result for each picture, how many pictures of `images` have no entry)

    Raises
    ------
    ValueError : an option does not fit; or every fault of the boxes, a line each. Nothing is written then.
    """
    _check_folders(images, out, overwrite=overwrite)
    cut, at_once = choose(method, dict(options or {}), threads=threads)
    pictures, categories = find(images, threads=threads)
    if taken := [one.file for one in pictures if one.key == Path(COCO_FILE).stem]:
        raise ValueError(f"{images / taken[0]}: its file would be {COCO_FILE}, which is that of all pictures; rename it")
    colours = dict(zip((one["name"] for one in categories), overlay.segment_colours(len(categories)), strict=True))
    work = partial(_annotate, cut=cut, out=out, colours=colours, tolerance_px=tolerance_px)
    found = spread(work, pictures, threads=at_once)
    shown = track(found, description="annotate", total=len(pictures), console=Console(stderr=True), transient=True)
    done = list(shown)
    _write_coco(out / COCO_FILE, done, categories)
    named = {one.path for one in pictures}
    return done, sum(path not in named for path in images_below(images))


def _check_folders(images: Path, out: Path, *, overwrite: bool) -> None:
    if not images.is_dir():
        raise ValueError(f"{images}: no such folder of pictures")
    if out.resolve().is_relative_to(images.resolve()):
        raise ValueError(
            f"--out {out}: lies in the folder of the pictures, and its overlays would be taken for some; give another"
        )
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise ValueError(f"--out {out}: has files in it, which somebody may have corrected; give another, or say --overwrite")


def _annotate(given: Boxed, *, cut: Cut, out: Path, colours: Mapping[str, np.ndarray], tolerance_px: float) -> _Done:
    image, remarks = picture_and_remarks(given.path, may_turn=False)
    height, width = image.shape[:2]
    try:
        masks = cut(image, given) if len(given.boxes) else []
    except ValueError as error:
        raise ValueError(f"{given.file}: {error}") from None
    shapes, objects, missed = [], [], []
    for index, (mask, label) in enumerate(zip(masks, given.labels, strict=True)):
        if mask.any():
            shapes += annotations.labelme_shapes(mask, label, group_id=index + 1, tolerance_px=tolerance_px)
            objects.append((label, annotations.coco_annotation(mask)))
        else:
            corners = ", ".join(f"{one:g}" for one in given.boxes[index])
            missed.append(f"{given.file}: nothing found in box {index} ({label}), [{corners}]")
    file = out / f"{given.key}.json"
    image_path = Path(os.path.relpath(given.path, file.parent)).as_posix()
    files.write_json(file, annotations.labelme_file(shapes, image_path=image_path, height=height, width=width))
    picture = _picture(image, masks, given, colours)
    files.write_bytes(out / OVERLAYS / f"{given.key}.png", cv2.imencode(".png", picture[..., ::-1])[1].data)
    remarks = [f"{given.file}: {one}" for one in remarks]
    return _Done({"file_name": given.file, "width": width, "height": height}, objects, remarks, missed)


def _picture(image: np.ndarray, masks: Sequence[np.ndarray], given: Boxed, colours: Mapping[str, np.ndarray]) -> np.ndarray:
    """(h, w, 3) uint8: the masks over the image, their boxes, and a label to each; a small picture enlarged."""
    own = np.array([colours[label] for label in given.labels], np.uint8).reshape(-1, 3)
    stacked = np.array(masks, bool).reshape(-1, *image.shape[:2])
    layer = np.zeros((*drawing.roomy_size(image.shape[:2]), 4), np.uint8)
    object_layer.draw(layer, object_layer.Objects(stacked, given.boxes, own, [(label,) for label in given.labels]))
    return drawing.over(image, layer)


def _write_coco(path: Path, done: Sequence[_Done], categories: Sequence[dict]) -> None:
    ids = {one["name"]: one["id"] for one in categories}
    images = [{"id": number, **one.image} for number, one in enumerate(done, start=1)]
    objects = [
        {"image_id": number, "category_id": ids[label], **found}
        for number, one in enumerate(done, start=1)
        for label, found in one.objects
    ]
    numbered = [{"id": number, **one} for number, one in enumerate(objects, start=1)]
    content = annotations.coco_file(images, numbered, categories)
    files.write_text(path, json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n")


def _run(arguments: argparse.Namespace) -> None:
    if not 0 <= arguments.simplify < math.inf:
        raise ValueError(f"--simplify {arguments.simplify:g}: wanted a number of pixels, 0 or more")
    done, passed_over = annotate(
        arguments.images,
        _finder(arguments),
        arguments.out,
        method=arguments.method,
        options=command.settings(arguments.set),
        tolerance_px=arguments.simplify,
        overwrite=arguments.overwrite,
        threads=arguments.threads,
    )
    for line in (line for one in done for line in (*one.remarks, *one.missed)):
        print(line)
    objects, missed = sum(len(one.objects) for one in done), sum(len(one.missed) for one in done)
    unseen = 0 if arguments.detector is None else sum(not one.objects and not one.missed for one in done)
    print(
        f"{arguments.out}: {_count(len(done), 'picture')}, {_count(objects, 'object')}"
        + (f"; nothing found in {_count(missed, 'box', 'boxes')}: draw by hand" if missed else "")
        + (f"; no object detected in {_count(unseen, 'picture')}" if unseen else "")
        + (f"; without an entry in {arguments.boxes} and left out: {_count(passed_over, 'picture')}" if passed_over else "")
    )


def _finder(arguments: argparse.Namespace) -> Callable[..., tuple[list[Boxed], list[dict]]]:
    """Where the boxes come from."""
    if arguments.boxes is not None:
        if arguments.score is not None:
            raise ValueError(f"--score {arguments.score:g}: is that of a detector, and boxes from a file have none")
        return partial(read, arguments.boxes)
    if arguments.score is not None and not 0 <= arguments.score <= 1:
        raise ValueError(f"--score {arguments.score:g}: wanted a number from 0 to 1")
    model = model_of(arguments.detector)
    if model is None:
        raise ValueError(f"--detector {arguments.detector}: is not the folder of a fitted run, such as runs/mask_rcnn")
    return partial(detect, as_scored(model, threads=arguments.threads), least_score=arguments.score)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.annotate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", metavar="IMAGES", type=Path, help="folder of the pictures")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--boxes", metavar="FILE", type=Path, help=f"JSON: {FORMS}")
    source.add_argument("--detector", metavar="RUN", type=Path, help="a fitted run whose objects give the boxes: runs/K")
    parser.add_argument("--score", type=float, help=f"of an object of the detector, from which it counts; {SURE}")
    parser.add_argument(
        "--method",
        default=METHOD,
        help=f"a classical method that takes a box, or a fitted run: runs/K; {METHOD} where left out",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, default=OUT, help=f"where the annotations go; {OUT}, here, where left out"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the classical method, in YAML; may be repeated",
    )
    parser.add_argument(
        "--simplify",
        type=float,
        default=0.0,
        metavar="PX",
        help="labelme's outlines may be off by so much, with far fewer corners to drag: 1 is good for correcting by hand; 0, "
        "exact, where left out. annotations.json is always exact",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files in FOLDER, corrected ones too")
    parser.add_argument("--threads", type=int, help="of the CPU; all of them where left out")
    return parser


def main(argv: list[str] | None = None) -> int:
    return command.run(_run, _parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
