"""What the commands on a user's own pictures share: their settings, their threads, and how a fault ends them."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

import cv2
import yaml


def settings(texts: Sequence[str], *, flag: str = "--set", like: str = "clusters=5 or scales=[1.0, 1.5]") -> dict[str, object]:
    """Option -> value from the texts of `flag`; an error shows one that is `like` them.

    Raises
    ------
    ValueError : a text is not KEY=VALUE with a YAML value.

    Examples
    --------
    >>> settings(["clusters=5", "scales=[1.0, 1.5]"])
    {'clusters': 5, 'scales': [1.0, 1.5]}
    """
    found = {}
    for text in texts:
        key, sign, value = text.partition("=")
        try:
            found[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            sign = ""
        if not sign or not key.strip():
            raise ValueError(f"{flag} {text}: wanted KEY=VALUE with a YAML value, such as {like}")
    return found


def run(work: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Do the work of a command, and tell a fault that a user can mend in a line; the exit code.

    `arguments.threads`, all of the CPU's where it is None, is set and holds for OpenCV too, whose own lines about broken files
    are kept back.
    """
    level, threads = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT), cv2.getNumThreads()
    try:
        if arguments.threads is None:
            arguments.threads = os.cpu_count() or 1
        if arguments.threads < 1:
            raise ValueError(f"--threads {arguments.threads}: wanted 1 or more")
        cv2.setNumThreads(arguments.threads)
        work(arguments)
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
        cv2.setNumThreads(threads)
    return 0
