"""Run folders in which a file is gone, empty, a folder, a link in a circle, unreadable or another run's."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from campaign import bench, drive, faults, photos

FILES = ["run.json", "results.csv", "evidence.sqlite"]
DAMAGES = ["gone", "empty", "folder", "loop", "locked", "nul", "foreign"]


@pytest.fixture(scope="module")
def intact(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("intact")
    data = photos(root, 6)
    for name, models in (("run", "centre"), ("other", "ela")):
        done = bench("run", "--models", models, "--data", data, "--perturbations", "clean", "--workers", "1",
                     "--out", str(root / name))  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert bench("check", str(root / "run"), "--against", str(root / "ref.json"), "--update").returncode == 0
    return root


def damage(file: Path, how: str, other: Path) -> None:
    content = file.read_bytes()
    file.unlink()
    if how == "empty":
        file.touch()
    elif how == "folder":
        file.mkdir()
    elif how == "loop":
        file.symlink_to(file)
    elif how == "locked":
        file.write_bytes(content)
        file.chmod(0)
    elif how == "nul":
        file.write_bytes(bytes(len(content)))
    elif how == "foreign":
        shutil.copy(other / file.name, file)


def rows_of_centre(folder: Path) -> list[str]:
    """The results of the request's localizer; a folder may hold another run's beside them."""
    lines = (folder / "results.csv").read_text().splitlines()
    return sorted(line for line in lines if line.strip('"').startswith("centre"))


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_damaged(intact, tmp_path, count, tried, name):
    data = f"folder:{intact / 'images'},{intact / 'masks'}"
    truth = rows_of_centre(intact / "run")
    wrong = []
    first = 2 * FILES.index(name)  # the quick campaign, too, tries each damage
    for how in (DAMAGES * 2)[first : first + count(3, len(DAMAGES))]:
        folder = tmp_path / how
        shutil.copytree(intact / "run", folder)
        damage(folder / name, how, intact / "other")
        commands = [
            ["check", str(folder), "--against", str(intact / "ref.json")],
            ["report", str(folder), "--out", str(tmp_path / f"report-{how}")],
            ["show", str(folder), "photo01"],
            ["run", "--models", "centre", "--data", data, "--perturbations", "clean", "--workers", "1",
             "--out", str(folder)],
        ]  # fmt: skip
        results = list(drive(tmp_path, [{"words": words, "files": {}} for words in commands]))
        tried["damaged run folder"] += len(results)
        wrong += [f"{name} {how}: {fault}" for fault in faults(results)]
        if results[0]["code"] == 1:
            wrong.append(f"{name} {how}: check calls an unchanged localizer worse: {results[0]['said']}")
        if results[-1]["code"] == 0 and rows_of_centre(folder) != truth:
            wrong.append(f"{name} {how}: another table after the same command")
    assert not wrong, f"{len(wrong)}\n" + "\n".join(wrong[:4])


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into any folder")
def test_a_read_only_folder_is_reported_elsewhere(intact, tmp_path, tried):
    folder = tmp_path / "run"
    shutil.copytree(intact / "run", folder)
    folder.chmod(0o500)
    done = bench("report", str(folder), "--out", str(tmp_path / "report"))
    tried["damaged run folder"] += 1
    assert done.returncode == 0, done.stderr
