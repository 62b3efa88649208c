import hashlib
import json
import re
import shlex

import cv2
import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from bench.data import open_test_sets
from bench.export import ExportError, export
from bench.perturb import parse, perturb
from models.image import ForensicImage, encode_jpeg, read_image

AWKWARD = ["a b.png", "A B.png", "über;mit:allem+?.png", "x" * 150 + ".png", "tail..png", "CON.png"]


def picture(number: int, height: int = 40, width: int = 56) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([4 * x + number, 5 * y, x * y + 31 * number], axis=-1).astype(np.uint8)


@pytest.fixture
def photos(tmp_path):
    """Two folders, images and masks: a JPEG, and PNGs of 8-bit RGB, of a palette, of 16-bit RGB."""
    images, masks = tmp_path / "photos", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    (images / "one.jpg").write_bytes(encode_jpeg(picture(1), 92, "4:4:4"))
    Image.fromarray(picture(2)).save(images / "two.png", compress_level=1)
    Image.fromarray(picture(3)).quantize(16).save(images / "three.png")
    cv2.imwrite(str(images / "four.png"), picture(4).astype(np.uint16) * 256 + 77)
    for name in ("one", "two", "three", "four"):
        Image.fromarray(np.where(np.arange(56) < 20, 255, 0).astype(np.uint8)[None].repeat(40, axis=0)).save(
            masks / f"{name}.png"
        )
    return f"folder:{images},{masks}"


def manifest_of(folder) -> list[dict]:
    return json.loads((folder / "manifest.json").read_text())["images"]


def jobs_of(data: str) -> list[tuple]:
    return [(test_set, sample) for test_set in open_test_sets(data) for sample in test_set.samples]


def test_command_writes_every_image_with_its_manifest(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        main(["export", "--data", photos, "--perturbations", "jpeg:70;noise:5", "--seed", "4", "--out", str(out)]) == 0
    )
    assert "12 images of 4 photos" in capsys.readouterr().out
    entries = manifest_of(out)
    assert len(entries) == 12
    assert {e["spec"] for e in entries} == {"identity", "jpeg:70", "noise:5"}
    assert {p.name for p in (out / "images").iterdir()} == {e["file"].removeprefix("images/") for e in entries}
    samples = {(test_set.name, sample.id): sample for test_set, sample in jobs_of(photos)}
    for entry in entries:
        key = entry["test_set"], entry["image"]
        expected = perturb(read_image(samples[key].image), entry["spec"], key, seed=4)
        stored = read_image(out / entry["file"])
        assert np.array_equal(stored.rgb, expected.rgb)
        assert stored.jpeg == expected.jpeg
        assert entry["content"] == stored.digest == expected.digest
        assert entry["sha256"] == hashlib.sha256((out / entry["file"]).read_bytes()).hexdigest()
        assert (entry["height"], entry["width"]) == stored.shape
        assert entry["seed"] == 4


def test_originals_leave_as_they_came_where_any_reader_sees_the_same_pixels(photos, tmp_path):
    entries, failures = export(jobs_of(photos), parse("clean"), tmp_path / "out")
    assert failures == []
    files = {sample.id: sample.image for _, sample in jobs_of(photos)}
    unchanged = {
        files[e["image"]].name: (tmp_path / "out" / e["file"]).read_bytes() == files[e["image"]].read_bytes()
        for e in entries
    }
    assert unchanged == {"one.jpg": True, "two.png": True, "three.png": False, "four.png": False}
    exported = {files[e["image"]].name: e["file"] for e in entries}
    for name in ("three.png", "four.png"):  # a palette and 16 bits: what localizers see is written out
        stored = cv2.imread(str(tmp_path / "out" / exported[name]), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(stored[:, :, ::-1], read_image(tmp_path / "photos" / name).rgb)


def test_file_names_survive_any_file_system(tmp_path):
    images, masks = tmp_path / "photos", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    for number, name in enumerate(AWKWARD):
        Image.fromarray(picture(number)).save(images / name)
        Image.fromarray(np.full((40, 56), 255, np.uint8)).save(masks / name)
    entries, _ = export(jobs_of(f"folder:{images},{masks}"), parse("resize:0.5+jpeg:70"), tmp_path / "out")
    names = [e["file"].removeprefix("images/") for e in entries]
    assert len(names) == 2 * len(AWKWARD)
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_-]+\.(png|jpg)", name), name
        assert len(name) < 150


def test_two_exports_are_equal_and_one_extends_the_other(photos, tmp_path):
    jobs = jobs_of(photos)
    export(jobs, parse("noise:5;jpeg:80"), tmp_path / "once")
    export(jobs, parse("noise:5"), tmp_path / "twice")
    export(jobs, parse("jpeg:80"), tmp_path / "twice")
    once, twice = manifest_of(tmp_path / "once"), manifest_of(tmp_path / "twice")

    def by_file(entry):
        return entry["file"]

    assert sorted(once, key=by_file) == sorted(twice, key=by_file)


def test_a_photo_that_changed_gets_another_file_name(photos, tmp_path):
    jobs = jobs_of(photos)
    (before,) = [e["file"] for e in export(jobs, parse("clean"), tmp_path / "out")[0] if e["image"].startswith("two")]
    path = next(s.image for _, s in jobs if s.id.startswith("two"))
    Image.fromarray(picture(7)).save(path)
    entries, _ = export(jobs, parse("clean"), tmp_path / "out")
    (after,) = [e["file"] for e in entries if e["image"].startswith("two")]
    assert before != after
    assert len(manifest_of(tmp_path / "out")) == 4


def test_an_unreadable_photo_is_named_and_the_rest_exported(photos, tmp_path):
    jobs = jobs_of(photos)
    broken = next(s.image for _, s in jobs if s.id.startswith("one"))
    broken.write_bytes(broken.read_bytes()[:400])
    entries, failures = export(jobs, parse("clean"), tmp_path / "out")
    assert len(entries) == 3
    assert len(failures) == 1
    assert "one.jpg" in failures[0]


def test_a_foreign_manifest_is_not_overwritten(photos, tmp_path):
    foreign = tmp_path / "out" / "manifest.json"
    foreign.parent.mkdir()
    foreign.write_text('{"name": "some web app"}')
    with pytest.raises(ExportError, match=r"manifest\.json: not the manifest of an export"):
        export(jobs_of(photos), parse("clean"), foreign.parent)
    assert foreign.read_text() == '{"name": "some web app"}'


def test_digest_tells_sizes_and_jpeg_histories_apart():
    pixels = picture(1)
    plain = ForensicImage(pixels)
    assert plain.digest == ForensicImage(pixels.copy()).digest
    assert plain.digest != ForensicImage(pixels.reshape(20, 112, 3)).digest
    photo = perturb(plain, "jpeg:90")
    assert photo.digest != ForensicImage(photo.rgb).digest


def write_maps(out):
    (out / "maps").mkdir(exist_ok=True)
    for entry in manifest_of(out):
        values = np.linspace(0, 1, entry["height"] * entry["width"], dtype=np.float32)
        name = entry["file"].removeprefix("images/").rpartition(".")[0]
        np.save(out / "maps" / f"{name}.npy", values.reshape(entry["height"], entry["width"]))


def test_the_printed_command_scores_the_whole_export(photos, tmp_path, capsys):
    """Data, perturbations, seed and limit need not be said again; a second export is scored along with the first."""
    out, folder = tmp_path / "of a tool", str(tmp_path / "run")
    words = ["export", "--data", photos, "--seed", "4", "--limit", "2", "--out", str(out)]
    assert main([*words, "--perturbations", "noise:5;crop:0.5"]) == 0
    command = capsys.readouterr().out.rpartition("python -m bench ")[2]
    assert main([*words, "--perturbations", "noise:9", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["then"] == f"python -m bench {command.strip()}"
    write_maps(out)
    assert main([*shlex.split(command), "--out", folder, "--workers", "1", "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["request"]["perturbations"] == "noise:5;crop:0.5;noise:9"
    assert (about["request"]["seed"], about["request"]["limit"]) == (4, 2)
    assert about["cells"]["ok"] == 2 * 4
    # what is said on the command line wins
    assert main([*shlex.split(command), "--out", f"{folder}2", "--perturbations", "noise:9", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"]["ok"] == 2 * 2


def test_exports_that_differ_in_more_than_perturbations_have_to_be_told_apart(photos, tmp_path, capsys):
    for seed in ("0", "1"):
        words = ["export", "--data", photos, "--perturbations", "noise:5", "--seed", seed]
        assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert main(["run", "--models", f"maps:{tmp_path / 'out'}", "--out", str(tmp_path / "run")]) == 2
    assert "differ in --seed" in capsys.readouterr().err


def test_an_image_too_small_for_a_perturbation_is_named(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture(1, 9, 9)).save(tmp_path / "photos" / "tiny.png")
    words = ["--data", f"folder:{tmp_path / 'photos'}", "--perturbations", "trim:9", "--out", str(tmp_path / "out")]
    assert main(["export", *words]) == 1
    assert "tiny.png under trim:9: trim:9 leaves nothing of 9 x 9 pixels" in capsys.readouterr().err
    assert [entry["spec"] for entry in manifest_of(tmp_path / "out")] == ["identity"]
