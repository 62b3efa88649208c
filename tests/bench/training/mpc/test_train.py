"""MPC's recipe, its forgeries and both stages of training, on a few made photos and tiny crops."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import json
import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn

from bench import cli
from bench.report import contaminated
from bench.training.mpc import stages, train, training
from bench.training.mpc.checkpoint import TrainingError
from bench.training.mpc.forgeries import (
    Forgeries,
    PhotoError,
    Presentation,
    augmented,
    find_photos,
    forged_photo,
    present,
)
from bench.training.mpc.log import LogError
from bench.training.mpc.pairs import PairSamples
from bench.training.mpc.recipe import FOLDER, Network, RecipeError, learning_rate, read_recipe
from bench.training.mpc.stages import Supervised, Trainer, moving_average
from bench.training.mpc.start import forensic_start
from bench.training.mpc.streams import Stream, step_seed
from bench.training.mpc.validation import best_threshold, two_means
from bench.training.progress import progress
from bench.training.stopping import Stopped, stop_signals
from models import build
from models.device import DeviceError
from models.image import ForensicImage
from models.mpc.backbone import VARIANTS, HRFormer, Variant
from models.mpc.network import MPC

pytestmark = pytest.mark.slow  # networks are trained

ROOT = Path(__file__).parents[4]
# Half the depth of the smallest real one: what takes time here is the number of tensors, not their size.
MICRO = Variant(channels=(8, 16, 32, 64), heads=(1, 2, 4, 8), modules=(1, 1, 1))
TINY = """
seed = 3
[network]
backbone = "micro"
drop_path = 0.3
input_size = 96
[data]
validation = 0.3
frame = 96
least = 64
[contrast]
steps = 3
batch = 2
crop = 32
warmup = 1
average = 0.9
[head]
steps = 2
batch = 2
crop = 32
lr = 1e-3
"""


DISTILLED = (
    TINY.replace("crop = 32\nlr = 1e-3", "crop = 64\nlr = 1e-3")
    + """
[supervised]
steps = 3
batch = 2
crop = 64
gamma = 0.0
[teacher]
samples = 12
weight = 0.5
"""
)


@pytest.fixture(scope="module", autouse=True)
def micro():
    """The backbone "micro" exists in this module's tests."""
    VARIANTS["micro"] = MICRO
    yield
    del VARIANTS["micro"]


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory):
    """Six smooth noisy photos of two sizes; half of them with a segmentation."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("images", "segments"):
        (folder / "set" / name).mkdir(parents=True)
    for k in range(6):
        height, width = (96, 128) if k % 2 else (120, 100)
        coarse = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
        rgb = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(float)
        rgb = np.clip(rgb + rng.normal(0, 4, rgb.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / "set" / "images" / f"p{k}.jpg"), rgb)
        if k < 3:
            labels = np.zeros((height, width), np.uint8)
            labels[20:70, 30:80] = 1
            labels[:, : width // 5] = 2
            cv2.imwrite(str(folder / "set" / "segments" / f"p{k}.png"), labels)
    return folder


@pytest.fixture
def recipe_file(tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    return file


def arguments(photos, out, recipe, *more):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    fixed = ["--photos", str(photos), "--out", str(out), "--recipe", str(recipe), "--workers", "0"]
    return parser.parse_args([*fixed, "--validation-samples", "2", *more])


def run(*args):
    torch.set_num_threads(1)
    return train.main(arguments(*args))


def state(out, stage):
    return torch.load(out / f"{stage}.pt", weights_only=True)


def metrics(out):
    with (out / "metrics.csv").open(newline="") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


@pytest.fixture(scope="module")
def trained(photo_folder, tmp_path_factory):
    """The output folder of one uninterrupted training of both stages."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(TINY)
    assert run(photo_folder, folder / "out", folder / "tiny.toml") == 0
    return folder / "out"


# --------------------------------------------------------------------------------------------------------- training


def test_both_stages_train_what_they_should(trained):
    contrast, head = state(trained, "contrast"), state(trained, "head")
    assert (contrast["step"], head["step"]) == (3, 2)
    torch.manual_seed(3)
    start = MPC("micro", "catnet", 0.3).state_dict()
    encoder = [k for k in start if k.startswith("encoder.") and start[k].is_floating_point()]
    weights = [k for k in encoder if "running_" not in k]
    statistics = [k for k in encoder if "running_" in k]
    decoder = [k for k in start if k.startswith("decoder.") and start[k].is_floating_point()]
    moved = [k for k in weights if not torch.equal(start[k], contrast["network"][k])]
    assert len(moved) > 0.9 * len(weights)
    assert all(torch.equal(start[k], contrast["network"][k]) for k in decoder)
    # stage 2 starts from the average of stage 1 and leaves its weights alone; its statistics go on adapting
    assert all(torch.equal(contrast["average"][k], head["network"][k]) for k in weights)
    assert any(not torch.equal(contrast["average"][k], head["network"][k]) for k in statistics)
    assert any(not torch.equal(contrast["average"][k], head["network"][k]) for k in decoder)


def test_metrics_have_every_step_and_a_validation(trained):
    rows = metrics(trained)
    assert [(r["stage"], r["step"]) for r in rows] == [("contrast", str(k)) for k in (1, 2, 3)] + [
        ("head", "1"),
        ("head", "2"),
    ]
    assert set(json.loads(rows[0]["terms"])) <= {
        "within",
        "scale fine",
        "scale coarse",
        "modality first",
        "modality second",
    }
    for row in (rows[2], rows[4]):
        assert 0 <= float(row["val_auc"]) <= 1
        assert 0 <= float(row["val_f1"]) <= 1
    assert float(rows[0]["lr"]) == pytest.approx(5e-5)


def test_the_recipe_decides_the_first_values(photo_folder, tmp_path):
    """One step at a rate of nothing leaves what a training starts from."""
    for initial in ("random", "forensic"):
        recipe = tmp_path / f"{initial}.toml"
        text = TINY.replace("drop_path = 0.3", f'drop_path = 0.3\ninitial = "{initial}"')
        recipe.write_text(text.replace("warmup = 1\n", "warmup = 1\nlr = 1e-12\n"))
        out = tmp_path / initial
        assert run(photo_folder, out, recipe, "--stage", "contrast", "--steps", "1") == 0
        torch.manual_seed(3)
        encoder = MPC("micro", "catnet", 0.3).encoder
        if initial == "forensic":
            forensic_start(encoder)
        found = state(out, "contrast")["network"]
        for name, value in encoder.named_parameters():
            assert found[f"encoder.{name}"] == pytest.approx(value.detach(), abs=1e-6), name
        assert (found["encoder.layer1.0.bn3.weight"].abs().max() < 1e-6) == (initial == "forensic")


def test_exported_network_is_the_average_in_half_precision(trained):
    file = trained / "mpc.safetensors"
    exported = load_file(file)
    average = state(trained, "head")["average"]
    assert set(exported) == set(average)
    for name, tensor in exported.items():
        assert torch.equal(tensor, average[name].to(tensor.dtype)), name
    assert file.stat().st_size < 20e6
    localizer = build("mpc", weights=file)
    assert localizer.input_size == 96
    rgb = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    reference = MPC("micro", "catnet").eval()
    reference.load_state_dict(average)
    shown = torch.from_numpy(cv2.resize(rgb, (96, 96)).transpose(2, 0, 1)[None] / np.float32(255))
    with torch.inference_mode():
        expected = torch.sigmoid(reference(shown))[0, 0].numpy()
    found = localizer.localize(ForensicImage(rgb)).values
    assert found == pytest.approx(cv2.resize(expected, (70, 50)), abs=2e-3)


@pytest.mark.parametrize("stage", ["contrast", "head"])
def test_resumed_training_equals_the_uninterrupted_one(
    trained, photo_folder, recipe_file, tmp_path, monkeypatch, stage
):
    out = tmp_path / "out"
    killed_at = 2 if stage == "contrast" else 1
    if stage == "head":
        out.mkdir()
        shutil.copy(trained / "contrast.pt", out)

    monkeypatch.setattr(Trainer, "step", dying_at(stage, killed_at))
    with pytest.raises(KeyboardInterrupt):
        run(photo_folder, out, recipe_file, "--stage", stage, "--save-every", "1")
    monkeypatch.undo()
    assert state(out, stage)["step"] == killed_at
    assert run(photo_folder, out, recipe_file, "--stage", stage, "--resume") == 0
    once, twice = state(trained, stage), state(out, stage)
    for part in ("network", "average"):
        assert all(torch.equal(once[part][k], twice[part][k]) for k in once[part])
    moments = zip(once["optimizer"]["state"].values(), twice["optimizer"]["state"].values(), strict=True)
    assert all(torch.equal(a[k], b[k]) for a, b in moments for k in a)
    assert metrics(out) == [row for row in metrics(trained) if row["stage"] == stage]


def test_killed_process_resumes_from_its_last_checkpoint(photo_folder, tmp_path):
    """SIGTERM, also to its workers, as batch systems and torchrun send it: the step is finished and saved, the exit
    code is 143."""
    recipe = tmp_path / "long.toml"
    recipe.write_text(TINY.replace("steps = 3", "steps = 500").replace("micro", "tiny"))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "bench", "train", "mpc", "--photos", photo_folder, "--out", out]
    command += ["--recipe", recipe, "--stage", "contrast", "--workers", "1", "--save-every", "1000"]
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (out.exists() and len(metrics_if_any(out)) >= 1):
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "continue with --resume" in errors
    done = state(out, "contrast")["step"]
    assert 1 <= done < 500
    assert len(metrics(out)) == done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_teacher_is_fitted_stops_at_once(photo_folder, tmp_path, monkeypatch, caplog, number):
    recipe = tmp_path / "distilled.toml"
    recipe.write_text(DISTILLED)

    def endless(*_):
        os.kill(os.getpid(), number)
        time.sleep(60)
        pytest.fail("the signal was not noticed while the teacher was fitted")

    monkeypatch.setattr(training.Teacher, "fit", endless)
    assert run(photo_folder, tmp_path / "out", recipe, "--stage", "supervised") == 128 + number
    assert "stopped and saved; continue with --resume" in caplog.text
    assert not (tmp_path / "out" / "supervised.pt").exists()
    monkeypatch.undo()
    assert run(photo_folder, tmp_path / "out", recipe, "--stage", "supervised", "--resume") == 0


def test_a_second_signal_ends_at_once_and_the_first_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested and stop.signal == signal.SIGTERM
        with pytest.raises(Stopped), stop.immediate():
            pytest.fail("it was asked for an end already")
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_checkpoint_with_the_old_name_of_a_key_goes_on(trained, photo_folder, recipe_file, tmp_path):
    """`data.validation` was called `data.held_back`."""
    out = tmp_path / "out"
    out.mkdir()
    found = state(trained, "contrast")
    assert '"validation": 0.3' in found["recipe"]
    found["recipe"] = found["recipe"].replace('"validation": 0.3', '"held_back": 0.3')
    torch.save(found, out / "contrast.pt")
    recipe_file.write_text(TINY.replace("validation = 0.3", "held_back = 0.3"))
    assert run(photo_folder, out, recipe_file, "--resume") == 0
    assert (out / "mpc.safetensors").read_bytes() == (trained / "mpc.safetensors").read_bytes()


def test_the_moving_average_is_the_plain_formula_and_goes_on_after_a_resume():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = moving_average(network, 0.6)
    expected = {name: value.double().clone() for name, value in network.state_dict().items()}
    for update in range(12):
        with torch.no_grad():
            for value in network.state_dict().values():
                value.add_(torch.ones_like(value) if not value.is_floating_point() else torch.randn_like(value))
        average.update_parameters(network)
        decay = min(0.6, (1 + update) / (10 + update))
        for name, value in network.state_dict().items():
            blended = decay * expected[name] + (1 - decay) * value.double()
            expected[name] = blended if value.is_floating_point() else value.double()
        if update == 5:  # as `State.load` does it
            resumed = moving_average(network, 0.6)
            resumed.module.load_state_dict(average.module.state_dict())
            resumed.n_averaged.fill_(update + 2)
            average = resumed
    for name, value in average.module.state_dict().items():
        assert value.double().numpy() == pytest.approx(expected[name].numpy(), abs=1e-6), name
    assert average.module.state_dict()["1.num_batches_tracked"] == 12


def test_each_purpose_draws_random_numbers_of_its_own():
    """But for the two stages that are alternatives."""
    numbers = {name: int(value) for name, value in Stream.__members__.items()}
    assert numbers.pop("SUPERVISED") == numbers["CONTRAST"]
    assert len(set(numbers.values())) == len(numbers)
    assert {trainer.name: int(trainer.stream) for trainer in stages.TRAINERS.values()} == {
        "contrast": 1, "head": 2, "supervised": 1,  # checkpoints that are trained hang on these
    }  # fmt: skip
    assert len({step_seed(0, stream, step, rank) for stream in Stream for step in range(9) for rank in range(3)}) == 162


def test_progress_without_a_terminal_is_lines_in_the_log(caplog, capsys):
    caplog.set_level(logging.INFO)
    assert list(progress(range(3), desc="teacher", unit="forgery")) == [0, 1, 2]
    list(progress(range(3), desc="nothing", disable=True))
    assert [message.split("|")[0] for message in caplog.messages] == ["teacher:   0%", "teacher: 100%"]
    assert capsys.readouterr() == ("", "")


def metrics_if_any(out):
    return metrics(out) if (out / "metrics.csv").exists() else []


def test_nothing_is_overwritten_without_resume(trained, photo_folder, recipe_file):
    before = {f.name: f.read_bytes() for f in trained.iterdir()}
    with pytest.raises(TrainingError, match="exists; go on with --resume, or give another --out"):
        run(photo_folder, trained, recipe_file)
    assert {f.name: f.read_bytes() for f in trained.iterdir()} == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lr = 1e-3", "lr = 2e-3", r"head.pt is of another recipe \(head.lr: here 0.002, there 0.001\)"),
        ("warmup = 1", "warmup = 2", r"contrast.pt is of another recipe \(contrast.warmup: here 2, there 1\)"),
        ("seed = 3", "seed = 4", r"contrast.pt is of another recipe \(seed: here 4, there 3\)"),
    ],
)
def test_resume_refuses_the_checkpoint_of_another_recipe(trained, photo_folder, recipe_file, old, new, message):
    recipe_file.write_text(TINY.replace(old, new))
    before = {f.name: f.read_bytes() for f in trained.iterdir()}
    with pytest.raises(TrainingError, match=message):
        run(photo_folder, trained, recipe_file, "--resume")
    assert {f.name: f.read_bytes() for f in trained.iterdir()} == before


def test_resume_refuses_other_photos_and_damaged_checkpoints(trained, photo_folder, recipe_file, tmp_path):
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for file in sorted(photo_folder.rglob("*.jpg"))[1:]:
        (fewer / file.name).write_bytes(file.read_bytes())
    with pytest.raises(TrainingError, match="trained on other photos"):
        run(fewer, trained, recipe_file, "--resume")
    out = tmp_path / "damaged"
    out.mkdir()
    (out / "contrast.pt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(TrainingError, match=r"contrast.pt: not a readable training checkpoint"):
        run(photo_folder, out, recipe_file, "--resume")


def test_training_can_be_made_longer_until_the_rate_falls(trained, photo_folder, recipe_file, tmp_path):
    out = tmp_path / "out"
    assert run(photo_folder, out, recipe_file, "--stage", "contrast", "--steps", "2") == 0
    assert run(photo_folder, out, recipe_file, "--stage", "contrast", "--resume") == 0
    once, longer = state(trained, "contrast"), state(out, "contrast")
    assert all(torch.equal(once["network"][k], longer["network"][k]) for k in once["network"])


def test_head_needs_a_finished_encoder(photo_folder, recipe_file, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(TrainingError, match="train --stage contrast first"):
        run(photo_folder, out, recipe_file, "--stage", "head")
    assert run(photo_folder, out, recipe_file, "--stage", "contrast", "--steps", "1") == 0
    with pytest.raises(TrainingError, match="at step 1 of 3; finish it"):
        run(photo_folder, out, recipe_file, "--stage", "head")


def test_fixed_backbone_keeps_its_statistics(trained, photo_folder, recipe_file, tmp_path):
    recipe_file.write_text(TINY + 'backbone_mode = "eval"\n')
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(trained / "contrast.pt", out)
    assert run(photo_folder, out, recipe_file, "--stage", "head") == 0
    before, after = state(out, "contrast")["average"], state(out, "head")["network"]
    assert all(torch.equal(before[k], after[k]) for k in before if k.startswith("encoder."))


def test_supervised_training_sees_the_same_forgeries_and_moves_the_whole_network(photo_folder, tmp_path, monkeypatch):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY + "[supervised]\nsteps = 3\nbatch = 2\ncrop = 32\naverage = 0.9\n")
    seen: dict[str, list] = {"contrast": [], "supervised": []}
    original = Trainer.step

    def watched(self, state, step, batch):
        seen[self.name].append(batch["image"])
        return original(self, state, step, batch)

    monkeypatch.setattr(Trainer, "step", watched)
    for stage in seen:
        assert run(photo_folder, tmp_path / stage, recipe, "--stage", stage) == 0
    assert all(torch.equal(a, b) for a, b in zip(seen["contrast"], seen["supervised"], strict=True))
    torch.manual_seed(3)
    start, end = MPC("micro", "catnet", 0.3).state_dict(), state(tmp_path / "supervised", "supervised")["network"]
    weights = [k for k in start if start[k].is_floating_point() and "running_" not in k]
    for part in ("encoder.", "decoder."):
        names = [k for k in weights if k.startswith(part)]
        assert sum(not torch.equal(start[k], end[k]) for k in names) > 0.9 * len(names)
    assert build("mpc", weights=tmp_path / "supervised" / "mpc.safetensors").input_size == 96
    with pytest.raises(TrainingError, match="holds a training of --stage contrast; give another --out"):
        run(photo_folder, tmp_path / "contrast", recipe, "--stage", "supervised")
    assert run(photo_folder, tmp_path / "supervised", recipe, "--stage", "supervised", "--resume") == 0


def test_supervised_training_goes_on_from_a_trained_network_with_its_head(photo_folder, tmp_path):
    recipe = tmp_path / "tiny.toml"
    supervised = "[supervised]\nsteps = 2\nbatch = 2\ncrop = 32\nlr = 1e-12\nweight_decay = 0.0\nHEAD"
    recipe.write_text(TINY + supervised.replace("HEAD", ""))
    assert run(photo_folder, tmp_path / "first", recipe, "--stage", "supervised") == 0
    first = state(tmp_path / "first", "supervised")["network"]
    words = ("--stage", "supervised", "--seed", "4", "--start", str(tmp_path / "first" / "mpc.safetensors"))
    heads = [k for k in first if k.startswith("decoder.") and k.endswith("weight") and first[k].ndim == 4]
    for start_head in (True, False):
        recipe.write_text(TINY + supervised.replace("HEAD", f"start_head = {str(start_head).lower()}"))
        out = tmp_path / str(start_head)
        assert run(photo_folder, out, recipe, *words) == 0
        found = state(out, "supervised")["network"]
        assert torch.allclose(found["encoder.conv1.weight"], first["encoder.conv1.weight"], rtol=1e-3, atol=1e-4)
        same = [torch.allclose(found[k], first[k], rtol=1e-3, atol=1e-4) for k in heads]
        assert all(same) if start_head else not any(same)
    recipe.write_text(TINY + supervised.replace("HEAD", "start_head = true"))
    with pytest.raises(TrainingError, match="takes the head of a trained network; give one with --start"):
        run(photo_folder, tmp_path / "none", recipe, "--stage", "supervised")
    assert not (tmp_path / "none").exists()
    assert run(photo_folder, tmp_path / "True", recipe, "--stage", "supervised", "--seed", "4", "--resume") == 0


def test_the_head_stage_goes_on_from_the_head_of_a_trained_network(photo_folder, tmp_path):
    recipe = tmp_path / "tiny.toml"
    still = "steps = 2\nbatch = 2\ncrop = 32\nlr = 1e-12\nweight_decay = 0.0\n"
    tiny = TINY.replace("lr = 1e-3", "lr = 1e-12\nweight_decay = 0.0\nstart_head = HEAD") + "[supervised]\n" + still
    recipe.write_text(tiny.replace("HEAD", "false"))
    assert run(photo_folder, tmp_path / "first", recipe, "--stage", "supervised") == 0
    first = state(tmp_path / "first", "supervised")["network"]
    heads = [k for k in first if k.startswith("decoder.") and k.endswith("weight") and first[k].ndim == 4]
    words = ("--seed", "4", "--start", str(tmp_path / "first" / "mpc.safetensors"))
    for start_head in (True, False):
        recipe.write_text(tiny.replace("HEAD", str(start_head).lower()))
        assert run(photo_folder, tmp_path / str(start_head), recipe, *words) == 0
        found = state(tmp_path / str(start_head), "head")["network"]
        same = [torch.allclose(found[k], first[k], rtol=1e-3, atol=1e-4) for k in heads]
        assert all(same) if start_head else not any(same)
    recipe.write_text(tiny.replace("HEAD", "true"))
    with pytest.raises(TrainingError, match=r"head\.start_head: here True, there False"):
        run(photo_folder, tmp_path / "False", recipe, *words, "--stage", "head", "--resume")
    (tmp_path / "True" / "head.pt").unlink()
    with pytest.raises(TrainingError, match=r"head\.start_head takes the head of a trained network; give one"):
        run(photo_folder, tmp_path / "True", recipe, "--seed", "4", "--stage", "head")
    assert run(photo_folder, tmp_path / "True", recipe, *words, "--stage", "head") == 0
    again = state(tmp_path / "True", "head")["network"]
    assert all(torch.allclose(again[k], first[k], rtol=1e-3, atol=1e-4) for k in heads)
    assert run(photo_folder, tmp_path / "none", recipe, "--seed", "4") == 0  # no start, so no head of it
    anew, other = (state(tmp_path / name, "head")["network"] for name in ("none", "False"))
    assert all(torch.allclose(anew[k], other[k], rtol=1e-3, atol=1e-4) for k in heads)


def test_a_training_by_muon_goes_on_as_if_it_had_not_been_stopped(photo_folder, tmp_path):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY + '[supervised]\nsteps = 3\nbatch = 2\ncrop = 32\noptimizer = "muon"\n')
    words = ("--stage", "supervised")
    assert run(photo_folder, tmp_path / "once", recipe, *words) == 0
    assert run(photo_folder, tmp_path / "twice", recipe, *words, "--steps", "1") == 0
    assert run(photo_folder, tmp_path / "twice", recipe, *words, "--resume") == 0
    once, twice = (state(tmp_path / name, "supervised")["network"] for name in ("once", "twice"))
    assert all(torch.equal(once[k], twice[k]) for k in once)
    recipe.write_text(recipe.read_text().replace("muon", "adamw"))
    with pytest.raises(TrainingError, match=r"supervised\.optimizer: here adamw, there muon"):
        run(photo_folder, tmp_path / "twice", recipe, *words, "--resume")
    assert run(photo_folder, tmp_path / "other", recipe, *words) == 0
    other = state(tmp_path / "other", "supervised")["network"]
    assert not torch.equal(
        other["encoder.stage4.0.fuse_layers.0.1.0.weight"], once["encoder.stage4.0.fuse_layers.0.1.0.weight"]
    )


def test_a_teacher_is_imitated_besides_the_masks(photo_folder, tmp_path, monkeypatch):
    """The loss has both parts, in both stages that have labels; the teacher is as good as new after a resume."""
    recipe = tmp_path / "distilled.toml"
    recipe.write_text(DISTILLED)
    logits, truths = [], []

    def watched(self, found, targets):
        logits.append(found.detach().clone())
        truths.append({name: value.clone() for name, value in targets.items()})
        return original(self, found, targets)

    original = Supervised.classification
    monkeypatch.setattr(Supervised, "classification", watched)
    assert run(photo_folder, tmp_path / "out", recipe, "--stage", "supervised") == 0
    rows = metrics(tmp_path / "out")
    assert len(rows) == len(logits) == 3
    for row, found, truth in zip(rows, logits, truths, strict=True):
        blocks = found.view(2, 8, 2, 8, 2).mean((2, 4))  # 16 x 16 logits, 8 x 8 blocks
        gap = ((blocks - truth["soft_target"]) ** 2).mean().item()
        likelihood = torch.where(truth["mask"][:, ::4, ::4], found.sigmoid(), 1 - found.sigmoid()).log()
        assert json.loads(row["terms"])["teacher"] == pytest.approx(gap, abs=1e-3)
        assert float(row["loss"]) == pytest.approx(-0.5 * likelihood.mean().item() + 0.5 * gap, rel=1e-3)
    assert len({truth["soft_target"].sum().item() for truth in truths}) == 3
    monkeypatch.undo()
    assert run(photo_folder, tmp_path / "parts", recipe, "--stage", "supervised", "--steps", "1") == 0
    assert run(photo_folder, tmp_path / "parts", recipe, "--stage", "supervised", "--resume") == 0
    assert metrics(tmp_path / "parts")[1]["terms"] == rows[1]["terms"]
    once, twice = (state(tmp_path / name, "supervised")["network"] for name in ("out", "parts"))
    assert all(torch.equal(once[k], twice[k]) for k in once)
    recipe.write_text(DISTILLED.replace("samples = 12", "samples = 13"))
    with pytest.raises(TrainingError, match=r"another recipe \(teacher.samples: here 13, there 12\)"):
        run(photo_folder, tmp_path / "out", recipe, "--stage", "supervised", "--resume")


def test_the_head_learns_from_the_teacher_and_the_contrast_does_not(photo_folder, tmp_path, monkeypatch):
    recipe = tmp_path / "distilled.toml"
    recipe.write_text(DISTILLED)
    assert run(photo_folder, tmp_path / "out", recipe) == 0
    terms = {row["stage"]: json.loads(row["terms"]) for row in metrics(tmp_path / "out")}
    assert "teacher" in terms["head"]
    assert "teacher" not in terms["contrast"]
    assert "| Teacher | samples 12; weight 0.5 |" in (tmp_path / "out" / "mpc.md").read_text()
    monkeypatch.setattr(training, "Teacher", lambda: pytest.fail("a finished stage needs no teacher"))
    assert run(photo_folder, tmp_path / "out", recipe, "--resume") == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_a_clear_error(photo_folder, recipe_file, tmp_path):
    with pytest.raises(DeviceError, match=r"'cuda' was asked for.*use --device cpu"):
        run(photo_folder, tmp_path / "out", recipe_file, "--device", "cuda")
    with pytest.raises(DeviceError, match="unknown device 'gpu'"):
        run(photo_folder, tmp_path / "out", recipe_file, "--device", "gpu")
    assert not (tmp_path / "out").exists()


def test_best_threshold_is_the_one_that_a_search_with_scikit_learn_finds():
    generator = torch.Generator().manual_seed(1)
    truth = torch.rand(5, 200, generator=generator) > 0.8
    truth[4] = False
    logits = torch.randn(5, 200, generator=generator) + 1.5 * truth - 2
    found = best_threshold(logits, truth)

    def mean_f1(threshold):
        return np.mean([f1_score(t, v > threshold) for v, t in zip(logits[:4], truth[:4], strict=True)])

    best = max(mean_f1(t) for t in np.quantile(logits[:4], np.linspace(0.01, 0.99, 100)))
    assert mean_f1(found) == pytest.approx(best, abs=5e-3)
    assert mean_f1(found) > mean_f1(0.0) + 0.2


def test_calibration_shifts_the_last_bias_alone(trained, photo_folder, recipe_file, tmp_path):
    recipe_file.write_text(TINY + "calibration = 4\n")
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(trained / "contrast.pt", out)
    assert run(photo_folder, out, recipe_file, "--stage", "head") == 0
    plain, shifted = load_file(trained / "mpc.safetensors"), load_file(out / "mpc.safetensors")
    changed = [name for name in plain if not torch.equal(plain[name], shifted[name])]
    assert changed == ["decoder.classifier.11.bias"]


def test_two_means_finds_the_smaller_of_two_clusters():
    features = torch.randn(8, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.1
    forged = torch.zeros(6, 6, dtype=torch.bool)
    forged[1:3, 2:5] = True
    features[0] += torch.where(forged, -1.0, 1.0)
    assert torch.equal(two_means(features) > 0.5, forged)


# ------------------------------------------------------------------------- best and last, schedules, precision, logs


def judged(monkeypatch, *aucs):
    """Make the validations find these AUCs, one after the other."""
    answers = iter(aucs)
    monkeypatch.setattr(training, "validate", lambda *_: (next(answers), 0.5))


def test_the_best_network_by_validation_auc_is_kept_next_to_the_last(photo_folder, recipe_file, tmp_path, monkeypatch):
    every = ("--validate-every", "1", "--stage")
    judged(monkeypatch, 0.6, 0.9, 0.7)
    assert run(photo_folder, tmp_path / "out", recipe_file, *every, "contrast") == 0
    judged(monkeypatch, 0.6, 0.9)
    assert run(photo_folder, tmp_path / "two", recipe_file, *every, "contrast", "--steps", "2") == 0
    found, two = state(tmp_path / "out", "contrast"), state(tmp_path / "two", "contrast")
    assert (found["step"], found["best"]["step"], found["best"]["auc"]) == (3, 2, 0.9)
    best, last = found["best"]["network"], found["average"]
    assert all(torch.equal(best[name], two["average"][name]) for name in best)
    assert any(not torch.equal(best[name], last[name]) for name in best)

    recipe_file.write_text(TINY + 'encoder = "best"\n')
    judged(monkeypatch, 0.8, 0.7)
    assert run(photo_folder, tmp_path / "out", recipe_file, *every, "head") == 0
    head = state(tmp_path / "out", "head")
    weights = [k for k in best if k.startswith("encoder.") and "running_" not in k and best[k].is_floating_point()]
    assert all(torch.equal(head["network"][name], best[name]) for name in weights)
    for file, tensors in (("mpc.safetensors", head["average"]), ("mpc_best.safetensors", head["best"]["network"])):
        exported = load_file(tmp_path / "out" / file)
        assert all(torch.equal(value, tensors[name].to(value.dtype)) for name, value in exported.items())
    assert head["best"]["step"] == 1 and head["step"] == 2


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
def test_schedules_of_the_released_scripts_follow_the_validations(
    photo_folder, recipe_file, tmp_path, monkeypatch, schedule
):
    """The rate halves after four validations without a better one; or falls along half a cosine of 20 validations."""
    text = TINY.replace("steps = 3", "steps = 6").replace("warmup = 1", f'schedule = "{schedule}"\nlr = 1e-3')
    recipe_file.write_text(text)
    words = ("--stage", "contrast", "--validate-every", "1")
    judged(monkeypatch, *[0.5] * 6)
    assert run(photo_folder, tmp_path / "whole", recipe_file, *words) == 0
    rates = [float(row["lr"]) for row in metrics(tmp_path / "whole")]
    if schedule == "plateau":
        assert rates == pytest.approx([1e-3] * 5 + [5e-4])
    else:
        assert rates == pytest.approx([1e-8 + (1e-3 - 1e-8) * (1 + math.cos(math.pi * k / 20)) / 2 for k in range(6)])

    judged(monkeypatch, *[0.5] * 6)
    monkeypatch.setattr(Trainer, "step", dying_at("contrast", 4))
    with pytest.raises(KeyboardInterrupt):
        run(photo_folder, tmp_path / "parts", recipe_file, *words, "--save-every", "1")
    monkeypatch.undo()
    with pytest.raises(TrainingError, match=r"give --validate-every 1 --validation-samples 2 as before"):
        run(photo_folder, tmp_path / "parts", recipe_file, "--stage", "contrast", "--resume")
    judged(monkeypatch, *[0.5] * 2)
    assert run(photo_folder, tmp_path / "parts", recipe_file, *words, "--resume") == 0
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    with pytest.raises(TrainingError, match=r"another recipe \(contrast.steps: here 9, there 6\)"):
        run(photo_folder, tmp_path / "parts", recipe_file, *words, "--resume", "--steps", "9")


def dying_at(stage, step):
    original = Trainer.step

    def dying(self, state, number, batch):
        if (self.name, number) == (stage, step):
            raise KeyboardInterrupt
        return original(self, state, number, batch)

    return dying


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_computes_the_same_to_its_digits(
    trained, photo_folder, recipe_file, tmp_path, monkeypatch, precision
):
    """And a resumed training continues identically, the scale of a float16 loss included."""
    monkeypatch.setattr(stages, "FIRST_SCALE", 2.0**6)  # the first gradients of this network are large
    out = tmp_path / "out"
    recipe_file.write_text(TINY.replace("steps = 3", f'steps = 3\nprecision = "{precision}"', 1))
    with monkeypatch.context() as killed:
        killed.setattr(Trainer, "step", dying_at("contrast", 2))
        with pytest.raises(KeyboardInterrupt):
            run(photo_folder, out, recipe_file, "--stage", "contrast", "--save-every", "1")
    assert bool(state(out, "contrast")["scaler"]) == (precision == "float16")
    assert run(photo_folder, out, recipe_file, "--stage", "contrast", "--resume") == 0
    assert run(photo_folder, tmp_path / "whole", recipe_file, "--stage", "contrast") == 0
    assert metrics(out) == metrics(tmp_path / "whole")
    once, twice = state(tmp_path / "whole", "contrast"), state(out, "contrast")
    assert once["scaler"] == twice["scaler"]
    assert all(torch.equal(once["network"][name], twice["network"][name]) for name in once["network"])
    exact = metrics(trained)[0]
    assert float(metrics(out)[0]["loss"]) == pytest.approx(float(exact["loss"]), rel=0.06)
    assert metrics(out)[0]["loss"] != exact["loss"]
    torch.manual_seed(3)
    start = MPC("micro", "catnet", 0.3).encoder.state_dict(keep_vars=True)
    weights = [k for k, value in start.items() if isinstance(value, nn.Parameter)]
    changed = [k for k in weights if not torch.equal(start[k], once["network"][f"encoder.{k}"])]
    assert len(changed) > 0.8 * len(weights)


def test_tensorboard_shows_what_the_table_holds(photo_folder, recipe_file, tmp_path, monkeypatch):
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the optional package tensorboard"
    )
    out = tmp_path / "out"
    monkeypatch.setattr(Trainer, "step", dying_at("contrast", 2))
    with pytest.raises(KeyboardInterrupt):
        run(photo_folder, out, recipe_file, "--stage", "contrast", "--save-every", "1", "--tensorboard")
    monkeypatch.undo()
    assert run(photo_folder, out, recipe_file, "--stage", "contrast", "--resume", "--tensorboard") == 0
    events = accumulators.EventAccumulator(str(out / "tensorboard" / "contrast"))
    events.Reload()
    rows = metrics(out)
    for name, column in (("loss", "loss"), ("learning rate", "lr"), ("validation/AUC", "val_auc")):
        wanted = {int(row["step"]): float(row[column]) for row in rows if row[column]}
        assert {event.step: event.value for event in events.Scalars(name)} == pytest.approx(wanted)
    within = [json.loads(row["terms"]).get("within") for row in rows]
    assert [event.value for event in events.Scalars("terms/within")] == pytest.approx([w for w in within if w])


def test_tensorboard_without_its_package_is_a_clear_error(photo_folder, recipe_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(LogError, match=r"--tensorboard needs the package tensorboard .*pip install.*metrics\.csv"):
        run(photo_folder, tmp_path / "out", recipe_file, "--tensorboard")
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------------------- training sets, start, model card


@pytest.fixture
def casia(tmp_path):
    """Six CASIA v2 pairs in their layout."""
    rng = np.random.default_rng(2)
    for name in ("Tp", "CASIA 2 Groundtruth"):
        (tmp_path / "CASIA2" / name).mkdir(parents=True)
    for k in range(6):
        truth = np.zeros((72, 96), np.uint8)
        truth[10 + k : 50, 20:60] = 255
        rgb = np.where(truth[:, :, None] > 0, 200, 60).astype(np.uint8) + rng.integers(0, 40, (72, 96, 3), np.uint8)
        stem = f"Tp_S_NNN_S_N_ani1012{k}_ani1012{k}_1246{k}"
        cv2.imwrite(str(tmp_path / "CASIA2/Tp" / f"{stem}.jpg"), rgb)
        cv2.imwrite(str(tmp_path / "CASIA2/CASIA 2 Groundtruth" / f"{stem}_gt.png"), truth)
    return tmp_path / "CASIA2"


def test_a_network_trained_on_a_set_says_so_and_its_results_on_it_are_marked(
    photo_folder, casia, recipe_file, tmp_path, caplog, capsys, monkeypatch
):
    out = tmp_path / "out"
    caplog.set_level(logging.INFO)
    words = ["--data", f"casia2:{casia}", "--out", str(out), "--recipe", str(recipe_file), "--workers", "0"]
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    recipe_file.write_text(TINY.replace("validation = 0.3", "validation = 0.3\nphotos = 0.5"))
    seen = []
    original = PairSamples.pair
    monkeypatch.setattr(PairSamples, "pair", lambda self, index: seen.append(index) or original(self, index))
    options = ["--photos", str(photo_folder), "--licence", "CC0", "--validation-samples", "4", "--json"]
    assert train.main(parser.parse_args(words + options)) == 0
    assert json.loads(capsys.readouterr().out) == {"network": str(out / "mpc.safetensors"), "card": str(out / "mpc.md")}
    monkeypatch.undo()
    assert "casia2: each pair 40 times per epoch" in caplog.text
    assert set(seen) >= {0, 1, 2}  # of six contrast samples three are pairs, and so on
    localizer = build("mpc", weights=out / "mpc.safetensors")
    assert localizer.trained_on == ("casia2",)
    assert build("mpc").trained_on in (None, ())

    card = (out / "mpc.md").read_text()
    assert (
        "| Data | 6 photos, 2 of them for validation, forged on the fly; casia2: 6 pairs, 2 of them for validation, "
        "40 times per epoch" in card
    )
    assert "| Licence of the data | photos: CC0; casia2: Research only |" in card
    assert "trained on casia2: results on these sets mean nothing" in card

    weights = ["--models", "mpc,ela", "--weights", f"mpc={out / 'mpc.safetensors'}"]
    data = f"casia2:{casia},folder:{photo_folder / 'set' / 'images'}"
    folder = tmp_path / "run"
    assert cli.main(["run", *weights, "--data", data, "--perturbations", "clean", "--out", str(folder), "--limit", "1",
                     "--backend", "threading", "--workers", "1"]) == 0  # fmt: skip
    about = json.loads((folder / "run.json").read_text())
    assert contaminated(about) == {("mpc", "casia2")}


def test_training_on_sets_alone(casia, recipe_file, tmp_path):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    words = ["--data", f"casia2:{casia}", "--recipe", str(recipe_file), "--workers", "0", "--stage", "contrast"]
    assert train.main(parser.parse_args([*words, "--out", str(tmp_path / "out"), "--validation-samples", "2"])) == 0
    assert 0 <= float(metrics(tmp_path / "out")[-1]["val_auc"]) <= 1
    fewer = tmp_path / "fewer"
    shutil.copytree(casia, fewer)
    next((fewer / "Tp").iterdir()).unlink()
    words[1] = f"casia2:{fewer}"
    with pytest.raises(TrainingError, match="trained on other photos or sets; give its --photos and --data"):
        train.main(parser.parse_args([*words, "--out", str(tmp_path / "out"), "--resume"]))
    with pytest.raises(TrainingError, match=r"nothing to train on: give a folder of photos \(--photos\)"):
        train.main(parser.parse_args(["--out", str(tmp_path / "none")]))


def test_training_starts_from_an_imagenet_checkpoint_and_remembers_which(photo_folder, recipe_file, tmp_path, caplog):
    torch.manual_seed(8)
    tensors = {k: v for k, v in HRFormer("micro").state_dict().items() if not k.startswith("convs.")}
    torch.save({"model": tensors}, tmp_path / "hrt_micro.pth")
    torch.save({"model": {k: v + 1 for k, v in tensors.items()}}, tmp_path / "other.pth")
    recipe_file.write_text(TINY.replace("crop = 32", "crop = 32\nlr = 1e-12", 1))
    out = tmp_path / "out"
    caplog.set_level(logging.INFO)
    words = ("--stage", "contrast", "--start", str(tmp_path / "hrt_micro.pth"))
    assert run(photo_folder, out, recipe_file, *words) == 0
    assert "start from hrt_micro.pth" in caplog.text
    found = state(out, "contrast")
    weights = [k for k in tensors if tensors[k].is_floating_point() and "running_" not in k]
    for name in weights:
        assert torch.allclose(found["network"][f"encoder.{name}"], tensors[name], rtol=0, atol=1e-6)
    assert found["start"] == {
        "file": "hrt_micro.pth",
        "sha256": hashlib.sha256((tmp_path / "hrt_micro.pth").read_bytes()).hexdigest(),
    }
    with pytest.raises(TrainingError, match=r"was started from hrt_micro\.pth .* and not from other\.pth"):
        run(photo_folder, out, recipe_file, "--stage", "contrast", "--resume", "--start", str(tmp_path / "other.pth"))
    assert run(photo_folder, out, recipe_file, "--stage", "head") == 0
    assert state(out, "head")["start"]["file"] == "hrt_micro.pth"
    assert "| Start | hrt_micro.pth, SHA-256 `" in (out / "mpc.md").read_text()


def test_the_model_card_holds_what_was_done_and_measured(trained, photo_folder):
    card = (trained / "mpc.md").read_text()
    digest = hashlib.sha256((trained / "mpc.safetensors").read_bytes()).hexdigest()
    for words in (
        "# Model card: `mpc.safetensors`",
        digest,
        "| Seed | 3 |",
        "6 photos, 2 of them for validation, forged on the fly",
        "| Licence of the data | photos: unknown |",
        "trained on no published set",
        "| Stage contrast | steps 3; batch 2; crop 32; ",
        "| Stage head | steps 2; batch 2; crop 32; ",
        "| Hardware | 1 threads of ",
        "| Time | contrast ",
        "    python -m bench ",
        "Protocol `native` (version ",
    ):
        assert words in card, words
    # the same validation forgeries, scored by scikit-learn
    _, photos = find_photos(photo_folder).split(0.3)
    localizer = build("mpc", weights=trained / "mpc.safetensors")
    areas, scores = [], []
    for k in range(2):
        rgb, mask = forged_photo(photos, np.random.default_rng([3, 6, k]), k % len(photos))
        probability = localizer.localize(ForensicImage(rgb)).values.ravel()
        areas.append(roc_auc_score(mask.ravel(), probability))
        scores.append(f1_score(mask.ravel(), probability > 0.5, zero_division=0.0))
    (row,) = [line for line in card.splitlines() if line.startswith("| `mpc.safetensors` | forgeries of validation")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2] == "2"
    assert float(cells[3].split()[0]) == pytest.approx(np.mean(areas), abs=1e-3)
    assert float(cells[4].split()[0]) == pytest.approx(np.mean(scores), abs=1e-3)
    assert re.fullmatch(r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", cells[3])


def test_help_explains_data_recipe_files_stopping_and_several_gpus(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "mpc", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    options = ("--photos", "--data", "--out", "--stage", "--recipe", "--steps", "--seed", "--start", "--resume",
               "--device", "--workers", "--save-every", "--validate-every", "--validation-samples", "--tensorboard",
               "--licence")  # fmt: skip
    words = ("casia2:ROOT", "hrt_base.pth", "torchrun", "bfloat16", "metrics.csv", "mpc_best.safetensors", "mpc.md")
    assert all(word in text for word in (*options, *words))
    assert all(recipe.stem in text for recipe in FOLDER.glob("*.toml"))


# ----------------------------------------------------------------------------------------------------------- recipe


def test_the_released_and_the_paper_recipe_are_those_of_their_source():
    """Numbers: the authors' train.py of both stages, and section III of the paper."""
    released, paper = read_recipe("released"), read_recipe("paper")
    for recipe in (released, paper):
        assert recipe.network == Network("base", "catnet", 0.2, 512)
        assert (recipe.data.native, recipe.data.least, recipe.data.frame, recipe.data.augment) == (0, 512, 512, 0.75)
        assert {(stage.batch, stage.crop, stage.clip) for stage in (recipe.contrast, recipe.head)} == {(4, 512, 0)}
        assert (recipe.contrast.lr, recipe.contrast.samples, recipe.contrast.temperature) == (1e-4, 5000, 0.1)
        assert (recipe.head.alpha, recipe.head.gamma, recipe.head.calibration) == (0.5, 2, 0)
        assert (recipe.contrast.schedule, recipe.head.schedule) == ("plateau", "cosine")
        assert recipe.contrast.steps == 843_991 // 4 + 1
    assert (released.contrast.optimizer, released.head.lr, released.contrast.variant) == ("adamw", 1e-6, "released")
    assert (paper.contrast.optimizer, paper.head.lr, paper.contrast.variant) == ("adam", 1e-4, "paper")
    assert (released.head.backbone_mode, paper.head.backbone_mode) == ("released", "eval")


def test_shipped_recipe_is_complete_and_sensible():
    recipe = read_recipe("small")
    assert recipe.network.backbone == "small"
    assert recipe.contrast.views == ("within", "scale", "modality")
    assert (recipe.head.alpha, recipe.head.gamma) == (0.5, 2.0)
    start, larger, further, parts = (read_recipe(f"small-{name}") for name in ("start", "larger", "further", "parts"))
    assert recipe.data == parts.data == dataclasses.replace(further.data, parts=0.5)
    assert start.data.validation == recipe.data.validation == read_recipe("ablation").data.validation
    for before in (start, larger, further, parts):
        assert before.teacher.samples > 0
        assert before.supervised.crop == before.data.frame == before.network.input_size
        assert before.network.backbone == recipe.network.backbone


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed = 1", r"unknown key sed; did you mean seed\?"),
        ("[contrast]\nlearning = 1.0", r"unknown key contrast.learning; known: .*lr.*temperature"),
        ("[contrast]\ntemprature = 0.2", r"unknown key contrast.temprature; did you mean contrast.temperature\?"),
        ("[head]\nsteps = 'many'", "head.steps: input should be a valid integer, got 'many'"),
        ("[head]\nsteps = true", "head.steps: input should be a valid integer, got True"),
        ("[head]\nsteps = 0", "head.steps: input should be greater than or equal to 1, got 0"),
        ("[contrast]\ncrop = 100", "contrast.crop: input should be a multiple of 32, got 100"),
        ("[contrast]\nviews = ['colour']", r"contrast.views\[0\] is 'colour'; known: within, scale, modality"),
        ("[contrast]\nviews = []", "contrast.views: tuple should have at least 1 item"),
        ("[contrast]\nvariant = 'new'", "contrast.variant is 'new'; known: released, paper"),
        ("[head]\nschedule = 'step'", "head.schedule is 'step'; known: linear, plateau, cosine"),
        ("[head]\nschedule = 'cosine'\nwarmup = 3", 'head: warmup and cooldown belong to schedule = "linear"'),
        ("[head]\nprecision = 'half'", "head.precision is 'half'; known: float32, bfloat16, float16"),
        ("[contrast]\noptimizer = 'sgd'", "contrast.optimizer is 'sgd'; known: adamw, adam, muon"),
        ("[contrast]\nclip = -1", "contrast.clip: input should be greater than or equal to 0, got -1"),
        ("[head]\nencoder = 'first'", "head.encoder is 'first'; known: last, best"),
        ("[data]\nphotos = 1.5", "data.photos: input should be less than or equal to 1, got 1.5"),
        ("[network]\nbackbone = 'large'", "network: backbone is 'large'; known: tiny, small, base"),
        ("[data]\nnative = 2", "data.native: input should be less than or equal to 1, got 2"),
        ("[network]\nwindows = 0.3", "network: windows is 0 or a share from 0.5 to 1, got 0.3"),
        ("[data]\nparts = -0.1", "data.parts: input should be greater than or equal to 0, got -0.1"),
        ("[network]\ninitial = 'srm'", "network.initial is 'srm'; known: random, forensic"),
        ("[teacher]\nsamples = -1", "teacher.samples: input should be greater than or equal to 0, got -1"),
        ("[teacher]\nweight = 0", "teacher.weight: input should be greater than 0, got 0"),
        ("[data]\nleast = 600", "data: least must be between 32 and frame"),
        ("head = 3", r"head is a table \(\[head\]\), not a value"),
        ("seed = ", "not a TOML file"),
    ],
)
def test_recipe_errors_name_the_file_and_the_key(tmp_path, text, message):
    file = tmp_path / "r.toml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=message) as error:
        read_recipe(file)
    assert str(error.value).startswith(str(file))


def test_missing_recipe_lists_the_shipped_ones(tmp_path):
    shipped = "ablation, paper, released, small, small-further, small-larger, small-parts, small-start"
    with pytest.raises(RecipeError, match=f"no such file; shipped recipes: {shipped}"):
        read_recipe(tmp_path / "absent.toml")


def test_learning_rate_rises_stays_and_falls():
    stage = read_recipe("small").replaced(steps=1000).contrast
    rates = [learning_rate(stage, step) for step in range(1000)]
    assert rates[0] == pytest.approx(stage.lr / (stage.warmup + 1))
    assert rates[stage.warmup : 750] == pytest.approx([stage.lr] * (750 - stage.warmup))
    assert rates[875] == pytest.approx(stage.lr / 2)
    assert rates[-1] == pytest.approx(stage.lr / 250)


# -------------------------------------------------------------------------------------------------------- forgeries


def test_unreadable_photos_are_listed_and_the_others_used(photo_folder, recipe_file, tmp_path, caplog):
    folder = tmp_path / "photos"
    folder.mkdir()
    good = sorted(photo_folder.rglob("*.jpg"))
    for file in good:
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "cut.jpg").write_bytes(good[0].read_bytes()[:600])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("hello")
    cv2.imwrite(str(folder / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    (folder / "notes.txt").write_text("not a photo, not looked at")
    photos = find_photos(folder)
    assert len(photos) == 6
    problems = {file.name: problem for file, problem in photos.defects}
    assert set(problems) == {"cut.jpg", "empty.png", "text.jpg", "dot.png"}
    assert "damaged or truncated" in problems["cut.jpg"]
    assert problems["dot.png"] == "only 1x1 pixels"
    assert run(folder, tmp_path / "out", recipe_file, "--stage", "contrast", "--steps", "1") == 0
    errors = caplog.text
    assert f"left out: {folder / 'empty.png'}: the file is empty" in errors
    assert "4 photos left out, training on the other 6" in errors


def test_folders_without_photos_are_errors(tmp_path):
    with pytest.raises(PhotoError, match="no such folder"):
        find_photos(tmp_path / "absent")
    with pytest.raises(PhotoError, match="0 usable photos of 0 found"):
        find_photos(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(PhotoError, match=r"0 usable photos of 1 found(.|\n)*a.jpg: the file is empty"):
        find_photos(tmp_path)


def test_segmentations_belong_to_their_photos_and_validation_photos_stay(photo_folder):
    photos = find_photos(photo_folder)
    assert [f.name for f in photos.files] == [f"p{k}.jpg" for k in range(6)]
    assert [s and s.name for s in photos.segments] == ["p0.png", "p1.png", "p2.png", None, None, None]
    some, others = photos.split(0.3)
    assert sorted((*some.files, *others.files)) == list(photos.files)
    assert len(others) == 2
    assert photos.split(0.3)[1].files == others.files


def test_a_sample_is_a_function_of_seed_and_index(photo_folder):
    photos = find_photos(photo_folder)
    how = Presentation(frame=96, least=64, crop=32)
    one, again = Forgeries(photos, how, (1, 2), 50), Forgeries(photos, how, (1, 2), 50)
    other = Forgeries(photos, how, (1, 3), 50)
    first = [one[k] for k in range(12)]
    for k in reversed(range(12)):
        assert all(torch.equal(first[k][name], again[k][name]) for name in ("image", "mask"))
    assert not any(torch.equal(first[k]["image"], other[k]["image"]) for k in range(12))
    assert first[0]["image"].dtype == torch.uint8
    assert first[0]["image"].shape == (3, 32, 32)
    assert first[0]["mask"].dtype == torch.bool
    assert len(list(Forgeries(photos, how, (1, 2), 3))) == len(Forgeries(photos, how, (1, 2), 3)) == 3


def test_forged_photos_have_sensible_masks(photo_folder):
    photos = find_photos(photo_folder)
    shares = []
    for k in range(60):
        rgb, mask = forged_photo(photos, np.random.default_rng([7, k]))
        assert rgb.dtype == np.uint8
        assert rgb.shape == (*mask.shape, 3)
        shares.append(mask.mean())
    shares = np.array(shares)
    assert np.mean(shares > 0) > 0.9
    assert shares.max() < 0.75
    assert np.quantile(shares, 0.1) < 0.03 < 0.1 < np.quantile(shares, 0.9)


def test_parts_change_where_the_forged_region_lies(photo_folder):
    """And a share of none draws nothing, so that recipes without it see the samples that they always saw."""
    photos = find_photos(photo_folder)
    whole = Forgeries(photos, Presentation(64, 0.0, 64, 64, 0.0), (3,), 40)
    none = Forgeries(photos, Presentation(64, 0.0, 64, 64, 0.0, parts=0.0), (3,), 40)
    parts = Forgeries(photos, Presentation(64, 0.0, 64, 64, 0.0, parts=1.0), (3,), 40)
    assert all(torch.equal(whole[k]["image"], none[k]["image"]) for k in range(10))
    borders = [np.mean([_touches_border(one["mask"].numpy()) for one in samples]) for samples in (whole, parts)]
    assert borders[1] > borders[0] + 0.1


def _touches_border(mask):
    return mask[[0, -1]].any() or mask[:, [0, -1]].any()


def test_geometry_moves_image_and_mask_together():
    """A mask that equals the image's bright part must still do so after augmentation and presentation."""
    mask = np.zeros((120, 160), bool)
    mask[30:90, 50:120] = True
    rgb = np.where(mask[:, :, None], 220, 30).astype(np.uint8).repeat(3, axis=2)
    agreements = []
    for k in range(60):
        rng = np.random.default_rng([11, k])
        shown, truth = augmented(rgb, mask, rng)
        agreements.append(((shown.mean(2) > 125) == truth).mean())
        shown, truth = present(rgb, mask, Presentation(frame=128, least=96, crop=64), rng)
        assert shown.shape == (64, 64, 3)
        assert truth.shape == (64, 64)
    # motion blur and distortions move edges by a few pixels
    assert np.min(agreements) > 0.9
    assert np.mean(agreements) > 0.985
