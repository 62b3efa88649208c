"""A person's way through the page, in a real browser."""

import re
from urllib.parse import parse_qs

import pytest
from synthetic_run import make_run

import reports

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install .[browser]")


def address(page):
    """What the address says now; `page.url` learns of it later."""
    return parse_qs(page.evaluate("location.hash.slice(1)"))


def short(value):
    return re.sub(r"^(−?)0\.", r"\1.", f"{value:.3f}".replace("-", "−"))


def summary_row(run, **where):
    table = run.summary
    for column, value in where.items():
        table = table[table[column] == value]
    return table.iloc[0]


def expected_values(run, **where):
    """Image -> value, best first."""
    table = run.results[run.results["image"] != "*"].dropna(subset=["value"])
    for column, value in where.items():
        table = table[table[column] == value]
    return dict(table.sort_values("value", ascending=False, kind="stable")[["image", "value"]].itertuples(index=False))


def table_cell(page, set_number, model, spec):
    """The button of a table cell, found by what a screen reader says of it."""
    name = {"identity": "identity"}.get(spec, spec.replace(":", " "))
    return page.locator(f'[data-set="{set_number}"] .means td button[aria-label^="{model}, {name}: "]')


def test_table_shows_the_summary(visit, run, written):
    page = visit(written)
    assert page.locator("#metric option:checked").inner_text() == "Pixel AUC"
    for spec in ("identity", "blur:7", "jpeg:50"):
        row = summary_row(run, model="zero", test_set="builtin", spec=spec, protocol="native", metric="auc")
        text = table_cell(page, 0, "zero", spec).inner_text()
        assert text.startswith(f"{short(row['mean'])}\n[{short(row['low'])}, {short(row['high'])}]\nn {row['n']} · #")
        assert ("2 failed" in text) == (spec == "blur:7")
    assert table_cell(page, 0, "ghost", "noise:5").inner_text() == "n/a"
    assert page.locator('[data-set="1"] .means th.model', has_text="deep-rival†").count() == 1
    assert page.locator('[data-set="0"] .means th.model', has_text="†").count() == 0
    best = page.locator('[data-set="0"] .means td button.best')
    assert best.count() == 15
    assert {best.nth(i).get_attribute("data-line") for i in range(15)} == {"0"}


def test_metric_and_protocol_change_curves_table_and_address(visit, run, written):
    page = visit(written)
    curves = page.locator('[data-set="0"] .panel').first.locator(".curve .path")
    assert curves.count() == 7
    before = curves.first.get_attribute("d")
    page.select_option("#metric", label="Pixel F1")
    assert curves.count() == 4  # three methods have no threshold with a meaning
    assert page.locator('[data-set="0"] .legend li', has_text="n/a").count() == 3
    page.select_option("#protocol", index=1)
    row = summary_row(run, model="mpc", test_set="builtin", spec="identity", protocol="polarity-free", metric="f1")
    assert table_cell(page, 0, "mpc", "identity").locator("b").inner_text() == short(row["mean"])
    assert table_cell(page, 0, "ela", "identity").inner_text() == "n/a"
    for block in (".curves .caption", ".table .caption"):
        text = page.locator(f'[data-set="0"] {block}').inner_text()
        assert "Protocol “polarity-free”, version 2: As native, but every image takes the better" in text
    assert curves.first.get_attribute("d") != before
    assert address(page) == {"metric": ["f1"], "protocol": ["polarity-free"]}


def test_metrics_that_a_protocol_lacks_cannot_be_chosen(visit, written):
    page = visit(written)
    page.select_option("#metric", label="Image AUC")
    assert (
        "one value of the whole set, without interval" in page.locator('[data-set="0"] .curves .caption').inner_text()
    )
    assert "No Image AUC under protocol" in page.locator('[data-set="1"] .empty').inner_text()
    page.select_option("#protocol", index=1)
    assert page.locator("#metric option:checked").inner_text() == "Pixel F1"
    assert page.locator("#metric option:disabled").all_inner_texts() == ["Image AUC"]


def test_cell_opens_its_images_best_and_worst_first(visit, run, written):
    page = visit(written)
    where = {"model": "mpc", "test_set": "field", "spec": "jpeg:50", "protocol": "native", "metric": "auc"}
    table_cell(page, 1, "mpc", "jpeg:50").click()
    drill = page.locator("dialog[open]")
    row, values = summary_row(run, **where), expected_values(run, **where)
    assert drill.locator("h2").inner_text() == "mpc on jpeg 50"
    head = drill.locator(".figures").inner_text()
    assert f"Pixel AUC {short(row['mean'])} [{short(row['low'])}, {short(row['high'])}]" in head
    assert f"n scored {len(values)}" in head
    assert "Protocol “native”, version 1" in drill.inner_text()
    best, worst = (drill.locator(".gallery").nth(i).locator("li") for i in range(2))
    images = list(values)
    assert [best.nth(i).get_attribute("data-image") for i in range(6)] == images[:6]
    assert [worst.nth(i).get_attribute("data-image") for i in range(6)] == images[:-7:-1]
    assert drill.locator("h3").all_inner_texts() == ["Best 6 of 16 images", "Worst 6 of 16 images, worst first"]
    for place, image in enumerate(images[:6]):
        assert f"Pixel AUC {short(values[image])}" in best.nth(place).inner_text()
    pictures = best.first.locator("img")
    assert [pictures.nth(i).get_attribute("alt").split(" of ")[0] for i in range(6)] == [
        "Photo",
        "Ground truth",
        "Score map",
        "Prediction",
        "Confidence in the map",
        "Regions by source",
    ]
    assert all(
        pictures.nth(i).evaluate("image => image.decode().then(() => image.naturalWidth)") == 72 for i in range(6)
    )
    assert "image-level score 0.875, seen in tiles 64x64, overlap 32" in best.first.inner_text()


def test_localizers_with_nothing_but_a_map_have_four_pictures(visit, written):
    page = visit(written)
    table_cell(page, 0, "ela", "jpeg:90").click()
    first = page.locator("dialog .gallery li").first
    assert first.locator("figcaption").count() == 4 and "seen in" not in first.inner_text()


def test_failed_images_are_named_with_their_reason(visit, written):
    page = visit(written)
    table_cell(page, 0, "zero", "blur:7").click()
    lost = page.locator("dialog .reasons li").all_inner_texts()
    assert lost == [f"forged_{n}: failed, MemoryError: 3.1 GB asked for <grid> & not available" for n in ("03", "05")]
    assert "All 7 scored images, best first" in page.locator("dialog h3").all_inner_texts()
    assert "3 authentic, 0 tampered" in page.locator("dialog").inner_text()


def test_keyboard_opens_moves_and_closes(visit, written):
    page = visit(written)
    table_cell(page, 0, "mpc", "identity").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    title = page.locator("dialog[open] h2")
    assert title.inner_text() == "ela on jpeg 90"
    page.keyboard.press("ArrowRight")
    playwright.expect(title).to_have_text("ela on jpeg 70")
    page.keyboard.press("Escape")
    playwright.expect(page.locator("dialog[open]")).to_have_count(0)
    playwright.expect(page).not_to_have_url(re.compile("spec="))  # the event "close" comes later
    playwright.expect(table_cell(page, 0, "ela", "jpeg:90")).to_be_focused()


def test_address_of_a_cell_opens_it_and_going_back_closes_it(visit, run, written):
    page = visit(written, "#metric=f1&protocol=polarity-free&set=field&model=zero&spec=resize%3A0.5")
    where = {"model": "zero", "test_set": "field", "spec": "resize:0.5", "protocol": "polarity-free", "metric": "f1"}
    assert short(summary_row(run, **where)["mean"]) in page.locator("dialog[open] .figures").inner_text()
    page.click("#drill-close")
    playwright.expect(page).not_to_have_url(re.compile("spec="))
    table_cell(page, 0, "mpc", "blur:3").click()
    assert page.locator("dialog[open] h2").inner_text() == "mpc on blur 3"
    page.go_back()
    playwright.expect(page.locator("dialog[open]")).to_have_count(0)


def test_table_sorts_by_any_column(visit, run, written):
    page = visit(written)
    header = page.locator('[data-set="0"] .means thead').get_by_title("Sort by noise 10")
    names = page.locator('[data-set="0"] .means tbody th')
    rows = run.summary.query(
        "test_set == 'builtin' and spec == 'noise:10' and protocol == 'native' and metric == 'auc'"
    )
    ordered = list(rows.dropna(subset=["mean"]).sort_values("mean", ascending=False)["model"])
    header.click()
    assert names.all_inner_texts() == [*ordered, "ghost"]
    page.locator('[data-set="0"] .means thead').get_by_title("Sort by noise 10").click()
    assert names.all_inner_texts() == [*ordered[::-1], "ghost"]
    assert page.locator('[data-set="0"] th[aria-sort="ascending"]').count() == 1


def test_pointer_over_a_curve_tells_mean_interval_and_n(visit, run, written):
    page = visit(written)
    panel = page.locator('[data-set="0"] [data-family="noise"] svg')
    panel.scroll_into_view_if_needed()
    panel.hover(position={"x": panel.bounding_box()["width"] - 20, "y": 60})
    playwright.expect(page.locator("#tip")).to_contain_text("noise 10")
    text = page.locator("#tip").inner_text()
    row = summary_row(run, model="mpc", test_set="builtin", spec="noise:10", protocol="native", metric="auc")
    assert text.startswith("noise 10 Pixel AUC, native v1")
    assert f"mpc\t{short(row['mean'])}\t[{short(row['low'])}, {short(row['high'])}]\tn {row['n']}" in text
    panel.focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#tip")).to_have_text(re.compile("^noise 3 "))


def test_legend_hides_a_line(visit, written):
    page = visit(written)
    curves = page.locator('[data-set="0"] [data-family="jpeg"] .curve')
    page.locator('[data-set="0"] .legend button', has_text="deep-rival").click()
    assert curves.count() == 6
    page.uncheck("#bands")
    assert page.locator('[data-set="0"] [data-family="jpeg"] .band').first.is_hidden()


def test_phone_page_does_not_scroll_sideways(visit, written):
    page = visit(written, viewport={"width": 400, "height": 800}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    table_cell(page, 0, "mpc", "identity").click()
    box = page.locator("dialog[open] .gallery li").first.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 400


def test_two_runs_without_perturbation(visit, tmp_path):
    runs = [
        make_run(label, models=("mpc", "ela"), sets={"builtin": (2, 1)}, specs=["identity"]) for label in ("a", "b")
    ]
    reports.write(tmp_path, runs)
    page = visit(tmp_path)
    assert page.locator(".panel").count() == 1
    assert page.locator(".panel .curve .mark").count() == 4
    page.locator(".means td button").nth(3).click()
    assert page.locator("dialog[open] h2").inner_text() == "b/ela on unperturbed images"
    assert address(page)["run"] == ["b"]
