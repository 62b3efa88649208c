"""Post-processing of images at chosen strengths: `perturb(image, "jpeg:60+resize:0.5")`, and the named grids.

A spec is `NAME:LEVEL[,LEVEL...]`; `+` chains perturbations, applied from left to right; `;` separates specs.
A perturbation is added by one function with the `step` decorator below.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import cv2
import numpy as np

from models.image import ForensicImage, encode_jpeg

IDENTITY = "identity"


class PerturbationError(ValueError):
    """A spec that names no perturbation or a level outside its range; the message says what is allowed."""


@dataclass(frozen=True)
class Step:
    """One registered perturbation: what its level means and between which values (inclusive) it may lie.

    values: "integer", "odd" or "real".
    """

    name: str
    apply: Callable[[ForensicImage, float, np.random.Generator], ForensicImage]
    parameter: str
    low: float
    high: float
    unit: str
    about: str
    values: str = "integer"

    def read_level(self, text: str) -> int | float:
        """The level that `text` states. Raises PerturbationError."""
        try:
            level = float(text)
        except ValueError:
            level = math.nan
        of_kind = {"real": True, "integer": level % 1 == 0, "odd": level % 2 == 1}[self.values]
        if not (self.low <= level <= self.high and of_kind):
            wrong = f"{self.name}:{text.strip()}"
            raise PerturbationError(f"{wrong} is not possible; {self.name} takes {self.range}")
        return level if self.values == "real" else int(level)

    @property
    def range(self) -> str:
        """The allowed levels in words."""
        kind = {"integer": "a whole number", "odd": "an odd number", "real": "a number"}[self.values]
        limits = f"from {level_text(self.low)} to {level_text(self.high)}"
        return f"{kind} {limits} ({self.parameter}, {self.unit})"


STEPS: dict[str, Step] = {}


def step(name: str, **about):
    """Decorator that registers `function(image, level, rng) -> ForensicImage`; keywords: the fields of Step.

    rng: a Generator seeded by test set, image, spec, place in the chain and seed; the only permitted source
        of randomness. A result whose pixels were not just decoded from a JPEG carries no JPEG bytes.
    """

    def wrap(function):
        if name in STEPS or name in (IDENTITY, *GRIDS):
            raise ValueError(f"two perturbations are called {name!r}")
        STEPS[name] = Step(name, function, **about)
        return function

    return wrap


@dataclass(frozen=True)
class Grid:
    """A named list of specs, as text, and one line on what it is."""

    text: str
    about: str


GRIDS: dict[str, Grid] = {
    "clean": Grid(IDENTITY, "the images as they are"),
    "standard": Grid(
        # The chain is what a social network does to an upload: it downsizes, then recompresses.
        "jpeg:90,80,70,60,50;resize:0.75,0.5;blur:3,5,9;noise:2,5,10;resize:0.75+jpeg:70",
        "14 levels of the usual post-processing, single and as a social network combines them",
    ),
}


@step(
    "jpeg",
    parameter="quality factor",
    low=1,
    high=100,
    unit="libjpeg scale",
    about="baseline JPEG, standard quantisation tables, 4:2:0 chroma; the result carries its new bytes",
)
def jpeg(image: ForensicImage, quality: int, rng: np.random.Generator) -> ForensicImage:
    return ForensicImage.from_jpeg(encode_jpeg(image.rgb, quality))


@step(
    "resize",
    parameter="factor",
    low=0.05,
    high=4,
    unit="of height and width",
    values="real",
    about="cv2.INTER_AREA when shrinking, cv2.INTER_LINEAR when enlarging; scored at the original size",
)
def resize(image: ForensicImage, factor: float, rng: np.random.Generator) -> ForensicImage:
    height, width = (max(1, round(side * factor)) for side in image.shape)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return ForensicImage(cv2.resize(image.rgb, (width, height), interpolation=method))


@step(
    "blur",
    parameter="kernel size k",
    low=1,
    high=99,
    unit="pixels",
    values="odd",
    about="Gaussian blur with a k x k kernel of sigma = 0.3 * ((k - 1) / 2 - 1) + 0.8, mirrored border",
)
def blur(image: ForensicImage, kernel_size: int, rng: np.random.Generator) -> ForensicImage:
    # sigma is OpenCV's own rule, but passed on: for sigma=0 and k <= 7 OpenCV takes fixed kernels that do not
    # follow its rule. uint8 in, uint8 out and the accurate hint keep it in fixed point, whose bits do not
    # depend on the CPU.
    sigma = 0.3 * ((kernel_size - 1) / 2 - 1) + 0.8
    size = (kernel_size, kernel_size)
    return ForensicImage(cv2.GaussianBlur(image.rgb, size, sigma, hint=cv2.ALGO_HINT_ACCURATE))


@step(
    "noise",
    parameter="standard deviation",
    low=0,
    high=128,
    unit="grey levels on the 0-255 scale",
    values="real",
    about="white Gaussian noise, independent in each channel; rounded half to even and clipped",
)
def noise(image: ForensicImage, noise_std: float, rng: np.random.Generator) -> ForensicImage:
    noisy = rng.standard_normal(image.rgb.shape, np.float32)
    noisy *= np.float32(noise_std)
    noisy += image.rgb
    return ForensicImage(np.clip(np.rint(noisy, out=noisy), 0, 255, out=noisy).astype(np.uint8))


@dataclass(frozen=True)
class Perturbation:
    """A chain of (name, level) steps; the empty chain is the identity."""

    steps: tuple[tuple[str, int | float], ...] = ()

    @property
    def spec(self) -> str:
        """Canonical text, `"jpeg:60+resize:0.5"` or `"identity"`, which `parse` reads back."""
        return "+".join(f"{name}:{level_text(level)}" for name, level in self.steps) or IDENTITY

    @property
    def family(self) -> str:
        """The names of the steps, `"jpeg+resize"`, or `"identity"`."""
        return "+".join(name for name, _ in self.steps) or IDENTITY

    @property
    def level(self) -> str:
        """The levels of the steps as text, `"60+0.5"`; empty for the identity."""
        return "+".join(level_text(level) for _, level in self.steps)

    def apply(self, image: ForensicImage, key: tuple[str, str] = ("", ""), seed: int = 0) -> ForensicImage:
        """The perturbed image, which may be of another size; the identity returns `image` itself.

        key: test set and image id. With `seed`, the spec and the place in the chain they alone determine the
            random numbers, whatever the worker, order or time.
        """
        for position, (name, level) in enumerate(self.steps):
            image = STEPS[name].apply(image, level, self.generator(position, key, seed))
        return image

    def generator(self, position: int, key: tuple[str, str], seed: int) -> np.random.Generator:
        """The random numbers of step `position`: PCG64 seeded by a SHA-256 of all its coordinates."""
        coordinates = json.dumps([*key, position, self.spec, seed])
        digest = hashlib.sha256(coordinates.encode()).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


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
    steps = [
        {
            "type": "perturbation",
            "name": s.name,
            "title": s.about,
            "description": f"{s.name}:LEVEL with {s.range}",
            "parameter": s.parameter,
            "unit": s.unit,
            "values": s.values,
            "low": s.low,
            "high": s.high,
        }
        for s in STEPS.values()
    ]
    grids = [
        {
            "type": "grid",
            "name": name,
            "title": f"grid: {grid.about}",
            "description": grid.text,
            "specs": [p.spec for p in parse(grid.text)],
        }
        for name, grid in GRIDS.items()
    ]
    return [identity, *steps, *grids]


def level_text(level: int | float) -> str:
    """The shortest decimal text of a level, never with an exponent: 60.0 -> "60", 0.50 -> "0.5"."""
    return format(Decimal(repr(level)).normalize() + 0, "f")


def _chains(spec: str, text: str) -> list[Perturbation]:
    """The perturbations of one spec without `;`."""
    if not spec.strip():
        raise PerturbationError(f"an empty spec in {text!r}; write {IDENTITY!r} for unperturbed images")
    if spec.strip() == IDENTITY:
        return [Perturbation()]
    choices = []
    for part in spec.split("+"):
        name, separator, levels = (piece.strip() for piece in part.partition(":"))
        if name not in STEPS:
            raise PerturbationError(_unknown(name, spec))
        if not separator:
            raise PerturbationError(f"{name} needs a level, as in {name}:LEVEL; it takes {STEPS[name].range}")
        choices.append([(name, STEPS[name].read_level(level)) for level in levels.split(",")])
    return [Perturbation(steps) for steps in itertools.product(*choices)]


def _unknown(name: str, spec: str) -> str:
    if name == IDENTITY or name in GRIDS:
        return f"{name!r} stands alone, without level and not within {spec.strip()!r}; separate specs by ';'"
    known = [*STEPS, IDENTITY, *GRIDS]
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown perturbation {name!r} in {spec.strip()!r}; {hint}known: {', '.join(known)}"
