"""Runs commands of the suite one after another in this process and says how each ended, a JSON line each.

    python driver.py SCRIPT.json

SCRIPT: a list of {"words": [...], "cwd": ..., "files": {path: bytes in base64}}; the files are written first, and
what lay there is put back afterwards. Run in a process of its own, so that a signal is seen as one, with a bound on
its memory.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import resource
import sys
import time
from pathlib import Path

MEMORY = 12 * 2**30  # of address space; PyTorch alone maps some


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    from bench.cli import main as bench

    for number, step in enumerate(json.loads(Path(sys.argv[1]).read_text())):
        before = {Path(path): Path(path).read_bytes() if Path(path).is_file() else None for path in step["files"]}
        for path, content in step["files"].items():
            Path(path).write_bytes(base64.b64decode(content))
        print(json.dumps({"step": number, "begun": True}), flush=True)
        said, clock = io.StringIO(), time.perf_counter()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = bench(step["words"])
            except SystemExit as error:
                code = error.code
            except BaseException as error:  # bench.cli is to let nothing through
                code = f"{type(error).__name__}: {error}"
        for path, content in before.items():
            if content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)
        seconds = round(time.perf_counter() - clock, 2)
        print(
            json.dumps({"step": number, "code": code, "seconds": seconds, "said": said.getvalue()[-3000:]}), flush=True
        )


if __name__ == "__main__":
    main()
