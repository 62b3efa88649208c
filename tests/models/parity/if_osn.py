"""IF-OSN: the network, and the merging of tiles that the notes beside the cases make up."""

import numpy as np
import torch

import models
from models.deep.if_osn import Detector, network_input
from models.deep.parts.tiles import merge, tiles

QUICK = {"case_merge_150x205_s5", "case_merge_192x192_s7", "case_merge_60x100_s6"}
TRUNCATED = {"merged"}
SIGMOID_OF = {"prob": "logits"}
TILE = 64  # of the merging cases


def state_dicts():
    with torch.device("meta"):
        return {"manifest.json": Detector().state_dict()}


def outputs(case):
    if "merge" in case.name:
        return merged_tiles(case.image)
    net = models.build("if-osn", weights=case.fill(Detector().state_dict())).network.det_net
    x = network_input(case.image)
    features = net.decode(x)
    return {
        "prob": net(x),
        "logits": net.final[0](features),
        "final_input_channel_mean_std": torch.stack([features.mean((0, 2, 3)), features.std((0, 2, 3))]),
    }


def merged_tiles(image):
    height, width = image.shape[:2]
    seen = [image[rows, columns, 1] for rows, columns in tiles(height, width, TILE)]
    predictions = [green // 2 + np.uint8(37 * i % 128) for i, green in enumerate(seen)]
    return {
        "merged": merge(predictions, height, width, TILE),
        "tile_shapes": np.array([green.shape for green in seen], np.float32),
    }
