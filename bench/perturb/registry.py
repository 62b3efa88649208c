"""All perturbations and named grids: of the folder `families`, of other packages' entry points, and of grids.toml."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import math
import sys
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from bench.perturb.step import PerturbationError

ENTRY_POINTS = "bench.perturbations"
IDENTITY = "identity"
Level = int | float | str | None


class Marked(Protocol):
    """A function that the decorator `step` has marked with what it was given."""

    perturbation: dict[str, Any]

    def __call__(self, *args: Any) -> Any:
        """An image, or the move of a geometric one."""


@dataclass(frozen=True)
class Step:
    """One perturbation: its function, and what is known of it without running it.

    The docstring of the function states the law (first paragraph), and in lines of their own `Level:` (what the level
    is, and its unit, separated by a comma), `Source:` and, of a network, `Evidence:`.

    Attributes:
        values: "integer", "odd", "real", "choice" (one of `choices`) or "none" (it has no level).
        low, high: the least and greatest level, inclusive.
        identity: the level at which all pixels stay as they are, None where there is none.
        shown: levels that give an idea of it, from mild to strong; those of its pictures and of the calibration.
        growth: level -> factor by which the number of pixels grows.
        needs, extra: a module that must be importable, and the extra of this package that installs it.
        aliases: other names of the same operation, as papers call it.
        family: what it is one level of, where it has none of its own (a network: "network"); else its name.
    """

    name: str
    function: Callable
    values: str = "integer"
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()
    identity: Level = None
    shown: tuple[Level, ...] = ()
    deterministic: bool = True
    geometric: bool = False
    growth: Callable[[Any], float] = field(default=lambda level: 1.0)
    needs: str = ""
    extra: str = ""
    aliases: tuple[str, ...] = ()
    family: str = ""

    def read_level(self, text: str) -> Level:
        """The level that `text` states. Raises PerturbationError."""
        if self.values == "choice" and text.strip() in self.choices:
            return text.strip()
        try:
            level = float(text)
        except ValueError:
            level = math.nan
        kinds = {"real": True, "integer": level % 1 == 0, "odd": level % 2 == 1}
        if not (self.low <= level <= self.high and kinds.get(self.values, False)):
            wrong = f"{self.name}:{text.strip()}"
            raise PerturbationError(f"{wrong} is not possible; {self.name} takes {self.range}")
        return level if self.values == "real" else int(level)

    @property
    def range(self) -> str:
        """The allowed levels in words."""
        if self.values == "none":
            return "no level"
        meaning = ", ".join(filter(None, (self.parameter, self.unit)))
        if self.values == "choice":
            return f"one of {', '.join(self.choices)} ({meaning})"
        kind = {"integer": "a whole number", "odd": "an odd number", "real": "a number"}[self.values]
        return f"{kind} from {level_text(self.low)} to {level_text(self.high)} ({meaning})"

    @property
    def examples(self) -> tuple[Level, ...]:
        """Levels to show: `shown`, else all choices, or none where it takes none, or five over its whole range."""
        if self.shown or self.values in ("choice", "none"):
            return self.shown or self.choices or (None,)
        steps = [self.low + (self.high - self.low) * n / 4 for n in range(5)]
        return tuple(dict.fromkeys(n if self.values == "real" else int(n) | (self.values == "odd") for n in steps))

    @property
    def installed(self) -> bool:
        """Whether what it needs is there."""
        return not self.needs or _importable(self.needs)

    def require(self) -> None:
        """Raise PerturbationError, naming the extra, where what it needs is not installed."""
        if not self.installed:
            remedy = f"pip install 'forgery-bench[{self.extra}]'" if self.extra else "install a Pillow that has it"
            raise PerturbationError(f"{self.name} needs {self.needs}, which is not installed: {remedy}")

    @property
    def law(self) -> str:
        """What it does to an image: the docstring's first paragraph."""
        return " ".join(self._doc.partition("\n\n")[0].split())

    @property
    def parameter(self) -> str:
        """What its level is."""
        return self._said("Level").partition(",")[0]

    @property
    def unit(self) -> str:
        """What its level is counted in."""
        return self._said("Level").partition(",")[2].strip()

    @property
    def source(self) -> str:
        """Where its law comes from."""
        return self._said("Source")

    @property
    def evidence(self) -> str:
        """Of a network: how it is known what it does."""
        return self._said("Evidence")

    @property
    def definition(self) -> str:
        """`module:name` of the function."""
        return f"{self.function.__module__}:{self.function.__name__}"

    @property
    def _doc(self) -> str:
        return inspect.getdoc(self.function) or ""

    def _said(self, word: str) -> str:
        lines = self._doc.splitlines()
        start = next((n for n, line in enumerate(lines) if line.startswith(f"{word}: ")), None)
        if start is None:
            return ""
        end = next((n for n in range(start + 1, len(lines)) if not lines[n].startswith(" ")), len(lines))
        return " ".join(" ".join(lines[start:end]).split())[len(word) + 2 :]


@dataclass(frozen=True)
class Grid:
    """A named list of specs, as text; one line on what it is; where it comes from."""

    text: str
    about: str
    source: str = ""


def level_text(level: Level) -> str:
    """The shortest decimal text of a level, never with an exponent: 60.0 -> "60", 0.50 -> "0.5"; "" for none."""
    if level is None or isinstance(level, str):
        return level or ""
    return format(Decimal(repr(level)).normalize() + 0, "f")


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


STEPS: dict[str, Step] = {}
ALIASES: dict[str, str] = {}
GRIDS: dict[str, Grid] = {}


def register(functions: Iterable[Marked]) -> None:
    """Take in marked functions. Raises ValueError for a name that is taken or a docstring without its parts."""
    for function in functions:
        found = Step(function=function, **function.perturbation)
        for name in (found.name, *found.aliases):
            if name == IDENTITY or name in STEPS or name in ALIASES or name in GRIDS:
                raise ValueError(f"two perturbations are called {name!r}")
        if not found.source or (found.values != "none" and not found.parameter):
            raise ValueError(f"the docstring of {found.name!r} must state its law and the lines Level: and Source:")
        STEPS[found.name] = found
        ALIASES.update(dict.fromkeys(found.aliases, found.name))


def marked(thing: Any) -> list[Marked]:
    """The perturbations of a module, in the order of its lines, or the one that `thing` is."""
    if hasattr(thing, "perturbation"):
        return [thing]
    own = [f for f in vars(thing).values() if hasattr(f, "perturbation") and f.__module__ == thing.__name__]
    return sorted(own, key=lambda function: function.__code__.co_firstlineno)


def _load() -> None:
    # The grids first: no perturbation may take the name of one.
    for name, entry in tomllib.loads(Path(__file__).with_name("grids.toml").read_text(encoding="utf-8")).items():
        specs = entry["specs"]
        GRIDS[name] = Grid(";".join(specs), entry["about"], entry.get("source", ""))
    folder = Path(__file__).with_name("families")
    for file in sorted(folder.glob("*.py")):
        if not file.stem.startswith("_"):
            register(marked(importlib.import_module(f"bench.perturb.families.{file.stem}")))
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            register(marked(point.load()))
        except Exception as error:  # a broken plug-in must not take the suite down with it
            print(f"warning: perturbation plug-in {point.name!r} ({point.value}): {error}", file=sys.stderr)


_load()
