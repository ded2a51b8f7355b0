"""Fitted trees as bytes: a skops file, so no pickle; the same trees give the same bytes, and a doctored file is refused."""

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from pipeline import files

# what skops does not trust by itself, since scikit-learn follows the indices in a tree without a look: `_check` looks at them
TRUSTED = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor", "sklearn.tree._tree.Tree")
SCHEMA = "schema.json"
SINCE = (1980, 1, 1, 0, 0, 0)  # the date of every member: a zip file has no earlier one


def write(path: Path, trees: object) -> None:
    """Write a fitted scikit-learn forest or booster."""
    files.write_bytes(path, _reproducible(skops.io.dumps(trees)))


def read(path: Path, *, kind: type, features: int, num_classes: int) -> object:
    """The trees that `write` wrote.

    Parameters
    ----------
    kind : the class of scikit-learn that must be in the file
    features : numbers that describe a pixel or a region
    num_classes : of the label space; the trees may know fewer

    Raises
    ------
    ValueError : the file is damaged, holds a type that has no business there, or trees that do not fit.
    """
    try:
        trees = skops.io.load(path, trusted=list(TRUSTED))
    except UntrustedTypesFoundException as error:
        raise ValueError(
            f"{path}: refused, it holds types that are no part of a forest; fit the method again ({error})"
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: damaged; fit the method again ({error})") from None
    fault = _fault(trees, kind, features, num_classes)
    if fault:
        raise ValueError(f"{path}: refused, {fault}; fit the method again")
    return trees


def _reproducible(content: bytes) -> bytes:
    """The same skops file without what differs from one run to the next: addresses, dates and bytes that no field uses."""
    source = zipfile.ZipFile(io.BytesIO(content))
    names: dict[str, str] = {}
    schema = _without_addresses(json.loads(source.read(SCHEMA)), names)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for old, new in names.items():
            _add(packed, new, _array_bytes(source.read(old)))
        _add(packed, SCHEMA, json.dumps(schema, separators=(",", ":")).encode())
    return out.getvalue()


def _without_addresses(node: object, names: dict[str, str]) -> object:
    """A part of the schema without `__id__`, its arrays named in the order in which they are met; `names`: old -> new."""
    if isinstance(node, list):
        return [_without_addresses(one, names) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _without_addresses(value, names) for key, value in node.items() if key != "__id__"}
    if kept.get("__loader__") == "NdArrayNode" and "file" in kept:
        kept["file"] = names.setdefault(kept["file"], f"{len(names)}.npy")
    return kept


def _array_bytes(content: bytes) -> bytes:
    """An array's file with zeros between the fields of its records, where there was whatever the memory held."""
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names is None:
        return content
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    out = io.BytesIO()
    np.save(out, clean, allow_pickle=False)
    return out.getvalue()


def _add(packed: zipfile.ZipFile, name: str, content: bytes) -> None:
    member = zipfile.ZipInfo(name, SINCE)
    member.compress_type = zipfile.ZIP_DEFLATED
    packed.writestr(member, content, compresslevel=6)


def _fault(trees: object, kind: type, features: int, num_classes: int) -> str | None:
    """What is wrong with loaded trees; None where scikit-learn can follow them."""
    if type(trees) is not kind:
        return f"it holds a {type(trees).__name__} and no {kind.__name__}"
    try:
        known = trees.classes_
        if trees.n_features_in_ != features or known.ndim != 1 or not set(known.tolist()) <= set(range(num_classes)):
            return f"its trees are for {trees.n_features_in_} features and classes {known.tolist()}"
        sound = all(_is_sound(*one, features=features) for one in _nodes(trees))
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        return f"its trees lack a part ({error})"
    return None if sound else "a node of its trees points outside"


def _nodes(trees: object) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Of each tree: is it a leaf, left and right child, and feature of every node, (M,) each."""
    classes = len(trees.classes_)
    if hasattr(trees, "estimators_"):
        for one in trees.estimators_:
            tree = one.tree_
            if (
                tree.n_features != trees.n_features_in_
                or tree.value.shape != (tree.node_count, 1, classes)
                or one.n_outputs_ != 1
            ):
                raise ValueError("a tree of another shape")
            yield tree.children_left == -1, tree.children_left, tree.children_right, tree.feature
        return
    per_round = 1 if classes <= 2 else classes
    if trees.n_trees_per_iteration_ != per_round or trees._baseline_prediction.shape != (1, per_round):
        raise ValueError("rounds of another shape")
    for one in (one for rounds in trees._predictors for one in rounds):
        nodes = one.nodes
        if nodes["is_categorical"].any():
            raise ValueError("a split by category")
        yield nodes["is_leaf"] != 0, nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), nodes["feature_idx"]


def _is_sound(is_leaf: np.ndarray, left: np.ndarray, right: np.ndarray, feature: np.ndarray, *, features: int) -> bool:
    """Whether every walk through a tree ends: children come after their parent, and exist."""
    inner = np.flatnonzero(~is_leaf)
    children = np.stack([left[inner], right[inner]])
    is_ahead = (children > inner) & (children < len(is_leaf))
    return bool(len(is_leaf) and is_ahead.all() and (feature[inner] >= 0).all() and (feature[inner] < features).all())
