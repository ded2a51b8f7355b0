"""Work in threads: results in order, a bounded number at once, faults told."""

import threading
import time

import cv2
import pytest

from pipeline.spread import spread


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order_however_long_each_takes(threads):
    def work(number):
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number**2

    assert list(spread(work, range(12), threads=threads)) == [number**2 for number in range(12)]
    assert list(spread(work, [], threads=threads)) == []


def test_threads_really_work_at_once():
    both = threading.Barrier(2, timeout=10)  # breaks where the two never meet
    assert list(spread(lambda number: both.wait() >= 0, range(2), threads=2)) == [True, True]


def test_no_more_is_taken_than_can_wait_in_memory():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = spread(lambda number: number, items(), threads=2)
    next(results)
    assert len(taken) <= 5
    results.close()


def test_a_fault_is_told_and_opencv_gets_its_threads_back():
    before = cv2.getNumThreads()

    def work(number):
        if number == 3:
            raise ValueError("image 3 is broken")
        return cv2.getNumThreads()

    results = spread(work, range(9), threads=2)
    assert next(results) == 1
    with pytest.raises(ValueError, match="image 3 is broken"):
        list(results)
    assert cv2.getNumThreads() == before
