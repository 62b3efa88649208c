"""Time of the perturbations beside the same operation of albumentations, Pillow and OpenCV, 1 megapixel, in one run.

PYTHONPATH=. python tests/benchmarks/perturbations.py [--repeats N]

albumentations is no dependency; where it is not installed its column stays empty. Each library runs with one thread,
in turns, and gets and returns a uint8 array (JPEG and WebP: encoded and decoded again).
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
import warnings

# ruff: noqa: E402 (the thread limits come before the imports that they are for)
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NO_ALBUMENTATIONS_UPDATE"):
    os.environ.setdefault(variable, "1")

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from sklearn.datasets import load_sample_image

from bench.perturb import parse
from models.image import ForensicImage

SIDE = 1024


def main() -> None:
    """Run all cases and print a table, the slowest against its fastest peer first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="of each measurement; the median counts (default 9)")
    repeats = parser.parse_args().repeats
    cv2.setNumThreads(1)
    rgb = cv2.resize(load_sample_image("china.jpg"), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    rows = []
    for spec, peers in cases().items():
        ours = parse(spec)[1]
        timed = {"here": lambda rgb, ours=ours: ours.apply(ForensicImage(rgb)), **peers}
        seconds = {name: [] for name in timed}
        for _ in range(repeats):
            for name, operation in timed.items():
                start = time.thread_time()
                operation(rgb)
                seconds[name].append(time.thread_time() - start)
        medians = {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
        rows.append((medians["here"] / min(medians[name] for name in peers), spec, medians))
    print(f"{SIDE} x {SIDE} pixels, 1 thread, milliseconds of CPU, median of {repeats}; ratio to the fastest other")
    print(f"{'':<24}{'here':>9}{'albument.':>11}{'Pillow':>9}{'OpenCV':>9}{'ratio':>8}")
    for ratio, spec, medians in sorted(rows, reverse=True):
        shown = "".join(
            f"{medians[n]:>{w}.2f}" if n in medians else " " * w
            for n, w in (("here", 9), ("albumentations", 11), ("Pillow", 9), ("OpenCV", 9))
        )
        print(f"{spec:<24}{shown}{ratio:>8.2f}")
    against = [m["here"] / m["albumentations"] for _, _, m in rows if "albumentations" in m]
    if against:
        print(f"against albumentations: median ratio {statistics.median(against):.2f}, largest {max(against):.2f}")


def cases() -> dict[str, dict]:
    """Spec -> library -> the same operation on an array."""
    centre, size = ((SIDE - 1) / 2,) * 2, (SIDE, SIDE)
    turn = cv2.getRotationMatrix2D(centre, 10, 1)
    found = {
        "jpeg:80": {"Pillow": saved("JPEG", quality=80), "OpenCV": encoded(".jpg", cv2.IMWRITE_JPEG_QUALITY, 80)},
        "webp:80": {
            "Pillow": saved("WEBP", quality=80, method=4),
            "OpenCV": encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
        },
        "resize:0.5": {
            "Pillow": pillow(lambda i: i.resize((SIDE // 2,) * 2, Image.Resampling.BOX)),
            "OpenCV": lambda a: cv2.resize(a, (SIDE // 2,) * 2, interpolation=cv2.INTER_AREA),
        },
        "resize:1.5": {
            "Pillow": pillow(lambda i: i.resize((SIDE * 3 // 2,) * 2, Image.Resampling.BILINEAR)),
            "OpenCV": lambda a: cv2.resize(a, (SIDE * 3 // 2,) * 2),
        },
        "rescale:0.5": {},
        "blur:5": {
            "Pillow": pillow(lambda i: i.filter(ImageFilter.GaussianBlur(1.1))),
            "OpenCV": lambda a: cv2.GaussianBlur(a, (5, 5), 1.1),
        },
        "box_blur:5": {
            "Pillow": pillow(lambda i: i.filter(ImageFilter.BoxBlur(2))),
            "OpenCV": lambda a: cv2.blur(a, (5, 5)),
        },
        "median:5": {
            "Pillow": pillow(lambda i: i.filter(ImageFilter.MedianFilter(5))),
            "OpenCV": lambda a: cv2.medianBlur(a, 5),
        },
        "motion_blur:9": {},
        "defocus:4": {},
        "bilateral:30": {"OpenCV": lambda a: cv2.bilateralFilter(a, 9, 30, 3)},
        "unsharp:1": {"Pillow": pillow(lambda i: i.filter(ImageFilter.UnsharpMask(1, 100, 0)))},
        "noise:10": {"OpenCV": opencv_noise},
        "salt_pepper:0.01": {},
        "poisson_gaussian:0.5": {},
        "speckle:0.1": {},
        "gamma:0.8": {"Pillow": pillow(lambda i: i.point([round(255 * (v / 255) ** 0.8) for v in range(256)] * 3))},
        "brightness:20": {"Pillow": pillow(lambda i: ImageEnhance.Brightness(i).enhance(1.1))},
        "contrast:1.3": {"Pillow": pillow(lambda i: ImageEnhance.Contrast(i).enhance(1.3))},
        "posterize:4": {"Pillow": pillow(lambda i: ImageOps.posterize(i, 4))},
        "saturation:1.5": {"Pillow": pillow(lambda i: ImageEnhance.Color(i).enhance(1.5))},
        "hue:20": {},
        "clahe:2": {},
        "equalize": {"Pillow": pillow(ImageOps.equalize)},
        "autocontrast:1": {"Pillow": pillow(lambda i: ImageOps.autocontrast(i, 1, preserve_tone=True))},
        "palette:64": {"Pillow": pillow(palette)},
        "crop:0.5": {"Pillow": pillow(lambda i: i.crop((256, 256, 768, 768)))},
        "pad:0.1": {"Pillow": pillow(lambda i: ImageOps.expand(i, 102))},
        "flip:horizontal": {"Pillow": pillow(ImageOps.mirror), "OpenCV": lambda a: cv2.flip(a, 1)},
        "rotate90:1": {
            "Pillow": pillow(lambda i: i.transpose(Image.Transpose.ROTATE_90)),
            "OpenCV": lambda a: cv2.rotate(a, cv2.ROTATE_90_COUNTERCLOCKWISE),
        },
        "rotate:10": {
            "Pillow": pillow(lambda i: i.rotate(10, Image.Resampling.BILINEAR)),
            "OpenCV": lambda a: cv2.warpAffine(a, turn, size),
        },
        "shear:0.1": {},
        "perspective:0.2": {},
        "lens:0.1": {},
        "chromatic_aberration:0.01": {},
    }
    for spec, operation in albumentations_cases().items():
        found[spec]["albumentations"] = operation
    return {spec: peers for spec, peers in found.items() if peers}


def albumentations_cases() -> dict:
    """Spec -> the operation of albumentations 2; {} where it is not installed."""
    try:
        import albumentations as A
    except ImportError:
        return {}
    warnings.simplefilter("ignore")
    always = {"p": 1.0}
    transforms = {
        "jpeg:80": A.ImageCompression("jpeg", (80, 80), **always),
        "webp:80": A.ImageCompression("webp", (80, 80), **always),
        "resize:0.5": A.Resize(SIDE // 2, SIDE // 2, cv2.INTER_AREA, **always),
        "resize:1.5": A.Resize(SIDE * 3 // 2, SIDE * 3 // 2, **always),
        "rescale:0.5": A.Downscale((0.5, 0.5), {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}, **always),
        "blur:5": A.GaussianBlur((5, 5), (1.1, 1.1), **always),
        "box_blur:5": A.Blur((5, 5), **always),
        "median:5": A.MedianBlur((5, 5), **always),
        "motion_blur:9": A.MotionBlur((9, 9), angle_range=(0, 0), **always),
        "defocus:4": A.Defocus((4, 4), (0.1, 0.1), **always),
        "unsharp:1": A.UnsharpMask((7, 7), (1, 1), (1, 1), 0, **always),
        "noise:10": A.GaussNoise((10 / 255, 10 / 255), **always),
        "salt_pepper:0.01": A.SaltAndPepper((0.01, 0.01), **always),
        "poisson_gaussian:0.5": A.ShotNoise((0.1, 0.1), **always),
        "speckle:0.1": A.MultiplicativeNoise((0.9, 1.1), per_channel=True, elementwise=True, **always),
        "gamma:0.8": A.RandomGamma((80, 80), **always),
        "brightness:20": A.RandomBrightnessContrast((0.08, 0.08), (0, 0), **always),
        "contrast:1.3": A.RandomBrightnessContrast((0, 0), (0.3, 0.3), **always),
        "posterize:4": A.Posterize(4, **always),
        "saturation:1.5": A.ColorJitter((1, 1), (1, 1), (1.5, 1.5), (0, 0), **always),
        "hue:20": A.HueSaturationValue((10, 10), (0, 0), (0, 0), **always),
        "clahe:2": A.CLAHE((2, 2), **always),
        "equalize": A.Equalize(**always),
        "autocontrast:1": A.AutoContrast(1, **always),
        "crop:0.5": A.CenterCrop(SIDE // 2, SIDE // 2, **always),
        "pad:0.1": A.Pad(102, **always),
        "flip:horizontal": A.HorizontalFlip(**always),
        "rotate90:1": A.RandomRotate90(**always),
        "rotate:10": A.Rotate((10, 10), border_mode=cv2.BORDER_CONSTANT, **always),
        "shear:0.1": A.Affine(shear={"x": (5.7, 5.7), "y": (0, 0)}, **always),
        "perspective:0.2": A.Perspective((0.1, 0.1), **always),
        "lens:0.1": A.OpticalDistortion((0.1, 0.1), **always),
        "chromatic_aberration:0.01": A.ChromaticAberration((0.01, 0.01), (0.01, 0.01), **always),
    }
    return {spec: lambda rgb, t=transform: t(image=rgb)["image"] for spec, transform in transforms.items()}


def pillow(operation):
    """An operation on images as one on arrays."""
    return lambda rgb: np.asarray(operation(Image.fromarray(rgb)))


def saved(kind: str, **options):
    """Pillow's encoding and decoding."""

    def operation(rgb: np.ndarray) -> np.ndarray:
        stream = io.BytesIO()
        Image.fromarray(rgb).save(stream, kind, **options)
        return np.asarray(Image.open(stream).convert("RGB"))

    return operation


def encoded(suffix: str, *options: int):
    """OpenCV's encoding and decoding, with the channels in the right order."""

    def operation(rgb: np.ndarray) -> np.ndarray:
        data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)[1]
        return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)

    return operation


def opencv_noise(rgb: np.ndarray) -> np.ndarray:
    """Noise from cv2.randn, whose seed is one for the whole process."""
    draw = np.empty(rgb.shape, np.float32)
    cv2.randn(draw, 0, 10)
    return cv2.add(rgb.astype(np.float32), draw).clip(0, 255).astype(np.uint8)


def palette(image: Image.Image) -> Image.Image:
    """As GIF files are made."""
    chosen = image.quantize(64, Image.Quantize.MEDIANCUT)
    return image.quantize(palette=chosen, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")


if __name__ == "__main__":
    main()
