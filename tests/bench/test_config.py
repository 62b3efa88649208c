"""`--config`: what the file says replaces the defaults, what the command line says replaces the file."""

import json

import pytest

from bench.cli import main
from bench.config import read_config, with_named
from bench.usage import UsageError


@pytest.fixture
def written(tmp_path):
    def write(text):
        (tmp_path / "run.toml").write_text(text)
        return tmp_path / "run.toml"

    return write


def about(folder):
    return json.loads((folder / "run.json").read_text())


def test_a_run_from_a_file(photo_folder, written, capsys):
    path = written(f"""
        models = ["low=toy_localizers:Redness?gain=0.5", "toy_localizers:Redness"]
        data = ["mine"]
        perturbations = ["clean", "night"]
        out = "{photo_folder / "run"}"
        limit = 2
        backend = "threading"
        workers = 1
        [sets]
        mine = "folder:{photo_folder / "images"},{photo_folder / "masks"}"
        [grids]
        night = "noise:5;jpeg:70"
    """)
    assert main(["run", "--config", str(path)]) == 0
    found = about(photo_folder / "run")
    assert [m["name"] for m in found["models"]] == ["low", "toy_localizers:Redness"]
    assert found["cells"]["asked"] == 2 * 2 * 3
    assert found["request"]["limit"] == 2 and found["request"]["perturbations"] == "clean;noise:5;jpeg:70"


def test_the_command_line_wins(photo_folder, written, capsys):
    path = written(f"""
        models = "ela"
        data = "mine"
        limit = 2
        seed = 3
        backend = "threading"
        workers = 1
        [sets]
        mine = "folder:{photo_folder / "images"},{photo_folder / "masks"}"
        [grids]
        night = "noise:5;jpeg:70"
    """)
    words = ["--limit", "1", "--models", "toy_localizers:Redness", "--perturbations", "night", "--seed", "0"]
    assert main(["run", *words, "--config", str(path), "--out", str(photo_folder / "run")]) == 0
    found = about(photo_folder / "run")
    assert [m["name"] for m in found["models"]] == ["toy_localizers:Redness"]
    assert (found["cells"]["asked"], found["request"]["seed"], found["request"]["backend"]) == (
        3,
        0,
        "threading",
    )  # the photo itself, and the grid


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("modles = 'ela'", "unknown key modles; did you mean models?"),
        ("limit = 0", "limit is 0"),
        ("workers = 'two'", "workers"),
        ("[sets]\nmine = 3", "sets.mine"),
        ("data = ", "not a TOML file"),
    ],
)
def test_what_is_wrong_is_named(written, text, said):
    path = written(text)
    with pytest.raises(UsageError) as caught:
        read_config(path)
    assert str(path) in str(caught.value) and said in str(caught.value)


def test_a_file_that_is_absent_is_named(tmp_path, capsys):
    assert main(["run", "--config", str(tmp_path / "gone.toml")]) == 2
    assert "gone.toml" in capsys.readouterr().err


def test_a_backend_that_does_not_exist_is_refused(written, capsys):
    assert main(["run", "--config", str(written("backend = 'lokky'"))]) == 2
    assert "did you mean loky" in capsys.readouterr().err


def test_names_are_replaced_whole_and_alone():
    assert with_named("ours,builtin, ours2", {"ours": "folder:a,b"}, ",") == "folder:a,b,builtin, ours2"
