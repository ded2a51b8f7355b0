"""Tiny trees in the layout of Open Images V6, as it is fetched by hand."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests import fakes

HEIGHT, WIDTH = 24, 32
LABELS = {
    "Tortoise": "/m/011k07",
    "Cat": "/m/01yrx",
    "Man": "/m/04yx4",
    "Woman": "/m/03bt1vf",
    "Person": "/m/01g317",
    "Dog": "/m/0bt9lr",
    'Fiat 500 "topolino", old': "/m/02wvth",  # the quotes of the file
}
MASK_COLUMNS = "MaskPath,ImageID,LabelName,BoxID,BoxXMin,BoxXMax,BoxYMin,BoxYMax,PredictedIoU,Clicks"
BOX_COLUMNS = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"


def write_names(root: Path, name: str = "class-descriptions-boxable.csv", *, header: bool = False) -> Path:
    quoted = {display: '"' + display.replace('"', '""') + '"' if '"' in display else display for display in LABELS}
    lines = ["LabelName,DisplayName"] if header else []
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, *(f"{label},{quoted[display]}" for display, label in LABELS.items())]) + "\n")
    return path


def write_image(root: Path, part: str, id: str, *, folder: str = "{part}") -> Path:
    return fakes.save(root / folder.format(part=part) / f"{id}.jpg", fakes.picture(int(id, 16) % 999, HEIGHT, WIDTH))


def box(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    """(H, W) bool in pixels of the image."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def save_mask(path: Path, mask: np.ndarray) -> Path:
    """Black and white, 1 bit, as the official ones are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path


def shares(mask: np.ndarray) -> tuple[float, ...]:
    """XMin, XMax, YMin, YMax of what is in a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    return columns[0] / width, (columns[-1] + 1) / width, rows[0] / height, (rows[-1] + 1) / height


def mask_row(id: str, name: str, number: int, mask: np.ndarray) -> str:
    """A line of *-annotations-object-segmentation.csv, which rounds to six digits."""
    corners = ",".join(f"{one:.6g}" for one in shares(mask))
    return (
        f"{mask_name(id, name, number)},{id},{LABELS[name]},{number:08x},{corners},0.86864,0.95498 0.65197 1;0.89370 0.56579 1"
    )


def mask_name(id: str, name: str, number: int) -> str:
    return f"{id}_{LABELS[name].strip('/').replace('/', '')}_{number:08x}.png"


def box_row(id: str, name: str, mask: np.ndarray, *, group: int = 0) -> str:
    """A line of *-annotations-bbox.csv, with all digits."""
    return f"{id},xclick,{LABELS[name]},1,{','.join(map(repr, map(float, shares(mask))))},0,0,{group},0,0"


def write_table(path: Path, columns: str, rows: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


def write_part(
    root: Path,
    part: str,
    objects: dict[str, list[tuple[str, np.ndarray]]],
    *,
    scale: int = 1,
    masks: str = "{part}-masks-{digit}",
) -> Path:
    """One part: its images, its masks `scale` times as large, its table. `objects`: id -> (display name, mask) of each."""
    rows = []
    for id, found in objects.items():
        write_image(root, part, id)
        for number, (name, mask) in enumerate(found):
            rows.append(mask_row(id, name, number, mask))
            large = mask.repeat(scale, axis=0).repeat(scale, axis=1)
            save_mask(root / masks.format(part=part, digit=id[0]) / mask_name(id, name, number), large)
    write_table(root / f"{part}-annotations-object-segmentation.csv", MASK_COLUMNS, rows)
    return root
