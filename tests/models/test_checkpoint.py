"""Checkpoints as they are found: saved from wrapped networks, and files that only bear a checkpoint's name."""

import gzip
import itertools
import os
import runpy
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from shared import shared_path

import models
from models.checkpoint import WRAPPERS, load_strictly, read_checkpoint
from models.inert import read_tensors
from models.mpc.localizer import SHIPPED

STATE = {"encoder.conv.weight": torch.ones(2, 1), "encoder.conv.bias": torch.arange(2.0), "head.weight": torch.ones(3)}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 145000000\n"


def assert_unwrapped(tensors):
    assert read_checkpoint(tensors).tensors.keys() == STATE.keys()
    for name, value in read_checkpoint(tensors).tensors.items():
        assert torch.equal(value, STATE[name])


@pytest.mark.parametrize("length", [1, 2, 3])
def test_marks_of_wrappers_before_all_names(length):
    for wrappers in itertools.product(("module", *WRAPPERS), repeat=length):
        begin = ".".join(wrappers)
        assert_unwrapped({f"{begin}.{name}": value for name, value in STATE.items()})


def test_networks_wrapped_by_pytorch_itself():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1))
            self.head = torch.nn.Linear(2, 1)

    plain = Network()
    names = plain.state_dict().keys()
    for wrapped in (
        torch.nn.DataParallel(plain),
        torch.compile(plain),
        torch.compile(torch.nn.DataParallel(plain)),
        torch.nn.DataParallel(torch.compile(plain)),
        torch.optim.swa_utils.AveragedModel(plain),
    ):
        assert read_checkpoint(wrapped.state_dict()).tensors.keys() == names
    part = Network()
    part.encoder = torch.compile(part.encoder)
    assert any("_orig_mod" in name for name in part.state_dict())
    checkpoint = read_checkpoint(part.state_dict())
    load_strictly(plain, checkpoint)
    assert torch.equal(plain.encoder[0].weight, part.state_dict()["encoder._orig_mod.0.weight"])


def test_names_that_would_collide_are_left():
    state = {"a.w": torch.ones(1), "a._orig_mod.w": torch.zeros(1)}
    assert read_checkpoint(state).tensors.keys() == state.keys()


def test_another_prefix_is_named():
    network = torch.nn.Linear(2, 1)
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    with pytest.raises(models.WeightsError, match=r"'model\.' was put before all names"):
        load_strictly(network, read_checkpoint(state))


def test_shipped_weights_saved_from_torch_compile(tmp_path, monkeypatch):
    """Case compiled-checkpoint: the same tensors, bit by bit, as those of the shipped file."""
    script = shared_path("cases/compiled-checkpoint") / "make.py"
    monkeypatch.chdir(SHIPPED.parents[3])
    monkeypatch.setattr(sys, "argv", ["make.py", str(tmp_path / "compiled.pth")])
    runpy.run_path(str(script))
    found, wanted = read_checkpoint(tmp_path / "compiled.pth").tensors, read_checkpoint(SHIPPED).tensors
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (POINTER, r"a Git LFS pointer .*git lfs pull"),
        (b"\n" + POINTER, "a Git LFS pointer"),
        (b"/annex/objects/SHA256E-s145--00.pth\n", "git annex get"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "an XML text"),
        (b'{"metadata": {"total_size": 1}}', "a JSON text"),
        (gzip.compress(b"weights", mtime=0), "gzip archive; unpack"),
        (b"Rar!\x1a\x07\x01", "RAR archive"),
        (b"x.pth" + bytes(252) + b"ustar\x0000" + bytes(300), "tar archive"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pth.tar"])
def test_what_bears_the_name_alone_is_said(tmp_path, content, hint, suffix):
    file = tmp_path / f"net{suffix}"
    file.write_bytes(content)
    for read in (read_checkpoint, read_tensors):
        with pytest.raises(models.WeightsError, match=rf"net{suffix}: .*{hint}"):
            read(file)


def test_case_lfs_pointer():
    for read in (read_checkpoint, read_tensors):
        with pytest.raises(models.WeightsError, match="git lfs pull"):
            read(shared_path("cases/lfs-pointer") / "pointer.pth")


@pytest.mark.parametrize("length", [0x7B, 0x1F + 256 * 0x8B, 0x20, 0x3C])
def test_a_safetensors_header_may_begin_like_something_else(tmp_path, length):
    """Its first bytes are its length: of these headers "{", gzip's mark, a blank, "<"."""
    file = tmp_path / "net.safetensors"
    save_file({"w": torch.ones(1)}, file)
    header_size = int.from_bytes(file.read_bytes()[:8], "little")
    header, data = file.read_bytes()[8 : 8 + header_size], file.read_bytes()[8 + header_size :]
    while len(header.rstrip()) > length:
        length += 65536
    file.write_bytes(length.to_bytes(8, "little") + header.rstrip().ljust(length) + data)
    assert torch.equal(load_file(file)["w"], torch.ones(1))
    assert torch.equal(read_checkpoint(file).tensors["w"], torch.ones(1))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory as Linux counts it")
def test_small_files_take_neither_gigabytes_nor_for_ever(tmp_path):
    """Reading and converting each of them, in a process whose peak of memory is read."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, os.path.join(os.path.dirname(__file__), "bombs.py"), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    lines = [line.split(" ", 4) for line in done.stdout.splitlines()]
    assert len(lines) == 2 * len(list(tmp_path.glob("*.pth")))
    for name, size, peak, _, outcome in lines:
        assert int(size) < 110_000 and int(peak) < 1500, (name, peak)
        assert outcome != "read", name
