"""Which pictures a run folder keeps: against sorting everything, whatever the order and however often it is resumed."""

import io
import json
import sqlite3

import numpy as np
import pytest
from PIL import Image

from bench import gallery
from bench.cli import main
from bench.gallery import Extremes, chosen, value_of
from bench.metrics import PROTOCOLS
from bench.results import read
from bench.store import Store


def test_extremes_are_the_ends_of_the_sorted_list_in_whatever_order_they_come():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 20, 300) / 20  # many ties
    expected = [number for _, number in sorted((v, n) for n, v in enumerate(values))]
    for order in (range(300), rng.permutation(300)):
        extremes, gone = Extremes(6), []
        for number in order:
            gone += extremes.offer("group", int(number), values[number])
        assert sorted(extremes) == sorted(expected[:6] + expected[-6:])
        assert sorted([*extremes, *gone]) == list(range(300))


def test_parts_keep_all_that_the_whole_would():
    values = np.random.default_rng(1).integers(0, 9, 90).tolist()
    whole, parts = Extremes(3), [Extremes(3), Extremes(3)]
    for number, value in enumerate(values):
        whole.offer("g", number, value)
        parts[number % 2].offer("g", number, value)
    assert set(whole) <= {member for part in parts for member in part}


def test_auto_means_all_for_small_runs():
    assert [chosen("auto", n) for n in (20_000, 20_001)] == ["all", "extremes"]
    assert chosen("none", 5) == "none" and chosen("all", 10**6) == "all"


def test_an_image_without_the_headline_metric_stands_by_the_next_one():
    native = PROTOCOLS["native"]
    assert value_of({"auc": 0.5, "f1": 0.25}, native) == ("f1", 0.25)
    assert value_of({"auc": 0.5, "f1": float("nan")}, native)[1] == 0.5
    assert value_of({}, native) is None


@pytest.fixture
def many(tmp_path):
    """Nine photos whose forged pixels stand out differently; of the last no pixel is forged."""
    rng = np.random.default_rng(2)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(9):
        mask = np.zeros((24, 24), np.uint8)
        mask[4:20, 4:20] = 255
        rgb = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        rgb[mask > 0, 0] = np.clip(rgb[mask > 0, 0].astype(int) + 12 * number, 0, 255)
        Image.fromarray(rgb).save(tmp_path / "images" / f"p{number}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"p{number}.png")
    return tmp_path


def run(folder, pictures, *more, out="run", perturbations="clean;noise:5"):
    data = f"folder:{folder / 'images'},{folder / 'masks'}"
    words = ["run", "--models", "toy_localizers:Redness,ela", "--data", data, "--workers", "1", "--pictures", pictures]
    return main([*words, "--perturbations", perturbations, "--out", str(folder / out), *more])


def pictures_of(folder, out="run"):
    """(kind, localizer, image, spec) of every picture of a cell; (image, spec) of photos; images of truths."""
    with Store(folder / out) as store:
        cells = store.cells()
        own = {
            (c.model, c.image, c.spec)
            for c in cells.itertuples()
            if (data := store.thumbnail("score", c.key)) and Image.open(io.BytesIO(data)).size == (24, 24)
        }
        photos = {
            (c.image, c.spec) for c in cells.itertuples() if store.thumbnail("photo", (c.test_set, c.image, c.spec))
        }
        truths = {c.image for c in cells.itertuples() if store.thumbnail("truth", (c.test_set, c.image))}
        total = store.connection.execute("select count(*) from picture where what = 'score'").fetchone()[0]
    assert total == len(own)
    return own, photos, truths


def expected(folder, each_end, out="run"):
    """By sorting the results table: f1 where it is defined, else the first other metric, which ela's maps have."""
    table = read(folder / out)
    table = table[~table.image.isin(["*", "**"])]
    kept = set()
    for (model, spec), group in table.groupby(["model", "spec"]):
        metric = "f1" if model == "toy_localizers:Redness" else gallery.deciding(PROTOCOLS["native"])[1:]
        metric = (
            metric
            if isinstance(metric, str)
            else next(m for m in metric if group[group.metric == m].value.notna().any())
        )
        ordered = group[group.metric == metric].sort_values(["value", "image"]).image.tolist()
        assert len(ordered) == 9
        kept |= {(model, image, spec) for image in ordered[:each_end] + ordered[-each_end:]}
    return kept


def test_a_run_keeps_the_extremes_and_the_photos_that_go_with_them(many, monkeypatch):
    monkeypatch.setattr(gallery.Extremes.__init__, "__defaults__", (2,))
    assert run(many, "extremes") == 0
    own, photos, truths = pictures_of(many)
    assert own == expected(many, 2) and len(own) == 2 * 2 * 4
    assert photos == {(image, spec) for _, image, spec in own} and truths == {image for image, _ in photos}
    assert json.loads((many / "run" / "run.json").read_text())["request"]["pictures"] == "extremes"


def test_a_run_in_parts_keeps_what_one_call_would(many, monkeypatch):
    monkeypatch.setattr(gallery.Extremes.__init__, "__defaults__", (2,))
    assert run(many, "extremes", perturbations="clean") == 0
    with sqlite3.connect(many / "run" / "evidence.sqlite") as connection:  # as if it had been stopped half-way
        connection.execute("delete from evidence where image in (select component from image where name > 'p4')")
    assert run(many, "extremes") == 0
    assert run(many, "extremes", out="whole") == 0
    assert pictures_of(many) == pictures_of(many, "whole")


def test_asking_for_less_prunes_what_is_there_and_measures_nothing(many, monkeypatch):
    monkeypatch.setattr(gallery.Extremes.__init__, "__defaults__", (2,))
    assert run(many, "all") == 0
    assert len(pictures_of(many)[0]) == 36
    table, size = read(many / "run"), (many / "run" / "evidence.sqlite").stat().st_size
    assert run(many, "extremes") == 0
    assert json.loads((many / "run" / "run.json").read_text())["cells"]["computed"] == 0
    assert pictures_of(many)[0] == expected(many, 2) and read(many / "run").equals(table)
    assert (many / "run" / "evidence.sqlite").stat().st_size < size


def test_without_pictures_the_numbers_are_the_same_and_the_report_is_written(many):
    assert run(many, "none") == 0 and run(many, "all", out="all") == 0
    assert pictures_of(many) == (set(), set(), set())
    assert read(many / "run").equals(read(many / "all"))
    assert main(["report", str(many / "run")]) == 0
