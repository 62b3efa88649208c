"""Post-processing of images at chosen strengths: `perturb(image, "jpeg:60+resize:0.5")`, and the named grids.

A perturbation is added by one function with the `step` decorator: in a new file of `families`, or in a package of yours
that names the file in the entry-point group `bench.perturbations`. A grid is added by one entry of grids.toml.
"""

from bench.perturb.chain import Perturbed
from bench.perturb.registry import GRIDS, IDENTITY, STEPS, Grid, Step, level_text, register
from bench.perturb.spec import Perturbation, describe, parse, perturb
from bench.perturb.step import PerturbationError, Recompressed, step

__all__ = [
    "GRIDS",
    "IDENTITY",
    "STEPS",
    "Grid",
    "Perturbation",
    "PerturbationError",
    "Perturbed",
    "Recompressed",
    "Step",
    "describe",
    "level_text",
    "parse",
    "perturb",
    "register",
    "step",
]
