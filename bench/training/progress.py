"""Progress of what takes minutes: a bar on a terminal, elsewhere a line in the log every half minute."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

log = logging.getLogger(__name__)


class _Lines(tqdm):
    """A progress bar for logs: what it would draw becomes a line of its own."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Log the state instead of drawing it."""
        log.info("%s", self)


def progress(*args: Any, disable: bool = False, **options: Any) -> tqdm:
    """A tqdm bar, with tqdm's arguments.

    Args:
        args: what tqdm takes: an iterable.
        disable: say nothing, e.g. in all but the first of several processes.
        options: what tqdm takes: total, initial, desc, unit, ...
    """
    if disable or sys.stderr.isatty():
        return tqdm(*args, disable=disable, mininterval=1.0, **options)
    return _Lines(*args, mininterval=30.0, file=io.StringIO(), **options)


def around_the_bar() -> AbstractContextManager:
    """While this lasts, log messages on the terminal go above the progress bar instead of through it."""
    return logging_redirect_tqdm() if logging.root.handlers else nullcontext()
