"""A generated data set: photograph-textured shapes on grass, gravel and brick, with the full panoptic truth.

Stuff is told apart by its texture, things by their outline: any shape may wear any photograph, those of the background
among them, and colour is a hint that often misleads. So the few pixels around a pixel say little about its class, and a
method has to see whole shapes. `benchmarks/shapes_difficulty.py` measures how far local filters get.

Nothing is downloaded: the photographs are files of the scikit-image package.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from pipeline.sources import Record, Source
from pipeline.structures import LabelSpace, PanopticMap, Sample, Segment


class Kind(NamedTuple):
    """A class, how it is shown, and how often and in which colour it is drawn."""

    name: str
    colour: tuple[int, int, int]  # in the label space
    hue: float  # the favourite one, in turns; kinds of stuff are far apart, and so are things
    share: float  # how often it is drawn, among stuff or among things


SPLITS = ("train", "val", "test")
STUFF = (
    Kind("grass", (96, 153, 62), hue=0.25, share=0.42),
    Kind("gravel", (140, 140, 148), hue=0.62, share=0.36),
    Kind("brick", (168, 92, 66), hue=0.03, share=0.22),
)
THINGS = (
    Kind("disc", (235, 87, 87), hue=0.0, share=0.32),
    Kind("box", (47, 128, 237), hue=0.6, share=0.26),
    Kind("triangle", (242, 201, 76), hue=0.17, share=0.20),
    Kind("star", (155, 81, 224), hue=0.8, share=0.14),
    Kind("ring", (38, 198, 191), hue=0.4, share=0.08),
)
KINDS = STUFF + THINGS
LABEL_SPACE = LabelSpace(
    names=tuple(kind.name for kind in KINDS),
    colours=tuple(kind.colour for kind in KINDS),
    isthing=tuple(kind in THINGS for kind in KINDS),
)
GROUNDS = tuple(f"{kind.name}.png" for kind in STUFF)  # file names in scikit-image's folder
PICTURES = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
CAMOUFLAGE = 0.2  # the share of shapes that wear grass, gravel or brick
LOYALTY = 0.65  # the share of regions and shapes tinted in their kind's favourite hue; the others take any
COUNT = (6, 11)  # shapes tried per picture
RADIUS = (0.14, 0.27)  # of the shorter side
VISIBLE_SHARE = 0.7  # of each shape: enough that its outline still tells the class
SMALLEST_SIDE, LARGEST_SIDE = 64, 4096


def read(source: Path, *, train: int = 200, val: int = 40, test: int = 60, height: int = 192, width: int = 256) -> Source:
    """The generated data set `shapes`; a picture depends on its split, its number and its size alone.

    Parameters
    ----------
    source : the raw folder; nothing is read from it
    train, val, test : pictures in each split, at least 1
    height, width : pixels of every picture, 64..4096

    Returns
    -------
    Source with ids such as `train_0001`; official splits; each picture is a group of its own; no pixel is void.

    Raises
    ------
    ValueError : a count or a size that is no whole number or is out of range.
    """
    counts = {"train": train, "val": val, "test": test}
    faults = [_fault(name, value, 1, 999_999) for name, value in counts.items()]
    faults += [_fault(name, value, SMALLEST_SIDE, LARGEST_SIDE) for name, value in (("height", height), ("width", width))]
    if any(faults):
        raise ValueError("\n".join(fault for fault in faults if fault))
    records = []
    for split, count in counts.items():
        for index in range(count):
            name = f"{split}_{index + 1:04d}"
            records.append(Record(name, split, name, partial(decode, split, index, height=height, width=width)))
    return Source("shapes", LABEL_SPACE, tuple(records))


def _fault(name: str, value: int, least: int, most: int) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return ""
    return f"shapes: {name} is {value!r}, wanted a whole number in {least}..{most}; set dataset.options.{name}"


def decode(split: str, index: int, *, height: int, width: int) -> Sample:
    """Generate one picture and its truth: the same arguments give the same bytes."""
    rng = np.random.default_rng([SPLITS.index(split), index])
    name = f"{split}_{index + 1:04d}"
    light = rng.uniform(0, 2 * np.pi)
    scene = _background(height, width, rng)
    for _ in range(rng.integers(COUNT[0], COUNT[1], endpoint=True)):
        _add_shape(scene, light, rng)
    return Sample(name, split, name, _exposed(scene.canvas, light, rng), scene.truth())


@dataclass
class _Scene:
    """A picture in the making; the lists are indexed by segment id.

    `canvas` is (H, W, 3) float32 in 0..1, `segments` (H, W) int32, `category` the class of each segment, and `least_px`
    how many of its pixels have to stay visible.
    """

    canvas: np.ndarray
    segments: np.ndarray
    category: list[int]
    least_px: list[float]

    def truth(self) -> PanopticMap:
        present = np.unique(self.segments).tolist()
        return PanopticMap(self.segments, tuple(Segment(one, self.category[one]) for one in present))


# Textures


@lru_cache(maxsize=len(GROUNDS + PICTURES))
def _photograph(file: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB, read from the folder of the installed package: its own loader may ask a server."""
    import skimage

    path = Path(skimage.__file__).parent / "data" / file
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        raise ValueError(f"{path}: missing or damaged, wanted a photograph; install scikit-image again")
    return pixels


def _texture(file: str, height: int, width: int, zoom: float, rng: np.random.Generator) -> np.ndarray:
    """A random cut of a photograph, (height, width, 3) float32 in 0..1, `zoom` output pixels per photograph pixel."""
    photograph = _photograph(file)
    zoom = max(zoom, height / photograph.shape[0], width / photograph.shape[1])
    rows, columns = max(1, int(height / zoom)), max(1, int(width / zoom))
    top = rng.integers(photograph.shape[0] - rows, endpoint=True)
    left = rng.integers(photograph.shape[1] - columns, endpoint=True)
    cut = photograph[top : top + rows, left : left + columns]
    if rng.random() < 0.5:
        cut = cut[:, ::-1]
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(cut), (width, height), interpolation=method).astype(np.float32) / 255


def _tinted(texture: np.ndarray, hue: float, strength: float, brightness: float) -> np.ndarray:
    """Draw the colours of a texture towards one hue (in turns), and its mean towards `brightness`."""
    grey = cv2.transform(texture, np.full((1, 3), 1 / 3, np.float32))[..., None]
    spread = np.cos(2 * np.pi * (hue - np.array([0, 1 / 3, 2 / 3], np.float32))).astype(np.float32)
    coloured = grey * (1 + 0.75 * spread)
    mixed = texture + np.float32(strength) * (coloured - texture)
    gain = np.float32(brightness / max(float(mixed.mean()), 0.05))
    return np.clip(mixed * gain, 0, 1)


def _hue(kind: Kind, rng: np.random.Generator) -> float:
    return rng.normal(kind.hue, 0.04) if rng.random() < LOYALTY else rng.random()


def _background(height: int, width: int, rng: np.random.Generator) -> _Scene:
    """Two kinds of stuff on either side of a wavy line."""
    y, x = np.mgrid[:height, :width].astype(np.float32) + np.float32(0.5)
    short = min(height, width)
    angle, offset = rng.uniform(-0.6, 0.6), rng.uniform(-0.22, 0.22)
    along = ((x - width / 2) * np.cos(angle) + (y - height / 2) * np.sin(angle)) / short
    across = ((y - height / 2) * np.cos(angle) - (x - width / 2) * np.sin(angle)) / short - offset
    for waves in (1, 3, 8):
        across += 0.07 / waves * np.sin(2 * np.pi * (waves * along * rng.uniform(0.7, 1.3) + rng.random())).astype(np.float32)
    kinds = rng.choice(len(STUFF), size=2, replace=False, p=[kind.share for kind in STUFF])
    layers = []
    for kind in kinds:
        texture = _texture(GROUNDS[kind], height, width, rng.uniform(0.5, 1.0) * short / 192, rng)
        layers.append(_tinted(texture, _hue(STUFF[kind], rng), rng.uniform(0.05, 0.3), rng.uniform(0.3, 0.6)))
    cover = np.clip(across * short + 0.5, 0, 1)[..., None]
    segments = np.where(across > 0, kinds[1] + 1, kinds[0] + 1).astype(np.int32)
    canvas = (layers[0] + cover * (layers[1] - layers[0])).astype(np.float32)
    return _Scene(canvas, segments, category=list(range(-1, len(STUFF))), least_px=[0.0] * (len(STUFF) + 1))


# Shapes


def _outline(thing: str, rng: np.random.Generator) -> list[np.ndarray]:
    """The closed curves of a shape about the origin, each (P, 2) float, at most 1 from it; a second one is a hole."""
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    squeeze = np.array([1, rng.uniform(0.75, 1)])
    if thing == "disc":
        curves = [circle * squeeze]
    elif thing == "ring":
        curves = [circle * squeeze, circle * squeeze * rng.uniform(0.5, 0.62)]
    elif thing == "box":
        curves = [np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * squeeze / np.hypot(*squeeze)]
    elif thing == "triangle":
        corners = 2 * np.pi * np.arange(3) / 3 + rng.uniform(-0.2, 0.2, 3)
        curves = [np.stack([np.cos(corners), np.sin(corners)], axis=1)]
    else:
        corners = np.pi * np.arange(10) / 5
        length = np.where(np.arange(10) % 2, rng.uniform(0.42, 0.52), 1)
        curves = [np.stack([np.cos(corners), np.sin(corners)], axis=1) * length[:, None]]
    angle = rng.uniform(0, 2 * np.pi)
    rotation = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    return [curve @ rotation for curve in curves]


def _cover(curves: list[np.ndarray], radius_px: float, centre: np.ndarray, half: int) -> np.ndarray:
    """(2 half, 2 half) float32: the share of each pixel of a square patch inside the curves, edges antialiased."""
    fine = 4
    patch = np.zeros((2 * half * fine, 2 * half * fine), np.uint8)
    points = [np.round((curve * radius_px + centre + half) * fine * 16 - 8).astype(np.int32) for curve in curves]
    cv2.fillPoly(patch, points, 255, shift=4)
    return cv2.resize(patch, (2 * half, 2 * half), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _add_shape(scene: _Scene, light: float, rng: np.random.Generator) -> None:
    """Lay one shape over the scene; three places are tried, then it is left out, so that no truth is a mere sliver."""
    height, width = scene.segments.shape
    thing = int(rng.choice(len(THINGS), p=[kind.share for kind in THINGS]))
    radius_px = float(np.exp(rng.uniform(*np.log(RADIUS)))) * min(height, width)
    curves = _outline(THINGS[thing].name, rng)
    for _ in range(3):
        centre = rng.uniform((0, 0), (width, height))
        half = int(radius_px * 1.5) + 2  # room for the shadow
        cover = _cover(curves, radius_px, centre - np.floor(centre), half)
        inside, window = _overlap(np.floor(centre).astype(int) - half, 2 * half, height, width)
        if _enter(scene, cover, inside, window, len(STUFF) + thing):
            canvas = scene.canvas[window]
            canvas[:] = _composed(canvas, cover, inside, _dress(thing, 2 * half, height, width, rng), light, radius_px)
            return


def _overlap(corner: np.ndarray, size: int, height: int, width: int) -> tuple[tuple, tuple]:
    """Slices of a square patch at `corner` (x, y), and of the picture, where the two overlap."""
    left, top = (int(value) for value in corner)
    x0, x1, y0, y1 = max(left, 0), min(left + size, width), max(top, 0), min(top + size, height)
    return np.s_[y0 - top : y1 - top, x0 - left : x1 - left], np.s_[y0:y1, x0:x1]


def _enter(scene: _Scene, cover: np.ndarray, inside: tuple, window: tuple, category: int) -> bool:
    """Write a shape into the truth, unless too little of it or of another shape would be seen; True if written."""
    new = len(scene.category)
    mask = cover >= 0.5
    segments = scene.segments.copy()
    segments[window][mask[inside]] = new
    least_px = [*scene.least_px, VISIBLE_SHARE * mask.sum()]
    if (np.bincount(segments.ravel(), minlength=new + 1) < least_px).any():
        return False
    scene.segments, scene.least_px = segments, least_px
    scene.category.append(category)
    return True


def _dress(thing: int, size: int, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) float32: what a shape wears."""
    files = GROUNDS if rng.random() < CAMOUFLAGE else PICTURES
    texture = _texture(files[rng.integers(len(files))], size, size, rng.uniform(0.35, 1.0) * min(height, width) / 192, rng)
    return _tinted(texture, _hue(THINGS[thing], rng), rng.uniform(0.35, 0.95), rng.uniform(0.35, 0.75))


def _composed(
    below: np.ndarray, cover: np.ndarray, inside: tuple, dress: np.ndarray, light: float, radius_px: float
) -> np.ndarray:
    """The shape over what lies below it, with a soft shadow away from the light and a bevelled edge."""
    towards = np.array([np.cos(light), np.sin(light)])
    reach = 0.14 * radius_px
    shift = np.array([(1, 0, -towards[0] * reach), (0, 1, -towards[1] * reach)], np.float32)
    soft = cv2.GaussianBlur(cover, (0, 0), 0.09 * radius_px)
    shadow = cv2.warpAffine(soft, shift, cover.shape[::-1])
    slope = (cv2.Sobel(soft, -1, 1, 0) * towards[0] + cv2.Sobel(soft, -1, 0, 1) * towards[1]) * -0.035 * radius_px
    lit = np.clip(dress * (1 + slope[..., None]), 0, 1)[inside]
    opaque = cover[inside][..., None]
    return below * (1 - 0.5 * shadow[inside][..., None]) * (1 - opaque) + lit * opaque


def _exposed(canvas: np.ndarray, light: float, rng: np.random.Generator) -> np.ndarray:
    """The picture as a camera takes it, (H, W, 3) uint8: light that falls off to one side, a colour cast, noise."""
    height, width = canvas.shape[:2]
    y, x = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
    gain = 1 + rng.uniform(0.1, 0.4) * (x * np.cos(light) + y * np.sin(light)) / np.sqrt(2)
    cast = rng.uniform(0.9, 1.1, 3)
    noise = rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(0.008, 0.035))
    taken = canvas * (gain[..., None] * cast).astype(np.float32) + noise
    return np.clip(np.round(taken * 255), 0, 255).astype(np.uint8)
