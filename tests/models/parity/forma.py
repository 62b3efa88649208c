"""ForMa: the whole network at native size, and the means of its four stages."""

from models.deep.forma import ForMa
from models.network import to_tensor

QUICK = {"case_128x128_s1"}


def state_dicts():
    return {"manifest.json": ForMa().state_dict()}


def outputs(case):
    network = case.build("forma", weights=case.fill(state_dicts()["manifest.json"])).network
    x = to_tensor(case.image).to(case.device)
    means = {f"backbone{stage}_channel_mean": f.mean((2, 3)) for stage, f in enumerate(network.backbone(x))}
    return {"out": network(x), **means}
