"""SPAN: the graph at the image's own size, and the one that resizes the features."""

import numpy as np

from models.deep.parts.bayar import constrained
from models.deep.span import SPAN, network_input

QUICK = {"case_80x128_s2"}


def state_dicts():
    return {"manifest.json": SPAN().state_dict()}


def outputs(case):
    weights = case.fill(SPAN().state_dict())
    kernel = weights["b1c1/bayar_kernel"].permute(3, 2, 0, 1)
    weights["b1c1/bayar_kernel"] = constrained(kernel).permute(2, 3, 1, 0)
    network = case.build("span", weights=weights).network
    height, width = case.stored["prob__shape"]
    if (height, width) == case.image.shape[:2]:
        network.resized = None
    attended = network.attended(network_input(case.image).to(case.device))
    # NumPy's float32 sums over this layout are off by up to twice the mark; the recorded ones were made so.
    pixels = np.ascontiguousarray(attended[0].permute(1, 2, 0).cpu().numpy())
    per_channel = np.stack([pixels.mean((0, 1)), pixels.std((0, 1))])
    return {"prob": network.decide(attended)[0, 0], "attention_mean_std": per_channel}
