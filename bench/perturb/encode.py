"""Encoding with Pillow what OpenCV cannot, and reading it back."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from bench.perturb.step import Recompressed
from models.image import ForensicImage


def saved(rgb: np.ndarray, kind: str, **options) -> bytes:
    """The bytes of an image file of Pillow's format `kind`."""
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, kind, **options)
    return stream.getvalue()


def jpeg(rgb: np.ndarray, **options) -> ForensicImage:
    """The image that a JPEG file of Pillow's `options` decodes to, carrying the file."""
    return ForensicImage.from_jpeg(saved(rgb, "JPEG", **options))


def recompressed(rgb: np.ndarray, kind: str, **options) -> Recompressed:
    """The pixels that come back from a file of another format, with its size."""
    data = saved(rgb, kind, **options)
    with Image.open(io.BytesIO(data)) as image:
        return Recompressed(np.array(image.convert("RGB")), stored=len(data))
