"""The heap: what is kept and given back, and that a localizer's memory is what it needs."""

import subprocess
import sys

import pytest

from bench import heap

GLIBC = sys.platform == "linux" and heap._function("malloc_trim") is not None
BLOCKS = """
import resource, sys
import numpy as np
from bench import heap

def resident():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1]) / 1024

def work():
    for _ in range(20):
        parts = [np.ones(2**20) for _ in range(6)]  # 8 MB each
        del parts
if sys.argv[1] == "keep":
    heap.keep_freed()
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
kept = resident()
heap.give_back()
print(faults, kept - resident())
"""


@pytest.mark.skipif(not GLIBC, reason="only glibc's heap is set")
def test_freed_memory_is_kept_and_given_back():
    def tried(how):
        done = subprocess.run([sys.executable, "-c", BLOCKS, how], capture_output=True, text=True, check=True)
        return map(float, done.stdout.split())

    faults, given_back = tried("keep")
    assert faults < 2_000, "48 MB are 12,288 pages, used twenty times"
    assert given_back > 40, "MB"
    faults, _ = tried("leave")
    assert faults > 20_000


def test_another_c_library_is_left_alone(monkeypatch):
    class Other:
        """A library that has neither function."""

    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: Other())
    heap._function.cache_clear()
    try:
        assert heap._function("mallopt") is None
        heap.keep_freed()
        heap.give_back()
    finally:
        heap._function.cache_clear()
