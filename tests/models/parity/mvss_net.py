"""MVSS-Net: at the size that the recorded logits have."""

import torch

from models.deep.mvss import MVSSNet, network_input

QUICK = set()
TRUNCATED = {"map_uint8"}


def state_dicts():
    with torch.device("meta"):
        return {"manifest.json": MVSSNet().state_dict()}


def outputs(case):
    network = case.build("mvss-net", weights=case.fill(MVSSNet().state_dict())).network
    x = network_input(case.image, int(case.stored["seg_logits__shape"][2])).to(case.device)
    features = network.model(x)
    both = network.both_views(x, features)
    head_logits = network.head(both)
    edge_logits, seg_logits = network(x)
    prob = seg_logits.sigmoid()
    return {
        "edge_logits": edge_logits,
        "seg_logits": seg_logits,
        "prob": prob,
        "map_uint8": prob[0, 0] * 255,
        "head_logits": head_logits,
        "c4_channel_mean": both.mean((2, 3)),
        "score": prob.max(),
    }
