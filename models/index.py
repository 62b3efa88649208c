"""The cards of this package's localizers, read from the source without importing it.

Importing every localizer takes seconds, most of them for torch. What a listing needs is the arguments of the `register`
decorators, and these are evaluated here alone, with the definitions of their module that they refer to.
"""

from __future__ import annotations

import ast
import csv
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.card import ModelCard, WeightFile

PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """A localizer of this package: its card, and the module and name of its class."""

    card: ModelCard
    module: str
    qualname: str


@functools.cache
def entries() -> dict[str, Entry]:
    """Name -> entry of all localizers of this package. Raises ValueError where two have one name."""
    found: dict[str, Entry] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        for entry in _registered(file):
            name = entry.card.name
            if name in found:
                raise ValueError(f"two localizers are called {name!r}: {found[name].module} and {entry.module}")
            found[name] = entry
    return found


@functools.cache
def sizes() -> dict[str, dict[str, int | float]]:
    """`parameters` and `gflops_512` of the networks of this package, as `bench.training.tools.network_sizes` counts."""
    found = {}
    with (PACKAGE / "sizes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            counted = {"parameters": int(row["parameters"])}
            found[row["model"]] = counted | ({"gflops_512": float(row["gflops_512"])} if row["gflops_512"] else {})
    return found


def make_card(name: str, **card) -> ModelCard:
    """The card of these fields, with the sizes that are counted for this name."""
    return ModelCard(name=name, **sizes().get(name, {}) | card)


def _registered(file: Path) -> Iterator[Entry]:
    text = file.read_text(encoding="utf-8")
    if "@register(" not in text:
        return
    body = ast.parse(text).body
    classes = [(node.name, call) for node in body if isinstance(node, ast.ClassDef) for call in _decorators(node)]
    if not classes:
        return
    cards: list[ModelCard] = []
    scope = {
        "register": lambda name, **card: cards.append(make_card(name, **card)),
        "WeightFile": WeightFile,
        "__file__": str(file),
    }
    definitions = _needed(body, [call for _, call in classes], set(scope))
    calls = [ast.copy_location(ast.Expr(call), call) for _, call in classes]
    exec(compile(ast.Module([*definitions, *calls], []), str(file), "exec"), scope)
    module = ".".join(["models", *file.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
    for (qualname, _), card in zip(classes, cards, strict=True):
        yield Entry(card, module, qualname)


def _decorators(node: ast.ClassDef) -> Iterator[ast.Call]:
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Name) and decorator.func.id == "register":
            yield decorator


def _needed(body: list[ast.stmt], calls: list[ast.Call], known: set[str]) -> list[ast.stmt]:
    """The statements of a module that define what these calls refer to, directly or through each other."""
    defines = {name: statement for statement in body for name in _names_defined(statement)}
    wanted: list[ast.AST] = list(calls)
    needed: set[int] = set()
    while wanted:
        for node in ast.walk(wanted.pop()):
            statement = defines.get(node.id) if isinstance(node, ast.Name) and node.id not in known else None
            if statement is not None and id(statement) not in needed:
                needed.add(id(statement))
                wanted.append(statement)
    return [statement for statement in body if id(statement) in needed]


def _names_defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Assign):
        return [node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return [statement.target.id]
    if isinstance(statement, ast.FunctionDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).partition(".")[0] for alias in statement.names]
    return []
