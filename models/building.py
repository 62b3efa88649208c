"""How a localizer is built from what a request says of it."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from models.card import ModelCard
from models.localizer import Localizer, SettingsError
from models.registry import find, split

if TYPE_CHECKING:
    import torch

    from models.device import Device

_log = logging.getLogger(__name__)


def build(
    name: str,
    weights: str | os.PathLike | Mapping | None = None,
    device: str | Device | torch.device = "cpu",
    memory_gb: float | None = None,
    **settings,
) -> Localizer:
    """A ready localizer.

    name: a registered name, `maps:DIR` (precomputed score maps), `onnx:FILE`, `torchscript:FILE`, `exec:FILE.toml` or
        `package.module:Class`.
    weights: checkpoint path or state dict; None takes the registered file from `weights_folder()`.
    memory_gb: what one photo may take of the device's memory, of a network that sees photos at their own size; None: a
        share of what is free (`models.memory.budget`). Other localizers ignore it.

    Raises UnknownModel, LocalizerError, WeightsMissing, WeightsError, SettingsError for a setting that it does not
    have or weights that it does not take, and whatever its constructor raises.
    """
    cls = find(name)
    _, argument = split(name)
    if argument is not None:
        settings = {str(cls.card.argument): argument, **settings}
    unknown = set(settings) - set(cls.setting_names())
    if unknown:
        raise SettingsError(f"{name} has no setting {sorted(unknown)}; it has {list(cls.setting_names())}")
    cls.check_settings(settings)
    if cls.takes("weights"):
        settings["weights"] = weights
    elif weights is not None:
        raise SettingsError(f"{name} takes no weights")
    resources = {"device": device, "memory_gb": memory_gb}
    settings |= {name: value for name, value in resources.items() if cls.takes(name)}
    built = cls(**settings)
    if not isinstance(weights, Mapping):
        _show_licences(cls.card, None if weights is None else Path(weights))
    return built


@functools.cache
def _show_licences(card: ModelCard, given: Path | None) -> None:
    """Log, once a process, each licence that forbids commercial use.

    given: the file or folder that was named instead of the registered files; a file of another name has a licence
    that is not known here.
    """
    files = [f for f in card.weights if f.non_commercial]
    if given is not None and not given.is_dir():
        files = [f for f in files if given.name in (Path(f.name).name, Path(f.name).name + ".safetensors")]
    for licence in dict.fromkeys(f.licence for f in files):
        names = [f.name for f in files if f.licence == licence]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        _log.info("%s: %s%s: licence %s", card.name, names[0], more, licence)
