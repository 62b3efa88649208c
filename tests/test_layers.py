"""Imports go one way, models <- bench <- bench/training <- bench/commands with reports apart, and never in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "models": {"models"},
    "reports": {"reports"},
    "bench": {"models", "bench"},
    "bench.training": {"models", "bench", "bench.training"},
    "bench.commands": {"models", "bench", "bench.training", "bench.commands", "reports"},
}
TRAINING_COMMANDS = {"bench.commands.train", "bench.commands.study"}
Graph = Mapping[str, set[str]]


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file of every module of the three packages below `root`."""
    found = {}
    for package in ("models", "bench", "reports"):
        for file in sorted((root / package).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(name: str, files: Mapping[str, Path]) -> Iterator[str]:
    """Which of the modules one of them imports, wherever in the file: inside functions and for type checking, too."""
    package = name.split(".") if files[name].name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(files[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            targets = [f"{base}.{a.name}" if f"{base}.{a.name}" in files else base for a in node.names]
        else:
            continue
        yield from (target for target in targets if target in files and target != name)


def import_graph(root: Path) -> tuple[dict[str, Path], dict[str, set[str]]]:
    """The modules below `root`, and for each of them the ones that it imports."""
    files = modules(root)
    return files, {name: set(imports(name, files)) for name in files}


def layer(name: str) -> str:
    """The layer of a module, the longest one that fits: "bench.training.mpc.muon" is of "bench.training"."""
    return max((known for known in MAY_IMPORT if f"{name}.".startswith(f"{known}.")), key=len)


def package(name: str, files: Mapping[str, Path]) -> str:
    """The folder of a module, dotted."""
    return name if files[name].name == "__init__.py" else name.rpartition(".")[0]


def climbing(graph: Graph) -> set[tuple[str, str]]:
    """The imports that a layer must not make."""
    return {(a, b) for a in graph for b in graph[a] if layer(b) not in MAY_IMPORT[layer(a)]}


def reachable(start: str, graph: Graph) -> set[str]:
    """What a module imports, directly or not."""
    found, todo = set(), [start]
    while todo:
        todo += (new := graph.get(todo.pop(), set()) - found)
        found |= new
    return found


def circular(graph: Graph) -> set[tuple[str, str]]:
    """The edges that lie on a circle."""
    reached = {name: reachable(name, graph) for name in graph}
    return {(a, b) for a in graph for b in graph[a] if a in reached[b]}


def of_packages(graph: Graph, files: Mapping[str, Path]) -> dict[str, set[str]]:
    """The same graph between folders. A file that imports nothing (bench/truth.py) closes no circle: left out."""
    found: dict[str, set[str]] = {package(name, files): set() for name in graph}
    for name in graph:
        own = package(name, files)
        found[own] |= {package(other, files) for other in graph[name] if graph.get(other)} - {own}
    return found


def arrows(edges: set[tuple[str, str]]) -> str:
    return "\n".join(f"{a} -> {b}" for a, b in sorted(edges))


def test_no_import_climbs():
    found = climbing(import_graph(ROOT)[1])
    assert not found, f"imports against the layers:\n{arrows(found)}"


def test_no_circle_of_files():
    found = circular(import_graph(ROOT)[1])
    assert not found, f"files import each other:\n{arrows(found)}"


def test_no_circle_of_packages():
    files, graph = import_graph(ROOT)
    found = circular(of_packages(graph, files))
    assert not found, f"folders import each other:\n{arrows(found)}"


def test_judging_does_not_load_the_training():
    _, graph = import_graph(ROOT)
    for command in graph:
        if layer(command) == "bench.commands" and command not in TRAINING_COMMANDS | {"bench.commands"}:
            loaded = {name for name in reachable(command, graph) if layer(name) == "bench.training"}
            assert not loaded, f"{command} loads {', '.join(sorted(loaded))}"


@pytest.fixture
def tree(tmp_path):
    """A tiny suite without a fault; the tests below put one in."""
    for file, text in {
        "models/__init__.py": "from models.image import Image",
        "models/image.py": "import numpy",
        "models/deep/__init__.py": "",
        "models/deep/one.py": "from models import Image",
        "bench/__init__.py": "",
        "bench/run.py": "from models.deep import one",
        "bench/training/__init__.py": "",
        "bench/training/lab.py": "from bench import run",
        "bench/commands/__init__.py": "",
        "bench/commands/train.py": "import bench.training.lab, reports",
        "reports/__init__.py": "",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    return tmp_path


def test_a_clean_tree_has_no_fault(tree):
    files, graph = import_graph(tree)
    assert climbing(graph) == circular(graph) == set()
    assert circular(of_packages({**graph, "models": set()}, files)) == set()
    assert graph["bench.commands.train"] == {"bench.training.lab", "reports"}


@pytest.mark.parametrize(
    ("file", "line", "edge"),
    [
        ("models/deep/one.py", "def f():\n    import bench.run", ("models.deep.one", "bench.run")),
        ("bench/run.py", "from bench.training import lab", ("bench.run", "bench.training.lab")),
        ("bench/run.py", "from . import training", ("bench.run", "bench.training")),
        ("bench/training/lab.py", "from ..commands.train import main", ("bench.training.lab", "bench.commands.train")),
        ("bench/training/lab.py", "import reports", ("bench.training.lab", "reports")),
        ("reports/__init__.py", "from models.image import Image", ("reports", "models.image")),
        ("bench/run.py", "if TYPE_CHECKING:\n    import reports", ("bench.run", "reports")),
    ],
)
def test_an_import_that_climbs_is_found(tree, file, line, edge):
    (tree / file).write_text(line)
    assert climbing(import_graph(tree)[1]) == {edge}


def test_circles_are_found(tree):
    (tree / "models/image.py").write_text("def f():\n    from models import deep")
    (tree / "models/deep/__init__.py").write_text("from . import one")
    (tree / "models/deep/one.py").write_text("from models.image import Image")
    files, graph = import_graph(tree)
    circle = {("models.image", "models.deep"), ("models.deep", "models.deep.one"), ("models.deep.one", "models.image")}
    assert circular(graph) == circle
    assert circular(of_packages(graph, files)) == {("models", "models.deep"), ("models.deep", "models")}
