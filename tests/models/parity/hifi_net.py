"""HiFi-Net: each network is filled by its own names; the sphere's centre is made up too."""

import torch

from models.deep.hifi import HiFiNet, HiFiNetLocalization, Sphere, square_input

QUICK = {"case_api_256x256_s1"}


def state_dicts():
    whole, localization = HiFiNet(), HiFiNetLocalization()
    return {
        "manifest_FENet.json": whole.features.state_dict(),
        "manifest_SegNet_api.json": whole.head.state_dict(),
        "manifest_SegNet_loc.json": localization.head.state_dict(),
    }


def outputs(case):
    made = state_dicts()
    kind = "loc" if "loc" in case.name else "api"
    sphere = {"center": case.fill({"center": torch.zeros(18)})["center"], "radius": torch.tensor(1.0)}
    parts = {
        "features": case.fill(made["manifest_FENet.json"]),
        "head": case.fill(made[f"manifest_SegNet_{kind}.json"]),
    }
    if kind == "api":
        parts["sphere"] = sphere
    weights = {f"{part}.{name}": value for part, state in parts.items() for name, value in state.items()}
    network = case.build("hifi-net" if kind == "api" else "hifi-net-loc", weights=weights).network
    x = square_input(case.image, network.input_size).to(case.device)
    features = network.features(x)
    prediction = network.head(features, x)
    measure = Sphere(18).to(case.device)
    measure.load_state_dict(sphere)
    found = {
        "dist": measure(prediction.metric),
        "mask_binary": prediction.mask,
        "mask_feature_channel_mean": prediction.metric.mean((2, 3)),
    }
    found |= {f"s{i}_channel_mean": feature.mean((2, 3)) for i, feature in enumerate(features, 1)}
    return found | {f"cls{i}": logits for i, logits in enumerate(prediction.levels, 1)}
