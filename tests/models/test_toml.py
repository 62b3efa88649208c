"""TOML files are read strictly, and what is wrong in one is said with its key and what to write instead."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from typing import Annotated

import pytest
from annotated_types import Ge, Gt

from models.toml import OneOf, Table, TomlError, load_toml, read_toml


@dataclass(frozen=True)
class Stage(Table):
    steps: Annotated[int, Ge(1)] = 1000
    lr: Annotated[float, Gt(0)] = 1e-3
    views: tuple[Annotated[str, OneOf("within", "scale")], ...] = ("within",)

    def __post_init__(self):
        if len(set(self.views)) < len(self.views):
            raise ValueError("each view once")


@dataclass(frozen=True)
class Longer(Stage):
    calibrated: bool = False


@dataclass(frozen=True)
class Recipe(Table):
    name: str
    seed: int = 0
    stage: Longer = field(default_factory=Longer)
    others: tuple[Stage, ...] = ()
    rows: dict[str, tuple[float, ...]] = field(default_factory=dict)


class OwnError(ValueError):
    pass


WHOLE = """\
name = "Größe"
[stage]
lr = 1
views = ["within", "scale"]
calibrated = true
[[others]]
steps = 2
[rows]
"x y" = [1, 2.5]
"""
READ = Recipe(
    "Größe",
    stage=Longer(lr=1.0, views=("within", "scale"), calibrated=True),
    others=(Stage(steps=2),),
    rows={"x y": (1.0, 2.5)},
)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_becomes_a_dataclass(tmp_path, mark, newline):
    file = tmp_path / "r.toml"
    file.write_bytes(mark + WHOLE.replace("\n", newline).encode())
    recipe = read_toml(file, Recipe)
    assert recipe == READ
    assert type(recipe.stage.lr) is float
    assert load_toml(file)["stage"]["views"] == ["within", "scale"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name is missing"),
        ("name = 1", "name: input should be a valid string, got 1"),
        ("sed = 1", "name is missing; unknown key sed; did you mean seed?"),
        ("name = 'a'\nseed = true", "seed: input should be a valid integer, got True"),
        ("name = 'a'\nseed = 1.0", "seed: input should be a valid integer, got 1.0"),
        ("name = 'a'\nseed = '1'", "seed: input should be a valid integer, got '1'"),
        ("name = 'a'\nseed = 2020-01-01", "seed: input should be a valid integer, got '2020-01-01'"),
        ("name = 'a'\nstage = 3", "stage is a table ([stage]), not a value"),
        ("name = 'a'\n[stage]\nstep = 3", "unknown key stage.step; did you mean stage.steps?"),
        ("name = 'a'\n[stage]\nzzz = 3", "unknown key stage.zzz; known: steps, lr, views, calibrated"),
        ("name = 'a'\n[stage]\nlr = 0", "stage.lr: input should be greater than 0, got 0"),
        ("name = 'a'\n[stage]\nlr = nan", "stage.lr: input should be a finite number, got nan"),
        ("name = 'a'\n[stage]\nviews = ['scal']", "stage.views[0] is 'scal'; did you mean scale?"),
        ("name = 'a'\n[stage]\nviews = ['x']", "stage.views[0] is 'x'; known: within, scale"),
        ("name = 'a'\n[stage]\nviews = 'scale'", "stage.views: input should be a valid array, got 'scale'"),
        ("name = 'a'\n[[others]]\n[[others]]\nstep = 1", "unknown key others[1].step; did you mean others[1].steps?"),
        ("name = 'a'\n[stage]\nviews = ['scale', 'scale']", "stage: each view once"),
        ("name = 'a'\n[rows]\na = ['b']", "rows.a[0]: input should be a valid number, got 'b'"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, message):
    file = tmp_path / "r.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(OwnError) as error:
        read_toml(file, Recipe, OwnError)
    assert str(error.value) == f"{file}: {message}"


def test_every_fault_is_said_at_once(tmp_path):
    file = tmp_path / "r.toml"
    file.write_text("seed = 'x'\n[stage]\nsteps = 0")
    with pytest.raises(TomlError, match=r"name is missing; seed: .*; stage\.steps: "):
        read_toml(file, Recipe)


@pytest.mark.parametrize(
    "content", [b"name = ", b"name = '\xff'", codecs.BOM_UTF16_LE + "name = 'a'".encode("utf-16-le")]
)
def test_what_is_no_toml_is_said(tmp_path, content):
    file = tmp_path / "r.toml"
    file.write_bytes(content)
    with pytest.raises(TomlError, match=r"r\.toml: not a TOML file \("):
        read_toml(file, Recipe)


def test_an_absent_file_is_said(tmp_path):
    with pytest.raises(TomlError, match=r"absent\.toml: cannot be read \(No such file or directory\)"):
        read_toml(tmp_path / "absent.toml", Recipe)
