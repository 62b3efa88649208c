"""What localizers receive and return: `ForensicImage` and `ScoreMap`, and the reading and writing of images."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

JPEG_MAGIC = b"\xff\xd8"
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
    """

    rgb: np.ndarray
    jpeg: bytes | None = None

    def __post_init__(self):
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3:
            raise ImageError(f"rgb must be uint8 (H, W, 3), got {self.rgb.dtype} {self.rgb.shape}")

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
        return self.rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) over size, pixels and JPEG bytes: equal for images no localizer can tell apart."""
        content = hashlib.sha256("{}x{} ".format(*self.shape).encode())
        content.update(np.ascontiguousarray(self.rgb))
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
    image_score: the localizer's own image-level score, larger = more likely tampered; None: the protocol
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


def read_image(path: str | os.PathLike) -> ForensicImage:
    """Decode an image file.

    16-bit samples lose their low byte, CMYK and palettes become RGB, an alpha channel is dropped, EXIF
    rotation is ignored.

    Raises ImageError (naming the file and the fix) for a missing, empty, truncated or non-image file.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    try:
        return ForensicImage(decode_rgb(data), data if data.startswith(JPEG_MAGIC) else None)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def decode_rgb(data: bytes) -> np.ndarray:
    """Encoded image bytes of any format to uint8 (H, W, 3) RGB, as `read_image` describes. Raises ImageError."""
    if not data:
        raise ImageError("the file is empty; fetch it again")
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode.startswith("I;16"):
                grey = (np.asarray(image) >> 8).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            if image.mode in ("I", "F"):
                grey = np.asarray(image, np.float64)
                grey = grey / 256 if grey.max(initial=0) > 255 else grey
                return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)
            return np.array(image.convert("RGB"))
    except UnidentifiedImageError as error:
        raise ImageError("not an image of a known format; remove it or convert it to PNG or JPEG") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large to decode ({error}); downscale it") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"damaged or truncated ({error}); fetch it again") from error


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
        tuple(np.asarray(plane, np.int32) for plane in stored.coef_arrays),
        tuple(np.asarray(stored.quant_tables[c.quant_tbl_no], np.int32) for c in info),
        tuple((int(c.h_samp_factor), int(c.v_samp_factor)) for c in info),
    )
