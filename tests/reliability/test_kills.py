"""Kills of the group, the parent, a worker, and at every kind of file operation: nothing is lost, nothing is wrong.

After each kill: no process of the run is left, the folder is not taken for a finished run, and the same command goes
on and ends with the results of a run that nobody disturbed.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from campaign import GROUP, PARENT, ROOT, TOKEN, WORKER, bench, environment, gone, photos, start, strike

KILLER = str(Path(__file__).with_name("killer.py"))
ENDS_WITHIN = 20  # seconds that workers may outlive their parent

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads the process table of Linux")


class Folder:
    """One request, an undisturbed run of it, and the check that a disturbed one comes to the same."""

    def __init__(self, root: Path):
        self.root = root
        self.data = photos(root, 10)
        begun = time.monotonic()
        done = bench(*self.words("undisturbed", workers=2))
        assert done.returncode == 0, done.stderr
        self.seconds = time.monotonic() - begun
        self.truth = self.table("undisturbed")
        reference = ("--against", str(root / "reference.json"))
        assert bench("check", str(root / "undisturbed"), *reference, "--update").returncode == 0

    def words(self, out: str, workers: int) -> list[str]:
        models = "toy_localizers:Slow,ela"
        return ["run", "--models", models, "--data", self.data, "--perturbations", "clean;jpeg:70",
                "--workers", str(workers), "--out", str(self.root / out)]  # fmt: skip

    def table(self, out: str) -> list[str]:
        return sorted((self.root / out / "results.csv").read_text().splitlines())

    def finished(self, out: str) -> bool:
        file = self.root / out / "run.json"
        return file.exists() and bool(json.loads(file.read_text()).get("finished"))

    def verify(self, out: str, workers: int = 2) -> None:
        """After a kill: refused as a result where it is none, resumed by the same command, and then right."""
        folder = self.root / out
        if not self.finished(out):
            for more in ([], ["--update"]):
                done = bench("check", str(folder), "--against", str(self.root / "reference.json"), *more)
                assert done.returncode == 2 and "Traceback" not in done.stderr, done.stdout + done.stderr
        done = bench(*self.words(out, workers))
        assert done.returncode == 0, done.stdout + done.stderr
        assert self.table(out) == self.truth
        assert self.finished(out)
        left = [path.name for path in folder.rglob("*") if path.name.endswith((".part", ".partial", ".tmp"))]
        assert not left, left
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def request_folder(tmp_path_factory) -> Folder:
    return Folder(tmp_path_factory.mktemp("kills"))


@pytest.mark.parametrize("whom", [GROUP, PARENT, WORKER])
def test_processes(request_folder, count, tried, whom):
    for number in range(count(1, 50)):
        rng = np.random.default_rng([ord(whom[0]), number])
        env = environment()
        process = start(*request_folder.words("killed", workers=2), env=env)
        # workers start after about a second; from there to the end of the run
        time.sleep(rng.uniform(0.3 if whom != WORKER else 0.5, 1) * request_folder.seconds)
        for _ in range(100):
            if strike(process, whom, env[TOKEN], rng) or process.poll() is not None:
                break
            time.sleep(0.1)
        else:
            pytest.fail("no worker to kill")
        if whom == WORKER:
            # a killed worker costs its cells at most, and these are measured again: 0, or 1 where it was killed anew
            said, _ = process.communicate(timeout=200)
            assert process.returncode in (0, 1), said
        else:
            process.wait(timeout=60)
        left = gone(env[TOKEN], ENDS_WITHIN)
        assert not left, f"{len(left)} processes outlived the {whom}'s end"
        tried[f"kill of the {whom}"] += 1
        request_folder.verify("killed")


def operations(folder: Folder, out: str, at: int) -> subprocess.CompletedProcess:
    """The request in one process, killed at that operation (0: at none)."""
    env = environment(KILL_AT=str(at), KILL_FOLDER=str(folder.root / out), KILL_COUNT=str(folder.root / "count"))
    words = [sys.executable, KILLER, *folder.words(out, workers=1)]
    return subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_file_operations(request_folder, count, tried):
    done = operations(request_folder, "counted", 0)
    assert done.returncode == 0, done.stderr
    total = int((request_folder.root / "count").read_text())
    assert total > 20
    number = count(3, 150)
    # the first, the last, and others spread evenly between
    for at in sorted(set(np.linspace(1, total, number).astype(int).tolist())):
        done = operations(request_folder, "stopped", at)
        assert done.returncode in (-9, 0), f"operation {at} of {total}: {done.stderr}"
        tried["kill at a file operation"] += 1
        request_folder.verify("stopped", workers=1)


@pytest.mark.parametrize("command", ["report", "update"])
def test_outputs_are_whole_or_absent(request_folder, count, tried, command):
    """A report or a reference whose writing is killed leaves the old one, or none, never a part."""
    root = request_folder.root
    out = root / f"written-{command}"
    words = {
        "report": ["report", str(root / "undisturbed"), "--out", str(out)],
        "update": ["check", str(root / "undisturbed"), "--against", str(out / "reference.json"), "--update"],
    }[command]

    def killed(at: int) -> int:
        env = environment(KILL_AT=str(at), KILL_FOLDER=str(out), KILL_COUNT=str(root / "count"))
        return subprocess.run([sys.executable, KILLER, *words], env=env, cwd=ROOT, capture_output=True).returncode

    assert killed(0) == 0
    total = int((root / "count").read_text())
    whole = {path.relative_to(out): path.stat().st_size for path in out.rglob("*") if path.is_file()}
    for at in sorted(set(np.linspace(1, total, count(2, 20)).astype(int).tolist())):
        shutil.rmtree(out)
        assert killed(at) in (-9, 0)
        tried[f"kill while the {command} is written"] += 1
        for path in out.rglob("*") if out.exists() else ():
            if path.is_file() and path.relative_to(out) in whole and path.suffix in (".html", ".json", ".png", ".pdf"):
                assert path.stat().st_size > 0.9 * whole[path.relative_to(out)], path
        assert killed(0) == 0  # and the same command then writes all of it
        assert {p.relative_to(out) for p in out.rglob("*") if p.is_file()} == set(whole)


def test_a_full_disk(request_folder, count, tried):
    """Files may grow to so many bytes only: the command says so in one line, and goes on when there is room."""
    for number, size in enumerate(np.linspace(2_000, 150_000, count(1, 20)).astype(int)):
        done = subprocess.run(
            [sys.executable, "-m", "bench", *request_folder.words(f"full{number}", workers=1)],
            # Python would leave cut bytecode in its cache, at which every later process fails
            env=environment(PYTHONDONTWRITEBYTECODE="1"), cwd=ROOT, capture_output=True, text=True,
            preexec_fn=lambda limit=int(size): resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )  # fmt: skip
        tried["full disk"] += 1
        assert done.returncode in (0, 2) and "Traceback" not in done.stderr, done.stderr
        request_folder.verify(f"full{number}", workers=1)
