"""Each published network with so few channels, layers and pixels that a test can run it."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

import models
from models.deep import (
    catnet,
    eitlnet,
    focal,
    forma,
    hifi,
    if_osn,
    iml_vit,
    mantranet,
    mesorch,
    mmfusion,
    mvss,
    pscc,
    safire,
    span,
    sparsevit,
    trufor,
)
from models.deep.noiseprint import network as noiseprint
from models.deep.parts import cmx, convnext, dncnn, mit, sam
from models.deep.parts.modalities import ModalitiesExtractor
from models.mpc import backbone, localizer
from models.mpc.network import MPC

_TRANSFORMERS = {(mit, cmx): {"WIDTHS": (4, 8, 10, 16)}, (mit,): {"DEPTHS": (1, 1, 1, 1)}, (dncnn,): {"WIDTH": 4}}
_MANTRANET = {(mantranet,): {"WIDTHS": (4,) * 12, "CHANNELS": 4, "HIDDEN": 2}}
_FOCAL = {
    (focal,): {
        "WIDTHS": (4, 6, 8, 10),
        "INPUT_SIZE": 64,
        "TRANSFORMER": {"width": 16, "depth": 2, "heads": 2, "whole": (1,)},
    },
    (sam,): {"INPUT_SIZE": 64, "SIDE": 4, "WINDOW": 3, "CHANNELS": 8, "DECODER_HIDDEN": 8},
}
_HIFI = {(hifi,): {"WIDTHS": (3, 4, 5, 6), "METRIC_WIDTH": 3, "PYRAMID_WIDTH": 4, "INPUT_SIZE": 64}}
_IML_VIT = {
    (iml_vit,): {
        "INPUT_SIZE": 64,
        "WIDTH": 24,
        "DEPTH": 2,
        "HEADS": 2,
        "WINDOW": 3,
        "WHOLE": (1,),
        "PYRAMID_WIDTH": 8,
    }
}
_MESORCH_WIDTHS = {"c": (4, 6, 8, 10), "s": (4, 8, 10, 12)}
_MESORCH = {
    (convnext,): {"WIDTHS": _MESORCH_WIDTHS["c"], "DEPTHS": (1, 1, 1, 1), "CLASSES": 3},
    (mit,): {"WIDTHS": _MESORCH_WIDTHS["s"], "HEADS": (1, 2, 2, 2)},
    (mesorch,): {"WIDTHS": _MESORCH_WIDTHS, "SEGFORMER_DEPTHS": (1, 1, 2, 1), "GATE_WIDTH": 6, "INPUT_SIZE": 64},
}
_MPC = {
    (backbone,): {"VARIANTS": backbone.VARIANTS | {"base": backbone.Variant((4, 8, 12, 16), (1, 2, 2, 2), (1, 1, 1))}},
    (localizer,): {"OFFICIAL_INPUT_SIZE": 64},
}
_MVSS = {(mvss.MVSSNetLocalizer,): {"make_network": staticmethod(partial(mvss.MVSSNet, width=2))}}
# Network -> (modules or classes) -> what they are given instead.
SMALLER: dict[str, dict[tuple, dict[str, object]]] = {
    "catnet-v2": {
        (catnet,): {
            "RGB_WIDTHS": (4, 6, 8, 10),
            "DCT_WIDTHS": (6, 8, 10),
            "FUSED_WIDTHS": (2, 4, 6, 8),
            "BLOCKS": 1,
        }
    },
    "eitlnet": {
        (mit, eitlnet): {"WIDTHS": (4, 8, 20, 16)},
        (mit,): {"DEPTHS": (1, 1, 1, 1)},
        (eitlnet,): {"EMBEDDING": 8, "TILE": 64},
    },
    "focal": _FOCAL,
    "focal-hrnet": _FOCAL,
    "focal-vit": _FOCAL,
    "forma": {
        (forma,): {"WIDTHS": (4, 6, 8, 10), "DEPTHS": (1, 1, 1, 1), "EMBEDDING": 4, "INPUT_SIZE": 64},
        (dncnn,): {"WIDTH": 4},
    },
    "hifi-net": _HIFI,
    "hifi-net-loc": _HIFI,
    "if-osn": {(if_osn.IFOSN,): {"make_network": staticmethod(partial(if_osn.Detector, 8, (1, 1, 1, 1)))}},
    "iml-vit": _IML_VIT,
    "iml-vit-casia2": _IML_VIT,
    "iml-vit-catnet": _IML_VIT,
    "mantranet": _MANTRANET,
    "mantranet-keras": _MANTRANET,
    "mesorch": _MESORCH,
    "mesorch-p": _MESORCH,
    "mmfusion": _TRANSFORMERS | {(mmfusion,): {"WIDTHS": (4, 8, 10, 16), "EMBEDDING": 8}},
    "mpc-casia2": _MPC,
    "mpc-catnet": _MPC,
    "mvss-net": _MVSS,
    "mvss-net-defacto": _MVSS,
    "noiseprint": {(noiseprint,): {"WIDTH": 4}},
    "pscc-net": {(pscc,): {"WIDTHS": (3, 4, 5, 6), "HEAD_SIZE": 64}},
    "rru-net": {},
    "safire": {
        (sam, safire): {"INPUT_SIZE": 64, "SIDE": 4, "WINDOW": 3},
        (sam,): {"CHANNELS": 16, "DECODER_HEADS": 2, "DECODER_HIDDEN": 12},
        (safire,): {"WIDTH": 24, "DEPTH": 2, "HEADS": 2, "WHOLE": (1,), "POINTS_A_SIDE": 4, "POINTS_AT_ONCE": 5},
    },
    "span": {(span,): {"WIDTHS": (4,) * 12, "CHANNELS": 4, "RESIZED": 48}},
    "sparsevit": {
        (sparsevit,): {
            "WIDTHS": (4, 6, 8, 12),
            "DEPTHS": (1, 1, 4, 3),
            "HEAD_WIDTH": 4,
            "INPUT_SIZE": 64,
            "GROUPS_3": (1, 2, 2, 4),
            "GROUPS_4": (1, 2),
            "BLOCKS_A_GROUP_3": 1,
            "BLOCKS_A_GROUP_4": 2,
        }
    },
    "trufor": _TRANSFORMERS | {(trufor,): {"WIDTHS": (4, 8, 10, 16), "EMBEDDING": 8}},
}


def make_smaller(monkeypatch, name: str) -> None:
    """Until the test ends the network of this name is built small."""
    for places, values in SMALLER[name].items():
        for place in places:
            for attribute, value in values.items():
                monkeypatch.setattr(place, attribute, value)


def parts(name: str) -> dict[str, nn.Module]:
    """The networks that a localizer's weights belong to, by the key of their state dict; "" where there is but one."""
    if name == "mmfusion":
        return {mmfusion.MODEL_KEY: mmfusion.MMFusion(), mmfusion.EXTRACTOR_KEY: ModalitiesExtractor()}
    if name == "noiseprint":
        return {"": noiseprint.Noiseprint()}
    if name.startswith("mpc-"):
        return {"": MPC("base", name.removeprefix("mpc-"))}
    with torch.device("meta"):
        return {"": models.find(name).make_network()}
