"""MPC as a localizer: the network shipped here, and the authors' two released checkpoints."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from models import Localizer, WeightFile, WeightsError, WeightsMissing, register
from models.checkpoint import Checkpoint, load_strictly, read_checkpoint, registered_file
from models.device import compute_device
from models.image import ForensicImage, ScoreMap
from models.mpc.backbone import VARIANTS
from models.mpc.head import HEADS
from models.mpc.network import MPC

SHIPPED = Path(__file__).with_name("weights") / "mpc_small.safetensors"
PAPER = "Lou et al., Exploring Multi-View Pixel Contrast for General and Robust Image Forgery Localization, TIFS 2025"
AUTHORS_LICENCE = "CC BY-NC 4.0"
OFFICIAL_INPUT_SIZE = 512


class MPCLocalizer(Localizer):
    """Probability of forgery of every pixel, as in the authors' test script.

    The photo is resized to a square (bilinear, 8 bit, aspect ratio not kept), divided by 255, and passed through
    the network; its map at a quarter of that size is resized back (bilinear).

    windows: 0, as the authors do it; otherwise the network also sees four windows, one in each corner of the photo,
    with this share of its height and width, in the same way. A pixel's probability is then the mean of the photo's and
    of the windows', which is the mean of those that hold the pixel.
    """

    network: MPC
    input_size: int
    windows: float = 0.0

    def _load(self, checkpoint: Checkpoint, backbone: str, head: str, input_size: int, device: str) -> None:
        target = compute_device(device)
        with torch.device("meta"):
            network = MPC(backbone, head)
        load_strictly(network, checkpoint, _others(backbone, head))
        self.network = network.to(target).eval()
        self.input_size = input_size
        self.weights_digest = checkpoint.digest
        self._device = target

    def localize(self, image: ForensicImage) -> ScoreMap:
        whole = self._map(image.rgb)
        if not self.windows:
            return ScoreMap(whole, "probability")
        total, count = (np.zeros(image.shape, np.float32) for _ in range(2))
        for window in corners(image.shape, self.windows):
            total[window] += self._map(image.rgb[window])
            count[window] += 1
        return ScoreMap((whole + total / count) / 2, "probability")

    def _map(self, rgb: np.ndarray) -> np.ndarray:
        """Probabilities, float32 (H, W), of a photo or a window of one."""
        square = cv2.resize(rgb, (self.input_size, self.input_size), interpolation=cv2.INTER_LINEAR)
        x = torch.from_numpy((square / 255.0).astype(np.float32)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            probability = self.network(x.to(self._device)).sigmoid()[0, 0].float().cpu().numpy()
        return cv2.resize(probability, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_LINEAR)


def corners(shape: tuple[int, int], share: float) -> list[tuple[slice, slice]]:
    """Four windows of (H, W), one in each corner, with `share` of its height and width; from .5 on they cover it."""
    sides = [math.ceil(n * share) for n in shape]
    ends = [(slice(0, side), slice(n - side, n)) for n, side in zip(shape, sides, strict=True)]
    return [(rows, columns) for rows in ends[0] for columns in ends[1]]


@register(
    "mpc",
    title="MPC, this repository's HRFormer-Small trained by our recipe (not the authors' weights)",
    paper=PAPER,
    year=2025,
    summary="Contrastive pre-training of pixels from three views, then a classifier on the fused scales; "
    "here from a start with a teacher, on forgeries synthesised from photos, see models/mpc/weights/mpc_small.md",
)
class MPCSmall(MPCLocalizer):
    """The checkpoint in models/mpc/weights, whose config names backbone, head, input size and windows.

    A state dict or a file without config is taken as HRFormer-Small with the "catnet" head at 512 x 512 and no windows.
    The config may name the published sets that the network was trained on (`bench train` writes it so).
    """

    def __init__(self, weights: str | os.PathLike | Mapping[str, Tensor] | None = None, device: str = "cpu"):
        if weights is None and not SHIPPED.is_file():
            raise WeightsMissing(
                f"mpc needs {SHIPPED}, which is part of the repository: restore it from there, or train it with "
                "`python -m bench train mpc`"
            )
        checkpoint = read_checkpoint(SHIPPED if weights is None else weights)
        self._load(checkpoint, *_described(checkpoint), device)
        self.windows = _windows(checkpoint)
        self.trained_on = _named_sets(checkpoint)


@register(
    "mpc-catnet",
    title="MPC, the authors' HRFormer-Base trained on CAT-Net's data",
    paper=PAPER,
    year=2025,
    licence=AUTHORS_LICENCE,
    groups=("deep",),
    trained_on=("casia2", "imd2020", "tampcoco"),
    weights=(WeightFile("MPC_CATNet_stage2_weights.pth", "https://www.123684.com/s/2pf9-EGCHv", AUTHORS_LICENCE),),
)
class MPCCatNet(MPCLocalizer):
    """The authors' checkpoint of their large-scale experiment."""

    def __init__(self, weights: str | os.PathLike | Mapping[str, Tensor] | None = None, device: str = "cpu"):
        checkpoint = read_checkpoint(registered_file(self.card) if weights is None else weights)
        self._load(checkpoint, "base", "catnet", OFFICIAL_INPUT_SIZE, device)


@register(
    "mpc-casia2",
    title="MPC, the authors' HRFormer-Base trained on CASIA v2",
    paper=PAPER,
    year=2025,
    licence=AUTHORS_LICENCE,
    groups=("deep",),
    trained_on=("casia2",),
    weights=(WeightFile("MPC_CASIAv2_stage2_weights.pth", "https://www.123684.com/s/2pf9-ylCHv", AUTHORS_LICENCE),),
)
class MPCCasia2(MPCLocalizer):
    """The authors' checkpoint of their small-scale experiment, whose head has one layer more."""

    def __init__(self, weights: str | os.PathLike | Mapping[str, Tensor] | None = None, device: str = "cpu"):
        checkpoint = read_checkpoint(registered_file(self.card) if weights is None else weights)
        self._load(checkpoint, "base", "casia2", OFFICIAL_INPUT_SIZE, device)


def _described(checkpoint: Checkpoint) -> tuple[str, str, int]:
    """Backbone, head and input size that the checkpoint's config names."""
    config = {"backbone": "small", "head": "catnet", "input_size": OFFICIAL_INPUT_SIZE, **checkpoint.config}
    backbone, head, size = config["backbone"], config["head"], config["input_size"]
    if backbone not in VARIANTS or head not in HEADS or not isinstance(size, int) or size < 1:
        raise WeightsError(
            f"{checkpoint.source}: its config names backbone {backbone!r}, head {head!r} and input size {size!r}; "
            f"known are {', '.join(VARIANTS)}; {', '.join(HEADS)}; and whole numbers of pixels"
        )
    return backbone, head, size


def _windows(checkpoint: Checkpoint) -> float:
    """The share of a window that the checkpoint's config names, 0 where it names none."""
    share = checkpoint.config.get("windows", 0.0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not (share == 0 or 0.5 <= share < 1):
        raise WeightsError(f"{checkpoint.source}: windows in its config is {share!r} and neither 0 nor from .5 to 1")
    return float(share)


def _named_sets(checkpoint: Checkpoint) -> tuple[str, ...] | None:
    """The training sets that the checkpoint's config names; None where it says nothing."""
    names = checkpoint.config.get("trained_on")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WeightsError(f"{checkpoint.source}: trained_on in its config is {names!r} and not a list of set names")
    return tuple(names)


def _others(backbone: str, head: str) -> dict:
    """The other forms of the network, in words, with what builds them."""
    words = {
        ("base", "catnet"): "HRFormer-Base with the CATNet head (mpc-catnet)",
        ("base", "casia2"): "HRFormer-Base with the CASIAv2 head (mpc-casia2)",
        ("small", "catnet"): "HRFormer-Small (mpc)",
        ("small", "casia2"): "HRFormer-Small with the CASIAv2 head",
        ("tiny", "catnet"): "HRFormer-Tiny",
    }
    return {text: lambda form=form: MPC(*form) for form, text in words.items() if form != (backbone, head)}
