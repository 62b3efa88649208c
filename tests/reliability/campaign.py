"""What the tests of this folder share: material for runs, commands in processes of their own, and what must hold."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
TOKEN = "RELIABILITY_TOKEN"
GROUP, PARENT, WORKER = "group", "parent", "worker"


def photos(folder: Path, count: int, suffix: str = ".png", size: tuple[int, int] = (48, 64)) -> str:
    """Photos with masks below a folder, as `--data` names them; forged pixels are red."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    for number in range(count):
        rgb = np.repeat(rng.integers(60, 120, (*size, 1), dtype=np.uint8), 3, axis=2)
        mask = np.zeros(size, np.uint8)
        mask[10 + number % 8 : 30 + number % 8, 20:50] = 255
        rgb[mask > 0] = (230, 40, 40)
        Image.fromarray(rgb).save(folder / "images" / f"photo{number:02d}{suffix}")
        Image.fromarray(mask).save(folder / "masks" / f"photo{number:02d}.png")
    return f"folder:{folder / 'images'},{folder / 'masks'}"


def environment(**more: str) -> dict[str, str]:
    """That of a command: one thread, the toy localizers to be found, and a mark by which its processes are known."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ, "PYTHONPATH": os.pathsep.join(p for p in paths if p), "OMP_NUM_THREADS": "1",
        TOKEN: uuid.uuid4().hex, **more,
    }  # fmt: skip


def bench(*words: str, env: Mapping[str, str] | None = None, timeout: float = 300) -> subprocess.CompletedProcess:
    """A command, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *words],
        env=env or environment(), cwd=ROOT, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip


def start(*words: str, env: Mapping[str, str], before: Sequence[str] = ("-m", "bench")) -> subprocess.Popen:
    """A command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, *before, *words],
        env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def alive(token: str) -> list[int]:
    """Processes that bear the mark, zombies aside."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                marked = f"{TOKEN}={token}".encode() in (entry / "environ").read_bytes()
                if marked and (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def gone(token: str, within: float) -> list[int]:
    """The marked processes that are still there after so many seconds; they are ended then."""
    end = time.monotonic() + within
    while (left := alive(token)) and time.monotonic() < end:
        time.sleep(0.1)
    for process in left:
        os.kill(process, signal.SIGKILL)
    return left


def strike(process: subprocess.Popen, whom: str, token: str, rng: np.random.Generator) -> bool:
    """Kill the group, the parent or one of its workers; False where there is none (any more)."""
    if process.poll() is not None:
        return False
    if whom == GROUP:
        os.killpg(process.pid, signal.SIGKILL)
    elif whom == PARENT:
        process.kill()
    else:
        workers = [other for other in alive(token) if other != process.pid]
        if not workers:
            return False
        try:
            os.kill(workers[int(rng.integers(0, len(workers)))], signal.SIGKILL)
        except ProcessLookupError:
            return False
    return True


def drive(folder: Path, steps: Sequence[Mapping], timeout: float = 900) -> Iterator[dict]:
    """How commands ended that a process of their own ran one after another (see driver.py): code, said, seconds.

    A step that ended that process by a signal has the code "signal N"; the others go on in a new one.
    """
    script, first = folder / "steps.json", 0
    while first < len(steps):
        coded = [
            {**step, "files": {p: base64.b64encode(c).decode() for p, c in step["files"].items()}}
            for step in steps[first:]
        ]
        script.write_text(json.dumps(coded))
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("driver.py")), str(script)],
            env=environment(), cwd=folder, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        ended = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"step"')]
        results = [line for line in ended if "code" in line]
        for result in results:
            yield {**result, "step": first + result["step"]}
        first += len(results)
        if first < len(steps):  # the process ended within a step
            yield {"step": first, "code": f"ended with {done.returncode}", "said": done.stderr[-2000:], "seconds": 0}
            first += 1


def faults(results: Sequence[Mapping], allowed: Sequence[int] = (0, 1, 2), seconds: float = 120) -> list[str]:
    """Those that ended otherwise than they may, in words: another code, a traceback, or too long."""
    return [
        f"step {result['step']}: {result['code']} in {result['seconds']} s\n{result['said'][-1500:]}"
        for result in results
        if result["code"] not in allowed or "Traceback (most" in result["said"] or result["seconds"] > seconds
    ]
