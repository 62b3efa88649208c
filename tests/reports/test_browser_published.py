"""Published numbers on the page, in a real browser."""

import pytest
from synthetic_run import beside_published

from reports import page as pages
from reports.comparison import compare

pytestmark = pytest.mark.slow  # a browser is started


@pytest.fixture(scope="module")
def with_published(tmp_path_factory):
    """Folder of a report with published numbers."""
    folder = tmp_path_factory.mktemp("published")
    pages.write(folder, compare([beside_published()]), pages.Settings())
    return folder


def test_the_table_stands_below_its_test_set(visit, with_published):
    page = visit(with_published)
    table = page.locator('[data-set="0"] .published .beside')
    assert table.is_visible()
    first = table.locator("tbody tr").first.locator("th, td").all_inner_texts()
    assert [first[i].split("\n")[0] for i in (0, 1, 2, 4)] == ["mpc-catnet", "unperturbed", "Pixel F1", ".745"]
    assert first[3].startswith("."), "the measured number, written as in the table above"
    page.select_option("#metric", label="Pixel IoU")  # redraws curves and tables, not this one
    assert table.locator("tbody tr").count() == 6
    assert page.locator('[data-set="1"] .published .notice').inner_text().startswith("The images here are a folder")


def test_what_was_not_measured_unfolds(visit, with_published):
    page = visit(with_published)
    fold = page.locator('[data-set="0"] .published details')
    rows = fold.locator("td:first-child")
    assert rows.first.is_hidden()
    fold.locator("summary").click()
    assert rows.all_inner_texts() == ["MPC", "CAT-Net", "PIM"]


def test_a_note_leads_to_its_source(visit, with_published):
    page = visit(with_published)
    page.locator('[data-set="0"] .beside a').first.click()
    assert page.locator(":target").inner_text().startswith("MPC arXiv:2406.13565v1 Table 4")
    assert page.locator("dialog[open]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_the_table_not_the_page(visit, with_published, scheme):
    page = visit(with_published, viewport={"width": 390, "height": 800}, color_scheme=scheme)
    for fold in page.locator(".published details summary").all():
        fold.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    box = page.locator('[data-set="0"] .published .scroll').first
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    box.evaluate("box => { box.scrollLeft = 200; }")
    assert page.locator('[data-set="0"] .beside tbody .model').first.bounding_box()["x"] == pytest.approx(
        box.bounding_box()["x"], abs=2
    )
