"""Segment pictures of your own: `python -m pipeline.segment kmeans photo.jpg --set clusters=5`.

METHOD is a classical method that needs no training, such as kmeans or felzenszwalb, whose segments have numbers and no classes;
or a fitted run: its folder (runs/unet_encoder) or a copy of runs/unet_encoder/model anywhere; or a model in MLflow
(models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID/model) from the store in this folder or in MLFLOW_TRACKING_URI.

INPUT is an image file, or a folder: all images in it, but none in folders below. 16-bit and float pictures are brought to 8
bits, EXIF turns are applied, what is transparent is laid over white; the line that is printed for a picture says so.

Without --out and --overlay both are written, to segments/masks/NAME.png and segments/overlays/NAME.png in this folder.
A mask is a grey PNG of 8 bits, or 16 where needed, whose values are class indices (void is 255, or 65535 with more than 254
classes) or segment numbers: it looks black in a viewer. The overlay is for the eye.

What a classical method learns without truth, such as the colours of kmeans, it learns from all pictures of INPUT together: a
number means the same in every mask. A run predicts with the options it was scored with (runs/K/predict.json); a copy of its
model folder alone, with the defaults.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from pipeline import files, overlay, prompts
from pipeline.classical import METHODS
from pipeline.pictures import images_in, picture_and_remarks, read_picture
from pipeline.ready import Ready, Segmentation, choose, with_prompt
from pipeline.spread import spread
from pipeline.structures import Prompt

MASKS, OVERLAYS = Path("segments/masks"), Path("segments/overlays")
PAINTED = (".png", ".jpg", ".jpeg", ".webp")  # what an overlay may be
TAKE_NUMBERS = ("--box", "--points", "--point", "--polygon")
TOLD = 8  # classes or segments in the line of a picture, the largest first


@dataclass(frozen=True)
class Job:
    """A picture, and where its mask and its overlay go; None where they are not wanted."""

    picture: Path
    mask: Path | None
    overlay: Path | None


class _Pictures(Sequence):
    """Pictures, opened when they are asked for."""

    def __init__(self, jobs: Sequence[Job]):
        self.jobs = jobs

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> np.ndarray:
        return read_picture(self.jobs[index].picture)


def plan(given: Path, *, out: Path | None, overlay: Path | None) -> list[Job]:
    """What is to be read and written.

    Raises
    ------
    ValueError : there is no picture; a name is no place for what goes there; a file would be written over another or a picture.
    """
    if not given.exists():
        raise ValueError(f"{given}: no such file or folder")
    pictures = images_in(given) if given.is_dir() else [given]
    if not pictures:
        raise ValueError(f"{given}: no image in it; give the folder that holds them, folders in it are not searched")
    if out is None and overlay is None:
        out, overlay = MASKS, OVERLAYS
    stems = [picture.stem for picture in pictures]
    names = [path.name if stems.count(path.stem) > 1 else path.stem for path in pictures]  # a.jpg beside a.png
    jobs = [
        Job(
            picture,
            None if out is None else _place(out, name, option="--out", kinds=PAINTED[:1], is_file=not given.is_dir()),
            None if overlay is None else _place(overlay, name, option="--overlay", kinds=PAINTED, is_file=not given.is_dir()),
        )
        for picture, name in zip(pictures, names, strict=True)
    ]
    _refuse_overwriting(jobs)
    return jobs


def _place(target: Path, name: str, *, option: str, kinds: Sequence[str], is_file: bool) -> Path:
    """Where something of the picture `name` goes: into the folder `target`, or where there is one picture, to that file."""
    if target.is_dir() or not target.suffix:
        return target / f"{name}.png"
    if not is_file:
        raise ValueError(f"{option} {target}: INPUT is a folder; give a folder here too, without {target.suffix}")
    if target.suffix.lower() not in kinds:
        raise ValueError(f"{option} {target}: wanted a folder, or a name that ends in {' or '.join(kinds)}")
    return target


def _refuse_overwriting(jobs: Sequence[Job]) -> None:
    taken = {job.picture.resolve(): "a picture of INPUT" for job in jobs}
    for job in jobs:
        for target, what in ((job.mask, "a mask"), (job.overlay, "an overlay")):
            if target is None:
                continue
            if target.resolve() in taken:
                raise ValueError(f"{target}: {what} would be written over {taken[target.resolve()]}; choose another folder")
            taken[target.resolve()] = what


def segment(jobs: Sequence[Job], ready: Ready, prompt: Prompt | None, *, seed: int, threads: int) -> Iterator[Text]:
    """Segment every picture and write what is wanted; a line for each, in order.

    Several pictures are looked at first, all of them, so that a broken one costs no work and no half of a folder is written.

    Raises
    ------
    ValueError : pictures cannot be read or do not fit the prompt, a line each; or the method refuses one.
    """
    if len(jobs) > 1:
        faults = filter(None, _shown(spread(lambda job: _fault(job, ready, prompt), jobs, threads=threads), "look", len(jobs)))
        if broken := list(faults):
            raise ValueError("\n".join([*broken, f"{len(broken)} of {len(jobs)} pictures cannot be used; nothing is written"]))
    if ready.needs_pictures:
        ready.prepare(_Pictures(jobs), seed=seed)
    found = spread(lambda job: _work(job, ready, prompt), jobs, threads=min(ready.threads, len(jobs)))
    yield from _shown(found, "segment", len(jobs))


def _fault(job: Job, ready: Ready, prompt: Prompt | None) -> str | None:
    """Why a picture cannot be used, None where it can."""
    try:
        image = read_picture(job.picture)
    except ValueError as error:
        return str(error)
    try:
        prompts.check(prompt, image.shape[:2], ready.label_space)
    except ValueError as error:
        return f"{job.picture}: {error}"
    return None


def _work(job: Job, ready: Ready, prompt: Prompt | None) -> Text:
    image, remarks = picture_and_remarks(job.picture)
    try:
        prompts.check(prompt, image.shape[:2], ready.label_space)
        found = ready.segment(image, prompt)
    except ValueError as error:
        raise ValueError(f"{job.picture}: {error}") from None
    colours = ready.colours(found.labels)
    if job.mask is not None:
        _write(job.mask, found.labels)
    if job.overlay is not None:
        _write(job.overlay, overlay.draw(image, found.labels, found.parts, colours=colours, clear=ready.clear)[..., ::-1])
    return describe(job.picture, found, ready, colours, remarks)


def _write(path: Path, pixels: np.ndarray) -> None:
    files.write_bytes(path, cv2.imencode(path.suffix.lower(), np.ascontiguousarray(pixels))[1].data)


def describe(picture: Path, found: Segmentation, ready: Ready, colours: np.ndarray, remarks: Sequence[str]) -> Text:
    """The line of a picture: its size, what was done to it, and the share of each class or segment, each in its colour."""
    pixels = np.bincount(found.labels.ravel())
    labels = sorted(np.flatnonzero(pixels).tolist(), key=lambda label: -pixels[label])
    height, width = found.labels.shape
    line = Text(f"{picture}: {width} x {height} px{''.join(f', {remark}' for remark in remarks)}: ")
    if not ready.has_classes:
        line.append(f"{len(labels)} segment{'s' * (len(labels) > 1)}: ")
    for index, label in enumerate(labels[:TOLD]):
        line.append(", " * (index > 0))
        line.append("■ ", style="rgb({},{},{})".format(*colours[label]))
        line.append(f"{ready.name_of(label)} {_percent(pixels[label], found.labels.size)}")
        if label in found.objects:
            line.append(f" ({found.objects[label]} object{'s' * (found.objects[label] > 1)})")
    if rest := labels[TOLD:]:
        line.append(f", {len(rest)} more {_percent(pixels[rest].sum(), found.labels.size)}")
    return line


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"


def _shown(results: Iterable, what: str, total: int) -> Iterator:
    """The results, with a progress bar where somebody watches several pictures."""
    console = Console(stderr=True)
    bar = Progress(
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # lines above the bar; but lines for a file stay there
        disable=total == 1 or not console.is_terminal,
    )
    with bar:
        yield from bar.track(results, total=total, description=what)


def _settings(texts: Sequence[str]) -> dict:
    """Option -> value from texts such as "clusters=5"."""
    settings = {}
    for text in texts:
        key, sign, value = text.partition("=")
        try:
            settings[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            sign = ""
        if not sign or not key.strip():
            raise ValueError(f"--set {text}: wanted KEY=VALUE with a YAML value, such as clusters=5 or scales=[1.0, 1.5]")
    return settings


def _refuse_prompt(prompt: Prompt | None, ready: Ready, name: str) -> None:
    for part in prompts.parts(prompt):
        if part not in ready.takes:
            own = ", ".join(f"--{one}" for one in ready.takes) or "no prompt"
            raise ValueError(f"{name} takes {own}; methods that take --{part}: {', '.join(with_prompt(part)) or 'none'}")


def _run(arguments: argparse.Namespace) -> None:
    settings, threads = _settings(arguments.set), os.cpu_count() or 1 if arguments.threads is None else arguments.threads
    if threads < 1:
        raise ValueError(f"--threads {threads}: wanted 1 or more")
    prompt = prompts.parse(box=arguments.box, points=arguments.points, polygon=arguments.polygon, scribbles=arguments.scribbles)
    jobs = plan(arguments.input, out=arguments.out, overlay=arguments.overlay)
    ready = choose(arguments.method, settings, classes=prompts.num_classes(prompt), threads=threads)
    _refuse_prompt(prompt, ready, arguments.method)
    prompt = prompts.with_classes_of(prompt, ready.label_space)
    console = Console(highlight=False)
    for line in segment(jobs, ready, prompt, seed=arguments.seed, threads=threads):
        console.print(line, soft_wrap=True)
    for what, targets in (("mask", [job.mask for job in jobs]), ("overlay", [job.overlay for job in jobs])):
        if targets[0] is not None:
            where = targets[0] if len(targets) == 1 else f"{len(targets)} in {targets[0].parent}"
            print(f"{what}{'s' * (len(targets) > 1)}: {where}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.segment", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", metavar="METHOD", help=f"runs/K, models:/NAME@ALIAS, or one of: {', '.join(METHODS)}")
    parser.add_argument("input", metavar="INPUT", type=Path, help="an image, or a folder of images")
    parser.add_argument("--out", type=Path, help="the mask: a .png file for one image, else a folder of NAME.png")
    parser.add_argument("--overlay", type=Path, help="the picture with its segments in colour: a file or a folder, likewise")
    parser.add_argument(
        *("--set", "-s"),
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the classical method, or of a run's prediction (flip, window, scales, postprocess); may be repeated",
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random, as k-means' first centres are; 0")
    parser.add_argument("--threads", type=int, help="of the CPU; all of them where left out")
    parser.add_argument("--box", metavar="X0,Y0,X1,Y1", help="a rectangle around the object, in pixels from the top left")
    parser.add_argument("--points", "--point", metavar="X,Y;X,Y", action="append", default=[], help="points; may be repeated")
    parser.add_argument("--polygon", metavar="X,Y;X,Y;X,Y", help="corners of a line around the object")
    parser.add_argument("--scribbles", metavar="PNG", type=Path, help="class index where you drew, 255 elsewhere")
    return parser


def _joined(argv: Sequence[str]) -> list[str]:
    """ "--box", "-5,0,9,9" as "--box=-5,0,9,9", since argparse would take the second for another option."""
    joined: list[str] = []
    for text in argv:
        if joined and joined[-1] in TAKE_NUMBERS and text[:1] == "-":
            joined[-1] += f"={text}"
        else:
            joined.append(text)
    return joined


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a broken file is told of once, by us
    try:
        _run(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # no space, no permission
        print(f"error: {error.filename or 'input or output'}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    finally:
        cv2.utils.logging.setLogLevel(level)
    return 0


if __name__ == "__main__":
    sys.exit(main())
