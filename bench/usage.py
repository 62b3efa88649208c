"""What every command shares: the error that speaks to its user, the nearest known name, option types, and streams."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


class UsageError(ValueError):
    """What the user asked for cannot be done; the message says what to change."""


def suggest(name: str, known: Iterable[str]) -> str:
    """`"did you mean 'casia1'?"` for the nearest known name, else the list of all of them."""
    known = list(known)
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def positive_int(text: str) -> int:
    """An option's value that must be a whole number from 1 up; for argparse's `type`."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def path(text: str) -> Path:
    """An option's value that is a path and may begin with ~ (no shell expands it in `--out=~/x`); for `type`."""
    return Path(text).expanduser()


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Inside, whatever writes to standard output writes to standard error: libraries, localizers and processes, too.

    Standard output is left to the result, which is printed afterwards and may have to be JSON.
    """
    saved = None
    with contextlib.redirect_stdout(sys.stderr):
        with contextlib.suppress(OSError):  # one of the two is closed
            saved = os.dup(1)
            os.dup2(2, 1)
        try:
            yield
        finally:
            if saved is not None:
                os.dup2(saved, 1)
                os.close(saved)
