"""What every localizer that is a network shares: loading its checkpoint, and the way from a photo to a score map."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from models import Localizer
from models.checkpoint import load_strictly, read_checkpoint, registered_file
from models.device import Device, arithmetic, compute_device, resolved_precision
from models.image import ForensicImage, ScoreMap
from models.memory import MemoryPolicy, budget

if TYPE_CHECKING:
    from models.deep.parts.tiles import Tiling

Weights = str | os.PathLike | Mapping[str, Tensor] | None


class NetworkLocalizer(Localizer):
    """A network between two steps: `preprocess`, `forward`, `postprocess`.

    A subclass names the network and says what the two steps around it are; `forward` is only written where the network
    is called more than once, or in a special way.

    Args:
        weights: a checkpoint's path, a state dict, or None for the card's registered file.
        device: "cpu", "cuda", "cuda:1", or a torch device.
        precision: see `models.device.resolved_precision`; the attribute is what it was resolved to.
        memory_gb: what one photo may take at most; None: see `models.memory.budget`. Of a network without a memory
            policy it has no effect.

    Raises:
        WeightsMissing: the registered file is absent.
        WeightsError: the weights do not fit.
        DeviceError: a device that is not there, or a precision it cannot compute in.
        MemoryLimitError: memory_gb is not a number above 0. In localize(): it is not enough for a photo.

    Attributes:
        make_network: builds the network; its classmethod `tiny` builds one of the same form that tests can run.
        memory: how a photo is seen at its own size; None for a network that sees a fixed number of pixels at once.
        read: reads a checkpoint.
    """

    make_network: Callable[[], nn.Module]
    memory: MemoryPolicy | None = None
    read = staticmethod(read_checkpoint)

    def __init__(
        self,
        weights: Weights = None,
        device: str | Device | torch.device = "cpu",
        precision: str = "float32",
        memory_gb: float | None = None,
    ):
        self.device = compute_device(device)
        self.precision = resolved_precision(precision, self.device)
        self.memory_gb = memory_gb
        if self.memory is not None:
            self._available = budget(self.device, memory_gb)
        self.network, self.weights_digest = self.load(weights)
        self.network.to(self.device).eval()

    def load(self, weights: Weights) -> tuple[nn.Module, str]:
        """The network with these weights, loaded strictly, and their digest."""
        checkpoint = self.read(registered_file(self.card) if weights is None else weights)
        network = without_memory(self.make_network)
        load_strictly(network, checkpoint)
        return network, checkpoint.digest

    def preprocess(self, image: ForensicImage) -> Tensor | tuple[Tensor, ...]:
        """What `forward` takes, on the CPU. Of the first tensor height and width decide whether it fits into memory.

        Raises NotApplicable where the network cannot say anything of the image.
        """
        raise NotImplementedError

    def forward(self, *inputs: Tensor, tiling: Tiling | None = None) -> object:
        """What the network says: a tensor, or a tuple or list of tensors.

        inputs: from `preprocess`, on the device. tiling: of a photo that does not fit into memory, else None.
        """
        return self.network(*inputs) if tiling is None else self.network(*inputs, tiling)

    def postprocess(self, output: object, image: ForensicImage) -> ScoreMap:
        """The score map from what `forward` returned, its tensors in float32; of another size it is resized."""
        raise NotImplementedError

    def localize(self, image: ForensicImage) -> ScoreMap:
        """Score map of the image's size; extras also say how a photo was seen (`models.memory.Decision`)."""
        inputs = self.preprocess(image)
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        tiling, seen = None, {}
        if self.memory is not None:
            tiling, seen = self.memory.decide(*inputs[0].shape[2:], self._available, self.card.name)
        with torch.inference_mode():
            with arithmetic(self.precision, self.device):
                output = self.forward(*(x.to(self.device) for x in inputs), tiling=tiling)
            score = self.postprocess(single_precision(output), image).resized(*image.shape)
        return ScoreMap(score.values, score.kind, score.image_score, {**score.extras, **seen}) if seen else score


def without_memory(make_network: Callable[[], nn.Module]) -> nn.Module:
    """The network on the meta device: no time is spent on initial values that a checkpoint replaces."""
    with torch.device("meta"):
        return make_network()


def single_precision(output: object) -> object:
    """The same with float32 tensors in place of bfloat16 ones, in tuples and lists, too."""
    if isinstance(output, Tensor):
        return output.float() if output.dtype == torch.bfloat16 else output
    if isinstance(output, tuple | list):
        parts = [single_precision(part) for part in output]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    return output


def to_tensor(rgb: np.ndarray, divisor: float = 255) -> Tensor:
    """Float32 (1, 3, H, W) of uint8 (H, W, 3), in the memory format channels-last; 0..1 with the usual divisor."""
    return torch.from_numpy(rgb.astype(np.float32) / np.float32(divisor)).permute(2, 0, 1)[None]


def square_tensor(rgb: np.ndarray, side: int) -> Tensor:
    """Float32 (1, 3, side, side) in 0..1 of uint8 (H, W, 3): resized bilinearly in 8 bits, aspect ratio not kept."""
    return to_tensor(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_LINEAR))


def to_array(values: Tensor) -> np.ndarray:
    """Float32 (H, W) in the main memory, as score maps are."""
    return np.ascontiguousarray(values.float().cpu().numpy())
