"""PSCC-Net: each of the three networks is filled by its own names."""

import numpy as np
import torch

import models
from models.deep.pscc import PSCCNet, resize

QUICK = {"case_200x328_s2"}
MANIFESTS = {
    "features": "manifest_HRNet.json",
    "localization": "manifest_NLCDetection.json",
    "detection": "manifest_DetectionHead.json",
}


def state_dicts():
    return {MANIFESTS[name]: part.state_dict() for name, part in PSCCNet().named_children()}


def outputs(case):
    made = state_dicts()
    weights = {
        f"{part}.{name}": value
        for part, manifest in MANIFESTS.items()
        for name, value in case.fill(made[manifest]).items()
    }
    network = models.build("pscc-net", weights=weights).network
    x = torch.from_numpy(case.image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    features = network.features(x)
    pyramid = [resize(x, (256 >> level,) * 2) for level, x in enumerate(features)]
    masks = network.localization(pyramid)
    return {
        "mask1": masks[0],
        "mask3": masks[2],
        "mask4": masks[3],
        "map_full": resize(masks[0], case.image.shape[:2]),
        "cls_logits": network.detection(pyramid),
        "s1_mean": features[0].mean((2, 3)),
        "s4": features[3],
    }
