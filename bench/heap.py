"""The heap of the C library: freed memory is kept for the next call, and given back where memory is to be counted.

By default glibc returns much of what a network frees to the system after each layer, and the system clears every page
of it again for the next. Other C libraries are left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of mallopt, see malloc.h
KEPT_BYTES = 2**30  # free at the heap's end before any is returned
LARGEST_KEPT = 2**25  # a block above it is the system's own business; glibc takes no larger number


def keep_freed() -> None:
    """From now on this process keeps what it frees, up to `KEPT_BYTES`."""
    for setting, value in ((TRIM_THRESHOLD, KEPT_BYTES), (MMAP_THRESHOLD, LARGEST_KEPT)):
        _call("mallopt", setting, value)


def give_back() -> None:
    """Return to the system what is free now."""
    _call("malloc_trim", 0)


def _call(name: str, *values: int) -> None:
    if function := _function(name):
        function(*values)


@functools.cache
def _function(name: str) -> Callable[..., int] | None:
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library, or no way to reach it
        return getattr(ctypes.CDLL(None), name)
    return None
