"""The command line: help, exit codes, listings, weights."""

import json
import subprocess
import sys

import pytest

from bench.cli import commands, main


@pytest.mark.parametrize("command", commands())
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: python -m bench {command}" in out and len(out) > 300


def test_no_command_and_unknown_commands(capsys):
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert main(["reprot"]) == 2
    assert "did you mean 'report'?" in capsys.readouterr().err


def test_help_does_not_import_the_heavy_packages():
    code = "import sys, bench.cli; bench.cli.main(['--help']); print({'torch', 'pandas', 'sklearn'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("what", "name"), [("models", "ela"), ("data", "builtin"), ("perturbations", "standard"), ("protocols", "native")]
)
def test_listings(what, name, capsys):
    assert main(["list", what]) == 0
    assert name in capsys.readouterr().out
    assert main(["list", what, "--json"]) == 0
    assert name in {row["name"] for row in json.loads(capsys.readouterr().out)}


def test_weights_states(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    assert main(["weights", "mpc-catnet"]) == 1
    out = capsys.readouterr().out
    assert "ABSENT" in out and "CC BY-NC 4.0" in out and str(tmp_path) in out
    (tmp_path / "MPC_CATNet_stage2_weights.pth").write_bytes(b"some bytes")
    assert main(["weights", "mpc-catnet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "present (digest not known)"
    assert main(["weights", "mpc-catnit"]) == 2
    assert "did you mean 'mpc-catnet'" in capsys.readouterr().err


def test_damaged_weights_are_recognised(tmp_path):
    import hashlib

    from bench.weights import state
    from models import WeightFile

    file = tmp_path / "w.pth"
    file.write_bytes(b"0123")
    digest = hashlib.sha256(b"0123").hexdigest()
    assert state(file, WeightFile("w.pth", "", "", size=4, sha256=digest)) == "present"
    assert state(file, WeightFile("w.pth", "", "", size=5, sha256=digest)).startswith("damaged: 4 bytes instead of 5")
    assert state(file, WeightFile("w.pth", "", "", sha256="00")).startswith("damaged: sha256")
    assert state(tmp_path / "x", WeightFile("x", "", "")) == "absent"
    in_git = "6da806d7a782261675473a6e20281973e26ff57b"  # printf 0123 | git hash-object --stdin
    assert state(file, WeightFile("w.pth", "", "", git_sha1=in_git)) == "present"
    assert state(file, WeightFile("w.pth", "", "", git_sha1="00")).startswith("damaged: id in git 6")


@pytest.mark.parametrize("words", [["report"], ["check", "--against", "x.json"], ["report", "nowhere"]])
def test_commands_without_a_run_say_how_to_make_one(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "bench run" in capsys.readouterr().err


def test_damaged_run_files_are_named(tmp_path, capsys):
    (tmp_path / "run.json").write_text("{")
    (tmp_path / "evidence.sqlite").write_bytes(b"this is no database" * 100)
    assert main(["report", str(tmp_path)]) == 2
    assert "evidence.sqlite" in capsys.readouterr().err
