"""FOCAL: embeddings of both extractors; clustering has tests of its own.

Which extractor a case is of, and what size it saw the image at, is read from the shape of its features.
"""

import torch

from models.deep.focal import FOCALHRNet, FOCALViT, embedding
from models.network import to_tensor

QUICK = {"case_hrnet_192x288_s2"}


def state_dicts():
    with torch.device("meta"):
        return {"manifest_hrnet.json": FOCALHRNet().state_dict(), "manifest_vit.json": FOCALViT().state_dict()}


def outputs(case):
    _, channels, rows, columns = case.stored["features__shape"]
    name, make, stride = ("focal-hrnet", FOCALHRNet, 4) if channels == 32 else ("focal-vit", FOCALViT, 16)
    x = to_tensor(case.resized(rows * stride, columns * stride)).to(case.device)
    features = case.build(name, weights=case.fill(make().state_dict())).network(x)
    return {
        "features": features,
        "normalized": embedding(features),
        "feature_channel_mean": features.mean((2, 3)),
    }
