"""Localizers: what one is, which there are, and how one is built.

A localizer is one class in one file below `models/` (or in another package) with the `register` decorator, whose
arguments are its card and are read without importing the file:

    @register("ela", title="Error level analysis", paper="Krawetz, Hacker Factor 2007", groups=("baselines",))
    class ErrorLevelAnalysis(Localizer):
        def __init__(self, quality: int = 90): ...
        def localize(self, image): return ScoreMap(..., kind="score")
"""

from models.building import build
from models.card import ModelCard, WeightFile, weights_folder
from models.image import ForensicImage, ImageError, NotApplicable, ScoreMap, ScoreMapError, read_image
from models.localizer import Localizer, LocalizerError, SettingsError, UnknownModel, WeightsError, WeightsMissing
from models.registry import cards, find, groups, register, split

__all__ = [
    "ForensicImage",
    "ImageError",
    "Localizer",
    "LocalizerError",
    "ModelCard",
    "NotApplicable",
    "ScoreMap",
    "ScoreMapError",
    "SettingsError",
    "UnknownModel",
    "WeightFile",
    "WeightsError",
    "WeightsMissing",
    "build",
    "cards",
    "find",
    "groups",
    "read_image",
    "register",
    "split",
    "weights_folder",
]
