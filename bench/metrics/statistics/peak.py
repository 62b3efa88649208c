"""`Peak`: the largest score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.metrics.statistics.packing import pack, unpack

if TYPE_CHECKING:
    from bench.metrics.view import Seen


@dataclass(frozen=True)
class Largest:
    """The largest score of the scored pixels of one image."""

    value: float

    def to_bytes(self) -> bytes:
        """See `pack`."""
        return pack({"value": np.float64(self.value)})


@dataclass(frozen=True)
class Peak:
    """The largest score of a view."""

    needs_scale: ClassVar[bool] = True

    def measure(self, seen: Seen) -> Largest:
        """That of the scored pixels."""
        return Largest(float(seen.pixels[0].max()))

    def read(self, data: bytes) -> Largest:
        """What `to_bytes` packed."""
        return Largest(float(unpack(data)["value"]))
