"""How small the curves of `native` could be kept: bytes in a run folder against what lossless codes need.

    python tests/benchmarks/curves.py RUN

For every stored curve: bytes as stored, and of its parts (thresholds, counts) the fewest bytes of several lossless
codes: zlib, bz2, lzma (plain and after a delta filter) on bytes and on transposed bytes, and an ideal arithmetic coder
with an order-0 model that is told the statistics of that very curve for nothing: the entropy of the numbers' bit
lengths plus the bits below the leading one. Counts are taken without what the quantiles tell of them: at a border of
one class its own count is known, so only the larger half of the entropies of both classes is charged. The printed
"least" is no proof for codes that nobody thought of, but lower than any of these coders reaches as a whole.
"""

from __future__ import annotations

import argparse
import bz2
import lzma
import sqlite3
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # runs from a clone that is not installed

import numpy as np

from bench.metrics.statistics.curve import Curve, _ordinal

_LZMA = {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 16}  # a large dictionary is only slow to make


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    connection = sqlite3.connect(parser.parse_args().run / "evidence.sqlite")
    query = (
        "select distinct tampered, cell, data from statistic join asked on asked.key = cell"
        " join image on image.id = asked.image"
    )
    found: dict[str, list[tuple[float, ...]]] = {"tampered": [], "authentic": []}
    seconds = {"read": 0.0, "pack": 0.0}
    for tampered, _, data in connection.execute(query):
        if data[:1] == b"\0":
            continue
        clock = time.process_time()
        curve = Curve.from_bytes(data)
        seconds["read"] += time.process_time() - clock
        clock = time.process_time()
        assert curve.to_bytes() == data
        seconds["pack"] += time.process_time() - clock
        found["tampered" if tampered else "authentic"].append((len(data), *parts(curve)))
    print(f"{'images':<10}{'curves':>7}{'bins':>6}{'stored':>8}{'least':>7}{'thresholds alone':>18}{'pixels':>9}")
    for name, rows in [*found.items(), ("all", found["tampered"] + found["authentic"])]:
        if rows:
            stored, bins, least, thresholds, pixels = np.mean(rows, 0)
            print(f"{name:<10}{len(rows):>7}{bins:>6.0f}{stored:>8.0f}{least:>7.0f}{thresholds:>18.0f}{pixels:>9.0f}")
    count = sum(map(len, found.values()))
    print("CPU ms a curve:", ", ".join(f"{name} {1e3 * value / count:.2f}" for name, value in seconds.items()))


def parts(curve: Curve) -> tuple[float, ...]:
    """(bins, least bytes of everything, least bytes of the thresholds, pixels)."""
    thresholds = least(-np.diff(_ordinal(curve.thresholds)))
    counts = [least(c) for c in (curve.positives, curve.negatives)]
    return len(curve.thresholds), thresholds + max(counts), thresholds, curve.n_forged + curve.n_pristine


def least(numbers: np.ndarray) -> float:
    """Fewest bytes for numbers 0 .. 2^32 - 1."""
    planes = np.ascontiguousarray(numbers.astype("<u4").view(np.uint8).reshape(-1, 4).T)
    planes = planes[planes.any(axis=1)]  # zero bytes cost nothing
    sizes = [entropy(numbers)]
    for data, width in ((planes.tobytes(), 1), (np.ascontiguousarray(planes.T).tobytes(), max(1, len(planes)))):
        sizes += [len(zlib.compress(data, 9)), len(bz2.compress(data))]
        for filters in ([_LZMA], [{"id": lzma.FILTER_DELTA, "dist": width}, _LZMA]):
            sizes.append(len(lzma.compress(data, lzma.FORMAT_RAW, filters=filters)))
    return min(sizes)


def entropy(numbers: np.ndarray) -> float:
    """Bytes of an ideal coder: bit lengths by their frequencies, the bits below the leading one as they are."""
    lengths = np.ceil(np.log2(numbers + 1.0)).astype(int)
    share = np.bincount(lengths) / max(1, len(lengths))
    bits = -np.log2(share[lengths]).sum() + np.maximum(lengths - 1, 0).sum()
    return float(bits) / 8


if __name__ == "__main__":
    main()
