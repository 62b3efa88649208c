"""Checkpoints with Python objects: the tensors come out exactly, and nothing of the file runs."""

import argparse
import collections
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

import models
from bench.cli import main
from bench.weights import state
from models.building import _show_licences
from models.checkpoint import read_checkpoint, registered_file
from models.inert import read_tensors

STATE = {
    "conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2),
    "conv.bias": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "steps": torch.tensor(7),
    "flags": torch.tensor([True, False]),
    "small": torch.arange(5, dtype=torch.bfloat16),
    "empty": torch.empty(0, 3),
}


def as_saved() -> dict:
    """What a training script writes: a state dict among its options, its optimizer and its scores."""
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, hidden=torch.ones(4)),
        "best": np.float64(0.75),
        "optimizer": optimizer.state_dict(),
        "history": collections.defaultdict(list, loss=[1, 2]),
        "state_dict": collections.OrderedDict(STATE),
    }


@pytest.fixture(params=[True, False], ids=["zip", "former"])
def save(request):
    """torch.save in either format."""
    return lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=request.param)


def assert_equal(found, wanted):
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_tensors_come_out_exactly_and_the_rest_is_listed(tmp_path, save):
    file = tmp_path / "research.pth"
    save(as_saved(), file)
    kept = read_tensors(file)
    assert_equal(kept.tensors, STATE)
    assert kept.containers == {"state_dict": len(STATE)}
    assert kept.dropped.keys() == {"epoch", "args", "best", "optimizer", "history"}
    assert kept.dropped["epoch"] == "int 3" and kept.dropped["args"] == "argparse.Namespace"
    assert "argparse.Namespace" in kept.names and "collections.defaultdict" in kept.names
    assert not any(name.startswith("torch.") for name in kept.names)


def test_views_parameters_and_shared_storages(tmp_path, save):
    whole = torch.arange(30.0).reshape(5, 6)
    state = {"view": whole[1:4, ::2], "turned": whole.T, "parameter": torch.nn.Parameter(whole[2])}
    save({**state, "who": argparse.Namespace()}, tmp_path / "views.pth")
    kept = read_tensors(tmp_path / "views.pth")
    assert_equal(kept.tensors, {name: tensor.detach() for name, tensor in state.items()})
    assert all(tensor.is_contiguous() for tensor in kept.tensors.values())
    assert kept.containers == {"": 3} and kept.dropped == {"who": "argparse.Namespace"}


class Payload:
    """Runs a command when it is unpickled in the ordinary way."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_a_malicious_file_is_inert(tmp_path, save):
    witness = tmp_path / "ran"
    attack = {
        "a": Payload(os.system, f"touch {witness}"),
        "b": Payload(eval, f"open({str(witness)!r}, 'w')"),
        "c": [Payload(eval, "print(1)"), Payload(exec, "import os; os._exit(3)")],
        "state_dict": {**STATE, "extra": Payload(os.system, f"touch {witness}")},
    }
    file = tmp_path / "attack.pth"
    save(attack, file)
    assert_equal(read_tensors(file).tensors, STATE)
    assert f"{os.system.__module__}.system" in read_tensors(file).names
    assert not witness.exists()
    pickle.loads(pickle.dumps(attack["a"]))  # as the ordinary reader would
    assert witness.exists()


def test_a_pickle_cannot_change_the_reader(tmp_path):
    """BUILD, which sets attributes, aimed at the names that are resolved."""
    for module, name in (("torch._utils", "_rebuild_tensor_v2"), ("collections", "OrderedDict"), ("os", "system")):
        hostile = f"c{module}\n{name}\n(N(dS'__init__'\nI1\nstb.".encode()
        file = tmp_path / "hostile.pth"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("hostile/data.pkl", hostile)
        with pytest.raises(models.WeightsError):
            read_tensors(file)
    torch.save({"state_dict": STATE}, tmp_path / "good.pth")
    assert_equal(read_tensors(tmp_path / "good.pth").tensors, STATE)


def test_a_tensor_outside_its_storage_is_refused(tmp_path):
    for size, stride, offset in (((4,), (1,), 1), ((2,), (9,), 0), ((10**9,), (0,), 0), ((2,), (1,), -1)):
        storage = torch.arange(4.0).untyped_storage()
        file = tmp_path / "beyond.pth"
        with zipfile.ZipFile(file, "w") as archive:
            head = b"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\ntQ"
            place = "".join(f"(I{value[0]}\nt" for value in (size, stride)).encode()
            tensor = head + f"I{offset}\n".encode() + place + b"I00\nNtR"
            archive.writestr("beyond/data.pkl", b"(dS'w'\n" + tensor + b"s.")
            archive.writestr("beyond/data/0", bytes(storage))
        with pytest.raises(models.WeightsError, match=r"beyond\.pth: damaged"):
            read_tensors(file)


def test_several_state_dicts_are_kept_under_their_keys(tmp_path, save):
    other = {"w": torch.ones(2)}
    file = tmp_path / "several.pth"
    save({"extractor": other, "model": STATE, "ema": {"shadow": other}, "args": argparse.Namespace()}, file)
    assert read_tensors(file).containers == {"extractor": 1, "model": len(STATE), "ema.shadow": 1}
    assert main(["weights", "convert", str(file)]) == 0
    converted = str(file) + ".safetensors"
    assert read_checkpoint(converted).tensors.keys() == STATE.keys()
    assert torch.equal(read_checkpoint(converted, "extractor").tensors["w"], other["w"])
    with pytest.raises(models.WeightsError, match=r"no state dict under 'optimizer'; it has"):
        read_checkpoint(converted, "optimizer")
    assert_equal(read_tensors(file, "ema.shadow").tensors, other)
    with pytest.raises(
        models.WeightsError, match=r"no state dict under 'emma'; it has them under 'extractor', 'model'"
    ):
        read_tensors(file, "emma")


def test_the_command_converts_what_loading_refuses(tmp_path, save, capsys):
    file = tmp_path / "research.pth.tar"
    save(as_saved(), file)
    with pytest.raises(models.WeightsError, match=r"bench weights convert .*research\.pth\.tar"):
        read_checkpoint(file)
    assert main(["weights", "convert", str(file)]) == 0
    out = capsys.readouterr().out
    assert f"kept     state_dict: {len(STATE)} tensors" in out
    assert "dropped  args: argparse.Namespace" in out and "not executed: argparse.Namespace" in out
    found = read_checkpoint(f"{file}.safetensors").tensors
    assert found.keys() == STATE.keys() and torch.equal(found["conv.bias"], STATE["conv.bias"].float())
    target = tmp_path / "chosen.safetensors"
    assert main(["weights", "convert", str(file), "--out", str(target), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["kept"] == {"state_dict": len(STATE)} and report["tensors"] == len(STATE)
    assert report["bytes"] == sum(t.nbytes for t in STATE.values()) and target.is_file()
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convert"], "name the file"),
        (["convert", "absent.pth"], "absent.pth: cannot be read"),
        (["convert", "absent.pth", "--out", "x.pth"], "name it so"),
        (["mpc-catnet", "stray.pth"], "weights convert FILE"),
    ],
)
def test_wrong_words_are_explained(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["weights", *words]) == 2
    assert message in capsys.readouterr().err


def test_files_without_tensors_are_explained(tmp_path, save):
    file = tmp_path / "other.pth"
    save({"args": argparse.Namespace(weights=torch.ones(2))}, file)
    with pytest.raises(models.WeightsError, match=r"other\.pth: no state dict; it holds a dict of 1"):
        read_tensors(file)
    save(STATE, file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(models.WeightsError, match=r"other\.pth: damaged, truncated"):
        read_tensors(file)
    file.write_bytes(b"no pickle")
    with pytest.raises(models.WeightsError, match=r"other\.pth: damaged, truncated"):
        read_tensors(file)
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(file))
    with pytest.raises(models.WeightsError, match="torchscript:FILE"):
        read_tensors(file)


def test_a_registered_file_is_taken_from_its_conversion(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    card = models.ModelCard("x", "x", "none", weights=(models.WeightFile("x.pth", "page", "MIT"),))
    torch.save(as_saved(), tmp_path / "x.pth")
    assert registered_file(card) == tmp_path / "x.pth"
    assert main(["weights", "convert", str(tmp_path / "x.pth")]) == 0
    assert registered_file(card) == tmp_path / "x.pth.safetensors"
    (tmp_path / "x.pth").unlink()
    assert state(tmp_path / "x.pth", card.weights[0]) == "present (converted)"


def test_a_non_commercial_licence_is_shown_once(tmp_path, caplog):
    caplog.set_level("INFO", "models")

    def said():
        texts = [record.message for record in caplog.records]
        caplog.clear()
        return texts

    files = [models.WeightFile(f"{n}.pth", "page", "CC BY-NC 4.0") for n in "ab"]
    free = models.WeightFile("free.pth", "page", "MIT")
    card = models.ModelCard("net", "net", "none", weights=(*files, free))
    for _ in range(2):
        _show_licences(card, None)
    assert said() == ["net: a.pth and 1 more: licence CC BY-NC 4.0"]
    _show_licences(card, tmp_path / "b.pth")
    assert said() == ["net: b.pth: licence CC BY-NC 4.0"]
    _show_licences(card, tmp_path / "free.pth")
    _show_licences(card, tmp_path / "my-own.pth")
    assert said() == []
