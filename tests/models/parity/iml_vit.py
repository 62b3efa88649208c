"""IML-ViT: photos that fit into its input; inner maps are kept while the localizer runs."""

from models.deep.iml_vit import IMLViT
from models.image import ForensicImage

QUICK = set()


def state_dicts():
    return {"manifest.json": IMLViT().state_dict()}


def outputs(case):
    localizer = case.build("iml-vit", weights=case.fill(state_dicts()["manifest.json"]))
    kept = {}
    for name in ("encoder_net", "predict_head"):
        part = getattr(localizer.network, name)
        part.register_forward_hook(lambda _module, _inputs, output, name=name: kept.update({name: output}))
    probability = localizer.localize(ForensicImage(case.image)).values
    features = kept["encoder_net"]
    return {
        "last_feat_channel_mean": features.mean((2, 3)),
        "last_feat": features[:, :16],
        "logits_256": kept["predict_head"],
        "prob_crop": probability,
    }
