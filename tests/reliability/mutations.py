"""Damaged variants of a file: flipped, cut, repeated, inserted and zeroed bytes, and JSON whose parts changed kind."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator

import numpy as np

WRONG = (
    None, True, -1, 0, 1e308, 10**400, "", "x", "../../etc/passwd", "\ud800", "a\0b", [], {}, [[]], {"": {}},
    float("nan"), float("inf"), "9" * 5000,
)  # fmt: skip


def of_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """One random damage to bytes."""
    data, size = bytearray(content), max(len(content), 1)
    at = int(rng.integers(0, size))
    length = int(min(size - at, 2 ** rng.integers(0, max(size.bit_length(), 2))))
    kind = rng.integers(0, 8)
    if kind == 0:
        for place in rng.integers(0, size, int(rng.integers(1, 8))):
            data[place : place + 1] = bytes([data[place] ^ (1 << int(rng.integers(0, 8)))]) if data else b"\1"
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at : at + length]
    elif kind == 3:
        data[at:at] = data[at : at + length]
    elif kind == 4:
        data[at : at + length] = bytes(length)
    elif kind == 5:
        data[at : at + length] = rng.bytes(length)
    elif kind == 6:  # a number in the file becomes a huge one
        data[at : at + 4] = b"\xff" * 4
    else:
        data[at:at] = rng.bytes(int(rng.integers(1, 64)))
    return bytes(data)


def of_json(content: bytes, rng: np.random.Generator) -> bytes:
    """A JSON document of which one part is of another kind, gone, renamed or twice there."""
    document = copy.deepcopy(json.loads(content))
    places = list(_places(document))
    parent, key = places[int(rng.integers(0, len(places)))]
    kind = rng.integers(0, 4)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[f"{key}{WRONG[7]}"] = parent.pop(key)
    elif kind == 2 and isinstance(parent, dict):
        text = json.dumps(document)
        name = json.dumps(key) + ": "
        return text.replace(name, f"{name}0, {name}", 1).encode()
    else:
        parent[key] = WRONG[int(rng.integers(0, len(WRONG)))]
    return json.dumps(document).encode()


def _places(document: object) -> Iterator[tuple]:
    """(container, key) of every part of a document; of long lists of values a few only."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for number, (key, value) in enumerate(list(items)):
        if number < 12:
            yield document, key
            if isinstance(value, (dict, list)):
                yield from _places(value)
