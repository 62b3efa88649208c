"""The wheel is whole: built from the checkout's files, installed into a bare environment, and used elsewhere."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def called(*words, **options):
    found = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def files():
    """The repository's files, committed or about to be."""
    listed = called("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [name for name in listed if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(files, tmp_path_factory):
    """The wheel, built from a copy, so that no build folder is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in files:
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "source" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-index", "-q"]
    called(*pip, "--no-build-isolation", "-w", folder, folder / "source")
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of programs of an environment with the wheel, which sees the dependencies of this one."""
    home = tmp_path_factory.mktemp("environment")
    called(sys.executable, "-m", "venv", "--without-pip", home)
    programs = home / "bin"
    site = called(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", programs / "python", "--disable-pip-version-check"]
    called(*pip, "install", "--no-deps", "--no-index", "-q", "--ignore-installed", wheel)
    return programs


def bench(installed, folder, *words):
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "BENCH_WEIGHTS")}
    return called(installed / "forgery-bench", *words, cwd=folder, env=variables)


def test_every_file_is_in_the_wheel_where_it_belongs(wheel, files):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    belongs = {name for name in files if name.startswith(("bench/", "models/", "reports/"))}
    belongs |= {f"bench/{name}" for name in files if name.startswith("datasets/")}
    assert packed == belongs


def test_it_lists_the_same_as_the_checkout(installed, tmp_path):
    for what in ("data", "models", "perturbations", "protocols"):
        here = called(sys.executable, "-m", "bench", "list", what, "--json", cwd=ROOT)
        assert bench(installed, tmp_path, "list", what, "--json") == here, what
    assert "casia1:ROOT" in bench(installed, tmp_path, "list", "data")


def test_the_version_is_stated_once(installed, wheel, tmp_path):
    version = bench(installed, tmp_path, "--version").split()[1]
    assert wheel.name.split("-")[1] == version


def test_the_main_job_and_its_report(installed, photo_folder, tmp_path):
    words = ["--models", "mpc,ela", "--data", f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"]
    words += ["--perturbations", "clean", "--limit", "2", "--workers", "1", "--json", "-q"]
    about = json.loads(bench(installed, tmp_path, "run", *words))
    assert about["cells"]["ok"] == 4 and about["revision"] == ""
    bench(installed, tmp_path, "report")
    assert list((tmp_path / "runs/default/report").glob("*.html"))


def test_it_runs_beside_a_research_repositorys_own_models(installed, photo_folder, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/__init__.py").touch()
    words = ["--models", "ela", "--data", f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"]
    words += ["--perturbations", "clean", "--limit", "1", "--workers", "1", "--json", "-q"]
    assert json.loads(bench(installed, tmp_path, "run", *words))["cells"]["ok"] == 1
    found = subprocess.run(
        [installed / "python", "-m", "bench", "run", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 2 and len(found.stderr.splitlines()) == 1 and "forgery-bench" in found.stderr
