"""A program of somebody else's as a child process: its streams, its time limits, and its certain end.

The program runs in a process group of its own below a guard (`models/guard.py`), which ends the group when it is told
to, and when this process dies in whatever way.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import select
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")
LOG_BYTES = 64 * 1024  # of what the program writes to standard error: the last ones are kept
LINE_BYTES = 1024 * 1024  # of one line of its standard output
ENDING_S = 10.0  # the guard's patience, and some


class ChildError(RuntimeError):
    """The program died, kept silent for too long, or wrote too long a line."""


class StartError(ChildError):
    """The program cannot be started at all."""


def private_folder() -> Path:
    """A new temporary folder that nobody else may look into."""
    return Path(tempfile.mkdtemp(prefix="bench-exec-"))


class Child:
    """A running program."""

    def __init__(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str], folder: Path, *, merge_output: bool = False
    ):
        """Start it.

        Args:
            command: the program's absolute path, and its arguments.
            cwd: its working folder.
            env: its whole environment; TMPDIR is added where it is absent.
            folder: a private folder, its TMPDIR, which is removed with it.
            merge_output: what it writes to standard output goes to the log, too.
        """
        self.folder = folder
        self.exit_code: int | None = None
        self._log = bytearray()
        self._lines = bytearray()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), str(theirs.fileno()), str(self.folder), *command],
                cwd=cwd,
                env={"TMPDIR": str(self.folder), **env},
                stdin=subprocess.DEVNULL if merge_output else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merge_output else subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        noise = self._guard.stdout if merge_output else self._guard.stderr
        self._drain = threading.Thread(target=_drained, args=(noise, self._log), daemon=True)
        self._drain.start()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._control, selectors.EVENT_READ)
        if not merge_output:
            self._selector.register(self._guard.stdout, selectors.EVENT_READ)
        self.close = weakref.finalize(self, _closed, self._control, self._guard, self._selector)

    def send(self, line: str) -> None:
        """Write a line to the program's standard input. Raises ChildError where it does not read any more."""
        try:
            self._guard.stdin.write(line.encode() + b"\n")
            self._guard.stdin.flush()
        except OSError as error:
            raise ChildError(self._why_gone()) from error

    def read_line(self, seconds: float) -> bytes:
        """The next line of the program's standard output. Raises ChildError."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._lines:
            if len(self._lines) > LINE_BYTES:
                raise ChildError(f"it wrote a line of more than {LINE_BYTES:,} bytes")
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise ChildError(f"no answer within {seconds:g} s")
            ready = {key.fileobj for key, _ in self._selector.select(remaining)}
            if self._guard.stdout in ready:
                found = os.read(self._guard.stdout.fileno(), 65536)
                if not found:
                    raise ChildError(self._why_gone())
                self._lines += found
            elif self._control in ready:
                self._learn_exit()
                raise ChildError(self._why_gone())
        line, _, rest = bytes(self._lines).partition(b"\n")
        self._lines = bytearray(rest)
        return line

    def waits(self) -> bool:
        """Whether it is there and silent; output that nobody has read may be taken for the next answer."""
        return not self._lines and not self._selector.select(0)

    def wait(self, seconds: float) -> int:
        """Its exit code, negative for the signal that ended it. Raises ChildError where it goes on for too long."""
        if self.exit_code is None:
            if not self._selector.select(seconds):
                raise ChildError(f"it was not done within {seconds:g} s")
            self._learn_exit()
        return self.exit_code

    def log(self, size: int) -> str:
        """The last bytes of what it wrote to standard error, in one line of printable characters."""
        self._drain.join(0.2 if self.exit_code is not None else 0.0)
        text = bytes(self._log[-size:]).decode(errors="replace")
        return " | ".join("".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines())

    def _learn_exit(self) -> None:
        word, _, value = self._control.recv(4096).decode().strip().partition(" ")
        if word == "error":
            raise StartError(f"it cannot be started: {value}")
        self.exit_code = int(value) if word == "exit" else -9  # nothing: the guard was killed

    def _why_gone(self) -> str:
        if self.exit_code is None and select.select([self._control], [], [], 1.0)[0]:
            self._learn_exit()
        if self.exit_code is None:
            return "it closed its standard output"
        return self.ending

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        how = f"signal {-self.exit_code}" if self.exit_code < 0 else f"exit code {self.exit_code}"
        return f"it ended with {how}"


def _drained(stream, log: bytearray) -> None:
    with stream:
        while found := os.read(stream.fileno(), 65536):
            log += found
            del log[:-LOG_BYTES]


def _closed(control: socket.socket, guard: subprocess.Popen, selector: selectors.BaseSelector) -> None:
    """End the program's group and wait until it is gone."""
    selector.close()
    control.close()  # which the guard waits for
    for stream in (guard.stdin, guard.stdout):
        if stream is not None and not (stream is guard.stdout and guard.stderr is None):  # that one is the drain's
            with contextlib.suppress(OSError):  # what could not be written any more
                stream.close()
    try:
        guard.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()


class WorkerNumber:
    """The smallest number from 0 up that no other worker of a tool holds on this machine, while this object lives."""

    def __init__(self, tool: str):
        self.value = 0
        name = hashlib.sha256(tool.encode()).hexdigest()[:16]
        folder = Path(tempfile.gettempdir(), f"bench-exec-workers-{os.getuid()}")
        with contextlib.suppress(OSError):  # where no file can be locked, all workers are number 0
            folder.mkdir(mode=0o700, exist_ok=True)
            while True:
                self._file = (folder / f"{name}-{self.value}").open("w")
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    self._file.close()
                    self.value += 1
