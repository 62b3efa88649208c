"""RRU-Net at the image's own size."""

from models.deep.rru import RRUNet
from models.network import to_tensor

QUICK = {"case_200x296_s2"}


def state_dicts():
    return {"manifest.json": RRUNet().state_dict()}


def outputs(case):
    network = case.build("rru-net", weights=case.fill(RRUNet().state_dict())).network
    logits = network(to_tensor(case.image).contiguous().to(case.device))
    return {"logits": logits, "prob": logits.sigmoid()}
