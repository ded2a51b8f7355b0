"""Are a name and its options right? They are compared with the signature in the entry's source file: nothing is imported."""

import ast
import difflib
from collections.abc import Iterator, Mapping, Sequence

from pipeline import config, table
from pipeline.provenance import ROOT

NUMBER = (int, float)
YAML_TYPES = {  # annotation -> types that YAML gives and the entry takes
    "None": (type(None),),
    "Sequence": (list,),
    "bool": (bool,),
    "dict": (dict,),
    "float": NUMBER,
    "int": (int,),
    "list": (list,),
    "str": (str,),
    "tuple": (list,),
}
ALSO_CALLED = {"k": ("clusters", "components", "levels", "scale")}  # what textbooks write -> what an entry may call it


def entry_faults(entries: Mapping[str, str], name: str, options: dict, *, kind: str, place: str, given: set[str]) -> list[str]:
    """What is wrong with a name and its options; `given` are the parameters that the pipeline itself fills in."""
    if name not in entries:
        return [f"{place.rsplit('.', 1)[0]}: {table.unknown(entries, name, kind=kind)}"]
    known, required = _signature(entries, name)
    choices = ", ".join(sorted(known.keys() - given)) or "none"
    faults = []
    for option, value in options.items():
        if option not in known.keys() - given:
            hint = _hint(option, sorted(known.keys() - given))
            faults.append(f"{place}.{option}: {kind} {name} has no such option; it takes: {choices}{hint}")
        elif not _fits(value, known[option]):
            wanted = ast.unparse(known[option])
            faults.append(f"{place}.{option}: {value!r} is no {wanted}{config.number_hint(value)}")
    faults += [f"{place}.{option}: missing; {kind} {name} needs it" for option in sorted(required - given - set(options))]
    return faults


def _hint(option: str, known: Sequence[str]) -> str:
    """What may have been meant by an option that is not known."""
    near = [one for one in ALSO_CALLED.get(option, ()) if one in known] or difflib.get_close_matches(option, known, n=1)
    return f". Did you mean {near[0]}?" if near else ""


def _signature(entries: Mapping[str, str], name: str) -> tuple[dict[str, ast.expr | None], set[str]]:
    """The parameters of an entry with their annotations, and those of them without a default, read from its source.

    A class that takes `**options` hands them on to the one that it is based on, and takes what that one takes.
    """
    known: dict[str, ast.expr | None] = {}
    required: set[str] = set()
    for found in _definitions(table.module_file(entries, name), entries[name].split(":")[1]):
        arguments = found.args
        plain = [one for one in arguments.args if one.arg != "self"]
        optional = {one.arg for one in plain[len(plain) - len(arguments.defaults) :]} if arguments.defaults else set()
        named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        optional |= {one.arg for one, default in named if default is not None}
        own = {one.arg: one.annotation for one in [*plain, *arguments.kwonlyargs]}
        required |= own.keys() - optional - known.keys()
        known = own | known
        if arguments.kwarg is None:
            break
    return known, required


def _definitions(file: str, name: str) -> Iterator[ast.FunctionDef]:
    """The function of that name in `file`, or the `__init__` of the class and of each base imported from our files."""
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            yield node
    for node in classes_of(file, name):
        yield from (part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__")


def classes_of(file: str, name: str) -> Iterator[ast.ClassDef]:
    """A class and those it is based on, read from our source: to import them all would cost seconds."""
    body = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    imports = [node for node in body if isinstance(node, ast.ImportFrom) and node.module]
    homes = {alias.name: f"{node.module.replace('.', '/')}.py" for node in imports for alias in node.names}
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            yield node
            for base in map(ast.unparse, node.bases):
                if (ROOT / homes.get(base, file)).is_file():
                    yield from classes_of(homes.get(base, file), base)


def _fits(value: object, annotation: ast.expr | None) -> bool:
    """Whether a value from YAML is of the annotation; True where the annotation names what YAML does not know."""
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _fits(value, left) or _fits(value, right)
        case ast.Constant(value=None):
            return value is None
        case ast.Subscript(value=ast.Name(id="Sequence" | "list" | "tuple"), slice=inner):
            kinds = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return type(value) is list and _all_fit(value, kinds)
        case ast.Subscript(value=outer):
            return _fits(value, outer)
        case ast.Name(id=name) if name in YAML_TYPES:
            return type(value) in YAML_TYPES[name]
    return True


def _all_fit(values: list, kinds: list[ast.expr]) -> bool:
    """Whether a list is as [int], any number of them, or as [int, str], one of each."""
    if len(kinds) == 1 or ast.unparse(kinds[-1]) == "...":
        return all(_fits(value, kinds[0]) for value in values)
    return len(values) == len(kinds) and all(map(_fits, values, kinds))
