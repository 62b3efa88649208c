"""Noiseprint: the network with made-up and, where they lie in the research-only data, with the real weights."""

import re

import numpy as np
import torch
from shared import shared_path

from models.deep.noiseprint.blind import anomaly, to_pixels, windows
from models.deep.noiseprint.network import Noiseprint, extract

QUICK = {"case_real_qf75_256x200_s2"}


def state_dicts():
    return {"manifest.json": Noiseprint().state_dict()}


def filled(case):
    """What the notes beside the cases add to `fill`: positive variances and scales."""
    weights = case.fill(state_dicts()["manifest.json"])
    for name, value in weights.items():
        if name.endswith(("moving_variance", "gamma")):
            weights[name] = 0.5 + (value + 0.1) / 0.2
    return weights


def outputs(case):
    quality = re.search(r"qf(\d+)", case.name)
    weights = shared_path("weights") / "noiseprint" / f"model_{quality[0]}.pth" if quality else filled(case)
    network = case.build("noiseprint", weights=weights).network
    red, green, blue = np.moveaxis(case.image.astype(np.float32), 2, 0)
    luminance = (0.299 * red + 0.587 * green + 0.114 * blue) / 256
    x = torch.from_numpy(luminance.astype(np.float32))[None, None].to(case.device)
    pattern = extract(network, x)[0, 0].cpu().numpy()
    ours = {"noiseprint": pattern}
    if {"mapp", "mapp_float", "valid", "range0", "range1"} & case.stored.keys():
        found = windows(pattern, luminance)
        ours |= {"valid": found.valid, "range0": found.centres[0], "range1": found.centres[1]}
    if {"mapp", "mapp_float"} & case.stored.keys():
        distances = anomaly(found)
        ours |= {"mapp": distances, "mapp_float": to_pixels(distances, found, luminance.shape)}
    return ours
