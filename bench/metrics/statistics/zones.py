"""`Zones`: how many pixels lie in each of NIST's no-score zones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.metrics.statistics.packing import pack, unpack
from bench.metrics.steps.region import NoScoreZones

if TYPE_CHECKING:
    from bench.metrics.view import Seen


@dataclass(frozen=True)
class Areas:
    """Pixels of one image: in the boundary zone alone, in the distraction zone, and forged ones, in a zone or not."""

    boundary: int
    distraction: int
    forged: int

    def to_bytes(self) -> bytes:
        """See `pack`."""
        return pack({"areas": np.array([self.boundary, self.distraction, self.forged], np.int64)})


@dataclass(frozen=True)
class Zones:
    """Areas of the zones of a region."""

    region: NoScoreZones
    needs_scale: ClassVar[bool] = False

    def measure(self, seen: Seen) -> Areas:
        """Those of the pixels that can be scored."""
        scorable = np.ones_like(seen.forged) if seen.scored is None else seen.scored
        forged = seen.forged & scorable
        boundary, distraction = self.region.zones(forged, seen.source)
        zones = (~boundary & distraction & scorable, ~distraction & scorable, forged)
        return Areas(*(int(np.count_nonzero(zone)) for zone in zones))

    def read(self, data: bytes) -> Areas:
        """What `to_bytes` packed."""
        return Areas(*unpack(data)["areas"].tolist())
