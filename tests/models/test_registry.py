"""The registry: names, groups, settings, identities, plug-ins."""

import importlib
import importlib.metadata
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import toy_localizers

import models
from models import Localizer, UnknownModel, WeightsMissing, index, localizer, registry

ROOT = Path(__file__).parents[2]


def test_every_registered_localizer_has_a_complete_card():
    for card in models.cards():
        assert card.title and card.paper, card.name
        assert card.groups or card.argument or card.name in ("mpc", "mpc-catnet", "mpc-casia2", "adaptive-cfa"), (
            card.name
        )
        for file in card.weights:
            assert file.page.startswith("https://") and file.licence, card.name


def test_names_with_a_path_are_split_where_a_localizer_takes_one():
    assert models.split("maps:some/folder") == ("maps", "some/folder")
    assert models.split("ela:90") == ("ela:90", None)


@pytest.mark.parametrize(("name", "near"), [("elaa", "'ela'"), ("baseline", "'baselines'"), ("mcp", "'mpc'")])
def test_unknown_names_suggest_the_nearest_and_dump_no_list(name, near):
    with pytest.raises(UnknownModel) as caught:
        models.find(name)
    assert str(caught.value) == f"unknown model {name!r}; did you mean {near}?"


def test_a_name_like_no_other_points_to_the_list():
    with pytest.raises(UnknownModel, match="unknown model 'qqqqqqqq'; see: python -m bench list models"):
        models.find("qqqqqqqq")


@pytest.mark.parametrize("name", ["", "toy_localizers:Absent", "absent_module:Class", "pathlib:Path"])
def test_unusable_names_are_refused(name):
    with pytest.raises(UnknownModel):
        models.find(name)


def test_cards_are_read_without_importing_the_localizers():
    code = "import sys, models; models.cards(); models.groups(); print({'torch', 'scipy', 'pandas'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out.strip() == "set()"


def test_cards_that_were_read_are_those_of_the_classes():
    read = index.entries()
    for name, entry in read.items():
        cls = models.find(name)
        assert cls.card == entry.card, name
        assert (cls.__module__, cls.__qualname__) == (entry.module, entry.qualname)
    for module in pkgutil.walk_packages(models.__path__, "models."):
        importlib.import_module(module.name)
    assert {n for n, cls in registry._classes.items() if cls.__module__.startswith("models.")} == set(read)


def test_keywords_that_a_constructor_hands_on_are_settings():
    class More(toy_localizers.Redness):
        def __init__(self, floor: float = 0.0, **more):
            super().__init__(**more)

    assert More.setting_names() == ("floor", "gain")


def test_a_class_without_localize_cannot_be_built():
    class Empty(Localizer):
        pass

    with pytest.raises(TypeError, match="localize"):
        Empty()


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
        localizer._source_files.cache_clear()
        return models.build("own_package.method:Method").identity()

    first = identity()
    (package / "aside.py").write_text("UNUSED = 2")
    assert identity() == first
    (package / "steps.py").write_text("GAIN = 2")
    assert identity() != first
    names = {file.name for file in localizer._source_files("models.classical.adq1")}
    assert {"adq1.py", "blocks.py"} <= names


def test_a_switch_takes_true_and_false_alone():
    assert models.build("noi1", signed=True).signed is True
    for value in ("no", 1, None):
        with pytest.raises(models.SettingsError, match=rf"noi1: signed is true or false, got {value!r}"):
            models.build("noi1", signed=value)


def test_a_class_from_elsewhere_does_not_enter_the_registry():
    models.build("toy_localizers:Nan")
    assert not any("toy_localizers" in card.name for card in models.cards())


def test_plug_ins_come_through_entry_points_and_a_broken_one_is_only_a_warning(monkeypatch, caplog):
    good = importlib.metadata.EntryPoint("reds", "toy_localizers:Redness", registry.ENTRY_POINTS)
    bad = importlib.metadata.EntryPoint("broken", "no_such_module:Class", registry.ENTRY_POINTS)
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [good, bad] if group == registry.ENTRY_POINTS else []
    )
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    monkeypatch.setattr(registry, "_load_plug_ins", registry._load_plug_ins.__wrapped__)
    monkeypatch.delattr(toy_localizers.Redness, "card", raising=False)
    assert "reds" in models.groups()["all"]
    assert isinstance(models.build("reds"), toy_localizers.Redness)
    assert "broken" in caplog.text
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
