"""MPC: `build` with given weights, and what its network yields on the way to the map."""

import cv2
import numpy as np
import torch

import models
from models.mpc.network import MPC

QUICK = {"case_native_256x384_s3", "case_casiav2_375x500_s2"}
SIGMOID_OF = {"prob": "logits"}


def state_dicts():
    return {
        "manifest.json": MPC("base", "catnet").state_dict(),
        "manifest_casiav2.json": MPC("base", "casia2").state_dict(),
    }


def outputs(case):
    name, manifest = (
        ("mpc-casia2", "manifest_casiav2.json") if "casiav2" in case.name else ("mpc-catnet", "manifest.json")
    )
    network = models.build(name, weights=case.fill(state_dicts()[manifest])).network
    image = case.image if "native" in case.name else cv2.resize(case.image, (512, 512))
    x = torch.from_numpy((image / 255.0).astype(np.float32)).permute(2, 0, 1)[None]
    fused = network.fuse(network.encoder(x))
    logits = network(x)
    per_channel = torch.stack([fused.mean((0, 2, 3)), fused.std((0, 2, 3))])
    return {"logits": logits, "prob": logits.sigmoid(), "feature_channel_mean_std": per_channel}
