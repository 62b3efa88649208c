"""The mosaic consistency network: parity with the official code, strips, weights."""

import cv2
import numpy as np
import pytest
import torch
from shared import shared_path
from sklearn.metrics import roc_auc_score

import models
from models import WeightsError, WeightsMissing
from models.classical.adaptive_cfa import AdaptiveCfa, MosaicNetwork
from models.image import ForensicImage, NotApplicable


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def untrained():
    torch.manual_seed(0)
    return AdaptiveCfa(MosaicNetwork().state_dict())


@pytest.fixture(scope="module")
def pretrained():
    return AdaptiveCfa(shared_path("weights") / "adaptive_cfa" / "pretrained.pt")


def camera(rgb, row, column, seed):
    """A noisy picture, mosaicked with red at (row, column) of the 2x2 cell and demosaiced by OpenCV."""
    noisy = np.clip(rgb + np.random.default_rng(seed).normal(0, 2, rgb.shape), 0, 255).astype(np.uint8)
    raw = noisy[:, :, 1].copy()
    raw[row::2, column::2] = noisy[row::2, column::2, 0]
    raw[1 - row :: 2, 1 - column :: 2] = noisy[1 - row :: 2, 1 - column :: 2, 2]
    code = {(0, 0): cv2.COLOR_BayerRGGB2RGB, (1, 1): cv2.COLOR_BayerBGGR2RGB, (0, 1): cv2.COLOR_BayerGRBG2RGB}
    return cv2.cvtColor(raw, code[row, column])


def test_tensors_are_those_of_the_official_file(pretrained):
    official = torch.load(
        shared_path("weights") / "adaptive_cfa" / "pretrained.pt", map_location="cpu", weights_only=True
    )
    ours = pretrained.network.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in official.items()}


def test_phases_equal_the_official_codes(pretrained):
    """Recorded from the official network and script (block size 32, on the CPU) with pretrained.pt."""
    rgb = np.random.default_rng(0).integers(0, 256, (201, 333, 3), dtype=np.uint8)
    official = [
        [0.4999679923057556, 0.25, 0.0, 0.0, 0.25],
        [0.0, 0.0, 0.25, 0.75, 0.75],
        [0.2500320076942444, 0.75, 0.0, 0.25, 0.0],
        [0.25, 0.0, 0.75, 0.0, 0.0],
    ]
    ours = pretrained.phases(rgb)
    assert ours.shape == (4, 6, 10)
    np.testing.assert_allclose(ours[:, 2, :5], official, atol=1e-5)


def test_region_on_another_phase_is_found(pretrained, host, donor, forged):
    rgb = np.where(forged[..., None], camera(donor, 0, 1, 3), camera(host, 0, 0, 0))
    score = pretrained.localize(ForensicImage(rgb))
    assert roc_auc_score(forged.ravel(), score.values.ravel()) > 0.9
    assert score.values.min() >= 0 and score.values.max() <= 1


def test_authentic_camera_picture_is_left_alone(pretrained, host):
    score = pretrained.localize(ForensicImage(camera(host, 0, 0, 0)))
    assert (score.values > 0.5).mean() < 0.05


def test_strips_give_what_the_whole_gives(untrained, host, monkeypatch):
    rgb = host[:201, :171]
    whole = untrained.phases(rgb)
    monkeypatch.setattr("models.classical.adaptive_cfa._STRIP_PIXELS", 1)
    np.testing.assert_allclose(untrained.phases(rgb), whole, atol=1e-6)
    np.testing.assert_allclose(whole.sum(0), 1, atol=1e-5)


def test_blocks_are_drawn_as_the_official_script_draws_them(untrained, monkeypatch):
    """detect_forgeries.py: repeated from the picture's corner, 0 where no block is, 0 on the picture's own phase."""
    phases = np.random.default_rng(3).dirichlet(np.ones(4), (2, 3)).transpose(2, 0, 1)
    monkeypatch.setattr(untrained, "phases", lambda rgb: phases)
    values = untrained.localize(ForensicImage(np.zeros((75, 110, 3), np.uint8))).values
    own = phases.mean((1, 2)).argmax()
    expected = np.zeros((75, 110))
    for row in range(64):
        for column in range(96):
            block = phases[:, row // 32, column // 32]
            expected[row, column] = 0 if block.argmax() == own else block.max()
    assert 0 < np.count_nonzero(expected) < 64 * 96
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_own_is_the_score_of_blocks_on_the_pictures_phase(untrained, host):
    untouched = untrained.localize(ForensicImage(host)).values
    given = AdaptiveCfa(untrained.network.state_dict(), own=1).localize(ForensicImage(host)).values
    rows, columns = ((n - 8) // 32 * 32 for n in host.shape[:2])
    phases = untrained.phases(host)
    ours = np.kron(phases.argmax(0) == phases.mean((1, 2)).argmax(), np.ones((32, 32), bool))
    assert ours.any() and not ours.all()
    assert not untouched[:rows, :columns][ours].any() and (given[:rows, :columns][ours] == 1).all()
    np.testing.assert_array_equal(given[:rows, :columns][~ours], untouched[:rows, :columns][~ours])
    assert not given[rows:].any() and not given[:, columns:].any()
    with pytest.raises(ValueError, match=r"own is a score in 0\.\.1, got 2"):
        AdaptiveCfa(untrained.network.state_dict(), own=2)


def test_flat_grey_and_tiny_images(untrained):
    for value in (0, 128, 255):
        score = untrained.localize(ForensicImage(np.full((80, 90, 3), value, np.uint8)))
        assert score.values.shape == (80, 90)
        assert (score.values == 0).all()  # every block is as likely on the same phase: nothing stands out
    with pytest.raises(NotApplicable, match="at least 72x72"):
        untrained.localize(ForensicImage(np.zeros((71, 200, 3), np.uint8)))


def test_absent_and_wrong_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"adaptive_cfa/pretrained\.pt"):
        models.build("adaptive-cfa")
    wrong = MosaicNetwork().state_dict()
    del wrong["pixelwise.conv3.weight"]
    with pytest.raises(WeightsError, match=r"pixelwise\.conv3\.weight"):
        models.build("adaptive-cfa", weights=wrong)
