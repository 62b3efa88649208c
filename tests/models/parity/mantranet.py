"""ManTra-Net: the PyTorch port, and the Keras model on the same weights with stored or the image's statistics."""

import torch

from models.deep.mantranet import KerasManTraNet, ManTraNet
from models.network import to_tensor

QUICK = {"case_96x160_s2"}
# The Keras model takes window means from a float32 integral image. With stored statistics the features' mean is not
# 0, the integral grows, and its rounding errors exceed the mark: our float64 run differs from the recorded numbers by
# 2.6 marks and from our float32 run by 0.2; with such an integral image our run moves by more than a mark, too.
OFFICIAL_ROUNDING = {("case_keras_moving_128x128_s1", "prob"): 3, ("case_keras_moving_96x160_s2", "prob"): 3}


def state_dicts():
    return {"manifest.json": ManTraNet().state_dict()}


def outputs(case):
    network = case.build("mantranet", weights=case.fill(ManTraNet().state_dict())).network
    x = to_tensor(case.image, 1).contiguous().to(case.device)
    if "prob_batchstat" in case.stored:
        stored = case.build("mantranet-keras", weights=case.fill(KerasManTraNet().state_dict())).network
        return {"prob": stored(x)[0, 0], "prob_batchstat": network(x)[0, 0]}
    detector, features = network.AnomalyDetector, network.IMTFE(x)
    adapted = detector.adaptation(features)
    statistics = detector.statistics(*torch.var_mean(adapted, (2, 3), correction=0, keepdim=True))
    hidden = detector.hidden(detector.normalize(adapted, statistics), statistics)
    return {
        "prob": network(x),
        "logits": detector.end[0](hidden),
        "lstm_hidden": hidden,
        "imtfe_channel_mean": features.mean((2, 3)),
    }
