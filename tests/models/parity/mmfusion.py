"""MMFusion: the noise views, and the whole network on them at native size."""

from models.deep.mmfusion import CHECKPOINT_KEYS, MMFusion
from models.deep.parts.modalities import ModalitiesExtractor
from models.network import to_tensor

QUICK = set()


def state_dicts():
    return {
        "manifest.json": MMFusion().state_dict(),
        "manifest_extractor.json": ModalitiesExtractor().state_dict(),
    }


def outputs(case):
    own = state_dicts()
    filled = [case.fill(own[name]) for name in ("manifest.json", "manifest_extractor.json")]
    network = case.build("mmfusion", weights=dict(zip(CHECKPOINT_KEYS, filled, strict=True))).network
    x = to_tensor(case.image, 256).to(case.device)
    views = network.extractor(x)
    found = network.fusion(x, views)
    return {
        "anomaly_logits": found.logits,
        "map": found.logits.softmax(1)[0, 1],
        "conf_logits": found.confidence,
        "det_logit": found.detection,
        "modal_noiseprint": views[0][0, 0],
        "modal_bayar": views[1],
        "modal_srm": views[2],
    }
