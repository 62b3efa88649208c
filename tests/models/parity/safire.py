"""SAFIRE: the image's features, and the masks of three points."""

import zlib

import cv2
import numpy as np
import torch

from models.deep.parts.imagenet import normalized_square
from models.deep.safire import SAFIRE

QUICK = set()
POINTS = torch.tensor([(160.0, 160.0), (512.0, 512.0), (800.5, 300.25)])


def state_dicts():
    return {"manifest.json": SAFIRE().state_dict()}


def outputs(case):
    network = case.build("safire", weights=case.fill(state_dicts()["manifest.json"])).network
    resized = cv2.resize(case.image, (1024, 1024))
    features = network.image_encoder(normalized_square(case.image, 1024).to(case.device))
    masks, iou = network.masks(features, POINTS.to(case.device))
    return {
        "low_res_masks": masks[:, None],
        "iou": iou[:, None],
        "features_channel_mean": features.mean((2, 3)),
        "features": features[:, :16],
        "resized_crc32": np.float64(zlib.crc32(resized.tobytes())),
    }
