"""README.md and CONTRIBUTING.md: what is made from the code is current, commands parse, the test command is CI's."""

import re
import shlex
from pathlib import Path

import pytest

from bench import cli
from bench.training.tools import catalogue

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"^    python -m bench (.+)$", README + CONTRIBUTING, re.MULTILINE)))
MADE = "made by `python -m bench.training.tools.catalogue`; run it again"


class Parsed(Exception):
    """Stops a command when its arguments are understood."""


def test_made_parts_are_current():
    assert catalogue.readme(README) == README, MADE
    assert catalogue.page() == (ROOT / catalogue.PAGE).read_text(encoding="utf-8"), MADE


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_parse(line, monkeypatch):
    name, *words = shlex.split(line, comments=True)
    assert name in cli.commands()
    module = __import__(f"bench.commands.{name}", fromlist=["main"])

    def main(args):
        raise Parsed

    monkeypatch.setattr(module, "main", main)
    with pytest.raises(Parsed):
        cli._run(name, words)


def test_commands_are_found():
    assert len(COMMANDS) > 20


def test_files_that_are_linked_exist():
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?![a-z]+:)([^)#]+)", text):
            assert (ROOT / target).exists(), f"{name}: {target}"


def test_tests_command_is_what_ci_calls():
    readme = re.search(r"\*\*Run the tests:\*\*\n\n    (.+)\n", README)[1].split(" && ")
    ci = [line.replace(" -q ", " ") for line in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()]
    assert [command for command in readme if command not in ci] == []


def test_screenshot_is_small():
    assert (ROOT / "docs/images/report.png").stat().st_size < 150_000
