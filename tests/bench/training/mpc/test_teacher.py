"""The teacher of MPC's trainings: its statistics against loops and scipy, and what it can learn."""

import os
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import roc_auc_score
from torch.utils.data import Dataset

from bench.training.mpc.teacher import BLOCK, BLOCKS_PER_SAMPLE, BOUNDS, DistillationDataset, Teacher, statistics

pytestmark = pytest.mark.slow  # a network is fitted


def photo(seed, height=200, width=216):
    """A smooth photo with some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (4, 5, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(float)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


class Grained(Dataset):
    """Photos with strong grain in a random rectangle, which is what the mask marks; or anything but that."""

    def __init__(self, seed, count, honest=True):
        self.seed, self.count, self.honest = seed, count, honest

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index])
        rgb, boxes = photo([self.seed, index], 128, 128), []
        for _ in range(2):
            mask = np.zeros((128, 128), bool)
            top, left = rng.integers(0, 72, 2)
            mask[top : top + 56, left : left + 48] = True
            boxes.append(mask)
        grain = rng.normal(0, 10, rgb.shape) * boxes[0][..., None]
        rgb = np.clip(rgb + grain, 0, 255).astype(np.uint8)
        mask = boxes[0 if self.honest else 1]
        return {"image": torch.from_numpy(rgb.transpose(2, 0, 1).copy()), "mask": torch.from_numpy(mask)}


@pytest.fixture(scope="module")
def teacher():
    return Teacher(rounds=60).fit(Grained(0, 40))


def auc(teacher, samples):
    found = []
    for index in range(len(samples)):
        sample = samples[index]
        odds = teacher.log_odds(sample["image"].permute(1, 2, 0).numpy())
        forged = sample["mask"].numpy().reshape(16, BLOCK, 16, BLOCK).mean((1, 3)) > 0.5
        found.append(roc_auc_score(forged.ravel(), odds.ravel()))
    return np.mean(found)


def block_means(plane):
    """By loops."""
    rows, columns = (n // BLOCK for n in plane.shape)
    return np.array(
        [[plane[r * BLOCK :, c * BLOCK :][:BLOCK, :BLOCK].mean() for c in range(columns)] for r in range(rows)]
    )


def luma_of(rgb):
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)[..., 0].astype(float)


def mean_of(blocks, side):
    return ndimage.uniform_filter(blocks, side, mode="mirror")


def blurred(plane, sigma):
    return ndimage.gaussian_filter(plane, sigma, mode="mirror")


@pytest.mark.parametrize(
    ("name", "residual"),
    [
        ("diagonal", lambda y: ndimage.correlate(y, np.outer([-1, 2, -1], [1, -2, 1]) / 4, mode="mirror")),
        ("middle", lambda y: blurred(y, 1) - blurred(y, 2)),
    ],
)
def test_energies_are_those_of_scipy_and_loops(name, residual):
    rgb = photo(1)
    found = statistics(rgb)
    energy = np.log(block_means(np.abs(residual(luma_of(rgb)))) + 0.05)
    near = mean_of(energy, 3)
    expected = {
        "block": energy - np.median(energy),
        "near": near - np.median(energy),
        "region": mean_of(energy, 7) - np.median(energy),
        "to surroundings": near - mean_of(energy, 21),
    }
    if name == "diagonal":
        expected["in spreads"] = (near - np.median(energy)) / (energy.std() + 0.1)
        expected["deviation nearby"] = ndimage.generic_filter(energy, np.std, 5, mode="mirror")
        expected["range nearby"] = ndimage.maximum_filter(energy, 3) - ndimage.minimum_filter(energy, 3)
    for key, value in expected.items():
        assert found[f"{name}: {key}"] == pytest.approx(value, abs=0.02), key


def test_what_jpeg_takes_away_is_measured():
    rgb = photo(2)
    coded = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    lost = np.abs(rgb.astype(float) - cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]).mean(2)
    energy = np.log(block_means(lost) + 0.05)
    assert statistics(rgb)["jpeg 75: block"] == pytest.approx(energy - np.median(energy), abs=1e-4)


def test_distances_to_the_margin_are_those_of_a_loop():
    rgb = photo(3, 96, 80)
    found = statistics(rgb)
    planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb).astype(float)
    blocks = np.stack([mean_of(block_means(planes[..., k]), 3) for k in range(3)], axis=-1)
    rows, columns = blocks.shape[:2]
    margin = [
        blocks[r, c] for r in range(rows) for c in range(columns) if not (2 <= r < rows - 2 and 2 <= c < columns - 2)
    ]
    spread = np.linalg.inv(np.cov(np.array(margin).T) + 9 * np.eye(3))
    for r in range(rows):
        for c in range(columns):
            distances = sorted(((blocks[r, c] - other) ** 2).sum() for other in margin)
            off = blocks[r, c] - np.mean(margin, axis=0)
            assert found["to margin: nearest"][r, c] == pytest.approx(np.log1p(distances[0]), abs=1e-3)
            assert found["to margin: eleventh"][r, c] == pytest.approx(np.log1p(distances[10]), abs=1e-3)
            assert found["to margin: in spreads"][r, c] == pytest.approx(np.sqrt(off @ spread @ off), rel=1e-3)


def test_a_block_is_eight_pixels_and_the_rest_is_left_out():
    for height, width in ((16, 16), (23, 40), (200, 216)):
        found = statistics(photo(4, height, width))
        assert {value.shape for value in found.values()} == {(height // 8, width // 8)}
        assert all(np.isfinite(value).all() and value.dtype == np.float32 for value in found.values())
    flat = statistics(np.full((64, 64, 3), 255, np.uint8))
    assert all(np.isfinite(value).all() for value in flat.values())


def test_traces_do_not_depend_on_brightness():
    """A photo that is 20 levels lighter has the same traces, but for what JPEG rounds; its colour differs."""
    rgb = np.clip(photo(5), 30, 200)
    dark, light = statistics(rgb), statistics(rgb + 20)
    for name in dark:
        if name.startswith(("diagonal:", "fine", "middle:", "coarse:")):
            assert dark[name] == pytest.approx(light[name], abs=0.03), name
    assert light["luma: region"] == pytest.approx(dark["luma: region"] + 20, abs=1.5)


def test_the_teacher_learns_what_there_is_to_learn(teacher):
    assert auc(teacher, Grained(1, 10)) > 0.95
    misled = Teacher(rounds=60).fit(Grained(0, 40, honest=False))
    # of rectangles that have nothing to do with the grain it knows where they lie, and no more
    usual = np.mean([Grained(3, 300)[k]["mask"].numpy() for k in range(300)], axis=0)
    place = np.mean([roc_auc_score(Grained(1, 10)[k]["mask"].flatten(), usual.ravel()) for k in range(10)])
    assert auc(misled, Grained(1, 10)) < place + 0.05


def test_log_odds_are_of_blocks_and_bounded(teacher):
    odds = teacher.log_odds(photo(6, 70, 90))
    assert odds.shape == (8, 11)
    assert odds.dtype == np.float32
    assert odds.min() >= BOUNDS[0]
    assert odds.max() <= BOUNDS[1]


def test_workers_change_nothing(teacher):
    again = Teacher(rounds=60).fit(Grained(0, 40), workers=2)
    rgb = photo(7)
    assert np.array_equal(teacher.log_odds(rgb), again.log_odds(rgb))


def test_more_forgeries_than_files_may_be_open():
    """What a worker sends lies in shared memory, an open file for each tensor."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, hard))
    try:
        crowded = Teacher(rounds=1).fit(Grained(0, 100), workers=1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    seen = photo(7)
    assert np.array_equal(crowded.log_odds(seen), Teacher(rounds=1).fit(Grained(0, 100)).log_odds(seen))


@pytest.mark.parametrize(("truth", "word"), [(True, "only"), (False, "no")])
def test_one_class_alone_teaches_nothing(truth, word):
    class Same(Grained):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "mask": torch.full((128, 128), truth)}

    with pytest.raises(ValueError, match=f"2 forgeries hold {word} forged blocks"):
        Teacher().fit(Same(0, 2))


def test_not_every_block_is_learned_from():
    """256 blocks per sample, of which 220 are taken, others in each."""
    assert BLOCKS_PER_SAMPLE < 256
    learned = []

    class Watched(Teacher):
        def fit(self, *args, **options):
            original = self._trees.fit
            self._trees.fit = lambda x, y: learned.append((x, y)) or original(x, y)
            return super().fit(*args, **options)

    Watched(rounds=1).fit(Grained(0, 3))
    (values, forged) = learned[0]
    assert values.shape == (3 * BLOCKS_PER_SAMPLE, len(statistics(photo(0))))
    assert forged.shape == (3 * BLOCKS_PER_SAMPLE,)
    parts = np.split(values, 3)
    assert all(len(np.unique(part, axis=0)) == BLOCKS_PER_SAMPLE for part in parts)
    assert all(not np.array_equal(a, b) for a, b in pairwise(parts))


def test_a_distilled_sample_is_the_sample_and_what_the_teacher_says(teacher):
    plain = Grained(2, 3)
    distilled = DistillationDataset(plain, teacher)
    assert len(distilled) == 3
    sample = distilled[1]
    assert torch.equal(sample["image"], plain[1]["image"])
    assert torch.equal(sample["mask"], plain[1]["mask"])
    assert np.array_equal(sample["soft_target"], teacher.log_odds(plain[1]["image"].permute(1, 2, 0).numpy()))
