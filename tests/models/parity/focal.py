"""FOCAL: embeddings of both extractors; clustering has tests of its own."""

import numpy as np
import torch

import models
from models.deep.focal import FOCALHRNet, FOCALViT, embedding, network_input

QUICK = {"case_hrnet_192x288_s2"}


def state_dicts():
    with torch.device("meta"):
        return {"manifest_hrnet.json": FOCALHRNet().state_dict(), "manifest_vit.json": FOCALViT().state_dict()}


def outputs(case):
    if "vit" in case.name:
        name, made, x = "focal-vit", FOCALViT(), network_input(case.image)
    else:  # recorded at the image's own size
        name, made = "focal-hrnet", FOCALHRNet()
        x = torch.from_numpy((case.image / 255.0).astype(np.float32)).permute(2, 0, 1)[None]
    features = models.build(name, weights=case.fill(made.state_dict())).network(x)
    return {
        "features": features,
        "normalized": embedding(features),
        "feature_channel_mean": features.mean((2, 3)),
    }
