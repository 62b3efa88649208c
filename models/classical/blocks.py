"""What block-based localizers share: 8x8 blocks, their DCT, JPEG tables, and block maps brought to pixels."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.fft import dct

from models.image import ForensicImage, NotApplicable

BLOCK = 8
# (row, column) of the 64 DCT frequencies of a block in zig-zag order, DC first.
ZIGZAG = tuple(
    sorted(
        ((i, j) for i in range(BLOCK) for j in range(BLOCK)),
        key=lambda f: (f[0] + f[1], f[0] if (f[0] + f[1]) % 2 else f[1]),
    )
)
DCT_MATRIX = dct(np.eye(BLOCK), axis=0, norm="ortho").astype(np.float32)
_STANDARD_LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)


def require_size(image: ForensicImage, height: int, width: int) -> None:
    """Raises NotApplicable for an image of fewer than `height` x `width` pixels."""
    if image.shape[0] < height or image.shape[1] < width:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise NotApplicable(f"the image has {size} pixels, the method needs at least {width}x{height}")


def split(plane: np.ndarray, size: int = BLOCK) -> np.ndarray:
    """View (rows, columns, size, size) of the complete blocks of a plane (H, W), from its top left corner."""
    rows, columns = plane.shape[0] // size, plane.shape[1] // size
    cut = plane[: rows * size, : columns * size]
    return cut.reshape(rows, size, columns, size).swapaxes(1, 2)


def join(blocks: np.ndarray) -> np.ndarray:
    """The plane (rows * size, columns * size) that `split` took apart."""
    rows, columns, size, _ = blocks.shape
    return blocks.swapaxes(1, 2).reshape(rows * size, columns * size)


def block_dct(plane: np.ndarray) -> np.ndarray:
    """Orthonormal DCT-II (the one of JPEG) of every complete 8x8 block: float32 (rows, columns, 8, 8)."""
    return DCT_MATRIX @ split(plane.astype(np.float32, copy=False)) @ DCT_MATRIX.T


def inverse_block_dct(coefficients: np.ndarray) -> np.ndarray:
    """Plane float32 (8 * rows, 8 * columns) of the block coefficients (rows, columns, 8, 8)."""
    return join(DCT_MATRIX.T @ coefficients.astype(np.float32, copy=False) @ DCT_MATRIX)


def jpeg_luminance(image: ForensicImage) -> tuple[np.ndarray, np.ndarray]:
    """Quantised luminance coefficients int32 (rows, columns, 8, 8) and table int32 (8, 8), as in the file.

    The blocks are those that hold at least one pixel of the image. Raises NotApplicable without JPEG bytes
    and for a JPEG of four components, which has no luminance.
    """
    if image.dct is None:
        raise NotApplicable("the image is not a JPEG file, the method reads the file's DCT coefficients")
    if len(image.dct.coefficients) not in (1, 3):
        raise NotApplicable(f"the JPEG has {len(image.dct.coefficients)} components, luminance is not one of them")
    blocks = split(image.dct.coefficients[0])
    rows, columns = (-(-n // BLOCK) for n in image.shape)
    return blocks[:rows, :columns], image.dct.tables[0]


def rounding_error(image: ForensicImage, luminance: np.ndarray) -> np.ndarray:
    """What rounding and clipping did to the luminance when the JPEG was decoded: float32, whole blocks only.

    luminance: float32, the unrounded inverse DCT plus 128 of the dequantised coefficients.
    """
    height, width = (n // BLOCK * BLOCK for n in image.shape)
    return luminance[:height, :width] - image.luminance[:height, :width]


def standard_luminance_table(quality: int) -> np.ndarray:
    """Int (8, 8) luminance table of libjpeg at a quality factor of 1..100 (ITU-T T.81 Annex K, IJG scaling)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((_STANDARD_LUMINANCE * scale + 50) // 100, 1, 255)


def to_pixels(block_map: np.ndarray, shape: tuple[int, int], size: int, origin: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Float32 (H, W) map from one value a block: bilinear between block centres, constant outside.

    size: block side, and distance of neighbouring blocks, in pixels. origin: (row, column) of the first
    block's top left pixel.
    """
    rows, columns = block_map.shape
    values = block_map.astype(np.float32, copy=False)
    values = cv2.resize(values, (columns * size, rows * size), interpolation=cv2.INTER_LINEAR)
    top, left = origin
    bottom, right = (max(0, n - o - m) for n, o, m in zip(shape, origin, values.shape, strict=True))
    values = cv2.copyMakeBorder(values, max(top, 0), bottom, max(left, 0), right, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(values[max(-top, 0) :, max(-left, 0) :][: shape[0], : shape[1]])


def deviation(values: np.ndarray) -> np.ndarray:
    """|value - median| in units of the median absolute deviation, float32: how unusual a place is in its image.

    Noise-level maps have no polarity, since a forged region may be the noisier or the smoother one; what is
    unusual is the minority. 0 everywhere for a map that is constant.
    """
    distance = np.abs(values - np.median(values))
    scale = np.median(distance)
    if scale == 0:
        scale = distance.mean() or 1.0
    return (distance / scale).astype(np.float32)
