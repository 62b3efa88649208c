"""Run a program in a process group of its own, and end the whole group as soon as this script's owner goes.

Started by `models.child` as `python -I -S guard.py CONTROL FOLDER PROGRAM ...`, never imported. CONTROL is a socket to
the owner. The program's exit code is written to it; when it closes, because the owner closed it or died in whatever
way, the group gets SIGTERM, five seconds later SIGKILL, and FOLDER is removed.
"""

import contextlib
import os
import select
import signal
import sys
import time

PATIENCE = 5.0  # seconds from SIGTERM to SIGKILL
STEP = 0.02
TO_DEFAULT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE)


def main(control: int, folder: str, command: list[str]) -> None:
    """Start the program and watch over it until the owner goes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # only the owner's end is a reason to go
        signal.signal(number, signal.SIG_IGN)
    os.set_inheritable(control, False)
    died, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup)
    try:
        program = os.posix_spawn(command[0], command, os.environ, setsid=True, setsigdef=TO_DEFAULT)
    except OSError as error:
        _tell(control, f"error {error.strerror}")
        program = None
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # the streams are the program's alone, so that they end with it
        os.dup2(nothing, stream)
    running = program
    while True:
        ready, _, _ = select.select([control, died], [], [])
        if died in ready:
            os.read(died, 4096)
        if running is not None:
            found, status = os.waitpid(running, os.WNOHANG)
            if found:
                running = None
                _tell(control, f"exit {os.waitstatus_to_exitcode(status)}")
        if control in ready and not _received(control):
            break
    if program is not None:
        _end(program)
    _remove(folder)


def _tell(control: int, text: str) -> None:
    with contextlib.suppress(OSError):  # the owner is gone; the loop learns it from its end of the socket
        os.write(control, text.encode() + b"\n")


def _received(control: int) -> bytes:
    try:
        return os.read(control, 4096)
    except OSError:
        return b""


def _end(group: int) -> None:
    for number, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, 1.0)):
        deadline = time.monotonic() + patience
        try:
            os.killpg(group, number)
            while time.monotonic() < deadline:
                _reap(group)
                os.killpg(group, 0)  # raises when none is left
                time.sleep(STEP)
        except OSError:
            return


def _reap(program: int) -> None:
    with contextlib.suppress(OSError):
        os.waitpid(program, os.WNOHANG)


def _remove(folder: str) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
