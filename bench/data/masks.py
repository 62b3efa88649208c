"""How the mask files of a test set become its ground truth.

Imports no registry, so that a stored result can name the very code that its ground truth hangs on.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from bench.truth import Truth
from models.image import (
    PNG_MAGIC,
    ImageError,
    opened,
    read_bytes,
    shown,
    stored_orientation,
    stored_pixels,
    stored_size,
    unturned,
)  # fmt: skip

ARRAY_SUFFIXES = (".npz", ".npy")  # (H, W), (H, W, 1), or planes of one image (K, H, W), of whole numbers or bool
MAX_PIXELS = 1 << 28  # of a mask; its header may claim anything
FORGED = 127  # a soft value above it is forged, by the rule of most protocols
COLOURS = {  # bits: red 4, green 2, blue 1
    "black": 0, "blue": 1, "green": 2, "cyan": 3, "red": 4, "magenta": 5, "yellow": 6, "white": 7,
}  # fmt: skip
MEANINGS = ("forged", "pristine", "no_score")


@dataclass(frozen=True)
class MaskRule:
    """How the values of a mask file become ground truth; `bench.data.cards` describes each field.

    Without a threshold the file's own soft values are kept: a protocol says which of them count as forged. Values
    that are all 0 or 1 are scaled to 0 and 255, whatever the depth of the file.
    """

    channel: str = "max"
    threshold: int | None = None
    forged: str = "above"
    size: str = "equal"
    no_score: tuple[int, int] | None = None
    label_step: int | None = None
    colours: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """The rule in one line, what it leaves at the default left out; equal rules have equal texts."""
        return " ".join(
            f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default
        )

    def apply(self, pixels: np.ndarray) -> Truth:
        """Ground truth of a decoded mask, uint8 (H, W, 3). Raises ImageError where a colour has no meaning."""
        if self.colours:
            return self._by_colour(pixels)
        index = {"red": 0, "green": 1, "blue": 2}
        values = pixels.max(2) if self.channel == "max" else pixels[:, :, index[self.channel]]
        if values.max(initial=0) == 1 and self.label_step is None:
            values = values * np.uint8(255)
        scorable = labels = None
        if self.no_score is not None:
            low, high = self.no_score
            scorable = (values < low) | (values > high)
        if self.label_step is not None:
            labels = ((values.astype(np.int32) + self.label_step // 2) // self.label_step).astype(np.uint8)
            values = np.where(labels > 0, np.uint8(255), np.uint8(0))
        elif self.threshold is not None:
            marked = (values > self.threshold) == (self.forged == "above")
            values = np.where(marked, np.uint8(255), np.uint8(0))
        elif self.forged == "below":
            values = 255 - values
        if scorable is not None:
            values = np.where(scorable, values, np.uint8(0))
        return Truth(np.ascontiguousarray(values), labels, scorable)

    def _by_colour(self, pixels: np.ndarray) -> Truth:
        codes = (pixels > 127) @ np.array([4, 2, 1], np.uint8)
        meaning = {COLOURS[colour]: what for colour, what in self.colours}
        unknown = sorted(set(np.unique(codes).tolist()) - set(meaning))
        if unknown:
            names = {code: name for name, code in COLOURS.items()}
            found = ", ".join(f"{names[code]} in {int((codes == code).sum())} pixels" for code in unknown)
            raise ImageError(f"holds {found}; [mask.colours] of the card knows {', '.join(c for c, _ in self.colours)}")
        forged, unscored = (
            np.isin(codes, [code for code, what in meaning.items() if what == wanted])
            for wanted in ("forged", "no_score")
        )
        return Truth(
            np.where(forged, np.uint8(255), np.uint8(0)), None, ~unscored if "no_score" in meaning.values() else None
        )


def truth_of(image: Path, files: Sequence[Path], shapes: Sequence, tampered: bool, rule: MaskRule) -> Truth:
    """The ground truth of an image file: of its mask files, its shapes, or, for want of both, of what is known.

    A tampered image without either has no scorable pixel. Raises ImageError.
    """
    size = stored_size(image)
    if files:
        return read_truth(files, rule, size)
    if shapes:
        return shapes_truth(shapes, size)
    if tampered:
        return Truth(np.zeros(size, np.uint8), scorable=np.zeros(size, bool))
    return Truth.pristine(size)


def read_truth(paths: Sequence[Path], rule: MaskRule, shape: tuple[int, int]) -> Truth:
    """Ground truth of an image of this (height, width) from its mask files, several of them united.

    Raises ImageError where a file cannot be read, has another size than the image (unless the rule resizes), or where
    no pixel is forged: larger than 127 of the soft values.
    """
    parts = []
    for path in paths:
        try:
            parts.append(_resized(rule.apply(decode(path)), rule, shape))
        except ImageError as error:
            raise ImageError(f"{shown(path)}: {str(error).removeprefix(f'{shown(path)}: ')}") from error
    truth = parts[0] if len(parts) == 1 else _united(parts)
    if not truth.forged.any():
        raise ImageError(f"{', '.join(shown(path) for path in paths)}: {_nothing_forged(truth, rule)}")
    return truth


def shapes_truth(shapes: Sequence[Sequence[float]], shape: tuple[int, int]) -> Truth:
    """Ground truth of an image of this (height, width): polygons (x0, y0, x1, y1, ...) in pixels, filled.

    A polygon that crosses itself is filled by the even-odd rule; several are united. Corners are rounded to pixels.
    Raises ImageError where nothing of them lies inside the image.
    """
    canvas = np.zeros(shape, np.uint8)
    for corners in shapes:
        cv2.fillPoly(canvas, [np.rint(np.reshape(corners, (-1, 2))).astype(np.int32)], 255)
    if not canvas.any():
        raise ImageError("none of its boxes or polygons lies inside the image")
    return Truth(canvas)


def mask_size(path: Path) -> tuple[int, int]:
    """(height, width) of a mask file from its header. Raises ImageError."""
    if not is_array(path):
        return stored_size(path)
    height, width = _array_header(path)[0][-2:]
    return height, width


def is_array(path: Path) -> bool:
    """Whether a mask is a NumPy file, by its name."""
    return path.suffix.lower() in ARRAY_SUFFIXES


def decode(path: Path) -> np.ndarray:
    """The mask file as uint8 (H, W, 3), before any rule.

    Samples of more than 8 bits keep their value where none is larger than 255, and lose their low byte otherwise;
    floats up to 1 are scaled to 255. An alpha channel is the mask where the colours are constant and it is not.
    Raises ImageError, also where colours and alpha channel mark different pixels.
    """
    if is_array(path):
        values = _to_bytes(_read_array(path))
        return np.repeat(values[:, :, None], 3, axis=2)
    data = read_bytes(path)
    try:
        pixels = _decoded(data)
    except ImageError as error:
        raise ImageError(f"{shown(path)}: {error}") from error
    if pixels.ndim == 2:
        return np.repeat(_to_bytes(pixels)[:, :, None], 3, axis=2)
    if pixels.shape[2] in (2, 4):
        pixels = _without_alpha(pixels)
    pixels = _to_bytes(pixels)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.ascontiguousarray(pixels)


def _decoded(data: bytes) -> np.ndarray:
    """Stored samples (H, W) or (H, W, C), palettes as colours, at the depth of the file."""
    with opened(data) as image:
        if _deep_colour(data, image):  # Pillow cuts these to 8 bits
            orientation = stored_orientation(image) if image.format == "TIFF" else 1
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            if pixels is None:
                raise ImageError("damaged or truncated; fetch it again")
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
            return unturned(pixels, orientation)
        if image.mode.startswith("I;16") or image.mode in ("I", "F", "L", "LA", "RGB", "RGBA"):
            transparent = "transparency" in image.info
            return stored_pixels(image, "RGBA" if transparent and image.mode in ("L", "RGB") else None)
        alpha = image.mode in ("PA", "La", "RGBa") or "transparency" in image.info
        return stored_pixels(image, "RGBA" if alpha else "L" if image.mode == "1" else "RGB")


def _deep_colour(data: bytes, image) -> bool:
    if image.format == "PNG" and data.startswith(PNG_MAGIC):
        depth, kind = data[24], data[25]
        return depth == 16 and kind in (2, 4, 6)
    return image.format == "TIFF" and image.mode in ("RGB", "RGBA", "RGBX") and max(image.tag_v2.get(258, (8,))) == 16


def _without_alpha(pixels: np.ndarray) -> np.ndarray:
    colours, alpha = pixels[:, :, :-1], pixels[:, :, -1]
    if (alpha == alpha.flat[0]).all():
        return colours
    if (colours == colours[:1, :1]).all():
        return alpha[:, :, None]
    by_colour, by_alpha = (_to_bytes(values) > FORGED for values in (colours.max(2), alpha))
    if (by_colour != by_alpha).sum() > 0.01 * max(by_colour.sum(), by_alpha.sum()):
        raise ImageError(
            f"its colours mark {int(by_colour.sum())} pixels and its alpha channel {int(by_alpha.sum())}: not the same "
            "mask twice; save the one that is meant, without an alpha channel"
        )
    return colours


def _to_bytes(values: np.ndarray) -> np.ndarray:
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype == np.uint8:
        return values
    low, high = (float(bound) for bound in (values.min(initial=0), values.max(initial=0)))
    if not (low >= 0 and high < math.inf):  # NaN fails as well
        raise ImageError(f"holds values from {low:g} to {high:g}; a mask holds none below 0, no NaN and no infinity")
    if values.dtype.kind == "f" and high <= 1:
        return np.rint(values * 255).astype(np.uint8)
    if high > 255:  # 16 bits in use: the high byte
        values = values / 256 if values.dtype.kind == "f" else values >> 8
    return np.minimum(values, 255).astype(np.uint8)


def _resized(truth: Truth, rule: MaskRule, shape: tuple[int, int]) -> Truth:
    if truth.shape == shape:
        return truth
    if rule.size != "resize":
        raise ImageError(size_problem(truth.shape, shape))

    def nearest(values: np.ndarray) -> np.ndarray:
        found = cv2.resize(values.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST)
        return found.astype(values.dtype)

    labels, scorable = (None if values is None else nearest(values) for values in (truth.labels, truth.scorable))
    return Truth(nearest(truth.values), labels, scorable)


def _united(parts: list[Truth]) -> Truth:
    """The union of several masks of one image; a pixel is scored where one of them marks it or all score it."""
    values = np.maximum.reduce([part.values for part in parts])
    labels = scorable = None
    if any(part.labels is not None for part in parts):
        labels = np.maximum.reduce(
            [part.forged * np.uint8(1) if part.labels is None else part.labels for part in parts]
        )
    if any(part.scorable is not None for part in parts):
        every = np.logical_and.reduce([part.scorable for part in parts if part.scorable is not None])
        scorable = every | (values > FORGED)
    return Truth(values, labels, scorable)


def size_problem(mask: tuple[int, int], image: tuple[int, int]) -> str:
    """What is said of a mask whose (height, width) is not the image's."""
    return f"the mask is {mask[1]}x{mask[0]}, the image {image[1]}x{image[0]}"


def _nothing_forged(truth: Truth, rule: MaskRule) -> str:
    if truth.scorable is not None and not truth.scorable.any():
        return "no pixel of it may be scored; look at no_score of its card"
    largest = int(truth.values.max(initial=0))
    if rule.forged == "above" and largest:
        return (
            f"its largest value is {largest}, and only values above {FORGED} are forged; if all above 0 are, say "
            "[mask] threshold = 0 in a card"
        )
    return "marks no forged pixel; fetch it again or remove the pair"


# -------------------------------------------------------------------------------------------------- NumPy files


def _array_header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of a NumPy file, or of the first array of an archive, from the header alone. Raises ImageError."""
    return _read_numpy(path, whole=False)[:2]


def _read_array(path: Path) -> np.ndarray:
    """The mask (H, W); the planes of one image united. Raises ImageError."""
    values = _read_numpy(path, whole=True)[2]
    assert values is not None, "the whole was asked for"
    return values if values.ndim == 2 else values.max(axis=0, initial=0)


def _read_numpy(path: Path, whole: bool) -> tuple[tuple[int, ...], np.dtype, np.ndarray | None]:
    """Shape (without a last axis of 1), type and, if wanted, values. Nothing is allocated that the file cannot hold."""
    data = io.BytesIO(read_bytes(path))
    try:
        if data.getvalue().startswith(b"PK"):
            with zipfile.ZipFile(data) as archive:
                member = archive.infolist()[0]
                with archive.open(member) as stream:
                    return _read_stream(stream, member.file_size, whole)
        return _read_stream(data, len(data.getvalue()), whole)
    except ImageError as error:
        raise ImageError(f"{shown(path)}: {error}") from error
    except Exception as error:  # zipfile and its decompressors raise what they like of damaged and encrypted archives
        raise ImageError(f"{shown(path)}: is not a readable NumPy file ({error}); fetch it again") from error


def _read_stream(stream, size: int, whole: bool) -> tuple[tuple[int, ...], np.dtype, np.ndarray | None]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    stored, by_column, dtype = read(stream)
    shape = stored[:2] if len(stored) == 3 and stored[2] == 1 else stored
    if len(shape) not in (2, 3) or dtype.kind not in "buif" or min(shape, default=0) < 1:
        raise ImageError(f"holds an array of {dtype} {stored}, a mask is (height, width) of numbers")
    pixels = math.prod(shape)
    if pixels > MAX_PIXELS or pixels * dtype.itemsize > size:
        raise ImageError(f"its header claims {'x'.join(map(str, stored))} values, more than it holds; fetch it again")
    if not whole:
        return shape, dtype, None
    content = stream.read(pixels * dtype.itemsize)
    if len(content) < pixels * dtype.itemsize:
        raise ImageError("is cut off; fetch it again")
    values = np.frombuffer(content, dtype).reshape(shape[::-1] if by_column else shape)
    return shape, dtype, values.T if by_column else values
