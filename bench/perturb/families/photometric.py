"""Tone and colour: one curve for all pixels, or one colour matrix."""

from __future__ import annotations

import cv2
import numpy as np

from bench.perturb.step import step
from models.image import ForensicImage

GREY = np.arange(256, dtype=np.float64)
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@step("gamma", values="real", low=0.1, high=10, identity=1, shown=(0.5, 0.7, 0.85, 1.2, 1.5, 2))
def gamma(image: ForensicImage, exponent: float, rng: np.random.Generator) -> ForensicImage:
    """255 (in / 255)^gamma, rounded: a level above 1 darkens.

    Level: gamma, exponent
    Source: the power law; SAFIRE's reads the other way (safire_gamma)
    """
    return _curve(image, 255 * (GREY / 255) ** exponent)


@step("brightness", values="real", low=-255, high=255, identity=0, shown=(-60, -20, -5, 5, 20, 60))
def brightness(image: ForensicImage, offset: float, rng: np.random.Generator) -> ForensicImage:
    """The same offset added to all samples, rounded and clipped.

    Level: offset, grey levels
    Source: ours
    """
    return _line(image, 1, offset)


@step("contrast", values="real", low=0, high=10, identity=1, shown=(0.5, 0.7, 0.9, 1.2, 1.5, 2))
def contrast(image: ForensicImage, factor: float, rng: np.random.Generator) -> ForensicImage:
    """Distances from mid-grey, 127.5, multiplied; rounded and clipped.

    Level: factor, of the distance from mid-grey
    Source: ours
    """
    return _line(image, factor, 127.5 * (1 - factor))


@step("tone_curve", values="real", low=0, high=20, identity=0, shown=(1, 2, 4, 7, 12))
def tone_curve(image: ForensicImage, gain: float, rng: np.random.Generator) -> ForensicImage:
    """S-shaped curve: a logistic function around mid-grey, scaled so that black and white stay.

    Level: gain, slope of the logistic function (0: a straight line)
    Source: ImageMagick -sigmoidal-contrast with mid-point 50 %
    """
    if gain < 1e-6:  # a straight line to far below half a grey level, and 0 / 0 further down
        return _curve(image, GREY)
    low, curve, high = (1 / (1 + np.exp(gain * (0.5 - x))) for x in (0, GREY / 255, 1))
    return _curve(image, 255 * (curve - low) / (high - low))


@step("posterize", low=1, high=8, identity=8, shown=(7, 6, 5, 4, 3, 2))
def posterize(image: ForensicImage, bits: int, rng: np.random.Generator) -> ForensicImage:
    """The lower bits of each sample set to 0.

    Level: kept bits, of 8
    Source: as Pillow's ImageOps.posterize
    """
    return ForensicImage(image.rgb & np.uint8(256 - (1 << (8 - bits))))


@step("temperature", values="real", low=-0.5, high=0.5, identity=0, shown=(-0.2, -0.1, -0.03, 0.03, 0.1, 0.2))
def temperature(image: ForensicImage, shift: float, rng: np.random.Generator) -> ForensicImage:
    """White balance: red times 1 + t, blue times 1 - t; a level above 0 is warmer.

    Level: shift t, relative gain
    Source: ours, the diagonal model of von Kries
    """
    curves = np.stack([GREY * (1 + shift), GREY, GREY * (1 - shift)], axis=-1)
    return _curve(image, curves[None])


@step("saturation", values="real", low=0, high=10, identity=1, shown=(0, 0.5, 0.8, 1.2, 1.5, 2))
def saturation(image: ForensicImage, factor: float, rng: np.random.Generator) -> ForensicImage:
    """Distances from the pixel's own luminance (BT.601) multiplied; 0 is grey.

    Level: factor, of the distance from grey
    Source: the matrix of W3C Filter Effects, saturate, with the luminance of BT.601
    """
    grey = np.tile(LUMA, (3, 1))
    return _matrix(image, grey + factor * (np.eye(3) - grey))


@step("hue", values="real", low=-180, high=180, identity=0, shown=(-60, -20, -5, 5, 20, 60))
def hue(image: ForensicImage, degrees: float, rng: np.random.Generator) -> ForensicImage:
    """Colours turned about the grey axis, luminance (BT.601) kept.

    Level: angle, degrees
    Source: rotation of the chroma plane of YIQ
    """
    to_yiq = np.array([LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    return _matrix(image, np.linalg.inv(to_yiq) @ turn @ to_yiq)


def _curve(image: ForensicImage, levels: np.ndarray) -> ForensicImage:
    """Each sample replaced by what `levels`, (256,) or (1, 256, 3), says, rounded half to even and clipped."""
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    if table.ndim > 1:
        return ForensicImage(cv2.LUT(image.rgb, table))
    flat = cv2.LUT(image.rgb.reshape(len(image.rgb), -1), table)  # as one channel OpenCV takes half the time
    return ForensicImage(flat.reshape(image.rgb.shape))


def _line(image: ForensicImage, factor: float, offset: float) -> ForensicImage:
    """factor in + offset, rounded half to even and clipped: a curve, in half the time."""
    return ForensicImage(cv2.addWeighted(image.rgb, factor, image.rgb, 0, offset))


def _matrix(image: ForensicImage, matrix: np.ndarray) -> ForensicImage:
    """Each pixel multiplied by a 3 x 3 matrix and clipped; OpenCV rounds to within one grey level."""
    return ForensicImage(cv2.transform(image.rgb, matrix.astype(np.float32)))
