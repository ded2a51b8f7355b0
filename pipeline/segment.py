"""Segment pictures of your own: `python -m pipeline.segment kmeans photo.jpg --set clusters=5`.

METHOD is a classical method that needs no training, such as kmeans or felzenszwalb, whose segments have numbers and no classes;
or a fitted run: its folder (runs/unet_encoder) or a copy of runs/unet_encoder/model anywhere; or a model in MLflow
(models:/NAME@ALIAS, models:/NAME/VERSION, runs:/ID/model) from the store in this folder or in MLFLOW_TRACKING_URI.

INPUT is an image file, or a folder: all images in it, but none in folders below. 16-bit and float pictures are brought to 8
bits, EXIF turns are applied, what is transparent is laid over white; the line that is printed for a picture says so, and at
what size a method worked that makes large pictures smaller first.

Without --out, --overlay and --coco, masks and overlays are written to segments/masks and segments/overlays here.
A mask is a grey PNG of 8 bits, or 16 where needed, whose values are class indices (void is 255, or 65535 with more than 254
classes) or segment numbers: it looks black in a viewer. With more than 65536 segments it is a PNG in colour, a number being
R + 256 G + 65536 B; --out NAME.tif holds plain numbers, of 32 bits if need be. The overlay is for the eye: segments or classes
in colour; or each object with outline, box, class and score, but for those below a score of 0.5, in a picture that is enlarged
where it has no room for text.

--coco FOLDER gets the predictions of a run as COCO's tools read them: panoptic.json with panoptic/NAME.png, and where there are
things instances.json, a list of results with scores. A category id is the class index + 1. To score them against a COCO file,
give that as --coco-ids. The things of a semantic prediction are told apart as they were for the scores of the run.

What a classical method learns without truth, such as the colours of kmeans, it learns from all pictures of INPUT together: a
number means the same in every mask. A run predicts with the options it was scored with (runs/K/predict.json); a copy of its
model folder alone, with the defaults.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from pipeline import command, prompts
from pipeline.classical import METHODS
from pipeline.coco_predictions import CocoFolder, read_ids
from pipeline.mask_files import Job, numbered, plan, write
from pipeline.pictures import BITS, depth_in
from pipeline.ready import Ready, Segmentation, choose, with_prompt
from pipeline.spread import spread
from pipeline.structures import SURE, Prompt

TAKE_NUMBERS = ("--box", "--points", "--point", "--polygon")
TOLD = 8  # classes or segments in the line of a picture, the largest first


class _Pictures(Sequence):
    """Pictures, opened when they are asked for."""

    def __init__(self, jobs: Sequence[Job]):
        self.jobs = jobs

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.jobs[index].read()[0]


def look(jobs: Sequence[Job], ready: Ready, prompt: Prompt | None, *, threads: int) -> str | None:
    """Open every picture, so that one that is broken or does not fit the prompt costs no work and leaves no half of a folder.

    What a method itself refuses when it comes to a picture ends the run there, and what was written before stays.

    Returns
    -------
    a warning where the pictures differ in the depth that their numbers were taken to have, else None

    Raises
    ------
    ValueError : pictures cannot be read or do not fit the prompt, a line each.
    """
    seen = list(_shown(spread(lambda job: _seen(job, ready, prompt), jobs, threads=threads), "look", len(jobs)))
    if broken := [one for one in seen if isinstance(one, str)]:
        raise ValueError("\n".join([*broken, f"{len(broken)} of {len(jobs)} pictures cannot be used; nothing is written"]))
    depths = {job.picture: depth for job, depth in zip(jobs, seen, strict=True) if depth is not None}
    common = Counter(depths.values()).most_common()
    if len(common) < 2:
        return None
    usual = common[0][0]
    odd = [f"{picture} ({depth} bits)" for picture, depth in depths.items() if depth != usual]
    more = f" and {len(odd) - TOLD} more" if len(odd) > TOLD else ""
    return (
        f"{', '.join(odd[:TOLD])}{more}: the rest were taken as {usual} bits, so that equal numbers are not equally bright; "
        f"give --bits {max(depths.values())} if all come from one camera"
    )


def _seen(job: Job, ready: Ready, prompt: Prompt | None) -> int | str | None:
    """Why a picture cannot be used; where it can, the depth it was taken to have, if any."""
    try:
        image, remarks = job.read()
    except ValueError as error:
        return str(error)
    try:
        prompts.check(prompt, image.shape[:2], ready.label_space)
    except ValueError as error:
        return f"{job.picture}: {error}"
    return depth_in(remarks)


def segment(
    jobs: Sequence[Job], ready: Ready, prompt: Prompt | None, *, seed: int, coco: CocoFolder | None = None
) -> Iterator[Text]:
    """Segment every picture and write what is wanted; a line for each, in order.

    Raises
    ------
    ValueError : a picture cannot be read or does not fit the prompt, or the method refuses it.
    """
    if ready.needs_pictures:
        ready.prepare(_Pictures(jobs), seed=seed)
    found = spread(lambda job: _work(job, ready, prompt, coco), jobs, threads=min(ready.threads, len(jobs)))
    yield from _shown(found, "segment", len(jobs))


def _work(job: Job, ready: Ready, prompt: Prompt | None, coco: CocoFolder | None) -> Text:
    image, remarks = job.read()
    try:
        prompts.check(prompt, image.shape[:2], ready.label_space)
        found = ready.segment(image, prompt, divided=coco is not None)
        height, width = ready.works_at(image.shape[:2], prompt)
        if (height, width) != image.shape[:2]:
            remarks.append(f"worked on at {width} x {height} px")
        mask = None if job.mask is None else numbered(found.labels, job.mask.suffix)
    except ValueError as error:
        raise ValueError(f"{job.picture}: {error}") from None
    colours = ready.colours(found.labels)
    if mask is not None:
        if mask.ndim == 3:
            remarks.append("numbers of its mask as R + 256 G + 65536 B")
        write(job.mask, mask)
    if job.overlay is not None:
        write(job.overlay, ready.overlay(image, found)[..., ::-1])
    if coco is not None:
        coco.add(job.picture.name, job.name, found.prediction)
    return describe(job.picture, found, ready, colours, remarks)


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
            faint = found.faint.get(label, 0)
            below = f", {faint} of them below {SURE}" if faint else ""
            line.append(f" ({found.objects[label]} object{'s' * (found.objects[label] > 1)}{below})")
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


def _refuse_prompt(prompt: Prompt | None, ready: Ready, name: str) -> None:
    for part in prompts.parts(prompt):
        if part not in ready.takes:
            own = ", ".join(f"--{one}" for one in ready.takes) or "no prompt"
            raise ValueError(f"{name} takes {own}; methods that take --{part}: {', '.join(with_prompt(part)) or 'none'}")


def _run(arguments: argparse.Namespace) -> None:
    settings, threads = command.settings(arguments.set), arguments.threads
    if arguments.seed < 0:
        raise ValueError(f"--seed {arguments.seed}: wanted 0 or more")
    if arguments.bits is not None and not 1 <= arguments.bits <= BITS[-1]:
        raise ValueError(f"--bits {arguments.bits}: wanted 1 to {BITS[-1]}")
    prompt = prompts.parse(box=arguments.box, points=arguments.points, polygon=arguments.polygon, scribbles=arguments.scribbles)
    if arguments.coco_ids is not None and arguments.coco is None:
        raise ValueError(f"--coco-ids {arguments.coco_ids}: says the ids of what --coco FOLDER writes; give that too")
    is_default = arguments.coco is None
    jobs = plan(arguments.input, out=arguments.out, overlay=arguments.overlay, bits=arguments.bits, is_default=is_default)
    ready = choose(arguments.method, settings, classes=prompts.num_classes(prompt), threads=threads)
    _refuse_prompt(prompt, ready, arguments.method)
    prompt = prompts.with_classes_of(prompt, ready.label_space)
    if len(jobs) > 1 and (warning := look(jobs, ready, prompt, threads=threads)):
        print(f"warning: {warning}", file=sys.stderr)
    coco = None if arguments.coco is None else _coco(arguments, jobs, ready)
    console = Console(highlight=False)
    for line in segment(jobs, ready, prompt, seed=arguments.seed, coco=coco):
        console.print(line, soft_wrap=True)
    if coco is not None:
        coco.close()
        print(f"COCO: {arguments.coco}/panoptic.json" + f", {arguments.coco}/instances.json" * ready.label_space.has_things)
    for what, targets in (("mask", [job.mask for job in jobs]), ("overlay", [job.overlay for job in jobs])):
        if targets[0] is not None:
            where = targets[0] if len(targets) == 1 else f"{len(targets)} in {targets[0].parent}"
            print(f"{what}{'s' * (len(targets) > 1)}: {where}")


def _coco(arguments: argparse.Namespace, jobs: Sequence[Job], ready: Ready) -> CocoFolder:
    if not ready.has_classes:
        raise ValueError(f"--coco {arguments.coco}: {arguments.method} has segments and no classes; give a fitted run, runs/K")
    names = [job.picture.name for job in jobs]
    ids = {name: number for number, name in enumerate(names, start=1)}
    if arguments.coco_ids is not None:
        ids = read_ids(arguments.coco_ids, names)
    return CocoFolder(arguments.coco, ready.label_space, ids)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.segment", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", metavar="METHOD", help=f"runs/K, models:/NAME@ALIAS, or one of: {', '.join(METHODS)}")
    parser.add_argument("input", metavar="INPUT", type=Path, help="an image, or a folder of images")
    parser.add_argument("--out", type=Path, help="the mask: a .png or .tif file for one image, else a folder of NAME.png")
    parser.add_argument("--overlay", type=Path, help="the picture with its segments in colour: a file or a folder, likewise")
    parser.add_argument(
        "--coco", metavar="FOLDER", type=Path, help="a run's predictions as COCO's panoptic form and as results with scores"
    )
    parser.add_argument("--coco-ids", metavar="FILE", type=Path, help="COCO file with the ids of the images; else 1, 2, ...")
    parser.add_argument(
        *("--set", "-s"),
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the classical method, or of a run's prediction (flip, window, scales, postprocess); may be repeated",
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random, as k-means' first centres are; 0")
    parser.add_argument("--bits", type=int, help="depth of 16-bit pictures; guessed for each as 8, 12 or 16 where left out")
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
    return command.run(_run, _parser().parse_args(_joined(sys.argv[1:] if argv is None else argv)))


if __name__ == "__main__":
    sys.exit(main())
