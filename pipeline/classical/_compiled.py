"""Loops that numba compiles: once for a source and a machine, where there is a folder to keep the code in."""

from collections.abc import Callable

from numba import njit


def compiled(signature: str) -> Callable:
    """Compile a function for one signature, and keep the code.

    One, since two processes that compile a function for two signatures at once may take each other's file for their own.
    """

    def compile_it(function: Callable) -> Callable:
        try:
            return njit(signature, cache=True, nogil=True)(function)
        except RuntimeError:  # neither beside the source nor in the home folder may anything be written
            return njit(signature, nogil=True)(function)

    return compile_it
