"""Photos and folders whose names would break a path, a table, a page, a shell or an encoding."""

from __future__ import annotations

import os
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from campaign import bench, photos

from bench.results import read_results

NAMES = [
    "plain", "with blank", " leading", "trailing ", "tab\there", "line\nfeed", "carriage\rreturn", 'quote"d', "quote'd",
    "back\\slash", "dollar$HOME", "star*", "what?", "[bracket]", "{0}", "%s%n", "~tilde", "-dash", "--out", "=cmd()",
    "+1", "@160", "#hash", "semi;colon", "com,ma", "pi|pe", "co:lon", "a&amp;b", "<b>bold<", "<script>alert(1)<",
    "`tick`", "umlautü", "emoji🙂", "rtl\u202eabc", "zero\u200bwidth", "nul\u2400", "dots...", "a" * 240, "NaN",
    "null", "1e5", "001", "True", "*", "**", "con", "über" * 20,
]  # fmt: skip
BYTES = [b"latin\xe9", b"\xff\xfe", b"half\xc3"]


def hostile(folder: Path, names: list[bytes]) -> list[bytes]:
    """Photos with masks of these names, where the file system allows them."""
    photos(folder, 1)
    source = {kind: (folder / kind / "photo00.png") for kind in ("images", "masks")}
    content = {kind: path.read_bytes() for kind, path in source.items()}
    for path in source.values():
        path.unlink()
    made = []
    for name in names:
        try:
            for kind in source:
                with open(os.path.join(os.fsencode(folder / kind), name + b".png"), "wb") as file:
                    file.write(content[kind])
            made.append(name)
        except OSError:
            continue
    return made


@pytest.mark.parametrize("kind", ["text", "bytes", "composed"])
def test_names_of_photos(tmp_path, count, tried, kind):
    names = {
        "text": [name.encode() for name in NAMES],
        "bytes": BYTES,
        "composed": [unicodedata.normalize(form, "é" * 3).encode() for form in ("NFC", "NFD")],
    }[kind]
    made = hostile(tmp_path, names)
    data = f"folder:{tmp_path / 'images'},{tmp_path / 'masks'}"
    out, reference = str(tmp_path / "run"), str(tmp_path / "reference.json")
    done = bench("run", "--models", "centre,ela", "--data", data, "--perturbations", "clean;noise:5", "--workers", "1",
                 "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    tried["hostile name of a photo"] += len(made)
    table = read_results(tmp_path / "run" / "results.csv")
    rows = table[(table["metric"] == "auc") & (table["protocol"] == "native")]
    assert (rows.groupby(["model", "spec"])["image"].nunique() == len(made)).all(), set(table["image"])
    for words in (["report", out], ["check", out, "--against", reference, "--update"],
                  ["check", out, "--against", reference, "--junit", str(tmp_path / "check.xml")]):  # fmt: skip
        done = bench(*words)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
    page = next((tmp_path / "run" / "report").glob("*.html")).read_text(encoding="utf-8", errors="strict")
    assert "<script>alert(1)" not in page
    assert str(tmp_path) not in page


def test_names_of_folders(tmp_path, count, tried):
    names = [n for n in NAMES if "," not in n and ":" not in n and "@" not in n]
    chosen = np.random.default_rng(0).permutation(len(names))[: count(2, len(names))]
    for number in chosen:
        root = tmp_path / names[number]
        try:
            photos(root, 1)
        except OSError:
            continue
        done = bench("run", "--models", "centre", "--data", f"folder:{root / 'images'},{root / 'masks'}",
                     "--perturbations", "clean", "--workers", "1", "--out", str(root / "run"))  # fmt: skip
        tried["hostile name of a folder"] += 1
        assert done.returncode == 0, (names[number], done.stdout + done.stderr)
        done = bench("report", str(root / "run"))
        assert done.returncode == 0 and (root / "run" / "report").is_dir(), (names[number], done.stderr)


def test_folders_that_are_none(tmp_path, tried):
    """Links in a circle, files for folders, folders for files, no permission, nothing there."""
    data = photos(tmp_path, 2)
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "images" / "folder.png").mkdir()
    os.mkfifo(tmp_path / "images" / "pipe.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "images" / "locked.png")
    (tmp_path / "images" / "locked.png").chmod(0)
    words = ["run", "--models", "centre", "--perturbations", "clean", "--workers", "1", "--out", str(tmp_path / "run")]
    done = bench(*words, "--data", data, timeout=120)
    tried["folder that is none"] += 1
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    table = read_results(tmp_path / "run" / "results.csv")
    assert {"photo00", "photo01"} <= set(table["image"])
    (tmp_path / "file").write_text("")
    for images in (tmp_path / "absent", tmp_path / "file", tmp_path / "images" / "folder.png"):
        done = bench(*words[:-1], str(tmp_path / "other"), "--data", f"folder:{images},{tmp_path / 'masks'}")
        tried["folder that is none"] += 1
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stdout + done.stderr
