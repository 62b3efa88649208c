"""What every command shares: the error that speaks to its user, the nearest known name, and option types."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable


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
