"""Specs and what they name: `perturb(image, "jpeg:60+resize:0.5")`, `parse("standard;blur:3")`.

A spec is `NAME:LEVEL[,LEVEL...]`, or `NAME` where a perturbation has no level; `+` chains perturbations, applied from
left to right; `;` separates specs.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from bench.perturb import chain
from bench.perturb.registry import ALIASES, GRIDS, IDENTITY, STEPS, Level, Step, level_text
from bench.perturb.step import PerturbationError
from bench.truth import Truth
from bench.usage import suggest
from models.image import ForensicImage


@dataclass(frozen=True)
class Perturbation:
    """A chain of (name, level) steps; the empty chain is the identity."""

    steps: tuple[tuple[str, Level], ...] = ()

    @property
    def spec(self) -> str:
        """Canonical text, `"jpeg:60+resize:0.5"` or `"identity"`, which `parse` reads back."""
        return "+".join(n if v is None else f"{n}:{level_text(v)}" for n, v in self.steps) or IDENTITY

    @property
    def family(self) -> str:
        """The families of the steps, `"jpeg+resize"`, `"network"`, or `"identity"`."""
        return "+".join(STEPS[name].family or name for name, _ in self.steps) or IDENTITY

    @property
    def level(self) -> str:
        """The levels of the steps as text, `"60+0.5"`, `"facebook@2021"`; empty for the identity."""
        return "+".join(name if STEPS[name].family else level_text(level) for name, level in self.steps)

    @property
    def geometric(self) -> bool:
        """Whether a step moves pixels, so that the ground truth moves with them."""
        return any(STEPS[name].geometric for name, _ in self.steps)

    @property
    def deterministic(self) -> bool:
        """Whether no step draws random numbers."""
        return all(STEPS[name].deterministic for name, _ in self.steps)

    @property
    def modules(self) -> tuple[str, ...]:
        """The code that makes the result, as `module:function`: the chain's and each step's; empty for the identity."""
        own = sorted({STEPS[name].definition for name, _ in self.steps})
        return (*(f"{chain.__name__}:{part}" for part in ("apply_pair", "generator")), *own) if own else ()

    def apply(self, image: ForensicImage, key: tuple[str, str] = ("", ""), seed: int = 0) -> ForensicImage:
        """The perturbed image, which may be of another size; the identity returns `image` itself.

        key: test set and image id. With `seed`, the spec and the place in the chain they alone determine the
            random numbers, whatever the worker, order or time.
        Raises PerturbationError where the image is too small for a step, or the result would be too large.
        """
        return chain.apply(self._links, image, self._random(key, seed))

    def apply_pair(
        self, image: ForensicImage, truth: Truth, key: tuple[str, str] = ("", ""), seed: int = 0
    ) -> chain.Perturbed:
        """Image and ground truth, moved together by geometric steps; otherwise as `apply`."""
        return chain.apply_pair(self._links, image, truth, self._random(key, seed))

    def generator(self, position: int, key: tuple[str, str], seed: int) -> np.random.Generator:
        """The random numbers of step `position`."""
        return chain.generator(position, key, self.spec, seed)

    def _random(self, key: tuple[str, str], seed: int):
        return functools.partial(chain.generator, key=key, spec=self.spec, seed=seed)

    @property
    def _links(self) -> list[chain.Link]:
        known = [(STEPS[name], level) for name, level in self.steps]
        return [
            chain.Link(s.name, s.function, level, s.geometric, not s.deterministic, s.growth(level))
            for s, level in known
        ]


def parse(text: str) -> list[Perturbation]:
    """Specs and grid names, `"standard;jpeg:35,25;blur:3+noise:5"`, to perturbations.

    The identity comes first whether named or not, the rest in the order of the text, each once. Several
    levels within a chain give all combinations. Raises PerturbationError.
    """
    found = [Perturbation()]
    for spec in text.split(";"):
        name = spec.strip()
        found += parse(GRIDS[name].text) if name in GRIDS else _chains(spec, text)
    return list(dict.fromkeys(found))


def perturb(image: ForensicImage, spec: str, key: tuple[str, str] = ("", ""), seed: int = 0) -> ForensicImage:
    """Apply one spec to an image; see `Perturbation.apply`. Raises PerturbationError."""
    chains = _chains(spec, spec)
    if len(chains) > 1:
        raise PerturbationError(f"{spec!r} names {len(chains)} perturbations; apply one, or parse() them all")
    return chains[0].apply(image, key, seed)


def describe() -> list[dict]:
    """One dictionary for each perturbation and each grid: its type, name, title, and what it takes or holds."""
    identity = {"type": "perturbation", "name": IDENTITY, "title": "the image as it is; part of every run"}
    return [identity, *(_record(s) for s in STEPS.values()), *(_grid_record(name) for name in GRIDS)]


def _record(s: Step) -> dict:
    numeric = s.values not in ("choice", "none")
    return {
        "type": "perturbation",
        "name": s.name,
        "title": s.law,
        "description": _description(s),
        "family": s.family or s.name,
        "parameter": s.parameter,
        "unit": s.unit,
        "values": s.values,
        "low": s.low if numeric else None,
        "high": s.high if numeric else None,
        "choices": list(s.choices),
        "identity": s.identity,
        "deterministic": s.deterministic,
        "geometric": s.geometric,
        "source": s.source,
        "evidence": s.evidence,
        "aliases": list(s.aliases),
        "needs": s.needs,
        "extra": s.extra,
        "installed": s.installed,
    }


def _description(s: Step) -> str:
    """All that is known of a perturbation besides its law, on one line."""
    facts = [
        f"{s.name} without a level" if s.values == "none" else f"{s.name}:LEVEL with {s.range}",
        "" if s.identity is None else f"{level_text(s.identity)} changes no pixel",
        "" if s.deterministic else "random",
        "geometric: the ground truth moves along" if s.geometric else "",
        f"also called {', '.join(s.aliases)}" if s.aliases else "",
        f"evidence {s.evidence}" if s.evidence else "",
        "" if s.installed else f"not installed: needs {s.needs} (extra {s.extra})",
        f"source: {s.source}",
    ]
    return "; ".join(filter(None, facts))


def _grid_record(name: str) -> dict:
    grid = GRIDS[name]
    return {
        "type": "grid",
        "name": name,
        "title": f"grid: {grid.about}",
        "description": grid.text,
        "source": grid.source,
        "specs": [p.spec for p in parse(grid.text)],
    }


def _chains(spec: str, text: str) -> list[Perturbation]:
    """The perturbations of one spec without `;`."""
    if not spec.strip():
        raise PerturbationError(f"an empty spec in {text!r}; write {IDENTITY!r} for unperturbed images")
    if spec.strip() == IDENTITY:
        return [Perturbation()]
    return [Perturbation(steps) for steps in itertools.product(*(_choices(part, spec) for part in spec.split("+")))]


def _choices(part: str, spec: str) -> list[tuple[str, Level]]:
    """The step that a part of a chain names, once for each level."""
    name, separator, levels = (piece.strip() for piece in part.partition(":"))
    name = ALIASES.get(name, name)
    if name not in STEPS:
        raise PerturbationError(_unknown(name, spec))
    found = STEPS[name]
    found.require()
    if found.values == "none":
        if separator:
            raise PerturbationError(f"{name} takes no level; write {name}")
        return [(name, None)]
    if not separator:
        raise PerturbationError(f"{name} needs a level, as in {name}:LEVEL; it takes {found.range}")
    return [(name, found.read_level(level)) for level in levels.split(",")]


def _unknown(name: str, spec: str) -> str:
    if name == IDENTITY or name in GRIDS:
        return f"{name!r} stands alone, without level and not within {spec.strip()!r}; separate specs by ';'"
    hint = suggest(name, [*STEPS, *ALIASES, IDENTITY, *GRIDS])
    return f"unknown perturbation {name!r} in {spec.strip()!r}; {hint}"
