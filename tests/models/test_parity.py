"""Our networks against numbers recorded from the authors' own code.

`$PARITY_ROOT` (default: `parity` in the research-only data) holds one folder a network: `manifest*.json`
with the official tensor names and shapes, and `case_*.npz` with the official outputs for weights and an image
that `fill.py` makes from names and seeds. A network takes part through an adapter `parity/<folder>.py` with

    QUICK                  names of the cases that run in every test run; the others need --parity=all
    state_dicts()          manifest file name -> our state dict
    outputs(case: Case)    output name -> our array, of the full (not sub-sampled) shape; whatever the case does not
                           fix by its image comes from its recorded arrays and their shapes
    SIGMOID_OF             optional, output name -> name of the logits whose sigmoid it is, see `allowed`
    TRUNCATED              optional, names of outputs that the official code truncates to whole numbers; ours are given
                           before that, because a rounding error can carry a value over a step
    OFFICIAL_ROUNDING      optional, (case, output name) -> by how many marks the official float32 run is off
"""

import importlib.util
import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from shared import SHARED

import models
from models.device import arithmetic

ROOT = Path(os.environ.get("PARITY_ROOT", SHARED / "parity"))
ADAPTERS = Path(__file__).with_name("parity")
RELATIVE_MARK = 3e-4  # of the official output's standard deviation
SCALAR_MARK = 1e-4  # absolute, for outputs of one value and constant ones

pytestmark = [
    pytest.mark.slow,  # all networks are run
    pytest.mark.skipif(
        not (ROOT / "fill.py").is_file(), reason=f"needs the recorded outputs in {ROOT}; set PARITY_ROOT"
    ),
]


@dataclass(frozen=True)
class Case:
    """One recorded run. image: uint8 (H, W, 3); stored: the arrays of the file; fill: state dict -> weights."""

    name: str
    image: np.ndarray
    stored: dict[str, np.ndarray]
    fill: Callable[[dict], dict]
    device: torch.device

    def build(self, name: str, weights: object) -> models.Localizer:
        return models.build(name, weights=weights, device=self.device)

    def resized(self, height: int, width: int) -> np.ndarray:
        """The image at this size (bilinear, 8 bits); as it is where that is its own."""
        if (height, width) == self.image.shape[:2]:
            return self.image
        return cv2.resize(self.image, (int(width), int(height)), interpolation=cv2.INTER_LINEAR)

    def output_names(self) -> list[str]:
        return [name for name in self.stored if "__" not in name]


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"parity_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def adapter_of(network: str) -> ModuleType:
    path = ADAPTERS / f"{network}.py"
    if not path.is_file():
        pytest.skip(f"{network} is no localizer of this suite: no adapter {path.name} in {ADAPTERS.name}/")
    return load_module(path)


def read_case(path: Path, device: torch.device) -> Case:
    made = load_module(ROOT / "fill.py")
    with np.load(path) as file:
        stored = {name: file[name] for name in file.files}
    image = made.test_image(*(int(stored[f"meta__{key}"]) for key in ("height", "width", "seed")))
    assert zlib.crc32(image.tobytes()) == int(stored["meta__image_crc32"]), "fill.py made another image"
    return Case(path.stem, image, stored, made.fill, device)


def sampled(case: Case, name: str, ours: np.ndarray) -> np.ndarray:
    """The positions of our output that were stored of the official one, as float64."""
    stride = int(case.stored[f"{name}__stride"])
    return (ours[..., ::stride, ::stride] if ours.ndim > 1 else ours).astype(np.float64)


def allowed(case: Case, name: str, sigmoid_of: dict[str, str]) -> np.ndarray | float:
    """By how much an output may differ from the official one.

    With the made-up weights some sigmoids saturate: their standard deviation is then below the rounding errors
    of the official code itself (its float64 run differs by 3.3e-4 of it for MPC at 256x384). For an output that
    the adapter declares to be a sigmoid, the difference that the mark allows to its logits counts, carried
    through the sigmoid's slope p (1 - p), plus the spacing of float32 numbers.
    """
    if case.stored[name].size == 1 or case.stored[f"{name}__stats"][1] == 0:
        return SCALAR_MARK
    mark = RELATIVE_MARK * float(case.stored[f"{name}__stats"][1])
    if name not in sigmoid_of:
        return mark
    p = case.stored[name].astype(np.float64)
    logit_mark = RELATIVE_MARK * float(case.stored[f"{sigmoid_of[name]}__stats"][1])
    return np.maximum(mark, p * (1 - p) * logit_mark + np.spacing(case.stored[name]))


def deviation(case: Case, name: str, ours: np.ndarray, sigmoid_of: dict[str, str], truncated: bool = False) -> float:
    """Largest difference from the official output, as a multiple of what is allowed.

    truncated: the official numbers are what is left of some value in [number, number + 1); ours is such a value.
    """
    assert ours.shape == tuple(case.stored[f"{name}__shape"]), f"{name} has another shape than the official one"
    ours, official = sampled(case, name, ours), case.stored[name].astype(np.float64)
    nearest = np.clip(ours, official, official + 1) if truncated else official
    return float((np.abs(ours - nearest) / allowed(case, name, sigmoid_of)).max())


def found(pattern: str) -> list:
    return [pytest.param(p, id=f"{p.parent.name}-{p.stem}") for p in sorted(ROOT.glob(f"*/{pattern}"))]


@pytest.mark.parametrize("path", found("manifest*.json"))
def test_tensor_names_and_shapes_are_the_official_ones(path):
    ours = adapter_of(path.parent.name).state_dicts()[path.name]
    official = json.loads(path.read_text())
    assert [(name, list(value.shape)) for name, value in ours.items()] == list(official.items())


@pytest.mark.parametrize("path", found("case_*.npz"))
def test_outputs_are_the_official_ones(path, all_parity_cases, device):
    adapter = adapter_of(path.parent.name)
    if path.stem not in adapter.QUICK and not all_parity_cases:
        pytest.skip("slow; run with --parity=all")
    torch.set_num_threads(1)
    case = read_case(path, device)
    with torch.inference_mode(), arithmetic("float32", device):
        found = adapter.outputs(case)
    ours = {
        name: np.asarray(value.cpu() if isinstance(value, torch.Tensor) else value) for name, value in found.items()
    }
    sigmoid_of, truncated = getattr(adapter, "SIGMOID_OF", {}), getattr(adapter, "TRUNCATED", ())
    deviations = {n: deviation(case, n, ours[n], sigmoid_of, n in truncated) for n in case.output_names()}
    rounding = getattr(adapter, "OFFICIAL_ROUNDING", {})
    assert deviations
    assert all(value <= rounding.get((case.name, name), 1) for name, value in deviations.items()), deviations
