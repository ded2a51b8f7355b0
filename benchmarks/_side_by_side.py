"""Time several ways to do one thing in one process, in turns, so that a busy machine slows them alike."""

import statistics
import time
from collections.abc import Callable, Mapping


def medians(sides: Mapping[str, Callable[[], object]], *, repeats: int) -> dict[str, float]:
    """Seconds of each side: the median over `repeats` rounds, each of which runs every side once; one round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_number in range(repeats + 1):
        for name, run in sides.items():
            started_at_s = time.perf_counter()
            run()
            if round_number:
                seconds[name].append(time.perf_counter() - started_at_s)
    return {name: statistics.median(times) for name, times in seconds.items()}


def print_table(seconds: Mapping[str, float], *, amount: float, unit: str) -> None:
    """Rate of each side and how many times faster the first one is, as a Markdown table; `amount` is done per run."""
    first = next(iter(seconds.values()))
    print(f"| side | {unit} | first is faster by |\n| --- | ---: | ---: |")
    for name, elapsed_s in seconds.items():
        print(f"| {name} | {amount / elapsed_s:,.0f} | {elapsed_s / first:.1f} x |")
