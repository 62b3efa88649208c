"""IF-OSN: the network, and the merging of tiles that the notes beside the cases make up."""

import numpy as np
import torch

from models.deep.if_osn import Detector, network_input
from models.deep.parts.tiles import merge, tiles

QUICK = {"case_merge_150x205_s5", "case_merge_192x192_s7", "case_merge_60x100_s6"}
TRUNCATED = {"merged"}
SIGMOID_OF = {"prob": "logits"}


def state_dicts():
    with torch.device("meta"):
        return {"manifest.json": Detector().state_dict()}


def outputs(case):
    if "merged" in case.stored:
        return merged_tiles(case.image, int(case.stored["meta__tile_size"]))
    net = case.build("if-osn", weights=case.fill(Detector().state_dict())).network.det_net
    x = network_input(case.image).to(case.device)
    features = net.decode(x)
    return {
        "prob": net(x),
        "logits": net.final[0](features),
        "final_input_channel_mean_std": torch.stack([features.mean((0, 2, 3)), features.std((0, 2, 3))]),
    }


def merged_tiles(image, side):
    height, width = image.shape[:2]
    seen = [image[rows, columns, 1] for rows, columns in tiles(height, width, side)]
    predictions = [green // 2 + np.uint8(37 * i % 128) for i, green in enumerate(seen)]
    return {
        "merged": merge(predictions, height, width, side),
        "tile_shapes": np.array([green.shape for green in seen], np.float32),
    }
