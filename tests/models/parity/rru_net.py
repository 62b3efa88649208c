"""RRU-Net at the image's own size."""

import models
from models.deep.rru import RRUNet, network_input

QUICK = {"case_200x296_s2"}


def state_dicts():
    return {"manifest.json": RRUNet().state_dict()}


def outputs(case):
    network = models.build("rru-net", weights=case.fill(RRUNet().state_dict())).network
    logits = network(network_input(case.image))
    return {"logits": logits, "prob": logits.sigmoid()}
