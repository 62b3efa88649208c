"""`python -m bench` that kills its own process at the n-th file operation of its folder; for test_kills.py.

    KILL_AT=N KILL_FOLDER=DIR python killer.py run ...

Counted are what Python's audit hooks see below the folder (opening for writing, renaming, removing, making folders)
and each statement that SQLite is about to carry out. KILL_AT=0 kills nothing; the number counted is then written
to the file KILL_COUNT.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys

AT, FOLDER, COUNT = int(os.environ["KILL_AT"]), os.environ["KILL_FOLDER"], os.environ["KILL_COUNT"]
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "shutil.rmtree"}
_counted = 0
_parent = os.getpid()
_connect = sqlite3.connect


def _operation() -> None:
    global _counted
    _counted += 1
    if _counted == AT and os.getpid() == _parent:
        os.kill(_parent, signal.SIGKILL)


def _audit(event: str, args: tuple) -> None:
    if event in OPERATIONS and args and isinstance(args[0], (str, bytes)) and FOLDER in os.fsdecode(args[0]):
        mode = args[1] if event == "open" and len(args) > 1 else "w"
        if isinstance(mode, str) and mode.strip("rbt") == "":
            return
        _operation()


def _watched(*args, **kwargs):
    connection = _connect(*args, **kwargs)
    connection.set_trace_callback(lambda _: _operation())
    return connection


if __name__ == "__main__":
    sqlite3.connect = _watched
    sys.addaudithook(_audit)
    from bench.cli import main

    code = main(sys.argv[1:])
    if AT == 0:
        with open(COUNT, "w") as file:
            file.write(str(_counted))
    sys.exit(code)
