"""EITLNet: the network, and a tile's way through it that is not square."""

import zlib

import numpy as np
import torch

from models.deep.eitlnet import EITLNet, letterboxed, network_input
from models.image import ForensicImage

QUICK = set()


def state_dicts():
    return {"manifest.json": EITLNet().state_dict()}


def outputs(case):
    localizer = case.build("eitlnet", weights=case.fill(state_dicts()["manifest.json"]))
    framed = "letterboxed_crc32" in case.stored
    seen = letterboxed(case.image, localizer.network.tile) if framed else case.image
    x = torch.tensor(seen, device=case.device).permute(2, 0, 1)[None]
    logits = localizer.network(network_input(x))
    found = {"logits": logits, "prob": logits.softmax(1)[0, 1]}
    if framed:
        found["map_original_size"] = localizer.localize(ForensicImage(case.image)).values
        found["letterboxed_crc32"] = np.float64(zlib.crc32(seen.tobytes()))
    return found
