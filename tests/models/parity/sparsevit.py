"""SparseViT; the encoder's maps are kept while the network runs."""

import torch.nn.functional as F

from models.deep.parts.imagenet import normalized_square
from models.deep.sparsevit import SparseViT

QUICK = {"case_300x420_s2"}
MAPS = ("third1", "third2", "third3", "third", "last1", "last")


def state_dicts():
    return {"manifest.json": SparseViT().state_dict()}


def outputs(case):
    network = case.build("sparsevit", weights=case.fill(state_dicts()["manifest.json"])).network
    size = case.stored["prob__shape"][2:].tolist()
    maps = network.encoder_net(normalized_square(case.image, size[0]).to(case.device))
    logits = network.lmu(maps)
    means = {f"feat_{name}_channel_mean": x.mean((2, 3)) for name, x in zip(MAPS, maps, strict=True)}
    whole = F.interpolate(logits, size, mode="bilinear", align_corners=False)
    return {**means, "logits_low": logits, "prob": whole.sigmoid()}
