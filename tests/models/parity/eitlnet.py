"""EITLNet: the network, and a tile's way through it that is not square."""

import zlib

import numpy as np

import models
from models.deep.eitlnet import EITLNet, letterboxed, network_input

QUICK = set()


def state_dicts():
    return {"manifest.json": EITLNet().state_dict()}


def outputs(case):
    localizer = models.build("eitlnet", weights=case.fill(state_dicts()["manifest.json"]))
    if "letterbox" not in case.name:
        logits = localizer.network(network_input(case.image))
        return {"logits": logits, "prob": logits.softmax(1)[0, 1]}
    square, _ = letterboxed(case.image)
    logits = localizer.network(network_input(square))
    return {
        "logits": logits,
        "prob": logits.softmax(1)[0, 1],
        "map_original_size": localizer._predict(case.image),
        "letterboxed_crc32": np.float64(zlib.crc32(square.tobytes())),
    }
