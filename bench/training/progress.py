"""Progress of what takes minutes: a bar on a terminal, elsewhere a line in the log every half minute."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)


class _Lines(tqdm):
    """A progress bar for logs: what it would draw becomes a line of its own."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Log the state instead of drawing it."""
        log.info(str(self))


def progress(iterable: Iterable | None = None, *, disable: bool = False, **options: Any) -> tqdm:
    """A tqdm bar.

    Args:
        iterable: as tqdm's.
        disable: say nothing, e.g. in all but the first of several processes.
        options: what tqdm takes: total, initial, desc, unit, ...
    """
    if disable or sys.stderr.isatty():
        return tqdm(iterable, disable=disable, mininterval=1.0, **options)
    return _Lines(iterable, mininterval=30.0, file=io.StringIO(), **options)
