"""Encoding, with Pillow what OpenCV cannot, and reading back."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

from bench.perturb.step import Recompressed
from models.image import ForensicImage, encode_jpeg


def saved(rgb: np.ndarray, kind: str, **options) -> bytes:
    """The bytes of an image file of Pillow's format `kind`."""
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, kind, **options)
    return stream.getvalue()


def jpeg(rgb: np.ndarray, quality: int, subsampling: str = "4:2:0") -> ForensicImage:
    """The image that a baseline JPEG of libjpeg's own tables decodes to, carrying the file."""
    return decoded(encode_jpeg(rgb, quality, subsampling))


def jpeg_by_pillow(rgb: np.ndarray, **options) -> ForensicImage:
    """The image that a JPEG file of Pillow's `options` decodes to, carrying the file."""
    return decoded(saved(rgb, "JPEG", **options))


def decoded(data: bytes) -> ForensicImage:
    """The image of JPEG bytes that were just made, carrying them: as `ForensicImage.from_jpeg`, only faster."""
    rgb = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert rgb is not None, "a JPEG that was just made"
    return ForensicImage(rgb, data)


def recompressed(rgb: np.ndarray, kind: str, **options) -> Recompressed:
    """The pixels that come back from a file of another format, with its size."""
    data = saved(rgb, kind, **options)
    with Image.open(io.BytesIO(data)) as image:
        return Recompressed(np.array(image.convert("RGB")), stored=len(data))
