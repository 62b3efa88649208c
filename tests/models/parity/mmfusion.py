"""MMFusion: the noise views, and the whole network on them at native size."""

import numpy as np
import torch

import models
from models.deep.mmfusion import EXTRACTOR_KEY, MODEL_KEY, MMFusion
from models.deep.parts.modalities import ModalitiesExtractor

QUICK = set()


def state_dicts():
    return {
        "manifest.json": MMFusion().state_dict(),
        "manifest_extractor.json": ModalitiesExtractor().state_dict(),
    }


def outputs(case):
    own = state_dicts()
    filled = {
        MODEL_KEY: case.fill(own["manifest.json"]),
        EXTRACTOR_KEY: case.fill(own["manifest_extractor.json"]),
    }
    localizer = models.build("mmfusion", weights=filled)
    x = torch.from_numpy(case.image.astype(np.float32) / 256).permute(2, 0, 1)[None]
    views = localizer.extractor(x)
    found = localizer.network(x, views)
    return {
        "anomaly_logits": found.logits,
        "map": found.logits.softmax(1)[0, 1],
        "conf_logits": found.confidence,
        "det_logit": found.detection,
        "modal_noiseprint": views[0][0, 0],
        "modal_bayar": views[1],
        "modal_srm": views[2],
    }
