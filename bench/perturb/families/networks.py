"""What social networks and messengers do to a picture, as far as it is known how, with the year and the evidence.

Services change without notice. Those of which the steps are not known (WhatsApp, Instagram, WeChat, ...) are not here.
Evidence: S = source code of the client, M = measured on a sample, T = statement of the vendor or a published test,
P = a paper's model.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin

from bench.perturb import encode
from bench.perturb.step import step
from models.image import ForensicImage

# ITU-T T.81, table K.1: the luminance table that libjpeg scales by quality.
LUMINANCE = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
    ]
)
TELEGRAM_BITS_PER_PIXEL = 4  # kRecompressAfterBpp
X_MEGABYTES = 5


@step("telegram-desktop@2026", values="none", family="network")
def telegram_desktop(image: ForensicImage, level: None, rng: np.random.Generator) -> ForensicImage:
    """Longest side at most 1280, JPEG 87, 4:2:0, progressive; a JPEG of at most 1280 and 4 bits a pixel is passed on.

    (The client makes such a JPEG progressive without touching its coefficients; its bytes here stay as they are.)

    Source: telegramdesktop/tdesktop localimageloader.cpp
    Evidence: S
    """
    return _telegram(image, 1280)


@step("telegram-desktop-large@2026", values="none", family="network")
def telegram_desktop_large(image: ForensicImage, level: None, rng: np.random.Generator) -> ForensicImage:
    """As telegram-desktop@2026 with the option "send large photos": longest side at most 2560.

    Source: telegramdesktop/tdesktop localimageloader.cpp
    Evidence: S
    """
    return _telegram(image, 2560)


@step("signal-standard@2026", values="none", family="network")
def signal_standard(image: ForensicImage, level: None, rng: np.random.Generator) -> ForensicImage:
    """Longest side at most 1600, JPEG 70, 4:2:0, baseline.

    Source: Signal Android PushMediaConstraints (the chroma sampling is the platform encoder's default, assumed)
    Evidence: S
    """
    return encode.jpeg(_within(image.rgb, 1600), 70)


@step("signal-high@2026", values="none", family="network")
def signal_high(image: ForensicImage, level: None, rng: np.random.Generator) -> ForensicImage:
    """Longest side at most 4096, JPEG 75, 4:2:0, baseline.

    Source: Signal Android PushMediaConstraints (the chroma sampling is the platform encoder's default, assumed)
    Evidence: S
    """
    return encode.jpeg(_within(image.rgb, 4096), 75)


@step("x@2022", values="none", family="network")
def x(image: ForensicImage, level: None, rng: np.random.Generator) -> ForensicImage:
    """Longest side at most 4096, JPEG 85, 4:2:0; a JPEG that fits, of at most 5 MB and quality 85, is passed on.

    Source: an engineer's posts (twittercommunity 118901, 2018 to 2020), compress-or-die 2022; 4:2:0 is not stated
    Evidence: T
    """
    jpeg = image.jpeg if max(image.shape) <= 4096 else None
    if jpeg is not None and len(jpeg) <= X_MEGABYTES * 1e6 and estimated_quality(jpeg) <= 85:
        return image
    return encode.jpeg(_within(image.rgb, 4096), 85)


@step("facebook@2021", values="none", family="network")
def facebook(image: ForensicImage, level: None, rng: np.random.Generator) -> ForensicImage:
    """Longest side at most 2048, JPEG 92, 4:2:0, progressive.

    Source: one picture of IF-OSN's demonstration (tables, sampling, scan order); the size by published tests
    Evidence: M (one sample), size T
    """
    return encode.jpeg_by_pillow(_within(image.rgb, 2048), quality=92, subsampling="4:2:0", progressive=True)


@step("facebook-ifosn@2022", values="none", family="network", deterministic=False)
def facebook_ifosn(image: ForensicImage, level: None, rng: np.random.Generator) -> ForensicImage:
    """JPEG 4:2:0 of a quality drawn from 71 to 95 for each image.

    Source: IF-OSN (Wu et al., CVPR 2022), its model of Facebook's quality without the trained network before it
    Evidence: P
    """
    return encode.jpeg(image.rgb, int(rng.integers(71, 95, endpoint=True)))


@step("weibo@2021", values="none", family="network")
def weibo(image: ForensicImage, level: None, rng: np.random.Generator) -> ForensicImage:
    """JPEG 85, 4:4:4, baseline, at the picture's own size (a limit was not reached).

    Source: one picture of IF-OSN's demonstration
    Evidence: M (one sample)
    """
    return encode.jpeg(image.rgb, 85, "4:4:4")


def estimated_quality(jpeg: bytes) -> int:
    """The libjpeg quality whose luminance table comes nearest to that of the file (mean absolute difference)."""
    with Image.open(io.BytesIO(jpeg)) as file:
        assert isinstance(file, JpegImagePlugin.JpegImageFile)
        table = np.array(file.quantization[0])
    qualities = np.arange(1, 101)
    scales = np.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    tables = np.clip((LUMINANCE * scales[:, None] + 50) // 100, 1, 255)
    return int(qualities[np.abs(tables - table).sum(axis=1).argmin()])


def _telegram(image: ForensicImage, limit: int) -> ForensicImage:
    height, width = image.shape
    small = image.jpeg is not None and len(image.jpeg) <= height * width * TELEGRAM_BITS_PER_PIXEL / 8
    if small and max(image.shape) <= limit:
        return image
    return encode.jpeg_by_pillow(_within(image.rgb, limit), quality=87, subsampling="4:2:0", progressive=True)


def _within(rgb: np.ndarray, limit: int) -> np.ndarray:
    """The picture with its longest side at most `limit`, by the mean of areas."""
    factor = limit / max(rgb.shape[:2])
    if factor >= 1:
        return rgb
    height, width = (max(1, round(side * factor)) for side in rgb.shape[:2])
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
