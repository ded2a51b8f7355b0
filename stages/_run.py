"""Run a stage's main: a user's fault becomes a short message, everything else keeps its traceback."""

import errno
import os
import sys
from collections.abc import Callable

# Idle OpenMP threads sleep: spinning ones cost every other process its core, and a training beside another one its pace.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

RED, PLAIN = "\033[1;31m", "\033[0m"


def run(main: Callable[[], None]) -> None:
    """Call `main` and exit with 0; on ValueError or a full disk print why in red and exit with 1."""
    try:
        main()
    except ValueError as error:
        sys.exit(_message(str(error)))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = f" ({error.filename})" if error.filename else ""
        sys.exit(_message(f"no space left on the disk{place}; free some and run again, nothing finished is lost"))
    except KeyboardInterrupt:
        sys.exit(_message("stopped; run again to continue from the last checkpoint"))


def _message(text: str) -> str:
    return f"{RED}error:{PLAIN} {text}" if sys.stderr.isatty() else f"error: {text}"
