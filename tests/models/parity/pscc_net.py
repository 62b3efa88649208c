"""PSCC-Net: each of the three networks is filled by its own names."""

from models.deep.pscc import PSCCNet, resize
from models.network import to_tensor

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
    network = case.build("pscc-net", weights=weights).network
    features = network.features(to_tensor(case.image).to(case.device))
    pyramid = [resize(x, (network.head_size >> level,) * 2) for level, x in enumerate(features)]
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
