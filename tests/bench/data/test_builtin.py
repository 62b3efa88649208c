"""The built-in set: the same bytes everywhere, repaired when damaged, and carrying real traces."""

import hashlib
import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from bench.data import DataError, builtin, open_test_sets
from models.image import decode_rgb, read_image


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def builtin_set(cache):
    return open_test_sets("builtin")[0]


def test_the_bytes_are_the_golden_ones(builtin_set):
    folder = builtin_set.samples[0].image.parents[1]
    files = sorted([*folder.glob("images/*"), *folder.glob("masks/*")])
    lines = [f"{f.relative_to(folder).as_posix()} {hashlib.sha256(f.read_bytes()).hexdigest()}" for f in files]
    assert hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest() == builtin.GOLDEN


def test_it_holds_what_it_promises(builtin_set):
    kinds = [sample.kind for sample in builtin_set.samples]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "splice": 8,
        "copy-move": 8,
        "removal": 8,
        "authentic": 8,
    }
    assert len({sample.id for sample in builtin_set.samples}) == 32
    assert {sample.source for sample in builtin_set.samples} == set(builtin.PHOTOS) - {"motorcycle_right"}
    assert builtin_set.demonstration and "not a scientific test set" in builtin_set.note
    assert "WARNING" not in builtin_set.note
    formats = [sample.image.suffix for sample in builtin_set.samples]
    assert formats.count(".jpg") > formats.count(".png") >= 4
    for sample in builtin_set.samples:
        height, width = read_image(sample.image).shape
        assert 0.2e6 <= height * width <= 0.3e6
        if sample.tampered:
            assert 0.005 < builtin_set.read_mask(sample).mean() < 0.5


def test_masks_mark_what_was_changed():
    """Against the unforged host, before the final compression: exactly the mask differs."""
    for number, recipe in enumerate(builtin.RECIPES, 1):
        if recipe.kind == "authentic":
            continue
        rgb, truth = builtin.forge_image(recipe, number)
        rng = np.random.default_rng([int(builtin.VERSION), number])
        host = builtin._photographed(recipe.photo, recipe.camera, rng, grid=(0, 0))
        changed = (rgb != host).any(2)
        assert not changed[~truth].any()
        assert changed[truth].mean() > 0.7


def test_demosaicing_traces_end_at_the_splice(builtin_set):
    """A raw host kept as PNG: every other green pixel is the mean of its four neighbours; not so in the helmet."""
    sample = next(s for s in builtin_set.samples if "splice-motorcycle-astronaut" in s.id)
    green = read_image(sample.image).rgb[:, :, 1].astype(float)
    mean = (green[:-2, 1:-1] + green[2:, 1:-1] + green[1:-1, :-2] + green[1:-1, 2:]) / 4
    is_mean = np.abs(green[1:-1, 1:-1] - mean) <= 0.5
    row, column = np.indices(is_mean.shape)
    interpolated = (row + column) % 2 == 1
    inside = builtin_set.read_mask(sample)[1:-1, 1:-1]
    assert is_mean[interpolated & ~inside].mean() > 0.98
    assert is_mean[~interpolated & ~inside].mean() < 0.2
    assert abs(is_mean[interpolated & inside].mean() - is_mean[~interpolated & inside].mean()) < 0.05


def test_the_donor_keeps_a_jpeg_grid_of_its_own(builtin_set):
    """The helmet was compressed before it was pasted into a host without any compression: steps at its 8x8 borders."""
    sample = next(s for s in builtin_set.samples if "splice-motorcycle-astronaut" in s.id)
    grey, inside = read_image(sample.image).rgb.astype(float).mean(2), builtin_set.read_mask(sample)
    for axis in (0, 1):
        steps = np.moveaxis(np.abs(np.diff(grey, axis=axis)), axis, 0)
        where = np.moveaxis(inside, axis, 0)[1:]
        heights = [steps[k::8][where[k::8]].mean() for k in range(8)]
        assert max(heights) > 1.08 * np.median(heights)
        assert np.argmax(heights) != 7  # the last step before a multiple of 8: the host's grid


def test_a_second_use_writes_nothing(cache, builtin_set):
    files = {file: file.stat().st_mtime_ns for file in cache.rglob("*") if file.is_file()}
    again = open_test_sets("builtin")[0]
    assert again.samples == builtin_set.samples
    assert files == {file: file.stat().st_mtime_ns for file in cache.rglob("*") if file.is_file()}


@pytest.mark.parametrize("damage", ["truncated", "manifest"])
def test_damage_is_repaired(cache, builtin_set, damage):
    victim = builtin_set.samples[5].image
    good = victim.read_bytes()
    if damage == "truncated":
        victim.write_bytes(good[:1000])
    else:
        (victim.parents[1] / "manifest.json").write_text("{")
    again = open_test_sets("builtin")[0]
    assert victim.read_bytes() == good
    assert again.samples == builtin_set.samples


def test_other_bytes_are_said_in_the_note(builtin_set, monkeypatch):
    monkeypatch.setattr(builtin, "GOLDEN", "0" * 64)
    assert "WARNING" in open_test_sets("builtin")[0].note


def test_no_temporary_file_is_left(cache, builtin_set):
    names = [file.name for file in cache.rglob("*") if file.is_file()]
    assert len(names) == 32 + 24 + 1
    assert json.loads((cache / f"builtin-{builtin.VERSION}" / "manifest.json").read_text())["entries"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("BENCH_CACHE", str(blocked))
    with pytest.raises(DataError, match=r"a file.*BENCH_CACHE"):
        open_test_sets("builtin")


def test_a_full_disk_is_named_and_leaves_no_half_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(builtin.os, "replace", full)
    with pytest.raises(DataError, match="No space left on device"):
        open_test_sets("builtin")
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_missing_photo_names_its_package(monkeypatch):
    photo = builtin.Photo("no_such_package", "x.png", 1.0, "")
    monkeypatch.setitem(builtin.PHOTOS, "astronaut", photo)
    with pytest.raises(builtin.BuiltinError, match="no_such_package"):
        builtin.load_photo("astronaut")


def test_png_files_are_read_back_by_pillow_and_opencv():
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (150, 333, 3)).astype(np.uint8)
    mask = rng.random((37, 45)) > 0.5
    assert np.array_equal(decode_rgb(builtin.png_bytes(rgb)), rgb)
    assert np.array_equal(cv2.imdecode(np.frombuffer(builtin.png_bytes(rgb), np.uint8), 1)[:, :, ::-1], rgb)
    assert np.array_equal(np.array(Image.open(io.BytesIO(builtin.png_bytes(mask)))), mask)
