"""Mesorch and Mesorch-P; inner maps are kept while the localizer's network runs."""

import torch
import torch.nn.functional as F

from models.deep.mesorch import Mesorch, MesorchP
from models.deep.parts.imagenet import normalized_square

QUICK = {"case_p_300x420_s3"}


def state_dicts():
    return {"manifest.json": Mesorch().state_dict(), "manifest_p.json": MesorchP().state_dict()}


def outputs(case):
    pruned = case.name.startswith("case_p_")
    make, name = (MesorchP, "mesorch-p") if pruned else (Mesorch, "mesorch")
    network = case.build(name, weights=case.fill(make().state_dict())).network
    found = {}
    if not pruned:

        def keep(_module, inputs, output):
            found.update(gate_input=inputs[0], gate_channel_mean=output.mean((2, 3)))

        network.gate.register_forward_hook(keep)
    size = case.stored["prob__shape"][2:].tolist()
    logits = network(normalized_square(case.image, size[0]).to(case.device))
    whole = F.interpolate(logits, size, mode="bilinear", align_corners=True)
    return {**found, "logits_128": logits, "prob": torch.sigmoid(whole)}
