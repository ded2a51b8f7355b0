"""Work spread over processes, its results in order, with a progress bar."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

import cv2

Item, Result = TypeVar("Item"), TypeVar("Result")


def in_processes(
    work: Callable[[Item], Result], items: Sequence[Item], *, workers: int, description: str, few: int
) -> Iterator[Result]:
    """`work` on every item, in so many processes; the results in order. Fewer than `few` items are worked on here.

    Parameters
    ----------
    work : picklable

    Raises
    ------
    ValueError : a process was killed.
    """
    from rich.console import Console
    from rich.progress import track

    show = partial(track, description=description, total=len(items), console=Console(stderr=True), transient=True)
    if workers == 1 or len(items) < few:
        yield from show(map(work, items))
        return
    # spawn: a fork of a process with threads may hang
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker) as pool:
        try:
            yield from show(pool.map(work, items, chunksize=8))
        except BrokenProcessPool:
            message = "a worker process was killed, most likely for want of memory; free some, or use fewer cores"
            raise ValueError(message) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)  # the processes share the cores already
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # the workers hold each other's pipes open: when the parent is killed, nothing else would tell them
    multiprocessing.parent_process().join()
    os._exit(1)
