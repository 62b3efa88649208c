"""MPC: `build` with given weights, and what its network yields on the way to the map."""

import torch

from models.mpc.network import MPC
from models.network import to_tensor

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
    network = case.build(name, weights=case.fill(state_dicts()[manifest])).network
    x = to_tensor(case.resized(*(4 * n for n in case.stored["logits__shape"][2:]))).to(case.device)
    fused = network.fuse(network.encoder(x))
    logits = network(x)
    per_channel = torch.stack([fused.mean((0, 2, 3)), fused.std((0, 2, 3))])
    return {"logits": logits, "prob": logits.sigmoid(), "feature_channel_mean_std": per_channel}
