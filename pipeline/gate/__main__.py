"""The gate's command: it brings a source to where a reader can read it, and checks it.

`python -m pipeline.gate SOURCE --reader folder --set 'classes=[ground, tree]' --page gate.html`
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline import command
from pipeline.datasets import READERS
from pipeline.download import FORMS, obtain
from pipeline.gate.inspection import inspect, levels_of
from pipeline.options import entry_faults
from pipeline.rules import LEVELS
from pipeline.table import look_up


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m pipeline.gate", description="Find every fault of a data set.")
    parser.add_argument(
        "source",
        help=f"what dataset.source may be: {FORMS}, the address of one, a .yaml list of downloads, or a .py generator; what is "
        "fetched stays in downloads/, as when the stages fetch it",
    )
    parser.add_argument("--reader", required=True, help=f"one of: {', '.join(READERS)}")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the reader, in YAML")
    parser.add_argument("--rule", action="append", default=[], metavar="RULE=LEVEL", help=f"level: one of {', '.join(LEVELS)}")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for gate.csv; here where left out")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="write a page with pictures of what was found, such as gate.html"
    )
    parser.add_argument("--threads", type=int, help="processes that open files; one per core where left out")
    return command.run(_inspect_source, parser.parse_args(argv))


def _inspect_source(arguments: argparse.Namespace) -> None:
    read = look_up(READERS, arguments.reader, kind="reader")
    options = command.settings(arguments.set, like="classes=[ground, tree]")
    if faults := entry_faults(READERS, arguments.reader, options, kind="reader", place="--set", given={"source"}):
        raise ValueError("\n".join(fault.replace("--set.", "--set ", 1) for fault in faults))
    rules = command.settings(arguments.rule, flag="--rule", like="near_duplicate=error")
    levels_of(rules)  # before what may take an hour to fetch
    page = arguments.page
    if page and page.is_dir():
        raise ValueError(f"--page {page}: is a folder; name a file, such as {page / 'gate.html'}")
    with _brought(arguments.source) as root:
        table = arguments.out / "gate.csv"
        inspect(read(root, **options), table=table, root=root, rules=rules, page=page, workers=arguments.threads)


@contextmanager
def _brought(source: str) -> Iterator[Path]:
    """A folder that holds the source: itself, where it is one, else one that is there for as long as the context."""
    if Path(source).is_dir():
        yield Path(source)
        return
    with tempfile.TemporaryDirectory() as home:
        obtain(source, Path(home, "raw"))
        yield Path(home, "raw")


if __name__ == "__main__":
    sys.exit(main())
