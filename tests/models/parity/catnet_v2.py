"""CAT-Net v2: cases with made-up coefficients, and cases that start from JPEG bytes of our own making.

Quality and subsampling of these are read from the recorded file.
"""

import zlib

import numpy as np
import torch

from models.deep.catnet import CATNet, network_input
from models.deep.noiseprint.localizer import jpeg_quality
from models.deep.parts.dct_volume import dct_volume, luma_coefficients, with_jpeg
from models.image import ForensicImage, encode_jpeg

SUBSAMPLINGS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}  # by the luma's sampling factors
SIGMOID_OF = {"prob": "logits"}  # of their difference; logits of 1e4 saturate it
QUICK = {"case_png_q100_444_150x170_s4"}


def state_dicts():
    with torch.device("meta"):
        return {"manifest.json": CATNet().state_dict()}


def outputs(case):
    network = case.build("catnet-v2", weights=case.fill(CATNet().state_dict())).network
    found = {}
    if "coef_crc32" in case.stored:
        rgb, volume, table, found["coef_crc32"] = made_up(case)
        found["dctvol_channel_sums"] = volume.sum((0, 2, 3))
    else:
        recorded = ForensicImage.from_jpeg(case.stored["jpeg_bytes"].astype(np.uint8).tobytes())
        quality, subsampling = jpeg_quality(recorded.dct.tables[0]), SUBSAMPLINGS[recorded.dct.sampling[0]]
        image = ForensicImage.from_jpeg(encode_jpeg(case.image, quality, subsampling))
        if (quality, subsampling) == (100, "4:4:4"):  # what an image without JPEG bytes is saved as
            image = with_jpeg(ForensicImage(case.image))
        rgb, volume, table = network_input(image)
        found |= {
            "jpeg_bytes": np.frombuffer(image.jpeg, np.uint8),
            "coef_y": luma_coefficients(image.dct, *image.shape),
            "qtable": image.dct.tables[0][None],
            "rgb_crc32": np.float64(zlib.crc32(image.rgb.tobytes())),
        }
    logits = network(*(x.to(case.device) for x in (rgb, volume, table)))
    return found | {"logits": logits, "prob": logits.softmax(1)[0, 1]}


def made_up(case):
    """Input of the `coef` cases, as the notes beside them describe it."""
    height, width = case.image.shape[:2]
    rng = np.random.Generator(np.random.PCG64(1000 + int(case.stored["meta__seed"])))
    y, x = np.mgrid[0:height, 0:width]
    coefficients = np.round(rng.standard_normal((height, width)) * (24.0 / (1 + y % 8 + x % 8) ** 1.2)).astype(np.int32)
    steps = 3 + torch.arange(8.0)[:, None] + 2 * torch.arange(8.0)[None]
    rgb = torch.from_numpy((case.image.astype(np.float32) - 127.5) / 127.5).permute(2, 0, 1)
    crc = np.float64(zlib.crc32(coefficients.tobytes()))
    return rgb[None], dct_volume(coefficients)[None], steps[None, None], crc
