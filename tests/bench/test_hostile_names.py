"""Hostile names, from the folder to the report: each image is measured once, each number comes back under its name."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.cli import main
from bench.results import read

pytestmark = pytest.mark.slow  # processes are started

ROOT = Path(__file__).parents[2]
NAMES = [
    "a\rb", "a\nb", "tab\tbed", "x_$\\frac$_y", "cost $5 to $6", "=cmd()", "+1", "-1", "@x", "'quoted", 'a"b', "a,b",
    "a|b",
    "NA", "null", "nan", "001", "1e5", "*", "**", "a&b<c>", "ünï", "表", "{0}", "%s", "#1", "a+b", "a b", "~",
]  # fmt: skip


@pytest.fixture
def run(tmp_path):
    def call(data, out="run", *more):
        words = ["run", "--models", "centre", "--data", data, "--perturbations", "jpeg:70", "--workers", "1"]
        code = main([*words, "--out", str(tmp_path / out), *more])
        return code, tmp_path / out

    return call


def test_images_of_any_name_are_measured_and_reported(photo_folder, run):
    images, masks = photo_folder / "images", photo_folder / "masks"
    for name in NAMES:
        shutil.copy(images / "image0.png", images / f"{name}.png")
        shutil.copy(masks / "image0.png", masks / f"{name}.png")
    code, out = run(f"folder:{images},{masks}")
    assert code == 0
    table = read(out)
    aucs = table[(table.metric == "auc") & (table.spec == "identity") & ~table.image.isin(["*", "**"])]
    assert len(aucs) == len(NAMES) + 4 and aucs.image.is_unique
    assert aucs.groupby("source").size().eq(1).all()
    same = aucs[~aucs.image.isin(["image1", "image2", "image3"])]
    assert same.value.nunique() == 1  # they are one photo
    plain = set(NAMES) - {"*", "**", "a\rb", "a\nb", "tab\tbed"} | {"\\x2a", "\\x2a\\x2a"}
    assert plain <= set(aucs.image)
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [c for c in cells if c[:1] in "=@\t" and c]  # nothing that a spreadsheet would compute
    assert main(["report", str(out)]) == 0


@pytest.mark.parametrize("name", ["x_$\\frac$_y", "cost $5 to $6", "a b", "a+b", "表", "<b>", "{{x}}"])
def test_a_set_of_any_name_is_reported(photo_folder, run, name):
    folder = photo_folder / name
    folder.mkdir()
    for part in ("images", "masks"):
        (photo_folder / part).rename(folder / part)
    code, out = run(f"folder:{folder / 'images'},{folder / 'masks'}")
    assert code == 0 and set(read(out).test_set) == {name}
    assert main(["report", str(out)]) == 0


def test_sets_whose_names_become_alike_keep_files_of_their_own(photo_folder, run, capsys):
    names = ["a b", "a+b", "a_b", "ü", "ö"]
    parts = []
    for name in names:
        shutil.copytree(photo_folder / "images", photo_folder / name / "images")
        shutil.copytree(photo_folder / "masks", photo_folder / name / "masks")
        parts.append(f"folder:{photo_folder / name / 'images'},{photo_folder / name / 'masks'}")
    code, out = run(",".join(parts))
    assert code == 0
    capsys.readouterr()
    assert main(["report", str(out), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)
    files = files["files"] if isinstance(files, dict) else files
    assert len({os.path.normcase(file) for file in files}) == len(files)
    assert all(Path(file).exists() for file in files)


def test_nothing_that_may_be_published_names_a_place_of_this_machine(photo_folder, run):
    (photo_folder / "images" / "cut.png").write_bytes((photo_folder / "images" / "image0.png").read_bytes()[:200])
    shutil.copy(photo_folder / "masks" / "image0.png", photo_folder / "masks" / "cut.png")
    code, out = run(f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}")
    assert code in (0, 1)
    assert main(["report", str(out)]) == 0
    for file in out.rglob("*"):
        if file.is_file():
            assert str(photo_folder).encode() not in file.read_bytes(), file


def test_a_run_that_may_only_be_read_is_reported_elsewhere(photo_folder, run, tmp_path):
    _, out = run(f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}")
    words = [sys.executable, "-m", "bench", "report", str(out), "--out", str(tmp_path / "elsewhere")]
    if os.geteuid() == 0:  # root writes everywhere
        if shutil.which("setpriv") is None:
            pytest.skip("needs setpriv to give up root's right to write everywhere")
        words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override", *words]
    for path in [out, *out.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    for path in [out, *out.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 0, done.stderr
    assert main(["report", str(out), "--out", str(tmp_path / "writable")]) == 0
    tables = [tmp_path / place / "tables" for place in ("elsewhere", "writable")]
    first, second = ({p.name: p.read_bytes() for p in folder.rglob("*.csv")} for folder in tables)
    assert first == second and first


def test_another_checkpoint_of_a_users_network_is_measured(photo_folder, tmp_path):
    import torch

    (tmp_path / "mynet.py").write_text(
        "import torch\nfrom models import Localizer, ScoreMap\n\n\nclass MyNet(Localizer):\n"
        "    def __init__(self, weights=None, device='cpu'):\n        self.conv = torch.nn.Conv2d(3, 1, 3, padding=1)\n"
        "        self.conv.load_state_dict(torch.load(weights, weights_only=True))\n\n"
        "    def localize(self, image):\n        x = torch.tensor(image.rgb.copy()).permute(2, 0, 1)[None] / 255\n"
        "        with torch.no_grad():\n"
        "            return ScoreMap(self.conv(x)[0, 0].sigmoid().numpy(), 'probability')\n"
    )
    for seed in (0, 7):
        torch.manual_seed(seed)
        torch.save(torch.nn.Conv2d(3, 1, 3, padding=1).state_dict(), tmp_path / f"w{seed}.pth")
    data = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    def measured(seed, out):
        words = [sys.executable, "-m", "bench", "run", "--models", "mynet:MyNet", "--data", data, "--json"]
        words += ["--perturbations", "clean", "--weights", f"mynet:MyNet={tmp_path / f'w{seed}.pth'}"]
        done = subprocess.run([*words, "--out", str(out)], env=environment, capture_output=True, text=True, check=True)
        table = read(out)
        return json.loads(done.stdout)["cells"]["computed"], table[table.metric == "auc"].value.to_numpy()

    assert measured(0, tmp_path / "run")[0] == 4
    computed, values = measured(7, tmp_path / "run")
    assert computed == 4
    np.testing.assert_array_equal(values, measured(7, tmp_path / "fresh")[1])
    assert measured(7, tmp_path / "run")[0] == 0
