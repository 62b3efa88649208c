"""The committed pages of the test sets are those that the cards make, and hold what a card says."""

from pathlib import Path

import pytest

from bench.data import pages
from bench.data.cards import load_all

DOCS = Path(__file__).parents[3] / "docs/datasets"
CARDS = load_all()


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_committed_page_is_made_from_its_card(card):
    assert (DOCS / f"{card.name}.md").read_text(encoding="utf-8") == pages.page(card)


def test_no_page_is_left_of_a_card_that_is_gone():
    assert {path.stem for path in DOCS.glob("*.md")} == {"README", *(card.name for card in CARDS)}
    assert (DOCS / "README.md").read_text(encoding="utf-8") == pages.index(CARDS)


def test_a_page_says_what_must_not_get_lost():
    text = {card.name: pages.page(card) for card in CARDS}
    assert "public nowhere" in text["columbia"] and "osn_columbia" in text["columbia"]
    assert "f1b2c66c8e0a1e13444990c980d0d569d57243efe64d83c54fff94455e5b1746" in text["dso1"]
    assert "image-level decisions only" in text["micc_f220"] and "united" in text["misd"]
    assert "`image/41t.tif`" in text["coverage"]
