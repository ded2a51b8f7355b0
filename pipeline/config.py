"""params.yaml as typed, frozen sections. It checks and never converts.

Nothing here has a default: an option left out takes the default in the signature of its entry.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

Options = dict[str, Any]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
WATCHED = ("s3://", "gs://", "azure://")  # where DVC sees a change without fetching anything; each needs its dvc package


def _safe_name(key: str) -> str:
    if not re.fullmatch(r"\w[\w-]*", key):
        raise ValueError("a key becomes a folder and a stage name: use letters, digits, _ and - only, no - first")
    return key


Key = Annotated[str, AfterValidator(_safe_name)]


def _number_or_two(weight: Any) -> Any:
    numbers = weight if isinstance(weight, list) and len(weight) == 2 else [weight]
    if not all(type(number) in (int, float) for number in numbers):
        raise ValueError("give a number, or [first, last] to go from one to the other over the training")
    return weight


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Splits(Section):
    train: Share
    val: Share
    test: Share


class Dataset(Section):
    reader: str
    source: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    options: Options
    splits: Splits


class Gate(Section):
    rules: dict[str, Literal["error", "warning", "ignore"]]


class Policy(Section):
    """Augmentation; each is the option of the same name of `pipeline.transforms.augment`."""

    horizontal_flip: Share
    vertical_flip: Share
    rotation_degrees: Annotated[float, Field(ge=0, le=180)]
    zoom: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=2, max_length=2)]
    crop: Annotated[list[Positive], Field(min_length=2, max_length=2)] | None
    brightness: Share
    contrast: Share
    saturation: Share
    hue_degrees: Annotated[float, Field(ge=0, le=180)]


class Augment(Section):
    short_side: Positive | None
    encode_above_gib: Annotated[float, Field(ge=0)] = 8.0
    policy: Policy


class ClassicalFit(Section):
    method: str
    options: Options
    search: dict[str, Annotated[list[Any], Field(min_length=1)]]  # option -> the values to try on the validation split


class Classical(Section):
    fit: ClassicalFit
    predict: Options


class Loss(Section):
    name: str
    # a number, or [first, last]: linear over the steps of the training, as for Kervadec's boundary loss
    weight: Annotated[float | list[float], BeforeValidator(_number_or_two)]
    options: Options


class Optimizer(Section):
    name: Literal["adam", "adamw", "sgd"]
    learning_rate: Annotated[float, Field(gt=0)]
    options: Options  # keyword arguments of the torch optimiser


class Schedule(Section):
    name: Literal["constant", "one_cycle", "poly"]
    options: Options  # keyword arguments of pipeline.training.schedule's function of that name


class NetworkFit(Section):
    model: str
    options: Options
    # DVC can watch the first and the last file of a list, so a compound loss has two parts at most
    loss: Annotated[list[Loss], Field(min_length=1, max_length=2)]
    optimizer: Optimizer
    schedule: Schedule
    epochs: Positive
    batch_size: Positive | Literal["auto"]
    early_stop: Positive | None
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    training: Options  # keyword arguments of pipeline.training.updates.training_options


class Network(Section):
    fit: NetworkFit
    predict: Options


class FusionFit(Section):
    method: str


class Fusion(Section):
    semantic: Key
    instance: Key
    fit: FusionFit
    predict: Options


class Evaluate(Section):
    samples: Positive
    timed_images: Positive


class Params(Section):
    seed: Annotated[int, Field(ge=0)]
    threads: Positive
    dataset: Dataset
    gate: Gate
    augment: Augment
    classical: dict[Key, Classical]
    networks: dict[Key, Network]
    fusions: dict[Key, Fusion]
    evaluate: Evaluate

    @property
    def methods(self) -> dict[str, Classical | Network | Fusion]:
        """Every method to compare, in the order of the file."""
        return {**self.classical, **self.networks, **self.fusions}


def load(path: str | Path = "params.yaml") -> Params:
    """Read and check a params file.

    Raises
    ------
    ValueError : the file is missing, is no YAML, or has faults; all of them are listed, each with its key, the value and
        what was wanted.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; copy one from presets/")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML: {error}") from None
    return check(content, where=str(path))


def is_watched(source: str) -> bool:
    """True for an address that may stand as dataset.source."""
    return source.startswith(WATCHED)


def check(content: Any, *, where: str) -> Params:
    """Params from what YAML gave; raises ValueError with every fault, as `load` does."""
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        raise ValueError("\n".join(f"{where}: {_explain(fault)}" for fault in error.errors())) from None
    faults = _contradictions(params)
    if faults:
        raise ValueError("\n".join(f"{where}: {fault}" for fault in faults))
    return params


def _contradictions(params: Params) -> list[str]:
    faults = []
    shares = params.dataset.splits
    if abs(shares.train + shares.val + shares.test - 1) > 1e-6:
        faults.append(f"dataset.splits: {shares.train} + {shares.val} + {shares.test} is not 1")
    sections = (params.classical, params.networks, params.fusions)
    keys = [key for section in sections for key in section]
    faults += [f"{key}: stands in two sections; runs/{key} can hold one method" for key in sorted(keys) if keys.count(key) > 1]
    for name, network in params.networks.items():
        losses = [loss.name for loss in network.fit.loss]
        if len(set(losses)) < len(losses):
            faults.append(f"networks.{name}.fit.loss: {losses[0]} stands there twice; give it once with the sum of the weights")
    for name, fusion in params.fusions.items():
        for part in ("semantic", "instance"):
            key = getattr(fusion, part)
            if key not in params.classical and key not in params.networks:
                choices = ", ".join([*params.classical, *params.networks])
                faults.append(f"fusions.{name}.{part}: no method {key!r}; choose one of: {choices}")
    if not keys:
        faults.append("classical, networks: no method to compare; add at least one entry")
    if "://" in params.dataset.source and not is_watched(params.dataset.source):
        faults.append(
            f"dataset.source: {params.dataset.source} is an address that DVC cannot watch ({', '.join(WATCHED)} it can). Write "
            "it with its SHA-256 into a .yaml list of downloads (`- {url: ..., sha256: ...}`) and give that file as the "
            "source, so that its bytes are pinned"
        )
    return sorted(set(faults))


def _explain(fault: dict) -> str:
    """One line from one pydantic fault: key, value, what was wanted."""
    place = [str(part) for part in fault["loc"]]
    key = ".".join(place) or "(file)"
    if fault["type"] == "extra_forbidden":
        known = _keys_beside(place)
        near = difflib.get_close_matches(place[-1], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return f"{key}: unknown key; {hint}"
    if fault["type"] == "missing":
        return f"{key}: missing; presets/ shows a whole file"
    return f"{key}: {fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}{number_hint(fault['input'])}"


def number_hint(value: Any) -> str:
    """What to write instead, where text stands for what looks like a number."""
    is_number = isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", value)
    return " (YAML reads 1e-3 as text; write 0.001 or 1.0e-3)" if is_number else ""


def _keys_beside(place: list[str]) -> list[str]:
    """The keys that the section around the last key of `place` knows."""
    section: Any = Params
    for part in place[:-1]:
        section = _inner_section(section.model_fields[part].annotation) if part in section.model_fields else section
    return list(section.model_fields)


def _inner_section(annotation: Any) -> Any:
    """The Section inside `dict[Key, Section]`, `list[Section]`, `Section | None` or itself."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    for argument in get_args(annotation):
        found = _inner_section(argument)
        if found:
            return found
    return None
