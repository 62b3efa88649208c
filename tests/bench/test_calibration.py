"""The page and the calibration are what the code says today."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench import calibration
from bench.perturb import STEPS, parse
from bench.training.tools import perturbations as page

ROOT = Path(__file__).parents[2]


def test_the_page_is_made_from_the_code():
    written = (ROOT / page.PAGE).read_text(encoding="utf-8")
    assert written == page.markdown(), "stale: python -m bench.training.tools.perturbations"
    for s in page.own():
        assert f"**`{s.name}`**" in written


def test_every_perturbation_is_calibrated_at_its_examples():
    table = calibration.read()
    measured = set(table["spec"])
    expected = {p.spec for p in calibration.examples()}
    assert expected <= measured, "stale: python -m bench.training.tools.perturbations --calibrate"
    assert table["psnr"].notna().all()


def test_the_calibration_is_what_is_measured():
    specs = "jpeg:70;noise:5;blur:5;webp:60;rotate:5;resize:0.5"
    shipped = calibration.read().set_index("spec")
    for row in calibration.calibrate(page._photos(), parse(specs)[1:]).itertuples():
        before = shipped.loc[row.spec]
        assert row.psnr == pytest.approx(before["psnr"], abs=0.1), row.spec
        assert row.ssim == pytest.approx(before["ssim"], abs=0.002), row.spec
        assert row.scorable == pytest.approx(before["scorable"], abs=1e-4)


def test_a_level_is_read_off_the_axis():
    table = pd.DataFrame(
        {"family": ["jpeg"] * 3 + ["gamma"] * 3, "level": ["90", "70", "50", "0.7", "1", "1.4"],
         "psnr": [40.0, 36.0, 34.0, 25.0, np.inf, 25.0]}
    )  # fmt: skip
    assert calibration.level_at(table, "jpeg", 38) == pytest.approx(80)
    assert calibration.level_at(table, "jpeg", 34) == pytest.approx(50)
    assert calibration.level_at(table, "jpeg", 45) is None
    assert calibration.level_at(table, "gamma", 25) is None  # not across the level that changes nothing


def test_pictures_show_every_installed_perturbation(tmp_path, monkeypatch):
    chosen = {name: STEPS[name] for name in ("rotate", "flip", "x@2022", "jpeg")}
    monkeypatch.setattr("bench.training.tools.perturbations.STEPS", chosen)
    page.pictures(tmp_path)
    assert {file.stem for file in tmp_path.iterdir()} == set(chosen)
    shown = np.asarray(Image.open(tmp_path / "rotate.png"))
    assert shown.shape == (212, (1 + len(STEPS["rotate"].examples)) * 228, 3)
    assert (shown == [200, 40, 40]).all(axis=2).any()  # what cannot be scored
