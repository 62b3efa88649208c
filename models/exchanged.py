"""Networks of other projects in an exchange format: `--models onnx:FILE` and `--models torchscript:FILE`.

The format says how the network computes, but not what it wants to see and what its output means. FILE.toml beside
the file says that, see TEMPLATE.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import tomllib
from abc import abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.special import expit, softmax

from models import Localizer, WeightsMissing, register
from models.device import DeviceError, compute_device
from models.image import ForensicImage, ScoreMap

TEMPLATE = """\
size = "native"         # "native"; or [height, width], to which the image is resized (bilinear, 8 bit);
                        # or e.g. 32: native, each side extended to a multiple by repeating the edge
kind = "probability"    # what the map is after `activation`: "probability" (0..1), "logit" or "score"
# the rest may be left out; these are the defaults
order = "rgb"           # channels: "rgb", "bgr" or "grey" (one channel, ITU-R BT.601 luminance)
layout = "nchw"         # of input and output: "nchw" or "nhwc"
scale = 255             # 8-bit values are divided by it: (value / scale - mean) / std
mean = 0                # one number, or one a channel in `order`
std = 1
output = 0              # which output: its number or its name
activation = "none"     # applied to the output: "none", "sigmoid" or "softmax" (over its channels)
channel = 0             # the output's channel that is the map; larger = more likely forged
"""
CHOICES = {
    "kind": ("probability", "logit", "score"),
    "order": ("rgb", "bgr", "grey"),
    "layout": ("nchw", "nhwc"),
    "activation": ("none", "sigmoid", "softmax"),
}
_ONNX_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class ExchangeError(ValueError):
    """A network file, its description or its output cannot be used; the message names the file and the fix."""


@dataclass(frozen=True)
class Description:
    """What FILE.toml says, as TEMPLATE explains it. text: the file's own bytes."""

    text: bytes
    size: str | int | tuple[int, int]
    kind: str
    order: str = "rgb"
    layout: str = "nchw"
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    output: int | str = 0
    activation: str = "none"
    channel: int = 0


def read_description(path: Path) -> Description:
    """Raises ExchangeError for an absent file (with a template), an unknown key (with the nearest) or a bad value."""
    try:
        text = path.read_bytes()
        stated = tomllib.loads(text.decode())
    except FileNotFoundError as error:
        raise ExchangeError(
            f"{path} is missing: it says what the network wants to see and what its output means. "
            f"Write it, beginning from this:\n\n{TEMPLATE}"
        ) from error
    except (OSError, ValueError) as error:
        raise ExchangeError(f"{path}: not TOML ({error})") from error
    known = [f.name for f in fields(Description) if f.name != "text"]
    for key in stated:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ExchangeError(f"{path}: unknown key {key!r}; {hint}known: {', '.join(known)}")
    missing = [key for key in ("size", "kind") if key not in stated]
    if missing:
        raise ExchangeError(f"{path}: {missing[0]!r} is missing; an example:\n\n{TEMPLATE}")
    values = {key: _checked(path, key, value) for key, value in stated.items()}
    found = Description(text, **values)
    channels = 1 if found.order == "grey" else 3
    for key in ("mean", "std"):
        if len(getattr(found, key)) not in (1, channels):
            raise ExchangeError(f"{path}: {key} has {len(getattr(found, key))} numbers for {channels} channels")
    return found


def _checked(path: Path, key: str, value: object) -> object:
    numbers = value if isinstance(value, list) else [value]
    numeric = bool(numbers) and all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers)
    whole = numeric and all(isinstance(n, int) for n in numbers)
    good = expected = None
    if key in CHOICES:
        good, expected = value in CHOICES[key], " or ".join(f'"{choice}"' for choice in CHOICES[key])
    elif key == "size":
        positive = whole and min(numbers) > 0 and len(numbers) == (2 if isinstance(value, list) else 1)
        good, expected = value == "native" or positive, '"native", [height, width] or the multiple of a side'
        value = tuple(value) if isinstance(value, list) else value
    elif key in ("mean", "std"):
        good, expected = numeric and (key == "mean" or 0 not in numbers), "a number or one a channel, std not 0"
        value = tuple(map(float, numbers)) if numeric else value
    elif key == "scale":
        good, expected = numeric and value is not numbers and value > 0, "a number above 0"
    elif key == "output":
        good, expected = isinstance(value, str) or (whole and numbers[0] >= 0), "a name or a number from 0"
    else:
        good, expected = whole and value is not numbers and value >= 0, "a number from 0"
    if not good:
        raise ExchangeError(f"{path}: {key} = {value!r}; expected {expected}")
    return value


def network_input(rgb: np.ndarray, how: Description) -> np.ndarray:
    """Float32 (1, C, H', W'), or (1, H', W', C) in the layout "nhwc", of uint8 (H, W, 3)."""
    height, width = rgb.shape[:2]
    if isinstance(how.size, tuple):
        rgb = cv2.resize(rgb, how.size[::-1], interpolation=cv2.INTER_LINEAR)
    elif isinstance(how.size, int):
        rgb = cv2.copyMakeBorder(rgb, 0, -height % how.size, 0, -width % how.size, cv2.BORDER_REPLICATE)
    if how.order == "grey":
        x = ForensicImage(rgb).luminance[:, :, None]
    else:
        x = (rgb if how.order == "rgb" else rgb[:, :, ::-1]).astype(np.float32)
    x = (x / np.float32(how.scale) - np.float32(how.mean)) / np.float32(how.std)
    return np.ascontiguousarray(x[None] if how.layout == "nhwc" else x.transpose(2, 0, 1)[None])


def score_map(output: np.ndarray, how: Description, shape: tuple[int, int]) -> ScoreMap:
    """The map at the image's (height, width), enlarged or reduced bilinearly where the network's has another size.

    output: (1, C, h, w), (C, h, w), (1, h, w) or (h, w); with the layout "nhwc" the channels are last.
    Raises ExchangeError where it is none of these or has no such channel.
    """
    maps = np.asarray(output, np.float32)
    if maps.ndim == 4 and len(maps) == 1:
        maps = maps[0]
    elif (maps.ndim == 2 and len(maps) > 1) or (maps.ndim == 3 and len(maps) == 1):  # (1, n) is a vector of one image
        maps = maps.reshape(1, *maps.shape[-2:]) if how.layout == "nchw" else maps.reshape(*maps.shape[-2:], 1)
    if maps.ndim != 3:
        raise ExchangeError(f"the output is {output.shape}, no map of one image; choose another in `output`")
    if how.layout == "nhwc":
        maps = maps.transpose(2, 0, 1)
    if how.channel >= len(maps):
        raise ExchangeError(f"the output {output.shape} has {len(maps)} channels, none of number {how.channel}")
    if how.activation == "softmax":
        maps = softmax(maps, axis=0)
    values = np.ascontiguousarray(maps[how.channel])
    if how.activation == "sigmoid":
        values = expit(values)
    if how.kind == "probability" and not (values.min() >= 0 and values.max() <= 1 + 1e-6):
        raise ExchangeError(
            f"values from {values.min():g} to {values.max():g} are no probabilities; correct `activation` or `kind`"
        )
    found = ScoreMap(values.clip(0, 1) if how.kind == "probability" else values, how.kind)
    if not isinstance(how.size, int):
        return found.resized(*shape)
    extended = found.resized(*(side + -side % how.size for side in shape))
    return ScoreMap(np.ascontiguousarray(extended.values[: shape[0], : shape[1]]), how.kind)


class ExchangedNetwork(Localizer):
    """The network of a file with its description. Its identity covers the bytes of both, wherever they lie.

    Raises WeightsMissing when no file is named, and ExchangeError for what cannot be read.
    """

    def __init__(self, file: str = "", device: str = "cpu"):
        name = self.card.name
        if not file:
            raise WeightsMissing(f"{name} runs the network of a file; name it: --models {name}:FILE")
        self.file = file
        self._device = compute_device(device)
        path = Path(file)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ExchangeError(f"{file}: cannot be read ({error.strerror}); check the path") from error
        self.description = read_description(path.with_name(path.name + ".toml"))
        self.weights_digest = hashlib.sha256(hashlib.sha256(data).digest() + self.description.text).hexdigest()
        self.network = self._load(data)

    def settings(self) -> dict[str, object]:
        """None: the bytes of the file are part of the identity, its place is not."""
        return {}

    def localize(self, image: ForensicImage) -> ScoreMap:
        """The network's map. Raises ExchangeError where its output is not what the description says."""
        try:
            return score_map(self._run(network_input(image.rgb, self.description)), self.description, image.shape)
        except ExchangeError as error:
            raise ExchangeError(f"{self.file}: {error}") from error

    @abstractmethod
    def _load(self, data: bytes) -> object:
        """The network in these bytes."""

    @abstractmethod
    def _run(self, x: np.ndarray) -> np.ndarray:
        """The described output for an input as `network_input` makes it."""


@register(
    "torchscript",
    title="A network in TorchScript",
    paper="none: the network of another project",
    summary="Runs a file that torch.jit.save wrote, as FILE.toml beside it says. Name the file: torchscript:FILE",
    argument="file",
)
class TorchScriptNetwork(ExchangedNetwork):
    """A file of torch.jit.save. Its outputs are a tensor, a sequence of them, or a dict of them by name.

    Trust: TorchScript can neither import Python modules nor start programs, and torch.jit.load runs no pickled
    Python. But the file is a program: its operators can read and write files, and it may use any time and memory.
    Run only files from people whom you would let do that.
    """

    def _load(self, data: bytes) -> torch.jit.ScriptModule:
        try:
            return torch.jit.load(io.BytesIO(data), map_location=self._device).eval()
        except (RuntimeError, ValueError) as error:
            raise ExchangeError(
                f"{self.file}: no TorchScript ({_first_line(error)}); write it by torch.jit.save"
            ) from error

    def _run(self, x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = self.network(torch.from_numpy(x).to(self._device))
        wanted = self.description.output
        if isinstance(found, torch.Tensor):
            found = (found,)
        names = list(found) if isinstance(found, dict) else list(range(len(found)))
        if isinstance(wanted, int) and isinstance(found, dict) and wanted < len(names):
            wanted = names[wanted]
        if wanted not in names:
            raise ExchangeError(f"there is no output {wanted!r}; it has {', '.join(map(repr, names))}")
        return found[wanted].float().cpu().numpy()


@register(
    "onnx",
    title="A network in ONNX",
    paper="none: the network of another project",
    summary="Runs an ONNX file by onnxruntime, as FILE.toml beside it says. Name the file: onnx:FILE",
    argument="file",
)
class OnnxNetwork(ExchangedNetwork):
    """An ONNX file with one image as input, run by onnxruntime (pip install 'forgery-bench[onnx]').

    An ONNX file is data: only onnxruntime's own operators run. Tensors in files beside it are not read, because the
    identity of the result covers this file alone: save the network in one file (up to 2 GB).
    """

    def _load(self, data: bytes):
        try:
            import onnxruntime
        except ImportError as error:
            raise ExchangeError(
                "onnx:FILE needs onnxruntime, which is not installed: pip install onnxruntime "
                "(or this suite's extra [onnx])"
            ) from error
        provider = "CUDAExecutionProvider" if self._device.type == "cuda" else "CPUExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise DeviceError("this onnxruntime has no CUDA; install onnxruntime-gpu or use --device cpu")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            session = onnxruntime.InferenceSession(data, options, providers=[provider])
        except Exception as error:  # onnxruntime's classes have no common base of their own
            raise ExchangeError(f"{self.file}: onnxruntime cannot load it ({_first_line(error)})") from error
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _ONNX_TYPES:
            has = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
            raise ExchangeError(f"{self.file}: expected one input of floating-point numbers; it has {has}")
        names = [output.name for output in session.get_outputs()]
        wanted = self.description.output
        if wanted not in (range(len(names)) if isinstance(wanted, int) else names):
            raise ExchangeError(f"{self.file}: there is no output {wanted!r}; it has {', '.join(names)}")
        self._output = names[wanted] if isinstance(wanted, int) else wanted
        return session

    def _run(self, x: np.ndarray) -> np.ndarray:
        taken = self.network.get_inputs()[0]
        return self.network.run([self._output], {taken.name: x.astype(_ONNX_TYPES[taken.type])})[0]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
