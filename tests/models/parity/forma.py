"""ForMa: the whole network at native size, and the means of its four stages."""

import numpy as np
import torch

import models
from models.deep.forma import ForMa

QUICK = {"case_128x128_s1"}


def state_dicts():
    return {"manifest.json": ForMa().state_dict()}


def outputs(case):
    network = models.build("forma", weights=case.fill(state_dicts()["manifest.json"])).network
    x = torch.from_numpy((case.image / 255.0).astype(np.float32)).permute(2, 0, 1)[None]
    means = {f"backbone{stage}_channel_mean": f.mean((2, 3)) for stage, f in enumerate(network.backbone(x))}
    return {"out": network(x), **means}
