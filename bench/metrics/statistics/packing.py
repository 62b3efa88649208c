"""Small arrays and numbers as bytes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping

import numpy as np

VERSION = 1


def pack(arrays: Mapping[str, np.ndarray | float]) -> bytes:
    """A version byte, then names, types and shapes as JSON and the little-endian contents, compressed."""
    made = {name: np.asarray(value) for name, value in arrays.items()}
    made = {name: a.astype(a.dtype.newbyteorder("<")) for name, a in made.items()}
    head = json.dumps([[name, a.dtype.str, a.shape] for name, a in made.items()], separators=(",", ":")).encode()
    body = b"".join(a.tobytes() for a in made.values())
    return bytes([VERSION]) + zlib.compress(head + b"\n" + body, 6)


def unpack(data: bytes) -> dict[str, np.ndarray]:
    """What `pack` wrote; numbers come back as arrays of shape (). Raises ValueError for damaged bytes."""
    if data[:1] != bytes([VERSION]):
        raise ValueError(f"a stored statistic has format {data[:1].hex()}, this code reads {VERSION:02}; run again")
    try:
        head, body = zlib.decompress(data[1:]).split(b"\n", 1)
        found, start = {}, 0
        for name, dtype, shape in json.loads(head):
            count = int(np.prod(shape, dtype=np.int64))
            found[name] = np.frombuffer(body, dtype, count, start).reshape(shape)
            start += found[name].nbytes
    except (zlib.error, ValueError) as error:
        raise ValueError(f"a stored statistic is damaged ({error}); delete its cell and run again") from error
    return found
