"""MPC as a localizer: the network shipped here, and the authors' two released checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from models import WeightFile, WeightsError, WeightsMissing, register
from models.checkpoint import Checkpoint, load_strictly, read_checkpoint, registered_file
from models.image import ForensicImage, ScoreMap
from models.mpc.backbone import VARIANTS
from models.mpc.head import HEADS
from models.mpc.network import INPUT_SIZE, MPC
from models.network import NetworkLocalizer, Weights, square_tensor, to_array, without_memory

SHIPPED = Path(__file__).with_name("weights") / "mpc_small.safetensors"
PAPER = "Lou et al., Exploring Multi-View Pixel Contrast for General and Robust Image Forgery Localization, TIFS 2025"
AUTHORS_LICENCE = "CC BY-NC 4.0"
# The forms that a checkpoint may be of, in words, for the message about one that does not fit.
FORMS = {
    ("base", "catnet"): "HRFormer-Base with the CATNet head (mpc-catnet)",
    ("base", "casia2"): "HRFormer-Base with the CASIAv2 head (mpc-casia2)",
    ("small", "catnet"): "HRFormer-Small (mpc)",
    ("small", "casia2"): "HRFormer-Small with the CASIAv2 head",
    ("tiny", "catnet"): "HRFormer-Tiny",
}


class CASIA2MPC(MPC):
    """With the head of the authors' small-scale experiment. form: as of `MPC`."""

    def __init__(self, **form):
        super().__init__(head="casia2", **form)

    @classmethod
    def tiny(cls) -> MPC:
        return MPC.tiny("casia2")


class MPCLocalizer(NetworkLocalizer):
    """Probability of forgery of every pixel, as in the authors' test script.

    The photo is resized to a square (bilinear, 8 bit, aspect ratio not kept), divided by 255, and passed through
    the network; its map at a quarter of that size is resized back (bilinear).

    windows: 0, as the authors do it; otherwise the network also sees four windows, one in each corner of the photo,
    with this share of its height and width, in the same way. A pixel's probability is then the mean of the photo's and
    of the windows', which is the mean of those that hold the pixel.
    """

    network: MPC
    windows: float = 0.0

    @property
    def input_size(self) -> int:
        return self.network.input_size

    def load(self, weights: Weights) -> tuple[nn.Module, str]:
        checkpoint = read_checkpoint(registered_file(self.card) if weights is None else weights)
        return self._filled(self.make_network, checkpoint), checkpoint.digest

    def _filled(self, make_network, checkpoint: Checkpoint) -> MPC:
        network = without_memory(make_network)
        load_strictly(network, checkpoint, {words: lambda form=form: MPC(*form) for form, words in FORMS.items()})
        return network

    def preprocess(self, image: ForensicImage) -> Tensor:
        """The whole photo, then its windows: (1 or 5, 3, input_size, input_size)."""
        windows = corners(image.shape, self.windows) if self.windows else []
        return torch.cat([square_tensor(rgb, self.input_size) for rgb in (image.rgb, *(image.rgb[w] for w in windows))])

    def postprocess(self, output: Tensor, image: ForensicImage) -> ScoreMap:
        whole, *parts = (to_array(probability) for probability in output.sigmoid()[:, 0])
        whole = _resized(whole, image.shape)
        if not parts:
            return ScoreMap(whole, "probability")
        total, count = (np.zeros(image.shape, np.float32) for _ in range(2))
        for window, part in zip(corners(image.shape, self.windows), parts, strict=True):
            total[window] += _resized(part, total[window].shape)
            count[window] += 1
        return ScoreMap((whole + total / count) / 2, "probability")


def _resized(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return cv2.resize(values, shape[::-1], interpolation=cv2.INTER_LINEAR)


def corners(shape: tuple[int, int], share: float) -> list[tuple[slice, slice]]:
    """Four windows of (H, W), one in each corner, with `share` of its height and width; from .5 on they cover it."""
    sides = [math.ceil(n * share) for n in shape]
    ends = [(slice(0, side), slice(n - side, n)) for n, side in zip(shape, sides, strict=True)]
    return [(rows, columns) for rows in ends[0] for columns in ends[1]]


@register(
    "mpc",
    featured=True,
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

    def load(self, weights: Weights) -> tuple[nn.Module, str]:
        if weights is None and not SHIPPED.is_file():
            raise WeightsMissing(
                f"mpc needs {SHIPPED}, which is part of the repository: restore it from there, or train it with "
                "`python -m bench train mpc`"
            )
        checkpoint = read_checkpoint(SHIPPED if weights is None else weights)
        backbone, head, input_size = _described(checkpoint)
        self.windows = _windows(checkpoint)
        self.trained_on = _named_sets(checkpoint)
        return self._filled(lambda: MPC(backbone, head, input_size=input_size), checkpoint), checkpoint.digest


@register(
    "mpc-catnet",
    featured=True,
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

    make_network = MPC


@register(
    "mpc-casia2",
    featured=True,
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

    make_network = CASIA2MPC


def _described(checkpoint: Checkpoint) -> tuple[str, str, int]:
    """Backbone, head and input size that the checkpoint's config names."""
    config = {"backbone": "small", "head": "catnet", "input_size": INPUT_SIZE, **checkpoint.config}
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
