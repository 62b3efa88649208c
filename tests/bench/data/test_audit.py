"""What a set leaks: sets made with one fault each are flagged by it, a clean one passes."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.fft import dctn
from sklearn.metrics import roc_auc_score

from bench.commands import data as data_commands
from bench.data import Sample, TestSet, audit, facts, open_test_sets, verdicts
from bench.data.facts import GRID, Facts

RNG = np.random.default_rng(5)
SIZE = (96, 80)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def photo(seed):
    """Smooth and textured, another one a seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 5, 3), np.uint8)
    big = np.array(Image.fromarray(small).resize(SIZE, Image.Resampling.BICUBIC), np.int16)
    return np.clip(big + rng.integers(-9, 10, big.shape), 0, 255).astype(np.uint8)


def save(pixels, path, suffix="jpg", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path.with_suffix(f".{suffix}"), **options)


def made(root, n=16, tampered=None, authentic=None, doubled=0, middle=False):
    """A folder set of n tampered and n authentic images; `tampered`, `authentic`: how they are saved."""
    for number in range(n):
        quality = 70 + number % 4 * 8
        plain = {"suffix": "jpg", "quality": quality}
        save(photo(number), root / f"images/{number:02}", **(tampered or plain))
        save(photo(100 + number % (n - doubled)), root / f"images/auth_{number:02}", **(authentic or plain))
        mask = np.zeros(SIZE[::-1], np.uint8)
        top, left = (30, 36) if middle else RNG.integers(0, [60, 70])
        mask[top : top + 20, left : left + 24] = 255
        save(mask, root / f"masks/{number:02}", "png")
    return open_test_sets(f"folder:{root}/images,{root}/masks")


def leaks(sets):
    (report,) = audit.audit(sets)
    assert report["verdict"].startswith("LEAKS" if report["leaks"] else "no leak found")
    return report


@pytest.mark.parametrize("n", [4, 8, 16])
def test_a_clean_set_passes(tmp_path, n):
    report = leaks(made(tmp_path / "set", n))
    assert not report["leaks"] and not report["doubled"] and not report["near"]
    assert ("too few" in report["verdict"]) == (n < 6)


@pytest.mark.parametrize("n", [4, 8, 16])
@pytest.mark.parametrize(
    "tampered, authentic, which",
    [
        ({"suffix": "png"}, {"quality": 90}, "container"),
        ({"suffix": "webp", "quality": 90}, {"suffix": "png"}, "container"),
        ({"quality": 75}, {"quality": 92}, "quantization tables"),
        ({"quality": 85, "subsampling": 0}, {"quality": 85, "subsampling": 2}, "chroma subsampling"),
        ({"quality": 85, "progressive": True}, {"quality": 85}, "progressive"),
    ],
)
def test_a_set_whose_files_tell_is_flagged_by_what_tells(tmp_path, n, tampered, authentic, which):
    report = leaks(made(tmp_path / "set", n, tampered, authentic))
    assert any(which in leak for leak in report["leaks"])
    if n >= 8:
        assert report["auc"] > 0.9


def test_exif_and_size_are_facts_of_a_file(tmp_path):
    exif = Image.Exif()
    exif[0x0131] = "An editor"
    report = leaks(made(tmp_path / "exif", 12, {"quality": 80, "exif": exif}, {"quality": 80}))
    assert "EXIF or none" in report["leaks"][0]
    sets = made(tmp_path / "size", 12)
    for number in range(12):
        save(np.zeros((60, 60, 3), np.uint8) + number, tmp_path / f"size/images/auth_{number:02}", "jpg", quality=70)
    report = leaks(open_test_sets(f"folder:{tmp_path}/size/images,{tmp_path}/size/masks"))
    assert sets and "height" in report["leaks"][0]


def test_doubled_images_are_flagged_whatever_their_container(tmp_path):
    report = leaks(made(tmp_path / "set", 16, doubled=3, authentic={"suffix": "png"}, tampered={"suffix": "png"}))
    (leak,) = report["leaks"]
    assert leak.startswith("6 images occur more than once (auth_00 = auth_13; ") and len(report["doubled"]) == 3


def test_near_duplicates_are_told(tmp_path):
    made(tmp_path / "set", 12)
    save(photo(3), tmp_path / "set/images/auth_copy", "jpg", quality=60)
    (report,) = audit.audit(open_test_sets(f"folder:{tmp_path}/set/images,{tmp_path}/set/masks"))
    assert ["03", "auth_copy"] in [sorted(pair) for pair in report["near"]]
    assert any("look nearly the same" in remark for remark in report["remarks"])


def test_images_of_two_sets(tmp_path):
    first, second = made(tmp_path / "one", 12)[0], made(tmp_path / "two", 12)[0]
    reports = audit.audit([first, second])
    assert reports[0]["shared"]["two"] == {"same": 24, "near": 0}
    assert any("24 images are the same as in two" in leak for leak in reports[0]["leaks"])


def test_an_inverted_set_and_one_that_marks_everything(tmp_path):
    made(tmp_path / "set", 8)
    for path in (tmp_path / "set/masks").iterdir():
        Image.fromarray(255 - np.array(Image.open(path))).save(path)
    Image.fromarray(np.full(SIZE[::-1], 255, np.uint8)).save(tmp_path / "set/masks/00.png")
    (report,) = audit.audit(open_test_sets(f"folder:{tmp_path}/set/images,{tmp_path}/set/masks"))
    assert any("inverted" in leak for leak in report["leaks"])
    assert "1 masks mark every pixel" in report["remarks"]


def test_the_verdict_is_kept_for_reports_by_the_sets_fingerprint(tmp_path):
    (test_set,) = made(tmp_path / "set", 8, {"suffix": "png"}, {"quality": 90})
    assert test_set.record()["audit"] == ""
    leaks([test_set])
    assert verdicts.kept(test_set.digest).startswith("LEAKS: ")
    assert test_set.record()["audit"] == verdicts.kept(test_set.digest)


def test_the_command_writes_words_table_and_figures(tmp_path, capsys):
    import argparse

    parser = argparse.ArgumentParser()
    data_commands.add_arguments(parser)
    made(tmp_path / "set", 8, {"suffix": "png"}, {"quality": 90})
    spec = f"folder:{tmp_path}/set/images,{tmp_path}/set/masks"
    assert data_commands.main(parser.parse_args(["audit", spec, "--out", str(tmp_path / "out")])) == 1
    out = capsys.readouterr().out
    assert "LEAKS: the file alone tells" in out and "quantization tables" in out
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"audit.json", "audit.txt", "set1.png"}
    assert json.loads((tmp_path / "out/audit.json").read_text())[0]["auc"] > 0.9
    assert data_commands.main(parser.parse_args(["stats", spec, "--out", str(tmp_path / "st"), "--json"])) == 0
    assert json.loads(capsys.readouterr().out)[0]["qualities"] == {"90": 8}
    assert Image.open(tmp_path / "st/stats1.png").width > 400


# ------------------------------------------------------------------------------------ the parts, told independently


def test_the_nearest_quality_is_the_one_it_was_saved_with():
    for quality in (1, 10, 37, 50, 75, 90, 100):
        data = io.BytesIO()
        Image.fromarray(photo(1)).save(data, "JPEG", quality=quality)
        found = facts._container(Image.open(data))
        assert found["quality"] == quality and found["format"] == "JPEG"


def test_the_perceptual_hash_is_that_of_its_definition():
    pixels = np.repeat(np.random.default_rng(0).integers(0, 256, (32, 32, 1), np.uint8), 3, axis=2)
    low = dctn(pixels[:, :, 0].astype(float), norm="ortho")[:8, :8]
    bits = "".join("1" if value > np.median(low) else "0" for value in low.ravel())
    assert facts.perceptual_hash(pixels) == int(bits, 2)
    other = facts.perceptual_hash(photo(2)) ^ facts.perceptual_hash(photo(3))
    jpeg = io.BytesIO()
    Image.fromarray(photo(2)).save(jpeg, "JPEG", quality=50)
    alike = facts.perceptual_hash(photo(2)) ^ facts.perceptual_hash(np.array(Image.open(jpeg)))
    assert alike.bit_count() <= 3 < other.bit_count()


@pytest.mark.parametrize("distance", [0, 1, 3])
def test_near_pairs_are_those_of_all_pairs(distance):
    rng = np.random.default_rng(1)
    hashes = [int(h) for h in rng.integers(0, 2**63, 60)]
    for place in range(40):
        flips = sum(1 << int(bit) for bit in set(rng.integers(0, 64, rng.integers(0, 6))))
        hashes.append(hashes[place] ^ flips)
    every = {(a, b) for b in range(len(hashes)) for a in range(b) if (hashes[a] ^ hashes[b]).bit_count() <= distance}
    assert every and set(facts.near_pairs(hashes, distance)) == every


def test_guessing_the_middle_is_scored_as_scikit_learn_does():
    forged = np.random.default_rng(2).random((GRID, GRID)) < 0.2
    place = np.arange(GRID) - (GRID - 1) / 2
    nearness = -(place[:, None] ** 2 + place[None] ** 2)
    one = Facts("a", True, "", "a", area=(forged * 255).astype(np.uint8))
    assert facts.centre_auc([one]) == pytest.approx(roc_auc_score(forged.ravel(), nearness.ravel()), abs=1e-9)
    assert facts.centre_auc([Facts("b", False, "", "b")]) is None


def test_a_set_in_which_sources_hold_both_classes_gets_no_credit_for_knowing_the_photo():
    """The size of each photo is its own, and every photo is there forged and authentic: nothing is to be learnt."""
    rows = [
        {"source": str(n), "tampered": forged, "height": 100 + n, "width": 50, "quality": None}
        | dict.fromkeys(audit.NAMED, "x")
        for n in range(20)
        for forged in (True, False)
    ]
    auc, _ = audit.facts_auc(pd.DataFrame(rows))
    assert auc == pytest.approx(0.5, abs=0.15)


def test_an_unreadable_image_is_a_fact_and_no_error(tmp_path):
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    test_set = TestSet("t", "T", [Sample("x", tmp_path / "x.png", None, "t")])
    (one,) = facts.gather(test_set, "test")
    assert one.problem.startswith("not an image of a known format")
