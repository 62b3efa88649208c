"""The registry: names, groups, settings, identities, plug-ins."""

import importlib.metadata

import pytest
import toy_localizers

import models
from models import Localizer, UnknownModel, WeightsMissing


def test_every_registered_localizer_has_a_complete_card():
    for card in models.cards():
        assert card.title and card.paper, card.name
        assert (
            card.groups
            or models.find(card.name).argument
            or card.name in ("mpc", "mpc-catnet", "mpc-casia2", "adaptive-cfa")
        ), card.name
        for file in card.weights:
            assert file.page.startswith("https://") and file.licence, card.name


def test_groups_expand_to_their_members_once():
    members = models.groups()["baselines"]
    assert len(members) >= 5
    assert models.expand("ela,baselines,ela") == ["ela", *[m for m in members if m != "ela"]]
    assert models.expand("maps:some/folder") == ["maps:some/folder"]
    assert models.split("maps:some/folder") == ("maps", "some/folder")
    assert models.split("ela:90") == ("ela:90", None)


@pytest.mark.parametrize(("name", "near"), [("elaa", "'ela'"), ("baseline", "'baselines'"), ("mcp", "'mpc'")])
def test_unknown_names_suggest_the_nearest(name, near):
    with pytest.raises(UnknownModel, match=f"did you mean {near}"):
        models.expand(name)


@pytest.mark.parametrize("names", ["", " , ", "toy_localizers:Absent", "absent_module:Class", "pathlib:Path"])
def test_unusable_requests_are_refused(names):
    with pytest.raises(UnknownModel):
        models.expand(names)


def test_settings_are_the_constructor_keywords():
    assert models.build("toy_localizers:Redness", gain=0.5).settings() == {"gain": 0.5}
    with pytest.raises(TypeError, match=r"no setting \['gian'\]; it has \['gain'\]"):
        models.build("toy_localizers:Redness", gian=0.5)
    with pytest.raises(TypeError, match="takes no weights"):
        models.build("toy_localizers:Redness", weights="file.pth")


def test_identity_changes_with_settings_and_weights_and_nothing_else():
    one, same, other = (models.build("toy_localizers:Redness", gain=g) for g in (1.0, 1.0, 0.9))
    assert one.identity() == same.identity() != other.identity()
    same.weights_digest = "abc"
    assert same.identity() != one.identity()


METHOD = """
from models import Localizer
from own_package.steps import GAIN

class Method(Localizer):
    'A method.'
    def localize(self, image): ...
"""


def test_identity_covers_the_modules_that_a_localizer_shares_with_others(tmp_path, monkeypatch):
    package = tmp_path / "own_package"
    package.mkdir()
    for name, text in {"__init__": "", "steps": "GAIN = 1", "aside": "UNUSED = 1", "method": METHOD}.items():
        (package / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    def identity():
        models._source_files.cache_clear()
        return models.build("own_package.method:Method").identity()

    first = identity()
    (package / "aside.py").write_text("UNUSED = 2")
    assert identity() == first
    (package / "steps.py").write_text("GAIN = 2")
    assert identity() != first
    names = {file.name for file in models._source_files("models.classical.adq1")}
    assert {"adq1.py", "blocks.py"} <= names


def test_a_class_from_elsewhere_does_not_enter_the_registry():
    models.build("toy_localizers:Nan")
    assert not any("toy_localizers" in card.name for card in models.cards())


def test_plug_ins_come_through_entry_points_and_a_broken_one_is_only_a_warning(monkeypatch, capsys):
    good = importlib.metadata.EntryPoint("reds", "toy_localizers:Redness", models.ENTRY_POINTS)
    bad = importlib.metadata.EntryPoint("broken", "no_such_module:Class", models.ENTRY_POINTS)
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [good, bad] if group == models.ENTRY_POINTS else []
    )
    monkeypatch.setattr(models, "_registry", models._Registry(dict(models._load_all())))
    monkeypatch.delattr(toy_localizers.Redness, "card", raising=False)
    assert "reds" in models.expand("all")
    assert isinstance(models.build("reds"), toy_localizers.Redness)
    assert "broken" in capsys.readouterr().err
    del toy_localizers.Redness.card


def test_two_localizers_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two localizers are called 'ela'"):

        @models.register("ela", title="another", paper="none")
        class Other(Localizer):
            pass


def test_missing_weights_name_the_page_and_the_place(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissing) as caught:
        models.build("mpc-catnet")
    assert "https://www.123684.com/s/2pf9-EGCHv" in str(caught.value)
    assert "MPC_CATNet_stage2_weights.pth" in str(caught.value) and str(tmp_path) in str(caught.value)
