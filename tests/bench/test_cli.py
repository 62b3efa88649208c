"""The command line: help, exit codes, listings, weights."""

import json
import logging
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from bench.cli import commands, main
from bench.usage import UsageError

ROOT = Path(__file__).parents[2]


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


def test_a_protocol_whose_cost_was_not_measured_is_listed(monkeypatch, capsys):
    from bench.metrics import describe

    costs = describe.costs()
    left = {name: cost for name, cost in costs["protocols"].items() if name != "mpc"}
    monkeypatch.setattr(describe, "costs", lambda: {**costs, "protocols": left})
    assert main(["list", "protocols"]) == 0
    assert "cost not measured" in capsys.readouterr().out


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


def test_weights_that_are_not_required_may_be_absent(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    assert main(["weights"]) == 0
    assert "ABSENT" in capsys.readouterr().out
    assert main(["weights", "--require", "mpc-catnet,ela"]) == 1
    assert main(["weights", "--require", "mpc,baselines"]) == 0
    (tmp_path / "MPC_CATNet_stage2_weights.pth").write_bytes(b"some bytes")
    assert main(["weights", "--require", "mpc-catnet,ela"]) == 0
    (tmp_path / "adaptive_cfa").mkdir()
    (tmp_path / "adaptive_cfa/pretrained.pt").write_bytes(b"cut")
    assert main(["weights"]) == 1
    assert main(["weights", "--require", "mpc-cantet"]) == 2


def test_weights_of_what_is_shipped(capsys):
    assert main(["weights", "mpc"]) == 0
    assert capsys.readouterr().out.startswith("mpc: needs no checkpoint from elsewhere")


def test_the_list_of_models_says_which_are_ready(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    assert main(["list", "models", "--json"]) == 0
    states = {row["name"]: row["state"] for row in json.loads(capsys.readouterr().out)}
    assert (states["ela"], states["mpc"], states["mpc-catnet"]) == ("ready", "ready", "weights absent")
    assert states["maps"] == "needs a folder"
    assert main(["list", "models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(states) and max(map(len, lines)) < 400


# ------------------------------------------------------------------------------------ errors and what is said where


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Make `bench ail` a command whose main() is the given function."""

    def made(function):
        module = types.ModuleType("bench.commands.ail", "A command for tests.")
        module.add_arguments, module.main = lambda parser: None, function
        monkeypatch.setitem(sys.modules, "bench.commands.ail", module)
        monkeypatch.setattr("bench.cli.commands", lambda: ["ail"])

    return made


def raising(error):
    def main(args):
        raise error

    return main


@pytest.mark.parametrize(
    "error", [ValueError("odd"), KeyError("x"), TypeError(), ZeroDivisionError(), RecursionError()]
)
def test_an_error_of_our_own_ends_with_70_and_its_traceback(command, capsys, error):
    command(raising(error))
    assert main(["ail"]) == 70
    said = capsys.readouterr().err
    assert "Traceback" in said and "please report it" in said.splitlines()[-1]


@pytest.mark.parametrize("error", [UsageError("change it"), FileNotFoundError(2, "gone", "file")])
def test_an_error_of_the_users_is_one_line(command, capsys, error):
    command(raising(error))
    assert main(["ail"]) == 2
    assert capsys.readouterr().err == f"error: {error}\n"


def test_a_package_that_is_not_installed_is_one_line(command, capsys):
    command(raising(ModuleNotFoundError("No module named 'cv2'", name="cv2")))
    assert main(["ail"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'cv2' is not installed" in line and sys.executable in line
    command(raising(ModuleNotFoundError("No module named 'bench.gone'", name="bench.gone")))
    assert main(["ail"]) == 70


def test_in_an_environment_without_the_dependencies_one_line_says_so(tmp_path):
    code = "import sys; sys.modules['cv2'] = None; from bench.cli import main; sys.exit(main(['list', 'models']))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert "'cv2' is not installed" in found.stderr


def test_usage_errors_are_one_line(capsys):
    for words in (["run", "--modles", "ela"], ["run", "--workers", "0"], ["list", "modles"], ["weights", "-v", "-q"]):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_how_much_is_said_on_standard_error(command, capsys):
    def speak(args):
        for say in (logger.debug, logger.info, logger.warning):
            say("a %s", "word")
        print("result")
        return 0

    logger = logging.getLogger("bench.somewhere")
    command(speak)
    expected = {"-v": "a word\na word\nwarning: a word\n", "-q": "warning: a word\n"}
    for option in ("-v", "-q"):
        assert main(["ail", option]) == 0
        assert capsys.readouterr() == ("result\n", expected[option])
    assert main(["ail"]) == 0
    assert capsys.readouterr() == ("result\n", "a word\nwarning: a word\n")


# ------------------------------------------------------------------- a `models` of the user's in the working folder


def bench_in(folder, *words, entry="module"):
    """`python -m bench` in a folder, or the command `forgery-bench`, with the suite on the path as when installed."""
    script = folder.parent / "forgery-bench"
    script.write_text("import sys\nfrom bench.__main__ import main\nsys.exit(main())\n")
    start = ["-m", "bench"] if entry == "module" else [str(script)]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *start, *words], capture_output=True, text=True, cwd=folder, env=variables
    )  # fmt: skip


@pytest.mark.parametrize(
    "content", [{"models/__init__.py": ""}, {"models/net.py": ""}, {"models.py": ""}, {"reports/__init__.py": ""}]
)
def test_another_projects_package_of_our_name_is_told_in_one_line(tmp_path, content):
    folder = tmp_path / "research"
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    found = bench_in(folder, "run", "--models", "ela", "--limit", "1")
    hidden = "models/net.py" not in content  # without __init__.py it is found last, and hides nothing
    assert (found.returncode == 2) == hidden or "error" not in found.stderr
    if hidden:
        (line,) = found.stderr.splitlines()
        assert "hides the suite's own package" in line and "forgery-bench" in line and "exec:" in line


@pytest.mark.slow
def test_beside_another_projects_models_the_command_runs_a_class_of_the_working_folder(tmp_path, photo_folder):
    folder = tmp_path / "research"
    (folder / "models").mkdir(parents=True)
    (folder / "models/__init__.py").write_text("raise RuntimeError('not to be imported')")
    (folder / "mine.py").write_text(
        "import numpy as np\nfrom models import Localizer, ScoreMap\nclass Flat(Localizer):\n"
        "    def localize(self, image):\n        return ScoreMap(np.zeros(image.shape, np.float32), 'score')\n"
    )
    words = ["--models", "mine:Flat", "--data", f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"]
    words += ["--perturbations", "clean", "--workers", "2", "--json", "-q"]
    found = bench_in(folder, "run", *words, entry="command")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["cells"]["ok"] == 4


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
    assert "run.json is damaged" in capsys.readouterr().err
    (tmp_path / "run.json").unlink()
    assert main(["report", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path) in line
