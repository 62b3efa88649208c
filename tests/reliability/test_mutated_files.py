"""Damaged files of every kind that the suite reads: each command ends with 0, 1 or 2, says why, and in bounded time.

Never a traceback (exit code 70), a signal, code of the file that runs, or a file outside of where results go.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

import mutations
from campaign import bench, drive, faults, photos

WITNESS = "executed"


class Payload:
    """Makes a file where an ordinary unpickler reads it."""

    def __init__(self, witness: Path):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> Path:
    """A folder with a finished run, its reference, and one intact file of every kind."""
    folder = tmp_path_factory.mktemp("material")
    data = photos(folder, 8)
    run = bench("run", "--models", "ela,centre", "--data", data, "--perturbations", "clean;jpeg:70",
                "--workers", "1", "--out", str(folder / "run"))  # fmt: skip
    assert run.returncode == 0, run.stderr
    made = bench("check", str(folder / "run"), "--against", str(folder / "reference.json"), "--update")
    assert made.returncode == 0, made.stderr
    return folder


def report(results: list[dict], tried, kind: str) -> None:
    tried[f"mutated {kind}"] += len(results)
    wrong = faults(results)
    assert not wrong, f"{len(wrong)} of {len(results)}\n" + "\n".join(wrong[:3])


def mutated(path: Path, number: int, seed: int, mutate=mutations.of_bytes) -> list[bytes]:
    content = path.read_bytes()
    return [mutate(content, np.random.default_rng([seed, i])) for i in range(number)]


@pytest.mark.parametrize("how", ["bytes", "json"])
def test_references(material, count, tried, how):
    """No mutated reference gives a traceback; a part that changed kind is never passed over as equal or as worse."""
    file = material / "reference.json"
    mutate = mutations.of_bytes if how == "bytes" else mutations.of_json
    variants = mutated(file, count(25, 1500), 1, mutate)
    words = ["check", str(material / "run"), "--against", str(file)]
    report(list(drive(material, [{"words": words, "files": {str(file): v}} for v in variants])), tried, "reference")


@pytest.mark.parametrize("name", ["run.json", "results.csv"])
@pytest.mark.parametrize("command", ["check", "report"])
def test_records_of_a_run(material, count, tried, name, command):
    file = material / "run" / name
    mutate = mutations.of_json if name == "run.json" else mutations.of_bytes
    number = count(12, 300) if command == "check" else count(3, 40)
    words = {
        "check": ["check", str(material / "run"), "--against", str(material / "reference.json")],
        "report": ["report", str(material / "run"), "--out", str(material / "report")],
    }[command]
    steps = [{"words": words, "files": {str(file): v}} for v in mutated(file, number, 2, mutate)]
    report(list(drive(material, steps)), tried, name)


def test_results_that_were_edited_do_not_pass(material, count, tried):
    """A cut or edited table is made again from the evidence, or refused; the verdict is that of the true values."""
    file = material / "run" / "results.csv"
    text = file.read_text()
    lines = text.splitlines(keepends=True)
    edited = ["".join(lines[: len(lines) * part // 10]) for part in range(1, 10)]
    edited += [text.replace(",auc,0.", f",auc,{digit}.") for digit in range(1, 9)]
    edited += [text.replace('"auc",0.', f'"auc",{digit}.') for digit in range(1, 9)]
    words = ["check", str(material / "run"), "--against", str(material / "reference.json")]
    results = list(drive(material, [{"words": words, "files": {str(file): e.encode()}} for e in edited if e != text]))
    report(results, tried, "results.csv")
    assert {result["code"] for result in results} <= {0, 2}
    for result in results:
        assert result["code"] == 2 or "0 worse, 0 better" in result["said"], result["said"]


def test_evidence(material, count, tried):
    """A damaged store: what is intact is used, the rest measured again, or the file is named; never a wrong number."""
    truth = (material / "run" / "results.csv").read_bytes()
    whole = (material / "run" / "evidence.sqlite").read_bytes()
    wrong = []
    for number in range(count(2, 60)):
        folder = material / f"damaged{number}"
        shutil.copytree(material / "run", folder)
        content = mutations.of_bytes(whole, np.random.default_rng([3, number]))
        (folder / "evidence.sqlite").write_bytes(content)
        (folder / "results.csv").unlink()
        words = ["run", "--models", "ela,centre", "--perturbations", "clean;jpeg:70", "--workers", "1", "--data",
                 f"folder:{material / 'images'},{material / 'masks'}", "--out", str(folder)]  # fmt: skip
        (result,) = drive(material, [{"words": words, "files": {}}])
        tried["mutated evidence.sqlite"] += 1
        wrong += faults([result], allowed=(0, 2))
        if result["code"] == 0 and (folder / "results.csv").read_bytes() != truth:
            wrong.append(f"{number}: another table after {result['said']}")
        shutil.rmtree(folder)
    assert not wrong, "\n".join(wrong[:3])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp", ".gif", ".avif"])
def test_photos_and_masks(tmp_path, count, tried, suffix):
    """One bad file costs its own cells, not the run."""
    data = photos(tmp_path, 3, suffix if suffix != ".gif" else ".png")
    victim = tmp_path / "images" / f"photo01{suffix if suffix != '.gif' else '.png'}"
    if suffix == ".gif":
        victim = tmp_path / "masks" / "photo01.png"
    words = ["run", "--models", "centre", "--data", data, "--perturbations", "clean", "--workers", "1"]
    steps = [
        {"words": [*words, "--out", str(tmp_path / f"run{i}")], "files": {str(victim): content}}
        for i, content in enumerate(mutated(victim, count(4, 200), 4))
    ]
    report(list(drive(tmp_path, steps)), tried, f"{'mask' if suffix == '.gif' else 'photo'} {suffix}")
    for number in range(len(steps)):
        table = (tmp_path / f"run{number}" / "results.csv").read_text()
        assert "photo00" in table and "photo02" in table, steps[number]


def test_images_that_declare_more_than_they_hold(tmp_path, tried):
    """Other formats under a name, huge sizes in a small file, an EPS (which must start no Ghostscript)."""
    data = photos(tmp_path, 3)
    victim = tmp_path / "images" / "photo01.png"
    witness = tmp_path / WITNESS
    png = victim.read_bytes()
    huge = png[:16] + (2**31 - 1).to_bytes(4, "big") * 2 + png[24:]
    eps = (
        f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n({witness}) (w) file closefile\nshowpage\n%%EOF\n".encode()
    )
    dds = b"DDS " + (124).to_bytes(4, "little") + bytes(120)
    contents = [
        huge,
        eps,
        dds,
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a" + b"\xff" * 20,
        b"P6 99999 99999 255\n",
        b"II*\0" + b"\xff" * 64,
    ]
    words = ["run", "--models", "centre", "--data", data, "--perturbations", "clean", "--workers", "1"]
    steps = [
        {"words": [*words, "--out", str(tmp_path / f"run{i}")], "files": {str(victim): c}}
        for i, c in enumerate(contents)
    ]
    report(list(drive(tmp_path, steps)), tried, "image of a false format")
    assert not witness.exists()
    for number in range(len(steps)):
        assert "photo02" in (tmp_path / f"run{number}" / "results.csv").read_text()


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".png"])
def test_score_maps(tmp_path, count, tried, suffix):
    data = photos(tmp_path, 3)
    maps = tmp_path / "maps"
    maps.mkdir()
    for name in ("photo00", "photo01", "photo02"):
        values = np.random.default_rng(0).random((48, 64)).astype(np.float32)
        if suffix == ".npy":
            np.save(maps / f"{name}.npy", values)
        elif suffix == ".npz":
            np.savez(maps / f"{name}.npz", map=values)
        else:
            Image.fromarray((values * 255).astype(np.uint8)).save(maps / f"{name}.png")
    (maps / "maps.toml").write_text('kind = "probability"\n')
    words = ["run", "--models", f"maps:{maps}", "--data", data, "--perturbations", "clean", "--workers", "1"]
    for victim in (maps / f"photo01{suffix}", maps / "maps.toml"):
        variants = mutated(victim, count(5, 200), 5)
        if victim.suffix == ".npy":
            header = victim.read_bytes().replace(b"(48, 64)", b"(9999999, 9999999)")
            pickled = tmp_path / "pickled.npy"
            np.save(pickled, np.array([Payload(tmp_path / WITNESS)], object), allow_pickle=True)
            variants += [header, pickled.read_bytes()]
        steps = [
            {"words": [*words, "--out", str(tmp_path / f"{victim.name}{i}")], "files": {str(victim): content}}
            for i, content in enumerate(variants)
        ]
        report(list(drive(tmp_path, steps)), tried, f"score map {victim.name.replace('photo01', '')}")
    assert not (tmp_path / WITNESS).exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_checkpoints(tmp_path, count, tried, suffix):
    shipped = Path(__file__).parents[2] / "models/mpc/weights/mpc_small.safetensors"
    from safetensors.torch import load_file, save_file

    tensors = {name: value for name, value in list(load_file(shipped).items())[:40]}
    victim = tmp_path / f"net{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": tensors, "evil": Payload(tmp_path / WITNESS)}, victim)
    else:
        save_file(tensors, victim)
    convert = ["weights", "convert", str(victim), "--out", str(tmp_path / "out.safetensors")]
    load = ["run", "--models", "mpc", "--weights", f"mpc={victim}", "--data", photos(tmp_path, 1), "--perturbations",
            "clean", "--workers", "1", "--out", str(tmp_path / "run")]  # fmt: skip
    contents = mutated(victim, count(10, 600), 6)
    # damage where it tells: in the pickle at the file's beginning and in the archive's list at its end
    whole = victim.read_bytes()
    for number in range(count(10, 600)):
        rng = np.random.default_rng([7, number])
        contents.append(mutations.of_bytes(whole[:4096], rng) + whole[4096:])
        contents.append(whole[:-4096] + mutations.of_bytes(whole[-4096:], rng))
    steps = [{"words": load if i % 10 == 0 else convert, "files": {str(victim): c}} for i, c in enumerate(contents)]
    report(list(drive(tmp_path, steps)), tried, f"checkpoint {suffix}")
    assert not (tmp_path / WITNESS).exists()


@pytest.mark.parametrize("kind", ["card", "config"])
def test_cards_and_settings(tmp_path, count, tried, kind):
    if kind == "config":
        victim = tmp_path / "run.toml"
        victim.write_text('models = "centre"\nperturbations = "clean;jpeg:70"\nlimit = 2\nseed = 3\n')
        words = ["run", "--config", str(victim), "--data", photos(tmp_path, 2), "--workers", "1"]
    else:
        source = next(iter(sorted((Path(__file__).parents[2] / "datasets").glob("c*.toml"))))
        victim = tmp_path / source.name
        shutil.copy(source, victim)
        words = ["run", "--models", "centre", "--data", f"{victim}:{tmp_path}", "--perturbations", "clean"]
    variants = mutated(victim, count(6, 300), 8)
    steps = [
        {"words": [*words, "--out", str(tmp_path / f"run{i}")], "files": {str(victim): c}}
        for i, c in enumerate(variants)
    ]
    report(list(drive(tmp_path, steps)), tried, kind)


def test_everything_was_intact(material):
    """The campaign put back what it damaged, so that each mutation was judged alone."""
    done = bench("check", str(material / "run"), "--against", str(material / "reference.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((material / "run" / "run.json").read_text())["finished"]
