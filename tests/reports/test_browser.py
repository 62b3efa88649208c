"""A reader's way through the page, in a real browser."""

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pytest
from synthetic_run import SPECS, make_run, outcome

import reports

pytestmark = pytest.mark.slow  # a browser is started

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install .[browser]")
QUICK = reports.Options(formats=("svg",), metrics=("iou",))


def address(page):
    """What the address says now; `page.url` learns of it later."""
    return parse_qs(page.evaluate("location.hash.slice(1)"))


def short(value, digits=3):
    return re.sub(r"^(−?)0\.", r"\1.", f"{value:.{digits}f}".replace("-", "−"))


def row_of(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    return table.iloc[0]


def summary_row(run, **where):
    return row_of(run.summary, **where)


def standing(run, model, test_set="field", metric="auc", family="*"):
    return row_of(run.standings, model=model, test_set=test_set, metric=metric, protocol="native", family=family)


def expected_values(run, **where):
    """Image -> value, best first."""
    table = run.results[run.results["image"] != "*"].dropna(subset=["value"])
    for column, value in where.items():
        table = table[table[column] == value]
    return dict(table.sort_values("value", ascending=False, kind="stable")[["image", "value"]].itertuples(index=False))


def table_cell(page, set_number, model, spec):
    """The button of a table cell, found by what a screen reader says of it."""
    name = {"identity": "unperturbed"}.get(spec, spec.replace(":", " "))
    return page.locator(f'[data-set="{set_number}"] .means td button[aria-label^="{model}, {name}: "]')


def board_names(page):
    return [name.rstrip("†!") for name in page.locator("#board tbody .of-name").all_inner_texts()]


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_first_screen_holds_the_answer_and_the_leaderboard(visit, written, size, scheme):
    page = visit(written, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    answer = page.locator("#answer-text").bounding_box()
    board = page.locator("#leaderboard table").bounding_box()
    assert answer["y"] + answer["height"] < board["y"]
    assert board["y"] + board["height"] <= size[1]
    assert page.locator("#leaderboard tbody tr").count() >= 7
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_leaderboard_shows_the_standings(visit, run, written):
    page = visit(written, "#scope=field")
    row = standing(run, "mpc")
    cells = page.locator('#board tr[data-model="mpc"] td')
    text = " ".join(cells.all_inner_texts())
    span = f"[{short(row['clean_low'], 2)}, {short(row['clean_high'], 2)}]"
    assert f"{short(row['clean'])} {span}" in text and f"{short(row['perturbed'])}" in text
    assert f"{100 * row['retained']:.0f}\xa0%" in text and short(row["worst"]) in text
    assert page.locator('#board tbody[data-placed="trained"] .of-name').all_inner_texts() == ["deep-rival†"]
    assert page.locator("#answer-text").inner_text().endswith("trained on these images and not ranked.")
    assert page.locator('#board tr[data-model="mpc"] .dots circle').count() == 2


def test_leaderboard_sorts_and_filters_and_the_address_keeps_it(visit, run, written):
    page = visit(written, "#scope=builtin")
    page.locator('#board button[data-key="perturbed"]').click()
    playwright.expect(page.locator("#board th[aria-sort]")).to_have_attribute("class", "of-perturbed")
    rows = run.standings.query("test_set == 'builtin' and metric == 'auc' and protocol == 'native' and family == '*'")
    ranked = rows[rows["placed"] == "ranked"].sort_values("perturbed", ascending=False)["model"].tolist()
    assert board_names(page)[: len(ranked)] == ranked
    page.select_option("#family", label="noise")
    noisy = standing(run, "zero", "builtin", family="noise")
    playwright.expect(page.locator('#board tr[data-model="zero"] .of-perturbed')).to_contain_text(
        short(noisy["perturbed"])
    )
    page.fill("#find", "ze")
    playwright.expect(page.locator("#board tbody .of-name")).to_have_count(1)
    assert address(page)["find"] == ["ze"] and address(page)["family"] == ["noise"]
    fragment = page.evaluate("location.hash")
    again = visit(written, fragment)
    assert board_names(again) == ["zero"]
    again.locator("nav a", has_text="Cost").click()
    assert address(again) == {**address(page), "at": ["cost"]}, "the state survives navigation"
    again.reload()
    again.wait_for_selector("#board table")
    assert board_names(again) == ["zero"]


def test_ties_are_shown_as_ties_and_bold_is_a_win(visit, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.05, (3, 40))
    noise -= noise.mean(axis=1, keepdims=True)
    values = {"a": 0.8 + noise[0], "b": 0.801 + noise[1], "low": 0.6 + noise[2]}
    reports.write(tmp_path / "tie", [outcome(values)], options=QUICK)
    page = visit(tmp_path / "tie")
    assert page.locator("#board .of-rank").all_inner_texts()[1:] == ["1=", "1=", "3"]
    assert page.locator("#board tr.best").count() == 0
    reports.write(tmp_path / "win", [outcome(values | {"b": 0.9 + noise[1]})], options=QUICK)
    page = visit(tmp_path / "win")
    assert page.locator("#board tr.best").get_attribute("data-model") == "b"
    assert page.locator("#answer-text b").first.inner_text() == "b"


def test_who_beats_the_control_is_the_same_in_the_sentence_and_below_the_table(visit, tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.05, (3, 40))
    noise -= noise.mean(axis=1, keepdims=True)
    values = {"weak": 0.7 + noise[0], "seen": 0.95 + noise[1], "centre": 0.8 + noise[2]}
    groups = {"centre": ["controls"]}
    reports.write(tmp_path / "none", [outcome(values, groups=groups, trained=("seen",))])
    page = visit(tmp_path / "none")
    assert page.locator("#over-control").inner_text() == "No ranked localizer is shown to beat the control."
    assert "no less than every ranked localizer" in page.locator("#answer-text").inner_text()
    values["weak"] = 0.9 + noise[0]
    reports.write(tmp_path / "one", [outcome(values, groups=groups, trained=("seen",))])
    page = visit(tmp_path / "one")
    assert page.locator("#over-control").inner_text() == "Shown to beat the control: weak."
    assert "every ranked localizer beats it" in page.locator("#answer-text").inner_text()


def test_long_names_leave_the_last_column_in_view_at_1280(visit, run, tmp_path):
    names = {"ela": "ela-of-a-very-long-label-that-a-user-made-up", "zero": "noisesniffer-with-its-quality-ninety-five"}
    tables = {
        t: getattr(run, t).assign(model=getattr(run, t)["model"].replace(names))
        for t in ("summary", "standings", "results", "cells")
    }
    cards = tuple(
        dataclasses.replace(c, name=names.get(c.name, c.name), licence="CC BY-NC-SA 4.0") for c in run.localizers
    )
    reports.write(tmp_path / "r", [dataclasses.replace(run, **tables, localizers=cards)])
    page = visit(tmp_path / "r", "#scope=builtin", viewport={"width": 1280, "height": 800})
    assert page.locator("#board .of-image").count() > 0, "the widest leaderboard, with the image-level AUC"
    last = page.locator("#board thead th").last.bounding_box()
    assert last["x"] + last["width"] <= 1280
    assert page.locator("#leaderboard .scroll").first.evaluate("e => e.scrollWidth - e.clientWidth") <= 0


def test_few_images_warn(visit, tmp_path):
    reports.write(tmp_path / "few", [outcome({"a": [0.6, 0.7, 0.8], "b": [0.6, 0.5, 0.6]})], options=QUICK)
    page = visit(tmp_path / "few")
    assert "so few images" in page.locator("#few").inner_text()
    assert page.locator("#board .span.rough").count() == 2
    reports.write(tmp_path / "one", [outcome({"a": [0.6], "b": [0.5]})], options=QUICK)
    page = visit(tmp_path / "one")
    assert "no interval can be drawn" in page.locator("#few").inner_text()
    assert page.locator("#board .span").count() == 0


def test_broken_numbers_have_a_diagnosis(visit, tmp_path):
    values = {"constant": [0.5] * 12, "upside-down": [0.2, 0.25, 0.3] * 4, "fine": [0.8, 0.7, 0.9] * 4}
    values["abstains"] = [0.6] * 12  # .5 at the other level
    reports.write(tmp_path / "r", [outcome(values)], options=QUICK)
    page = visit(tmp_path / "r")
    said = " ".join(page.locator(".troubles li").all_inner_texts())
    assert "constant: Every map is constant" in said and "that of the inverted maps .750" in said
    assert "abstains: Every map is constant (AUC exactly .500 on every image) at: jpeg 70." in said
    assert page.locator("#board .trouble").count() == 3


def test_table_shows_the_summary(visit, run, written):
    page = visit(written)
    assert page.locator("#metric option:checked").inner_text() == "Pixel AUC"
    for spec in ("identity", "blur:7", "jpeg:50"):
        row = summary_row(run, model="zero", test_set="builtin", spec=spec, protocol="native", metric="auc")
        text = table_cell(page, 0, "zero", spec).inner_text()
        assert text.startswith(f"{short(row['mean'])}\n[{short(row['low'])}, {short(row['high'])}]\nn {row['n']}")
        assert ("2 failed" in text) == (spec == "blur:7")
    assert table_cell(page, 0, "ghost", "noise:5").inner_text() == "n/a"
    assert page.locator('[data-set="1"] .means th.model', has_text="deep-rival†").count() == 1
    assert page.locator('[data-set="0"] .means th.model', has_text="†").count() == 0


def test_metric_and_protocol_change_everything_and_the_address(visit, run, written):
    page = visit(written)
    curves = page.locator('[data-set="0"] .panel').first.locator(".curve .path")
    assert curves.count() == 7
    page.select_option("#metric", label="Pixel F1")
    playwright.expect(curves).to_have_count(4)  # three methods have no threshold with a meaning
    assert page.locator('[data-set="0"] .legend li', has_text="n/a").count() == 3
    page.select_option("#protocol", index=1)
    row = summary_row(run, model="mpc", test_set="builtin", spec="identity", protocol="polarity-free", metric="f1")
    playwright.expect(table_cell(page, 0, "mpc", "identity").locator("b")).to_have_text(short(row["mean"]))
    assert table_cell(page, 0, "ela", "identity").inner_text() == "n/a"
    assert (
        "Protocol “polarity-free”, version 2: As native" in page.locator('[data-set="0"] .table .caption').inner_text()
    )
    assert address(page) == {"metric": ["f1"], "protocol": ["polarity-free"]}


def test_metrics_that_a_protocol_lacks_cannot_be_chosen(visit, written):
    page = visit(written)
    page.select_option("#metric", label="Image AUC")
    caption = page.locator('[data-set="0"] .curves .caption')
    playwright.expect(caption).to_contain_text("one value of the whole set, without interval")
    assert "No Image AUC under protocol" in page.locator('[data-set="1"] .empty').inner_text()
    page.select_option("#protocol", index=1)
    playwright.expect(page.locator("#metric option:checked")).to_have_text("Pixel F1")
    assert page.locator("#metric option:disabled").all_inner_texts() == ["Image AUC"]


def test_heat_map_and_panels_per_localizer(visit, run, written):
    page = visit(written)
    page.locator('[data-set="0"] [data-view="heat"]').click()
    playwright.expect(page.locator('[data-set="0"] .heat tbody tr')).to_have_count(7)
    row = summary_row(run, model="mpc", test_set="builtin", spec="blur:5", protocol="native", metric="auc")
    cell = page.locator('[data-set="0"] .heat button[aria-label^="mpc, blur 5: "]')
    assert cell.inner_text() == short(row["mean"], 2)
    cell.click()
    assert page.locator("dialog[open] h2").inner_text() == "mpc on blur 5"
    page.keyboard.press("Escape")
    page.locator('[data-set="0"] [data-view="single"]').click()
    playwright.expect(page.locator('[data-set="0"] .panel')).to_have_count(7)
    assert address(page)["view"] == ["single"]


def test_twenty_methods_stay_readable(visit, tmp_path):
    rng = np.random.default_rng(1)
    values = {f"method-{i:02d}": np.clip(0.5 + 0.02 * i + rng.normal(0, 0.05, 20), 0, 1) for i in range(20)}
    reports.write(tmp_path / "r", [outcome(values, specs=SPECS[:6])], options=QUICK)
    page = visit(tmp_path / "r")
    assert page.locator(".heat tbody tr").count() == 20, "the heat map is the first view above eight"
    page.locator('[data-view="curves"]').click()
    panel = page.locator('[data-family="jpeg"]')
    playwright.expect(panel.locator(".curve")).to_have_count(20)
    assert panel.locator('.curve[style*="--grey"]').count() == 15 and panel.locator(".end").count() == 5
    assert panel.locator(".band:visible").count() == 0
    page.locator(".legend button", has_text="method-07").click()
    playwright.expect(panel.locator(".curve")).to_have_count(1)
    assert address(page)["only"] == ["method-07"]
    page.locator(".legend button", has_text="method-07").click()
    page.fill("#find", "method-1")
    playwright.expect(panel.locator(".curve")).to_have_count(10)
    assert page.locator(".panel .title").first.inner_html() != ""


def test_cell_opens_all_its_images_best_first(visit, run, written):
    page = visit(written)
    where = {"model": "mpc", "test_set": "field", "spec": "jpeg:50", "protocol": "native", "metric": "auc"}
    table_cell(page, 1, "mpc", "jpeg:50").click()
    drill = page.locator("dialog[open]")
    row, values = summary_row(run, **where), expected_values(run, **where)
    playwright.expect(drill.locator("h2")).to_have_text("mpc on jpeg 50")
    head = drill.locator(".figures").inner_text()
    assert f"Pixel AUC {short(row['mean'])} [{short(row['low'])}, {short(row['high'])}]" in head
    assert f"n scored {len(values)}" in head
    items = drill.locator(".gallery").first.locator("li")
    assert [items.nth(i).get_attribute("data-image") for i in range(items.count())] == list(values)
    for place, (image, value) in enumerate(values.items()):
        assert (
            f"{place + 1}. {image}" in items.nth(place).inner_text()
            and f"Pixel AUC {short(value)}" in items.nth(place).inner_text()
        )
    pictures = items.first.locator("img:not(.contour):not(.forged)")
    kinds = [pictures.nth(i).get_attribute("alt").split(" of ")[0] for i in range(6)]
    assert kinds == ["Photo", "Ground truth", "Score map", "Prediction", "Confidence in the map", "Regions by source"]
    assert all(
        pictures.nth(i).evaluate("image => image.decode().then(() => image.naturalWidth)") == 72 for i in range(6)
    )
    assert items.first.locator("img.contour").count() == 2 and items.first.locator("img.forged").count() == 1
    assert "image-level score 0.875, seen in tiles 64x64, overlap 32" in items.first.inner_text()


def test_pictures_enlarge_and_the_keyboard_goes_through_images(visit, run, written):
    page = visit(written)
    where = {"model": "mpc", "test_set": "field", "spec": "jpeg:50", "protocol": "native", "metric": "auc"}
    images = list(expected_values(run, **where))
    table_cell(page, 1, "mpc", "jpeg:50").click()
    page.locator("dialog .gallery li").nth(1).locator(".enlarge").first.click()
    title = page.locator("dialog .stage h3")
    playwright.expect(title).to_contain_text(f"2 of 16: {images[1]}")
    assert page.locator(".stage .stack").first.bounding_box()["width"] > 400
    page.keyboard.press("ArrowDown")
    playwright.expect(title).to_contain_text(images[2])
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    playwright.expect(title).to_contain_text(images[0])
    assert address(page)["image"] == [images[0]]
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("dialog h2")).not_to_have_text("mpc on jpeg 50")
    playwright.expect(title).to_contain_text(images[0])


def test_image_view_has_all_localizers_and_levels(visit, run, written):
    page = visit(written)
    table_cell(page, 0, "mpc", "identity").click()
    first = page.locator("dialog .gallery li").first
    name = first.get_attribute("data-image")
    first.locator(".link").click()
    grid = page.locator("dialog .grid-of-maps")
    playwright.expect(grid.locator("tbody tr")).to_have_count(8)
    assert grid.locator("thead th").count() == len(SPECS)
    assert page.locator("dialog h2").inner_text() == name
    values = run.results.query("test_set == 'builtin' and image == @name and metric == 'auc' and protocol == 'native'")
    value = row_of(values, model="zero", spec="blur:3")["value"]
    column = grid.locator("thead th").all_inner_texts().index("blur 3")
    zero = grid.locator("tbody tr", has=page.locator("th", has_text="zero"))
    assert zero.locator("td").nth(column).inner_text() == short(value)
    page.keyboard.press("ArrowDown")
    playwright.expect(page.locator("dialog h2")).not_to_have_text(name)
    page.go_back()
    page.go_back()
    playwright.expect(page.locator("dialog[open]")).to_have_count(0)


def test_localizers_with_nothing_but_a_map_have_four_pictures(visit, written):
    page = visit(written)
    table_cell(page, 0, "ela", "jpeg:90").click()
    first = page.locator("dialog .gallery li").first
    playwright.expect(first.locator("figcaption")).to_have_count(4)
    assert "seen in" not in first.inner_text()


def test_failed_images_are_named_with_their_reason(visit, written):
    page = visit(written)
    table_cell(page, 0, "zero", "blur:7").click()
    lost = page.locator("dialog .reasons li")
    playwright.expect(lost).to_have_text(
        [f"forged_{n}: failed, MemoryError: 3.1 GB asked for <grid> & not available" for n in ("03", "05")]
    )
    assert "All 7 scored images, best first" in page.locator("dialog h3").all_inner_texts()
    assert "3 authentic, 0 tampered" in page.locator("dialog").inner_text()


def test_keyboard_opens_moves_and_closes(visit, written):
    page = visit(written)
    table_cell(page, 0, "mpc", "identity").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    title = page.locator("dialog[open] h2")
    playwright.expect(title).to_have_text("ela on jpeg 90")
    page.keyboard.press("ArrowRight")
    playwright.expect(title).to_have_text("ela on jpeg 70")
    page.keyboard.press("Escape")
    playwright.expect(page.locator("dialog[open]")).to_have_count(0)
    playwright.expect(page).not_to_have_url(re.compile("spec="))  # the event "close" comes later
    playwright.expect(table_cell(page, 0, "ela", "jpeg:90")).to_be_focused()


def test_address_of_a_cell_opens_it_and_going_back_closes_it(visit, run, written):
    page = visit(written, "#metric=f1&protocol=polarity-free&set=field&model=zero&spec=resize%3A0.5")
    where = {"model": "zero", "test_set": "field", "spec": "resize:0.5", "protocol": "polarity-free", "metric": "f1"}
    playwright.expect(page.locator("dialog[open] .figures")).to_contain_text(short(summary_row(run, **where)["mean"]))
    page.click("#drill-close")
    playwright.expect(page).not_to_have_url(re.compile("spec="))
    table_cell(page, 0, "mpc", "blur:3").click()
    playwright.expect(page.locator("dialog[open] h2")).to_have_text("mpc on blur 3")
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
    playwright.expect(names).to_have_text([*ordered, "ghost"])
    header.click()
    playwright.expect(names).to_have_text([*ordered[::-1], "ghost"])
    assert page.locator('[data-set="0"] th[aria-sort="ascending"]').count() == 1


def test_pointer_over_a_curve_tells_mean_interval_and_n(visit, run, written):
    page = visit(written)
    panel = page.locator('[data-set="0"] [data-family="noise"] svg')
    panel.scroll_into_view_if_needed()
    panel.hover(position={"x": panel.bounding_box()["width"] - 70, "y": 60})
    playwright.expect(page.locator("#tip")).to_contain_text("noise 10")
    text = page.locator("#tip").inner_text()
    row = summary_row(run, model="mpc", test_set="builtin", spec="noise:10", protocol="native", metric="auc")
    assert text.startswith("noise 10 Pixel AUC, native v1")
    assert f"mpc\t{short(row['mean'])}\t[{short(row['low'])}, {short(row['high'])}]\tn {row['n']}" in text
    panel.focus()
    page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#tip")).to_have_text(re.compile("^noise 3 "))


def test_phone_page_does_not_scroll_sideways(visit, written):
    page = visit(written, viewport={"width": 390, "height": 844}, color_scheme="dark")
    for view in ("curves", "heat", "single"):
        page.locator(f'[data-set="0"] [data-view="{view}"]').click()
        playwright.expect(page.locator(f'[data-set="0"] [data-view="{view}"]')).to_have_attribute(
            "aria-pressed", "true"
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    table_cell(page, 0, "mpc", "identity").click()
    box = page.locator("dialog[open] .gallery li").first.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390


def test_two_runs_are_compared_localizer_by_localizer(visit, tmp_path):
    from bench import leaderboard

    runs = [make_run(label, models=("mpc", "ela"), sets={"builtin": (12, 1)}, specs=SPECS[:3], lift=lift, seed=s)
            for label, lift, s in (("a", 0, 0), ("b", 0.3, 1))]  # fmt: skip
    contrasts = leaderboard.contrasts(runs[0].results, runs[1].results, "b")
    reports.write(tmp_path / "r", runs, contrasts=contrasts, options=QUICK)
    page = visit(tmp_path / "r")
    table = page.locator("#contrasts table")
    heads = [text.replace("\n", " ") for text in table.locator("tbody th").all_inner_texts()]
    assert heads == ["mpc a", "b − a", "ela a", "b − a"]
    row = row_of(contrasts, model="ela", spec="jpeg:90", metric="auc", protocol="native")
    cell = table.locator("tbody tr").nth(3).locator("td").nth(1).inner_text()
    assert cell.startswith(f"▲ +{short(row['difference'])}") and f"[{short(row['low'])}, {short(row['high'])}]" in cell
    page.locator(".means td button").nth(3).click()
    playwright.expect(page.locator("dialog[open] h2")).to_have_text("b/mpc on unperturbed images")
    assert address(page)["run"] == ["b"]


def test_a_single_file_works_alone(visit, run, tmp_path):
    reports.write(tmp_path / "r", [run], options=reports.Options(single_mb=25.0, formats=("svg",), metrics=("iou",)))
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(tmp_path / "r" / "report.html", alone)
    page = visit(alone)
    page.select_option("#metric", label="Pixel F1")
    table_cell(page, 0, "mpc", "identity").click()
    picture = page.locator("dialog .gallery img").first
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 72


def axe():
    """The script of axe-core, of an npm installation here or of the whole machine."""
    places = [Path("node_modules"), Path.home() / "node_modules"]
    if shutil.which("npm"):
        places.append(Path(subprocess.run(["npm", "root", "-g"], capture_output=True, text=True).stdout.strip()))
    return next((p / "axe-core/axe.min.js" for p in places if (p / "axe-core/axe.min.js").exists()), None)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(visit, written, scheme):
    script = axe()
    if script is None:
        pytest.skip("needs axe-core: npm install axe-core")
    page = visit(written, color_scheme=scheme, bypass_csp=True)
    for step in ("page", "heat", "drill", "image"):
        if step == "heat":
            page.locator('[data-set="0"] [data-view="heat"]').click()
        if step == "drill":
            table_cell(page, 0, "mpc", "identity").click()
            page.wait_for_selector("dialog .gallery li")
        if step == "image":
            page.locator("dialog .link").first.click()
            page.wait_for_selector(".grid-of-maps")
        page.evaluate(script.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']})")["violations"]
        told = [(v["id"], v["help"], [n["html"][:120] for n in v["nodes"][:3]]) for v in found]
        assert not told, f"{step}: {json.dumps(told, indent=1)}"
