"""Ending a training on Ctrl-C or SIGTERM without losing what it has done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopped(BaseException):
    """A signal arrived while there was nothing to save; see `Stop.immediate`."""


class Stop:
    """Whether the user or the system asked for an end.

    Attributes:
        signal: number of the signal that asked; 0 before.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._immediate = False

    @property
    def requested(self) -> bool:
        """Whether to stop after the current step."""
        return self.signal != 0

    def ask(self, number: int, frame: object = None) -> None:
        """The signal handler. A second signal ends the program at once, saved or not."""
        if self.requested:
            raise KeyboardInterrupt
        self.signal = number
        if self._immediate:
            raise Stopped

    @contextmanager
    def immediate(self) -> Iterator[None]:
        """While nothing has to be saved: raise Stopped where the program is, instead of waiting for a step to end."""
        if self.requested:
            raise Stopped
        self._immediate = True
        try:
            yield
        finally:
            self._immediate = False


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """SIGTERM and SIGINT ask for an end after the current step; a second one ends at once."""
    stop = Stop()
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start_worker(_: int) -> None:
    """Prepare a DataLoader's worker: one thread, and signals are left to the parent.

    torchrun, terminals and batch systems send signals to the workers too. A worker ends when the parent tells it to,
    or is gone.
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
