"""TruFor: the whole network at native size."""

from models.deep.trufor import TruFor
from models.network import to_tensor

QUICK = set()


def state_dicts():
    return {"manifest.json": TruFor().state_dict()}


def outputs(case):
    network = case.build("trufor", weights=case.fill(state_dicts()["manifest.json"])).network
    found = network(to_tensor(case.image, 256).to(case.device))
    return {
        "pred_logits": found.logits,
        "map": found.logits.softmax(1)[0, 1],
        "conf_logits": found.confidence,
        "conf": found.confidence.sigmoid()[0, 0],
        "det_logit": found.detection,
        "score": found.detection.sigmoid(),
        "npp": found.noiseprint[0, 0],
    }
