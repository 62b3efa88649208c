"""Whatever a localizer does, its own cells fail by name and all others are measured as if it were not there."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest
from shared import SHARED

from bench.cli import main
from bench.store import Store

pytestmark = pytest.mark.slow  # processes are started

ROOT = Path(__file__).parents[2]
PLUG = """
    import os, sys, ctypes
    import numpy as np
    from models import Localizer, ScoreMap

    def red(image):
        return ScoreMap(np.array(image.rgb[:, :, 0], np.float32) / 255, "probability")

    class Red(Localizer):
        def localize(self, image):
            return red(image)

    class WritesIntoPixels(Localizer):
        def localize(self, image):
            image.rgb[:] = 0
            return red(image)

    class WritesIntoLuminance(Localizer):
        def localize(self, image):
            image.luminance[:] = 0
            return red(image)

    class Exits(Localizer):
        def localize(self, image):
            sys.exit(0)

    class ExitsWithText(Localizer):
        def localize(self, image):
            raise SystemExit("text")

    class GeneratorExits(Localizer):
        def localize(self, image):
            raise GeneratorExit

    class CannotSay(Localizer):
        def localize(self, image):
            class Bad(Exception):
                def __str__(self):
                    raise ValueError
            raise Bad

    class GivesAnArray(Localizer):
        def localize(self, image):
            return image.luminance

    class ForgotSigmoid(Localizer):
        def localize(self, image):
            return ScoreMap(red(image).values * 8 - 4, "probability")

    class NanScore(Localizer):
        def localize(self, image):
            return ScoreMap(red(image).values, "probability", image_score=float("nan"))

    class NamesThePlace(Localizer):
        def localize(self, image):
            raise OSError(f"cannot read {os.getcwd()}/models/net.pth")

    class Prints(Localizer):
        def localize(self, image):
            print("processing", image.shape)
            os.write(1, b"native code, too\\n")
            return red(image)

    class ChangesFolder(Localizer):
        def localize(self, image):
            os.chdir("/")
            return red(image)

    class NanExtras(Localizer):
        def localize(self, image):
            extras = {"a": float("nan"), "b": [1.0, float("inf")], "c": {"d": float("nan")}}
            return ScoreMap(red(image).values, "probability", extras=extras)
"""
FAILS = {
    "WritesIntoPixels": "read-only",
    "WritesIntoLuminance": "read-only",
    "Exits": "SystemExit: 0",
    "ExitsWithText": "SystemExit: text",
    "GeneratorExits": "GeneratorExit",
    "CannotSay": "Bad",
    "GivesAnArray": "instead of a ScoreMap",
    "ForgotSigmoid": "no probabilities",
    "NanScore": "nan",
    "NamesThePlace": "cannot read",
}
WORKS = ("Prints", "ChangesFolder", "NanExtras")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plug")
    (folder / "hostile.py").write_text(textwrap.dedent(PLUG))
    return folder


@pytest.fixture
def run(photo_folder, places):
    data = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"

    def call(models, out, workers, *more):
        words = [sys.executable, "-m", "bench", "run", "--models", models, "--data", data, "--out", str(out)]
        words += ["--perturbations", "blur:3", "--workers", str(workers), "--json", *more]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(places), str(ROOT)])}
        return subprocess.run(words, env=environment, capture_output=True, text=True, cwd=photo_folder)

    return call


def values(out):
    table = pd.read_csv(out / "results.csv", keep_default_na=False, na_values={"value": [""]})
    return table[table.model == "hostile:Red"].reset_index(drop=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_hostile_localizers_fail_alone(run, tmp_path, workers):
    alone = run("hostile:Red", tmp_path / "alone", workers)
    assert alone.returncode == 0, alone.stderr
    names = [f"hostile:{name}" for name in (*FAILS, *WORKS)]
    done = run(",".join([*names, "hostile:Red"]), tmp_path / "out", workers)
    about = json.loads(done.stdout)  # one JSON document, whatever they print
    assert done.returncode == 1
    pd.testing.assert_frame_equal(values(tmp_path / "out"), values(tmp_path / "alone"))
    with Store(tmp_path / "out") as store:
        cells = store.cells()
    for name, reason in FAILS.items():
        mine = cells[cells.model == f"hostile:{name}"]
        assert (mine.status == "failed").all() and len(mine) == 8, name
        assert mine.reason.str.contains(reason, regex=False).all(), (name, mine.reason.iloc[0])
    for name in (*WORKS, "Red"):
        assert (cells[cells.model == f"hostile:{name}"].status == "ok").all(), name
    assert not cells.reason.str.contains(str(tmp_path.parent), regex=False).any()  # a run folder may be published
    assert about["cells"]["failed"] == 8 * len(FAILS)


def test_a_report_is_made_of_what_they_leave(run, tmp_path):
    assert run("hostile:NanExtras,hostile:Red", tmp_path / "out", 1).returncode == 0
    assert main(["report", str(tmp_path / "out")]) == 0


def test_a_localizer_that_kills_its_process_in_the_parent_is_tried_last_and_alone(run, tmp_path, places):
    (places / "deadly.py").write_text(
        "import os, signal\nfrom hostile import Red\n\n\nclass Deadly(Red):\n    def localize(self, image):\n"
        "        if image.rgb[0, 0, 1] > 200 and image.rgb[0, 0, 0] < 150:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n        return super().localize(image)\n"
    )
    first = run("deadly:Deadly", tmp_path / "out", 1)
    assert first.returncode < 0  # the parent itself died
    second = run("deadly:Deadly", tmp_path / "out", 1)
    assert second.returncode == 1, second.stderr
    cells = json.loads(second.stdout)["cells"]
    assert (cells["ok"], cells["failed"]) == (6, 2)


CASES = ("in-place-localizer", "exit-in-localizer", "chdir-localizer", "nan-extras", "probability-out-of-range")


@pytest.mark.parametrize("case", [*CASES, "prints-json"])
def test_recorded_case(case, tmp_path):
    folder = SHARED / "cases" / case
    if not folder.exists():
        pytest.skip(f"needs the recorded case {case}")
    source = (folder / "plug.py").read_text()
    names = [f"plug:{line.split('(')[0][6:]}" for line in source.splitlines() if line.startswith("class ")]
    words = [sys.executable, "-m", "bench", "run", "--models", ",".join(names), "--json", "--workers", "1"]
    words += ["--data", f"folder:{folder / 'images'},{folder / 'masks'}", "--perturbations", "clean"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    done = subprocess.run([*words, "--out", str(tmp_path)], env=environment, capture_output=True, text=True)
    cells = json.loads(done.stdout)["cells"]
    bad = {"exit-in-localizer": 1, "in-place-localizer": 4, "probability-out-of-range": 4}.get(case, 0)
    assert done.returncode == bool(bad) and cells.get("failed", 0) >= bool(bad)
    assert (tmp_path / "results.csv").exists() and main(["report", str(tmp_path)]) == 0
