"""The card format: the shipped cards on constructed trees, and what a bad card is told."""

import re

import pytest

from bench.data import cards
from bench.data.cards import CardError
from bench.data.masks import MaskRule

GOOD = r"""
name = "mine"
title = "My set"
licence = "mine"
citation = "me"
page = "https://example.org"
layout = "a/x.png with m/x.png"

[[tampered]]
image = 'a/(?P<key>\w+)\.png'
mask = 'm/(?P<key>\w+)\.png'
"""


def card(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return cards.load(path)


def test_the_shipped_cards_are_valid_and_named():
    names = [card.name for card in cards.load_all()]
    assert {"coverage", "columbia", "casia1", "imd2020", "comofod"} <= set(names)
    for one in cards.load_all():
        assert one.page.startswith("http") and one.licence
        assert one.counts.get("tampered", 1) > 0  # the exact number of a set may be unknown, then the note says so


def test_the_training_cards_have_the_repeat_factors_of_the_released_script():
    """Source: `train_npy_list` of the authors' CATNet_dataset_train/stage1/train.py: 1, 1, 1, 40 and 20."""
    repeats = {card.name: card.repeat for card in cards.load_all() if card.role != "test"}
    assert repeats == {"casia2": 40, "imd2020": 20, "tampcoco": 1, "fantasticreality": 1, "defacto": 1}
    counts = {card.name: card.counts["tampered"] for card in cards.load_all() if card.name in ("tampcoco", "casia2")}
    assert counts["tampcoco"] == 199_999 + 199_429 + 199_443
    assert counts["tampcoco"] + 40 * counts["casia2"] + 20 * 2010 == 843_991


def test_a_minimal_card_has_the_defaults(tmp_path):
    found = card(tmp_path, GOOD)
    assert found.mask == MaskRule("max", None, "above", "equal")
    assert (found.role, found.note, found.counts, found.known_defects) == ("test", "", {}, {})


@pytest.mark.parametrize(
    "change, message",
    [
        (("citation =", "citaton ="), 'citaton: unknown key; did you mean "citation"?'),
        (('licence = "mine"', ""), 'licence: missing; add licence = "..."'),
        (('title = "My set"', "title = 3"), "title: must be text"),
        (('title = "My set"', 'title = "A"\npublished_as = "B"'), "published_as: must be a list of texts; write "),
        (('name = "mine"', 'name = "other"'), 'name: is "other"; it must be the file\'s name, "mine"'),
        (("'m/(?P<key>", "'m/(?P<kex>"), "tampered.mask: shares no named group with image"),
        ((r"a/(?P<key>\w+)", r"a/(?P<key>\w+"), "tampered.image: not a regular expression"),
        (("[[tampered]]", "[tampered]"), "tampered: must be a list of tables; write [[tampered]]"),
        (("image = ", "imag = "), 'tampered.imag: unknown key; did you mean "image"?'),
        (("page =", "page = ="), "not valid TOML"),
        (("page =", 'role = "training"\npage ='), 'role: unknown value "training"; did you mean "train"?'),
        (("page =", "repeat = 0\npage ="), "repeat: must be a whole number from 1 up, got 0"),
        (("page =", "repeat = true\npage ="), "repeat: must be a whole number from 1 up, got True"),
    ],
)
def test_a_malformed_card_is_told_file_key_and_fix(tmp_path, change, message):
    assert change[0] in GOOD
    with pytest.raises(CardError, match=re.escape(message)) as raised:
        card(tmp_path, GOOD.replace(*change))
    assert "mine.toml" in str(raised.value)


@pytest.mark.parametrize(
    "addition, message",
    [
        ('source = "{photo}"', 'tampered.source: image has no named group "photo"'),
        ('[mask]\nchannel = "gren"', 'mask.channel: unknown value "gren"; did you mean "green"?'),
        ('[mask]\npolarity = "white"', "mask.polarity: unknown key"),
        ("[mask]\nthreshold = 300", "mask.threshold: must be a whole number from 0 to 254, got 300"),
        ('[counts]\ntampered = "100"', "counts.tampered: must be a whole number of files, got '100'"),
        ('[[known_defects]]\nfiles = "x"\nproblem = "p"', "known_defects.files: must be a list of paths"),
        ('[known_defects]\nfiles = ["x"]', "known_defects: must be a list of tables"),
        ("[[authentic]]\nimage = 3", "authentic.image: must be text"),
        ('[[authentic]]\nimage = "x"\nmask = "y"', "authentic.mask: unknown key"),
    ],
)
def test_a_wrong_value_is_told_its_key_and_range(tmp_path, addition, message):
    with pytest.raises(CardError, match=re.escape(message)):
        card(tmp_path, GOOD + addition)


def test_a_card_without_groups_and_a_missing_card(tmp_path):
    with pytest.raises(CardError, match="no group of images"):
        card(tmp_path, GOOD.partition("[[tampered]]")[0])
    with pytest.raises(CardError, match=r"gone\.toml: cannot be read"):
        cards.load(tmp_path / "gone.toml")
