"""What is imported is declared, what is declared is imported, and each lower bound is a version that is tested."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OWN = {"bench", "models", "reports"}
# Used otherwise than by an import of ours: how.
NOT_IMPORTED = {
    "onnx": "tests make networks with it",
    "ruff": "a tool",
    "mypy": "a tool",
    "mkdocs-material": "a tool",
    "pytest": "a tool",
    "pytest-xdist": "a tool",
    "pytest-timeout": "a tool",
    "pytest-cov": "a tool",
}


PARTS = {"pydantic-core": "pydantic"}  # a distribution of its own, which the other pins exactly


def requirement(line: str) -> tuple[str, str]:
    """("torch", "2.9") of "torch>=2.9,<3"; the bound is "" where there is none."""
    name = re.match(r"[A-Za-z0-9._-]+", line)[0]
    bound = re.search(r">=\s*([0-9.]+)", line)
    return normal(name), bound[1] if bound else ""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


REQUIRED = dict(map(requirement, PROJECT["dependencies"]))
OPTIONAL = {requirement(line)[0] for lines in PROJECT["optional-dependencies"].values() for line in lines}


def imported(*folders: str) -> dict[str, Path]:
    """Top-level name -> a file that imports it, in our packages, without the standard library."""
    found = {}
    for folder in folders:
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module]
                found.update({name.partition(".")[0]: file for name in names})
    return {name: file for name, file in found.items() if name not in sys.stdlib_module_names | OWN}


def test_every_import_is_declared():
    distributions = packages_distributions()
    for name, file in imported(*OWN).items():
        owners = {PARTS.get(normal(owner), normal(owner)) for owner in distributions.get(name, [name])}
        assert owners & (set(REQUIRED) | OPTIONAL), f"{file} imports {name}, which pyproject.toml does not declare"


def test_every_required_dependency_is_imported():
    distributions = packages_distributions()
    used = {normal(owner) for name in imported(*OWN) for owner in distributions.get(name, [name])}
    unused = set(REQUIRED) - used - set(NOT_IMPORTED)
    assert not unused, f"declared and imported nowhere: {', '.join(sorted(unused))}"


def test_the_lower_bounds_are_the_versions_that_are_tested():
    lines = (ROOT / "constraints-minimum.txt").read_text(encoding="utf-8").splitlines()
    tested = {normal(name): version for name, _, version in (line.partition("==") for line in lines if "==" in line)}
    assert set(tested) == set(REQUIRED)
    for name, bound in REQUIRED.items():
        assert bound, f"{name} has no lower bound"
        missing = tested[name].removeprefix(bound).strip(".0")
        newer = {"opencv-python": "86"}.get(name, "")  # its fourth number counts the builds of one version
        assert tested[name].startswith(bound) and missing == newer, f"{name}>={bound}, but {tested[name]} is tested"


def test_every_required_dependency_is_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {normal(line.partition("==")[0]) for line in lines if "==" in line}
    assert set(REQUIRED) <= pinned


@pytest.mark.parametrize("file", ["bench/__init__.py"])
def test_the_version_is_stated_once(file):
    assert "version" not in PROJECT and "version" in PROJECT["dynamic"]
    version = re.search(r'__version__ = "([0-9.]+)"', (ROOT / file).read_text(encoding="utf-8"))[1]
    assert version
    for other in ("CITATION.cff", "README.md", "mkdocs.yml"):
        assert f'"{version}"' not in (ROOT / other).read_text(encoding="utf-8")
