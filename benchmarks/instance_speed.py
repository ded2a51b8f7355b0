"""Inference of the light Mask R-CNN and YOLACT beside torchvision's stock Mask R-CNN, on the same pictures at the same size.

`python -m benchmarks.instance_speed --penn-fudan PennFudanPed.zip --runs runs`; without --runs all weights are random.
A side takes a picture as uint8 and gives boolean masks of its size; the networks see it with a short side of the preset's.

Time depends on how many objects are found, since each gets a mask. Trained networks find what they find; of the stock one,
which has random weights and so no idea, the surest are taken: as many in each picture as the trained Mask R-CNN found there.
With random weights throughout every side gives the surest `--objects` of each picture, YOLACT fewer where a mask is empty. The
table says how many there were. The light Mask R-CNN looks at 200 proposals of a picture, the stock one at 1,000, as it comes.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn

from benchmarks._side_by_side import medians
from pipeline import archive, config, inference, splits
from pipeline.check import load_params
from pipeline.datasets import penn_fudan
from pipeline.models import NETWORKS
from pipeline.provenance import ROOT
from pipeline.table import look_up
from pipeline.training import fit

PRESET = ROOT / "presets/penn_fudan_instances.yaml"
NAMES = ("mask_rcnn", "yolact")
STOCK = "torchvision `maskrcnn_resnet50_fpn`"


@dataclass(frozen=True)
class Side:
    """A network in use: the number of a picture to the masks found in it, (N, H, W) bool."""

    weights: str
    parameters: int
    masks: Callable[[int], np.ndarray]


def pictures(source: Path, params: config.Params, count: int) -> list[np.ndarray]:
    """The first test pictures under the preset's split, (H, W, 3) uint8."""
    with tempfile.TemporaryDirectory() as folder:
        if archive.is_archive(source):
            archive.extract(source, Path(folder))
            source = Path(folder)
        records = splits.assign(penn_fudan.read(source).records, shares=params.dataset.splits.model_dump(), seed=params.seed)
        return [record.decode().image for record in records if record.split == "test"][:count]


def ours(name: str, params: config.Params, images: Sequence[np.ndarray], *, runs: Path | None, objects: int) -> Side:
    """A light network of the preset: as trained in `runs`, or with random weights and the surest objects."""
    if runs is not None:
        fitted = inference.load(runs / name / "model", device="cpu")
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_random(Path(folder), params, name, objects=objects)
            fitted = inference.load(folder, device="cpu")
    parameters = sum(parameter.numel() for parameter in fitted.network.parameters())
    weights = "random" if runs is None else "trained"
    return Side(weights, parameters, lambda at: fitted.segment(images[at]).masks)


def write_random(folder: Path, params: config.Params, name: str, *, objects: int) -> None:
    """The folder of a network of the preset that was never fitted."""
    entry = params.networks[name].fit
    options = entry.options | {"pretrained": False, "score_threshold": 0.0, "most_objects": objects}
    torch.manual_seed(0)
    network = look_up(NETWORKS, entry.model, kind="network")(penn_fudan.LABEL_SPACE, **options)
    fit.save_network(folder, network)
    description = {"name": name, "kind": "network", "method": entry.model, "options": options}
    description |= {"label_space": network.label_space.to_json(), "short_side": params.augment.short_side}
    description |= {"mean": list(network.mean), "std": list(network.std)}
    (folder / "model.json").write_text(json.dumps(description), encoding="utf-8")


def stock(params: config.Params, images: Sequence[np.ndarray], counts: Sequence[int]) -> Side:
    """torchvision's, as it comes but for the size and the two labels; of each picture the `counts` surest objects."""
    torch.manual_seed(0)
    things = sum(penn_fudan.LABEL_SPACE.isthing)
    network = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=things + 1,
        min_size=params.augment.short_side,
        box_score_thresh=0.0,
    ).eval()

    def masks(at: int) -> np.ndarray:
        network.roi_heads.detections_per_img = counts[at]
        with torch.inference_mode():
            (found,) = network([torch.from_numpy(images[at]).permute(2, 0, 1).float() / 255])
        return (found["masks"][:, 0] > 0.5).numpy()

    return Side("random", sum(parameter.numel() for parameter in network.parameters()), masks)


def print_table(sides: dict[str, Side], found: dict[str, float], seconds: dict[str, float], count: int) -> None:
    """A row for each side; `found` is how many objects it gave, on average."""
    print("| network | weights | parameters | objects per picture | ms per picture | pictures/s | times the stock one |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name, side in sides.items():
        rate = count / seconds[name]
        print(
            f"| {name} | {side.weights} | {side.parameters / 1e6:.1f} M | {found[name]:.1f} | {1000 / rate:.0f} | {rate:.2f} "
            f"| {seconds[STOCK] / seconds[name]:.1f} x |"
        )


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--penn-fudan", type=Path, required=True, help="PennFudanPed.zip, or the folder in it")
    parser.add_argument("--runs", type=Path, help="a folder with mask_rcnn/model and yolact/model; left out: random weights")
    parser.add_argument("--pictures", type=int, default=10, help="how many of the test split")
    parser.add_argument("--objects", type=int, default=3, help="of each picture, with random weights; 2.5 are true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU, for every side")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    params = load_params(PRESET)
    images = pictures(arguments.penn_fudan, params, arguments.pictures)
    chosen = {"runs": arguments.runs, "objects": arguments.objects}
    sides = {f"`{name}`": ours(name, params, images, **chosen) for name in NAMES}
    counts = [len(sides["`mask_rcnn`"].masks(at)) for at in range(len(images))]
    sides[STOCK] = stock(params, images, counts)
    found = {name: mean(len(side.masks(at)) for at in range(len(images))) for name, side in sides.items()}
    runs = {name: lambda side=side: [side.masks(at) for at in range(len(images))] for name, side in sides.items()}
    seconds = medians(runs, repeats=arguments.rounds)
    print(
        f"{len(images)} test pictures of Penn-Fudan, short side {params.augment.short_side} px, one at a time, "
        f"{arguments.threads} thread(s), medians of {arguments.rounds} rounds, load average {os.getloadavg()[0]:.1f}\n"
    )
    print_table(sides, found, seconds, len(images))


if __name__ == "__main__":
    main()
