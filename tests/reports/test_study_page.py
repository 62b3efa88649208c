"""The page of a study from made tables: its numbers, its alternatives in words, and how it fits a narrow screen."""

import base64
import re

import numpy as np
import pandas as pd
import pytest

from reports import study as page

METRICS = ("auc", "f1")


@pytest.fixture(scope="module")
def view():
    rng = np.random.default_rng(0)
    variants = [
        {"name": "mpc", "label": "(a) MPC, three views", "seeds": 3, "published": [57.4, 49.6]},
        {"name": "no-scale", "label": "(c) without <cross-scale>", "seeds": 1, "published": [49.4, 40.7]},
        {"name": "cross-entropy", "label": "(e) cross-entropy from the start", "seeds": 3, "published": []},
    ]
    levels = [
        ("identity", "", "identity"),
        ("jpeg", "90", "jpeg:90"),
        ("jpeg", "50", "jpeg:50"),
        ("blur", "5", "blur:5"),
    ]
    curves, comparisons = [], []
    for metric in METRICS:
        for test_set in ("all", "held-back", "a long name of a test set"):
            for v in variants:
                for level in levels:
                    mean = rng.uniform(0.4, 0.7)
                    curves.append((v["name"], test_set, metric, *level, mean, mean - 0.03, mean + 0.03, 90, v["seeds"]))
                if v["name"] == "mpc":
                    continue
                for endpoint in page.ENDPOINTS:
                    d = rng.normal(0, 0.02)
                    numbers = (0.6, 0.6 - d, d, d - 0.03, d + 0.03, 0.02, 0.0004 if d > 0 else 0.5, 0.01, 6.0, 90, 50)
                    row = (metric, endpoint, test_set, v["name"], *numbers, 3, v["seeds"], 0.05)
                    comparisons.append((*row, "confirmed" if d > 0 else "inconclusive"))
    columns = ["variant", "test_set", "metric", "perturbation", "level", "spec", "mean", "low", "high", "n", "seeds"]
    compared = ["metric", "endpoint", "test_set", "variant", "reference_mean", "mean", "difference", "low", "high", "p"]
    compared += ["p_holm", "se", "df", "n", "photos", "seeds_reference", "seeds", "detectable", "verdict"]
    feature = {"compactness": 0.8, "separability": 0.1, "silhouette": -0.02, "silhouette_pooled": 0.0, "images": 40}
    training = {"variant": "mpc", "seed": 0, "steps": 300, "seconds": 400.0, "loss": 0.05, "weights": "ab" * 32}
    return page.StudyView(
        name="made",
        title="Does it?",
        claim="It does & <more>.",
        reference="mpc",
        protocol="native",
        metrics=METRICS,
        variants=variants,
        outcome="mixed",
        headline="It holds in part.",
        paragraphs=("One paragraph.", "Another."),
        curves=pd.DataFrame(curves, columns=columns),
        comparisons=pd.DataFrame(comparisons, columns=compared),
        features=pd.DataFrame([{"network": name, **feature} for name in ("untrained", "mpc.seed0")]),
        trainings=pd.DataFrame([{"network": "mpc.seed0", **training}]),
        embeddings=[page.Embedding("untrained", rng.normal(size=(500, 2)), rng.random(500) < 0.5)],
        facts={"Network": "tiny", "Photos": "690 & 77"},
        limits=("One.", "Two."),
        recipe="[contrast]\nsteps = 200\n",
        command="python -m bench study made --photos PHOTOS",
        published={"source": "A paper, Table 8", "columns": ["mean F1", "mean IoU"]},
    )


@pytest.fixture(scope="module")
def written(view, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    page.write(folder, view)
    return folder


def test_every_comparison_is_on_the_page_and_in_the_card(view, written):
    html, card = (written / "study.html").read_text(), (written / "RESULTS.md").read_text()
    for row in view.comparisons.itertuples():
        cell = f"<td>{page.signed(row.low)} to {page.signed(row.high)}</td>"
        if row.test_set == "all" or row.metric == "auc":
            assert cell in html
        if row.test_set == "all":
            assert f"{page.signed(row.difference)} [{page.signed(row.low)}, {page.signed(row.high)}]" in card
    assert "&lt; .001" in html and "| < .001 |" in card
    assert "without &lt;cross-scale&gt;" in html and "It does &amp; &lt;more&gt;." in html
    assert "without <cross-scale>" in card


def test_published_numbers_stand_beside_ours(view):
    rows = page.published_rows(view)
    clean = view.curves[(view.curves["spec"] == "identity") & (view.curves["test_set"] == "all")]
    f1 = clean[clean["metric"] == "f1"].set_index("variant")["mean"]
    assert rows[1]["dropped"] == pytest.approx([8.0, 8.9])
    assert rows[1]["ours"] == pytest.approx([100 * f1["no-scale"]])
    assert rows[1]["our_drop"] == pytest.approx([100 * (f1["mpc"] - f1["no-scale"])])
    assert np.isnan(rows[2]["published"]).all()


def test_figures_say_in_words_what_they_show(view, written):
    html = (written / "study.html").read_text()
    images = re.findall(r'<img src="data:image/svg\+xml;base64,([^"]+)" alt="([^"]+)">', html)
    assert len(images) == html.count("<img ") == 2 * len(METRICS) + len(page.ENDPOINTS) + 1
    assert all(base64.b64decode(data).startswith(b"<?xml") for data, _ in images)
    blur = view.curves[(view.curves["spec"] == "blur:5") & (view.curves["test_set"] == "all")]
    first = blur[(blur["metric"] == "auc") & (blur["variant"] == "mpc")]["mean"].iloc[0]
    assert any(alt.startswith("pixel AUC, blur.") and f"5 {page.number(first)}" in alt for _, alt in images)


def test_the_same_study_gives_the_same_bytes(view, written, tmp_path):
    files = page.write(tmp_path, view)
    assert {f.name for f in files} == {f.name for f in written.iterdir()}
    assert all(f.read_bytes() == (written / f.name).read_bytes() for f in files)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.0004, 3, ".000"), (-0.0004, 3, ".000"), (-0.25, 3, "−.250"), (1, 3, "1.000"), (44.5, 1, "44.5"), (0.4, 0, "0")],
)
def test_numbers(value, digits, text):
    assert page.number(value, digits) == text


def test_page_fits_a_narrow_screen_and_asks_for_nothing(written, browser):
    complaints = []
    opened = browser.new_page(viewport={"width": 400, "height": 800})
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("request", lambda r: r.url.startswith(("data:", "file:")) or complaints.append(r.url))
    opened.goto((written / "study.html").as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") <= 400
    assert opened.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    opened.close()
    assert complaints == []
