"""Training by two processes, on the CPU with the gloo backend, started by torchrun."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from bench.training.mpc import train
from bench.training.mpc.checkpoint import TrainingError
from bench.training.mpc.forgeries import Forgeries, Presentation, find_photos
from bench.training.mpc.parallel import Processes, alone, joined_processes
from bench.training.mpc.recipe import make_recipe, read_recipe
from bench.training.mpc.training import TWO_STAGES, Training
from models.device import DeviceError
from models.mpc.backbone import VARIANTS, Variant
from models.mpc.losses import pixel_contrast
from models.mpc.network import MPC

pytestmark = pytest.mark.slow  # networks are trained, by several processes

SCRIPT = Path(__file__).with_name("several_processes.py")
MICRO = Variant(channels=(8, 16, 32, 64), heads=(1, 2, 4, 8), modules=(1, 1, 1))  # as in the script
RECIPE = """
seed = 3
[network]
backbone = "micro"
drop_path = 0.3
input_size = 64
[data]
validation = 0.3
frame = 64
least = 64
native = 0.0
[teacher]
samples = 24
[contrast]
steps = 2
batch = 4
crop = 32
[head]
steps = 2
batch = 4
crop = 32
lr = 1e-3
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for k in range(5):
        coarse = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f"p{k}.png"), cv2.resize(coarse, (80, 72), interpolation=cv2.INTER_CUBIC))
    (folder / "broken.jpg").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """The folder of the script's trainings, and what the two processes wrote to stderr."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "r.toml").write_text(RECIPE)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", SCRIPT, photos, folder / "r.toml"]
    done = subprocess.run(
        [sys.executable, *map(str, words), str(folder / "out")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "out", done.stderr


def state(folder, stage):
    return torch.load(folder / f"{stage}.pt", weights_only=True)


def test_gradients_are_the_average_of_both_halves_of_the_batch(trained, photos, monkeypatch):
    """After one step Adam's first moment is a tenth of the (clipped) gradient."""
    torch.set_num_threads(1)
    monkeypatch.setitem(VARIANTS, "micro", MICRO)
    torch.manual_seed(3)
    encoder = MPC("micro", "catnet", 0.3).encoder.train()
    training_photos, _ = find_photos(photos).split(0.3)
    how = Presentation(frame=64, native=0.0, least=64, crop=32, augment=0.75)
    samples = Forgeries(training_photos, how, (3, 1), 4)
    for rank in range(2):
        batch = [samples[k] for k in (2 * rank, 2 * rank + 1)]
        images = torch.stack([sample["image"] for sample in batch]).float() / 255
        coordinates = [3, 1, 0] + [1] * rank
        torch.manual_seed(int(np.random.SeedSequence(coordinates).generate_state(1, np.uint32)[0]))
        features = encoder(torch.cat([images, images]))
        mask = torch.stack([sample["mask"] for sample in batch])
        loss = pixel_contrast([scale[:2] for scale in features], features[0][2:], mask).loss
        (loss / 2).backward()
    nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
    moments = state(trained[0] / "step", "contrast")["optimizer"]["state"]
    gradients = [parameter.grad for parameter in encoder.parameters()]
    assert len(moments) == len(gradients)
    for number, gradient in enumerate(gradients):
        assert torch.allclose(moments[number]["exp_avg"] * 10, gradient, rtol=0, atol=2e-6)
    assert max(float(gradient.abs().max()) for gradient in gradients) > 1e-3


def test_both_processes_end_with_one_network_and_the_killed_training_continues_identically(trained):
    whole, parts = (trained[0] / name for name in ("whole", "parts"))
    for stage in TWO_STAGES:
        once, twice = state(whole, stage), state(parts, stage)
        assert once["processes"] == 2
        for part in ("network", "average"):
            assert all(torch.equal(once[part][name], twice[part][name]) for name in once[part])
        moments = zip(once["optimizer"]["state"].values(), twice["optimizer"]["state"].values(), strict=True)
        assert all(torch.equal(a[name], b[name]) for a, b in moments for name in a)
    tables = [list(csv.DictReader((folder / "metrics.csv").open())) for folder in (whole, parts)]
    without_time = [[{k: v for k, v in row.items() if k != "seconds"} for row in table] for table in tables]
    assert without_time[0] == without_time[1]
    assert [(row["stage"], row["images"]) for row in tables[0]] == [
        ("contrast", "4"), ("contrast", "8"), ("head", "4"), ("head", "8")
    ]  # fmt: skip
    assert (whole / "mpc.safetensors").read_bytes() == (parts / "mpc.safetensors").read_bytes()


def test_only_the_first_process_speaks(trained):
    _, errors = trained
    assert errors.count("1 photos left out, training on the other 5") == 4  # once in each of four commands
    assert errors.count("the teacher learns from 24 forgeries") == 3  # once for each beginning of the head
    assert "another process than the first one" not in errors


def test_the_documented_torchrun_line_hands_every_option_on(photos, tmp_path):
    """torchrun abbreviates: without the bare -- it takes our --start for its --start-method."""
    line = next(line for line in train.EXPLANATION.splitlines() if "torchrun --" in line)
    count = int(re.search(r"--nproc-per-node (\d+)", line)[1])
    assert read_recipe("small").contrast.batch // count >= 2  # batch normalization
    words = line.replace(f"--nproc-per-node {count}", "--nproc-per-node 1 --standalone").replace("--device cuda", "")
    words = [word for word in words.split() if word != "..."]
    assert words.pop(0) == "torchrun"
    more = ["--photos", photos, "--out", tmp_path / "out", "--start", tmp_path / "absent.pth"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words, *map(str, more)],
        cwd=Path(__file__).parents[4], env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert "absent.pth" in done.stderr and "ambiguous option" not in done.stderr


def test_a_batch_must_be_shareable(photos, tmp_path):
    recipe = make_recipe({"contrast": {"batch": 6}})
    device = torch.device("cpu")
    about = {"device": device, "workers": 0, "save_every": 1, "validate_every": 1, "validation_samples": 1}
    for count, advice in ((4, "a multiple of 4 .*e.g. 8"), (6, "a multiple of 6 .*e.g. 12")):
        processes = Processes(1, count, device)
        training = Training(recipe, find_photos(photos), tmp_path / "out", processes=processes, **about)
        message = f"contrast.batch of 6 cannot be shared by {count} processes; make it {advice}"
        with pytest.raises(TrainingError, match=message):
            training.claim(("contrast",), False)
    assert not (tmp_path / "out").exists()
    assert alone(device).share(6) == 6 and alone(device).any(True) and not alone(device).any(False)


def test_a_gpu_of_its_own_for_each_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(DeviceError, match="2 processes cannot share cuda:1; write --device cuda"), \
         joined_processes("cuda:1"):  # fmt: skip
        pass
    monkeypatch.setenv("LOCAL_RANK", "99")
    with pytest.raises(DeviceError, match="'cuda:99' was asked for"), joined_processes("cuda"):
        pass
