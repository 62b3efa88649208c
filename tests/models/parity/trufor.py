"""TruFor: the whole network at native size."""

import numpy as np
import torch

import models
from models.deep.trufor import TruFor

QUICK = set()


def state_dicts():
    return {"manifest.json": TruFor().state_dict()}


def outputs(case):
    network = models.build("trufor", weights=case.fill(state_dicts()["manifest.json"])).network
    found = network(torch.from_numpy(case.image.astype(np.float32) / 256).permute(2, 0, 1)[None])
    return {
        "pred_logits": found.logits,
        "map": found.logits.softmax(1)[0, 1],
        "conf_logits": found.confidence,
        "conf": found.confidence.sigmoid()[0, 0],
        "det_logit": found.detection,
        "score": found.detection.sigmoid(),
        "npp": found.noiseprint[0, 0],
    }
