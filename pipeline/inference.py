"""A fitted method as an object that maps an image of any size to a prediction, whatever kind of method it is.

A fitted method is a folder: model.json and the files beside it. It loads without params.yaml and without pickle.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline import files, sliding
from pipeline.classical import METHODS
from pipeline.machine import forget_peak_memory, peak_memory_mb
from pipeline.models import NETWORKS
from pipeline.postprocess import DIVISIONS, FUSIONS, POSTPROCESSES
from pipeline.postprocess._postprocess import Example, Postprocess
from pipeline.prediction_options import classical_options, segment_options
from pipeline.resizing import resize_image, scaled_size
from pipeline.structures import InstanceSet, LabelSpace, Prediction, Prompt, Sample, SemanticMap
from pipeline.table import look_up

MASK_BYTES = 2**33  # of all masks of an image together, a byte for a pixel


class Fitted(ABC):
    """A method ready to use."""

    threads = 1  # that may call `segment` at once
    division: dict | None = None  # name and options of what divides a semantic prediction into things

    def __init__(self, description: dict, options: dict):
        self.description = description
        self.label_space = LabelSpace.from_json(description["label_space"])
        self.options = options  # the predict half of its entry

    @abstractmethod
    def segment(self, image: np.ndarray, prompt: Prompt | None = None) -> Prediction:
        """(H, W, 3) uint8 RGB to a prediction of the same height and width."""

    def divided(self, prediction: Prediction) -> Prediction:
        """A prediction of `segment` with its things told apart: a semantic map by the option `instances`, others as they are.

        It costs time that a user of labels need not spend, so that `segment` leaves it out, and the measured latency too.
        """
        if not isinstance(prediction, SemanticMap) or self.division is None or not self.label_space.has_things:
            return prediction
        divide = look_up(DIVISIONS, self.division["name"], kind="division")
        return replace(prediction, divided=divide(prediction, label_space=self.label_space, **self.division["options"]))

    def fit_prediction(self, validation: Callable[[int], list[Sample]]) -> dict:
        """Fit what the prediction options leave open; `validation` gives at most so many samples of that split.

        Returns
        -------
        {"options": the predict half with what was found, "search": a row for each setting tried}
        """
        return {"options": self.options, "search": []}

    def forget_peak_memory(self) -> None:
        """Let `peak_memory_mb` start anew."""
        forget_peak_memory()

    def peak_memory_mb(self) -> float:
        """The most memory held where the method computes: this process's."""
        return peak_memory_mb()

    def cost(self, height: int, width: int) -> dict[str, int]:
        """`parameters` and `multiply_adds` for one image of this size, where the method has such numbers."""
        return {}


def load(folder: str | Path, *, predict: dict | None = None, device=None, threads: int | None = None) -> Fitted:
    """The fitted method in `folder`.

    Parameters
    ----------
    folder : runs/K/model, or a copy of it anywhere
    predict : the predict half of its entry; {} where left out
    device : torch device of a network; picked automatically where left out
    threads : CPU threads of a network; torch's own choice where left out

    Raises
    ------
    ValueError : the folder holds no model.json, a damaged one, or one of a kind that this version does not know.
    """
    description = described(folder)
    return _LOADERS[description["kind"]](Path(folder), description, predict or {}, device, threads)


def described(folder: str | Path) -> dict:
    """What model.json says of the fitted method in `folder`; raises ValueError as `load` does."""
    path = Path(folder) / "model.json"
    if not path.is_file():
        raise ValueError(f"{folder}: no model.json there; fit the method first (`dvc repro`)")
    try:
        description = dict(files.read_json(path))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: is no mapping in JSON, or damaged: {error}; fetch a whole copy") from None
    if description.get("kind") not in _LOADERS:
        raise ValueError(f"{path}: kind {description.get('kind')!r} is none of {', '.join(_LOADERS)}")
    if missing := {"method", "options", "label_space"} - description.keys():
        raise ValueError(f"{path}: {', '.join(sorted(missing))} missing; fetch a whole copy, or fit the method again")
    return description


class FittedClassical(Fitted):
    """A classical method; it works at the native size."""

    def __init__(self, folder: Path, description: dict, predict: dict, device, threads):
        super().__init__(description, classical_options(**predict))
        self.division = self.options["instances"]
        build = look_up(METHODS, description["method"], kind="classical method")
        self.method = build(self.label_space, **description["options"])
        self.method.load(folder)
        self.threads = threads or 1

    def segment(self, image, prompt=None):
        return self.method.segment(image, prompt)


class FittedNetwork(Fitted):
    """A network: the image is scaled to the training size, predicted at once or by windows, and the prediction scaled back.

    With a window, memory is bounded for an image of any size: see `pipeline.sliding`. An image that is not covered by windows
    is padded on the right and below to the stride.
    """

    def __init__(self, folder: Path, description: dict, predict: dict, device, threads):
        import torch
        from safetensors.torch import load_file

        super().__init__(description, segment_options(**predict))
        self.division = self.options["instances"]
        if threads:
            torch.set_num_threads(threads)
        build = look_up(NETWORKS, description["method"], kind="network")
        options = dict(description["options"])
        if "pretrained" in inspect.signature(build).parameters:
            options["pretrained"] = False  # all weights stand in the file
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = build(self.label_space, **options)
        self.network.load_state_dict(load_file(folder / "weights.safetensors"))
        self.network.mean, self.network.std = description["mean"], description["std"]
        self._set_painting()
        self.network.to(self.device, memory_format=torch.channels_last).eval()
        self.short_side = description["short_side"]
        window, stride = self.options["window"], self.network.stride
        self.window = None if window is None else -(-window // stride) * stride
        self.postprocesses: list[Postprocess] = [
            look_up(POSTPROCESSES, entry["name"], kind="post-process")(self.label_space, **entry["options"])
            for entry in self.options["postprocess"]
        ]

    def _set_painting(self) -> None:
        wanted = self.options["painting"]
        if self.network.painting is not None:
            self.network.painting = wanted or {}
        elif wanted is not None:
            raise ValueError(
                f"{self.description['name']}: predict.painting is for a network that finds things and stuff, and "
                f"{self.description['method']} does not; set painting: null"
            )

    def segment(self, image, prompt=None):
        return self._after(image, self.postprocesses)

    def fit_prediction(self, validation):
        search = []
        for index, (process, entry) in enumerate(zip(self.postprocesses, self.options["postprocess"], strict=True)):
            samples = validation(process.fit_images) if process.fit_images else []
            if not process.moves_labels:  # a picture that it will not touch says nothing of how it should
                samples = [sample for sample in samples if self._keeps_probabilities(sample.image)]
            before = self.postprocesses[:index]
            examples = [process.needed(self._example(sample, before), number) for number, sample in enumerate(samples)]
            if examples:
                entry["options"] |= process.fit(examples)
                search += [{"postprocess": entry["name"], **row} for row in process.search]
        return {"options": self.options, "search": search}

    def _example(self, sample: Sample, postprocesses: Sequence[Postprocess]) -> Example:
        return Example(sample.image, self._after(sample.image, postprocesses), sample.truth.semantic(self.label_space))

    def _after(self, image: np.ndarray, postprocesses: Sequence[Postprocess]) -> Prediction:
        """The prediction at the image's size, with these post-processes behind it."""
        if not self._keeps_probabilities(image):
            if any(process.moves_labels for process in self.postprocesses):
                raise ValueError(
                    f"{self.description['name']}: predict.postprocess needs the class probabilities of the image, and those of "
                    f"{image.shape[0]} x {image.shape[1]} px and {self.label_space.num_classes} classes are more than the "
                    f"{sliding.KEPT_VALUES} that are kept; set postprocess: [], or give smaller images"
                )
            postprocesses = ()
        prediction = self._native(image)
        for process in postprocesses:
            prediction = process(image, prediction)
        return prediction

    def _keeps_probabilities(self, image: np.ndarray) -> bool:
        return sliding.is_kept(self.label_space.num_classes, *image.shape[:2])

    def _native(self, image: np.ndarray) -> Prediction:
        native = image.shape[:2]
        small = resize_image(image, *scaled_size(*native, self.short_side))
        size = small.shape[:2]
        if self._averages():
            bands = sliding.merged(
                small,
                self._probabilities,
                num_classes=self.label_space.num_classes,
                window=self.window or max(size),
                overlap=self.options["overlap"],
            )
        else:
            prediction = self._predict(small)
            if getattr(prediction, "probabilities", None) is None:
                self._refuse_masks_beyond_memory(prediction, native)
                return prediction.resized(*native)
            bands = [(0, prediction.probabilities)]
        return sliding.collected(bands, size=size, native=native, label_space=self.label_space)

    def _refuse_masks_beyond_memory(self, prediction: Prediction, native: tuple[int, int]) -> None:
        objects = prediction if isinstance(prediction, InstanceSet) else getattr(prediction, "objects", None)
        if objects is not None and len(objects) * native[0] * native[1] > MASK_BYTES:
            raise ValueError(
                f"{self.description['name']}: {len(objects)} masks of {native[0]} x {native[1]} px are more than the "
                f"{MASK_BYTES / 2**30:.0f} GiB that are kept; give smaller images, or parts of this one"
            )

    def _averages(self) -> dict[str, str]:
        """The options in use that average class probabilities, and what turns each off."""
        used = {"flip": self.options["flip"], "window": self.window is not None, "scales": self.options["scales"] != [1.0]}
        off = {"flip": "false", "window": "null", "scales": "[1.0]"}
        return {name: off[name] for name, is_used in used.items() if is_used}

    def _probabilities(self, patch: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 to (C, H, W) float32, averaged over scales and mirror images."""
        total = 0
        for scale in self.options["scales"]:
            scaled = resize_image(patch, *self._pass_size(*patch.shape[:2], scale))
            found = self._pass(scaled)
            if self.options["flip"]:
                found = (found + self._pass(scaled[:, ::-1])[:, :, ::-1]) / 2
            total = total + sliding.resized(found, *patch.shape[:2])
        return total / len(self.options["scales"])

    def _pass_size(self, height: int, width: int, scale: float) -> tuple[int, int]:
        """Height and width at a scale: multiples of the stride, since padding inside the picture would show."""
        if scale == 1:
            return height, width
        stride = self.network.stride
        return tuple(max(1, round(side * scale / stride)) * stride for side in (height, width))

    def _pass(self, image: np.ndarray) -> np.ndarray:
        prediction = self._predict(image)
        if getattr(prediction, "probabilities", None) is None:
            option, off = next(iter(self._averages().items()))
            raise ValueError(
                f"{self.description['name']}: predict.{option} averages class probabilities, and {self.description['method']} "
                f"has none; set {option}: {off}"
            )
        return prediction.probabilities

    def _predict(self, image: np.ndarray) -> Prediction:
        import torch

        with torch.inference_mode():
            return self.network.predict(self._batch(image), probabilities=True)[0].cropped(*image.shape[:2])

    def _batch(self, image: np.ndarray):
        """(H, W, 3) uint8 to a normalised (1, 3, H', W') tensor, padded on the right and below to the stride."""
        import torch

        padding = [(0, -side % self.network.stride) for side in image.shape[:2]]
        padded = np.pad(image, [*padding, (0, 0)])
        return self.network.normalised(torch.from_numpy(padded)[None].to(self.device))

    def forget_peak_memory(self):
        import torch

        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        forget_peak_memory()

    def peak_memory_mb(self):
        import torch

        return torch.cuda.max_memory_allocated(self.device) / 2**20 if self.device.type == "cuda" else peak_memory_mb()

    def cost(self, height, width):
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        size = scaled_size(height, width, self.short_side)
        window = self.window or max(size)
        patch = [min(side, window) for side in size]
        passes = 2 if self.options["flip"] else 1
        for side in size:
            passes *= len(sliding.starts(side, window, self.options["overlap"]))
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            for scale in self.options["scales"]:
                self.network.predict(self._batch(np.zeros((*self._pass_size(*patch, scale), 3), np.uint8)))
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        return {"parameters": parameters, "multiply_adds": passes * counter.get_total_flops() // 2}


class FittedFusion(Fitted):
    """Two fitted methods, each with its default prediction options, and the rule that joins their predictions."""

    def __init__(self, folder: Path, description: dict, predict: dict, device, threads):
        super().__init__(description, predict)
        self.semantic = load(folder / "semantic", device=device, threads=threads)
        self.instance = load(folder / "instance", device=device, threads=threads)
        self.join = look_up(FUSIONS, description["method"], kind="fusion")

    def segment(self, image, prompt=None):
        return self.join(
            self.semantic.segment(image, prompt),
            self.instance.segment(image, prompt),
            label_space=self.label_space,
            **self.options,
        )

    def cost(self, height, width):
        parts = [part.cost(height, width) for part in (self.semantic, self.instance)]
        return {name: parts[0][name] + parts[1][name] for name in parts[0] if name in parts[1]}


_LOADERS = {"classical": FittedClassical, "network": FittedNetwork, "fusion": FittedFusion}
