"""Work spread over the cores, its results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import cv2

Item, Result = TypeVar("Item"), TypeVar("Result")


def spread(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """`work` on every item, in so many threads; the results in order, and a bounded number of them in memory.

    OpenCV, NumPy and scikit-image release the interpreter's lock in their loops. The number of threads changes no result.

    Examples
    --------
    >>> list(spread(lambda number: number**2, [1, 2, 3], threads=2))
    [1, 4, 9]
    """
    if threads == 1:
        yield from map(work, items)
        return
    waiting, threads_of_opencv = iter(items), cv2.getNumThreads()
    cv2.setNumThreads(1)  # the threads share the cores already
    try:
        with ThreadPoolExecutor(threads) as pool:
            running = deque(pool.submit(work, one) for one in islice(waiting, 2 * threads))
            while running:
                yield running.popleft().result()
                running.extend(pool.submit(work, one) for one in islice(waiting, 1))
    finally:
        cv2.setNumThreads(threads_of_opencv)
