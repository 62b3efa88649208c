"""What localizers receive and return: `ForensicImage` and `ScoreMap`, and the reading and writing of images."""

from __future__ import annotations

import hashlib
import io
import math
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

JPEG_MAGIC = b"\xff\xd8"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# What a file may be, whatever its name says: Pillow knows others that start a program (EPS) or nobody keeps photos in.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "PPM", "JPEG2000", "AVIF")
LARGE, SPARSE = 1 << 26, 1000  # more pixels than LARGE with more than SPARSE of them a byte: no photo, a trap
SUBSAMPLING = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
}


class ImageError(ValueError):
    """An image that cannot be used; the message names the file and the fix."""


class ScoreMapError(ValueError):
    """A score map that breaks the contract (shape, type, NaN or infinity)."""


class NotApplicable(Exception):
    """Raised by `Localizer.localize` when its trace cannot exist in this image (no JPEG history, too small, ...)."""


@dataclass(frozen=True)
class JpegCoefficients:
    """The DCT domain of a JPEG file as stored in it, components in file order (Y, Cb, Cr or Y alone).

    coefficients: per component int32 (8 * blocks high, 8 * blocks wide), quantised, block-wise in place, so
        that `coefficients[0][8*i:8*i+8, 8*j:8*j+8]` is block (i, j) with its DC term at [0, 0].
    tables: per component int32 (8, 8) quantisation steps, natural (not zig-zag) order.
    sampling: per component (horizontal, vertical) sampling factor.
    """

    coefficients: tuple[np.ndarray, ...]
    tables: tuple[np.ndarray, ...]
    sampling: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ForensicImage:
    """One photo as a localizer sees it.

    rgb: uint8 (H, W, 3) in sensor orientation: an EXIF rotation is ignored, because masks ignore it too.
    jpeg: the encoded bytes where the image is a JPEG, else None. Their pixels are exactly `rgb`.

    All its arrays are read-only: one image is handed to many localizers, take a copy to change it.
    """

    rgb: np.ndarray
    jpeg: bytes | None = None

    def __post_init__(self):
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3:
            raise ImageError(f"rgb must be uint8 (H, W, 3), got {self.rgb.dtype} {self.rgb.shape}")
        object.__setattr__(self, "rgb", _read_only(self.rgb.view()))  # the maker's own array stays writable

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rgb.shape[:2]

    @classmethod
    def from_jpeg(cls, data: bytes) -> ForensicImage:
        """The image that these JPEG bytes decode to, carrying them."""
        return cls(decode_rgb(data), data)

    @cached_property
    def luminance(self) -> np.ndarray:
        """Float32 (H, W), 0..255: .299 R + .587 G + .114 B, not rounded (ITU-R BT.601, as in JPEG)."""
        return _read_only(weighted_sum(self.rgb, (0.299, 0.587, 0.114)))

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over size, pixels and JPEG bytes: equal for images no localizer can tell apart."""
        content = hashlib.sha256("{}x{} ".format(*self.shape).encode())
        content.update(np.ascontiguousarray(self.rgb))  # type: ignore[arg-type]  # arrays are buffers
        content.update(self.jpeg or b"")
        return content.hexdigest()

    @cached_property
    def dct(self) -> JpegCoefficients | None:
        """Quantised DCT coefficients and tables as stored in `jpeg`, or None without JPEG bytes."""
        return None if self.jpeg is None else _read_coefficients(self.jpeg)


@dataclass(frozen=True)
class ScoreMap:
    """What a localizer says of every pixel: larger = more likely forged.

    values: float32 (H, W), finite, of the size of the image that was localized.
    kind: "probability" (0..1, forged above .5), "logit" (any value, forged above 0) or "score" (any value;
        no fixed threshold has a meaning, fixed-threshold metrics are reported as not applicable).
    image_score: the localizer's own image-level score, finite, larger = more likely tampered; None: the protocol
        derives one from the map.
    extras: further numbers or arrays that the method yields (confidence, detected shift, ...).
    """

    values: np.ndarray
    kind: str
    image_score: float | None = None
    extras: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self):
        if self.kind not in ("probability", "logit", "score"):
            raise ScoreMapError(f'kind must be "probability", "logit" or "score", got {self.kind!r}')
        if self.values.dtype != np.float32 or self.values.ndim != 2:
            raise ScoreMapError(f"a score map is float32 (H, W), got {self.values.dtype} {self.values.shape}")
        if not np.isfinite(self.values).all():
            bad = int((~np.isfinite(self.values)).sum())
            raise ScoreMapError(f"the score map holds NaN or infinity in {bad} of {self.values.size} pixels")
        if self.kind == "probability" and self.values.size:
            low, high = float(self.values.min()), float(self.values.max())
            if low < 0 or high > 1:
                raise ScoreMapError(f"values from {low:.4g} to {high:.4g} are no probabilities; say kind='logit'")
        if self.image_score is not None and not math.isfinite(self.image_score):
            raise ScoreMapError(f"the image-level score is {self.image_score}; it must be a finite number or None")

    @property
    def fixed_threshold(self) -> float | None:
        """The score above which the localizer itself calls a pixel forged; None where it has no such value."""
        return {"probability": 0.5, "logit": 0.0, "score": None}[self.kind]

    def resized(self, height: int, width: int) -> ScoreMap:
        """The map at another size, bilinear (cv2.INTER_LINEAR, half-pixel centres)."""
        if self.values.shape == (height, width):
            return self
        values = cv2.resize(self.values, (width, height), interpolation=cv2.INTER_LINEAR)
        return ScoreMap(values, self.kind, self.image_score, self.extras)


def weighted_sum(rgb: np.ndarray, weights: tuple[float, float, float]) -> np.ndarray:
    """Float32 (H, W): the channels of uint8 (H, W, 3) times their weights, added from red to blue.

    Every processor gives the same: a matrix product would round as its BLAS does.
    """
    red, green, blue = (channel * np.float32(weight) for channel, weight in zip(cv2.split(rgb), weights, strict=True))
    return red + green + blue


def read_image(path: str | os.PathLike) -> ForensicImage:
    """Decode an image file; its bytes say the format, not its name.

    16-bit samples lose their low byte, floats are scaled to 0..255 from the first of 0..1, 0..255 and 0..65535 that
    holds them all, CMYK and palettes become RGB, an alpha channel is dropped, a rotation by EXIF or TIFF tag is
    ignored.

    Raises ImageError (naming the file and the fix) for a missing, empty, truncated or non-image file.
    """
    path = Path(path)
    data = read_bytes(path)
    try:
        return ForensicImage(decode_rgb(data), data if data.startswith(JPEG_MAGIC) else None)
    except ImageError as error:
        raise ImageError(f"{shown(path)}: {error}") from error


def read_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises ImageError."""
    try:
        return path.read_bytes()
    except OSError as error:
        problem = f"cannot be read ({error.strerror}); check the path and its permissions"
        raise ImageError(f"{shown(path)}: {problem}") from error


def shown(path: os.PathLike | str) -> str:
    r"""A path as text that can be printed and stored: bytes that are not UTF-8 are escaped, as in `caf\xe9`."""
    return os.fspath(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def decode_rgb(data: bytes) -> np.ndarray:
    """Encoded image bytes of any of FORMATS to uint8 (H, W, 3) RGB, as `read_image` describes. Raises ImageError."""
    with opened(data) as image:
        if image.mode.startswith("I;16") or image.mode in ("I", "F"):
            grey = _to_bytes(stored_pixels(image))
            return np.repeat(grey[:, :, None], 3, axis=2)
        return stored_pixels(image, "RGB")


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """The Pillow image of encoded bytes, lazily decoded; whatever a decoder raises inside becomes an ImageError."""
    if not data:
        raise ImageError("the file is empty; fetch it again")
    try:
        with Image.open(io.BytesIO(_without_texts(data)), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > max(LARGE, SPARSE * len(data)):
                raise ImageError(
                    f"{len(data)} bytes that claim to be {image.width}x{image.height} pixels: not a photo; remove it"
                )
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("not an image of a known format; remove it or convert it to PNG or JPEG") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large to decode ({error}); downscale it") from error
    except Exception as error:  # decoders of damaged bytes raise what they like: RuntimeError, struct.error, ...
        raise ImageError(f"damaged or truncated ({error}); fetch it again") from error


def stored_pixels(image: Image.Image, mode: str | None = None) -> np.ndarray:
    """The pixels (H, W[, channels]) of an opened image as its file stores them, converted to a Pillow mode if given.

    Of all formats, Pillow turns TIFF alone by its orientation tag when it decodes it: that is undone here.
    """
    orientation = stored_orientation(image) if image.format == "TIFF" else 1
    return unturned(np.array(image if mode is None else image.convert(mode)), orientation)


def unturned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W[, channels]) that were turned upright by an orientation tag, as they were before."""
    if orientation == 1:
        return pixels
    turns, mirrored = {2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (1, 1), 6: (1, 0), 7: (3, 1), 8: (3, 0)}[orientation]
    return np.ascontiguousarray(np.rot90(pixels[:, ::-1] if mirrored else pixels, turns))


def stored_orientation(image: Image.Image) -> int:
    """The EXIF or TIFF orientation, 1..8, of an image that is opened but not decoded yet; 1 where it has none."""
    tags = image.tag_v2 if image.format == "TIFF" else image.getexif()  # type: ignore[attr-defined]
    value = tags.get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def stored_size(path: Path) -> tuple[int, int]:
    """(height, width) from an image file's header, any rotation ignored. Raises ImageError."""
    try:
        with path.open("rb") as file:
            start = file.read(33)
            if start.startswith(PNG_MAGIC) and start[12:16] == b"IHDR" and len(start) == 33:
                width, height = struct.unpack(">II", start[16:24])  # texts before the pixels may be long: not read
                if width and height:
                    return height, width
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                turned = image.format == "TIFF" and stored_orientation(image) > 4
                return (image.width, image.height) if turned else (image.height, image.width)
    except UnidentifiedImageError as error:
        problem = "is not an image of a known format; remove it" if start else "is empty; fetch it again"
        raise ImageError(f"{shown(path)}: {problem}") from error
    except Exception as error:  # as in `opened`
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{shown(path)}: cannot be read ({reason}); fetch it again") from error


def _without_texts(data: bytes) -> bytes:
    """PNG bytes without the chunks of text and profiles, which may unpack to any size; other bytes as they are."""
    if not data.startswith(PNG_MAGIC):
        return data
    kept, place = [data[:8]], 8
    while place + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(data[place : place + 12 + length])
        place += 12 + length
    return b"".join([*kept, data[place:]])


def _to_bytes(grey: np.ndarray) -> np.ndarray:
    """Samples (H, W) of 16 or 32 bits to uint8, as `read_image` describes. Raises ImageError."""
    if grey.dtype.kind == "u":
        return (grey >> 8).astype(np.uint8)
    low, high = (float(bound) for bound in (grey.min(initial=0), grey.max(initial=0)))
    if not (low >= 0 and high <= 65535):  # NaN fails as well
        raise ImageError(f"samples from {low:g} to {high:g} are on no known scale; convert it to 8 or 16 bits")
    if grey.dtype.kind == "f" and high <= 1:
        return np.rint(grey * 255).astype(np.uint8)
    return (grey / 256 if high > 255 else grey).astype(np.uint8)


def _read_only(values: np.ndarray) -> np.ndarray:
    values.setflags(write=False)
    return values


def encode_jpeg(rgb: np.ndarray, quality: int, subsampling: str = "4:2:0") -> bytes:
    """Baseline JPEG bytes of an RGB image (libjpeg-turbo, standard tables, quality 1..100).

    Byte-identical to Pillow's encoder; a test asserts it.
    """
    flags = [cv2.IMWRITE_JPEG_QUALITY, int(quality), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SUBSAMPLING[subsampling]]
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), flags)
    if not ok:
        raise ImageError(f"JPEG encoding of a {rgb.shape[1]}x{rgb.shape[0]} image failed")
    return data.tobytes()


def _read_coefficients(data: bytes) -> JpegCoefficients:
    import jpegio  # provided by pyjpegio; reads paths only

    try:
        if hasattr(os, "memfd_create"):
            handle = os.memfd_create("jpeg")
            try:
                os.write(handle, data)
                stored = jpegio.read(f"/proc/self/fd/{handle}")
            finally:
                os.close(handle)
        else:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "image.jpg")
                file.write_bytes(data)
                stored = jpegio.read(str(file))
    except (RuntimeError, OSError) as error:
        raise ImageError(f"the JPEG's DCT coefficients cannot be read ({error})") from error
    info = stored.comp_info
    return JpegCoefficients(
        tuple(_read_only(np.asarray(plane, np.int32)) for plane in stored.coef_arrays),
        tuple(_read_only(np.array(stored.quant_tables[c.quant_tbl_no], np.int32)) for c in info),
        tuple((int(c.h_samp_factor), int(c.v_samp_factor)) for c in info),
    )
