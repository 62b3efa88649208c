"""Checkpoints of networks: read without executing code, loaded strictly, saved compactly."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from models import ModelCard, WeightsError, WeightsMissing, weights_folder
from models.card import CONVERTED
from models.inert import CONTAINER_SEPARATOR, ExtractedTensors, read_tensors, screen
from models.lookalikes import refuse_lookalikes

CONTAINER_KEYS = ("state_dict", "model_state_dict", "model", "network", "net")
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
PARALLEL, AVERAGED = "module.", "n_averaged"
CONFIG = "config"
CONTAINERS = "containers"  # in a converted file's metadata: the keys of its state dicts where it holds several


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name as a module's state_dict() names them, floating ones float32, and where they came from.

    digest: SHA-256 of the file, or over names and bytes for a state dict. config: what `save_checkpoint` was
    given, empty for other files. source: the file's path, or words, for messages.
    """

    tensors: dict[str, Tensor]
    digest: str
    source: str
    config: dict[str, object] = field(default_factory=dict)


def read_checkpoint(weights: str | os.PathLike | Mapping[str, Tensor], key: str | None = None) -> Checkpoint:
    """A checkpoint file (.safetensors, else PyTorch's format) or a state dict.

    In a file the state dict may lie under one of CONTAINER_KEYS, and names may bear the marks of what a network was
    wrapped in (see WRAPPERS). Half-precision tensors become float32. key: of the state dict wanted, where
    a file, or a mapping of the same form, holds several.

    Raises WeightsError, naming the file, if it is absent, damaged or truncated, would execute code, or holds no
    state dict.
    """
    if isinstance(weights, Mapping):
        weights = weights if key is None else _under(weights, key, "the mapping")
        tensors = _plain(weights, "the state dict")
        return Checkpoint(tensors, _digest_of_tensors(tensors), "the state dict")
    path = Path(weights)
    try:
        refuse_lookalikes(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if path.suffix == ".safetensors":
        tensors, config = _read_safetensors(path, key)
    else:
        tensors, config = _read_torch(path, key)
    return Checkpoint(_plain(tensors, str(path)), digest, str(path), config)


def load_strictly(
    network: nn.Module, checkpoint: Checkpoint, others: Mapping[str, Callable[[], nn.Module]] | None = None
) -> None:
    """Copy every tensor of the checkpoint into the network, which may be on the meta device: it then gets memory.

    others: what else the file might be, in words, and what builds that network; used to explain a failure.

    Raises WeightsError with the first missing, extra and misshapen tensor and the likely cause.
    """
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in checkpoint.tensors.items()}
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    misshapen = [name for name in wanted if name in found and found[name] != wanted[name]]
    if not missing and not extra and not misshapen:
        if any(parameter.is_meta for parameter in network.parameters()):
            network.to_empty(device="cpu")
        network.load_state_dict(checkpoint.tensors)
        return
    faults = []
    if missing:
        faults.append(f"{len(missing)} missing, first {missing[0]} {wanted[missing[0]]}")
    if extra:
        faults.append(f"{len(extra)} extra, first {extra[0]} {found[extra[0]]}")
    if misshapen:
        name = misshapen[0]
        faults.append(f"{len(misshapen)} misshapen, first {name}: {found[name]} instead of {wanted[name]}")
    cause = _likely_cause(wanted, found, others or {})
    raise WeightsError(f"{checkpoint.source} does not fit {type(network).__name__}: {'; '.join(faults)}; {cause}")


def save_checkpoint(path: str | os.PathLike, network: nn.Module, config: Mapping[str, object]) -> None:
    """Write the network's tensors and `config` (anything JSON can hold) as safetensors, whole or not at all.

    Kernels and matrices are stored in half precision. Vectors (biases, normalization coefficients and running
    variances, whose range half precision cannot hold) stay float32; they are about 1 % of the values.
    """
    path = Path(path)
    stored = {
        name: (value.half() if value.is_floating_point() and value.ndim > 1 else value).cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    overflown = [name for name, value in stored.items() if not torch.isfinite(value).all()]
    if overflown:
        raise WeightsError(f"{path}: not saved, {overflown[0]} is not finite in half precision")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(stored, partial, metadata={CONFIG: json.dumps(dict(config), sort_keys=True)})
    partial.replace(path)


def convert(source: str | os.PathLike, target: str | os.PathLike, key: str | None = None) -> ExtractedTensors:
    """Write the tensors of a file of torch.save, as `read_tensors` finds them, without executing any of it.

    target: a .safetensors file, written whole or not at all. Several state dicts are stored in it under their keys,
    so that `read_checkpoint` takes the same one as from the source. Raises WeightsError as `read_tensors` does.
    """
    kept = read_tensors(source, key)
    target = Path(target)
    several = list(kept.containers) if len(kept.containers) > 1 else []
    partial = target.with_name(target.name + ".partial")
    save_file(kept.tensors, partial, metadata={CONTAINERS: json.dumps(several)})
    partial.replace(target)
    return kept


def registered_file(card: ModelCard) -> Path:
    """The card's first weight file below `weights_folder()`, or what it was converted to where that lies beside it.

    Raises WeightsMissing with where to get it.
    """
    wanted = card.weights[0]
    path = weights_folder() / wanted.name
    converted = path.with_name(path.name + CONVERTED)
    if converted.is_file():
        return converted
    if not path.is_file():
        raise WeightsMissing(
            f"{card.name} needs {wanted.name}: download it from {wanted.page} (licence: {wanted.licence}) and put "
            f"it into {weights_folder().absolute()}, or name another folder in BENCH_WEIGHTS"
        )
    return path


def _plain(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Tensors alone, without the marks of wrappers in their names and in full precision."""
    wrong = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if wrong or not tensors:
        what = f"{wrong[0]!r} is not a tensor" if wrong else "it is empty"
        raise WeightsError(f"{source} is not a state dict: {what}")
    half = (torch.float16, torch.bfloat16)
    unwrapped = _unwrapped(tensors)
    return {name: value.float() if value.dtype in half else value for name, value in unwrapped.items()}


def _unwrapped(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors by the names that they have in the network itself, whatever it was wrapped in, in any order.

    torch.compile, FSDP and activation checkpointing mark any part of a network by a name of their own; DataParallel
    and AveragedModel (which counts in `n_averaged`) put `module.` before all names.
    """
    plain = {".".join(part for part in name.split(".") if part not in WRAPPERS): name for name in tensors}
    if len(plain) < len(tensors):  # two tensors of one name: no wrapper's doing
        return tensors
    while True:
        rest = [name for name in plain if name != AVERAGED]
        if not rest or not all(name.startswith(PARALLEL) for name in rest):
            return {name: tensors[old] for name, old in plain.items()}
        plain = {name.removeprefix(PARALLEL): plain[name] for name in rest}


def _digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in tensors.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_safetensors(path: Path, wanted: str | None) -> tuple[Mapping[str, Tensor], dict[str, object]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            config, containers = json.loads(metadata.get(CONFIG, "{}")), json.loads(metadata.get(CONTAINERS, "[]"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not containers:
        return tensors, config
    content = {
        key: {name.removeprefix(begin): value for name, value in tensors.items() if name.startswith(begin)}
        for key, begin in ((key, key + CONTAINER_SEPARATOR) for key in containers)
    }
    return _state_dict_in(content, wanted, path), config


def _read_torch(path: Path, wanted: str | None) -> tuple[Mapping[str, Tensor], dict[str, object]]:
    screen(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error):
            raise WeightsError(
                f"{path}: refused, it holds Python objects and not only tensors, and loading them could run "
                f"code; `python -m bench weights convert {path}` keeps the tensors and runs nothing"
            ) from error
        raise _damaged(path, error) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        raise _damaged(path, error) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: holds a {type(content).__name__} and not a state dict")
    return _state_dict_in(content, wanted, path), {}


def _state_dict_in(content: Mapping, wanted: str | None, path: Path) -> Mapping[str, Tensor]:
    if wanted is not None:
        return _under(content, wanted, str(path))
    return next((content[key] for key in CONTAINER_KEYS if isinstance(content.get(key), Mapping)), content)


def _under(content: Mapping, key: str, source: str) -> Mapping[str, Tensor]:
    if not isinstance(content.get(key), Mapping):
        raise WeightsError(f"{source} holds no state dict under {key!r}; it has {', '.join(list(content)[:5])}")
    return content[key]


def _damaged(path: Path, error: Exception) -> WeightsError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    size = path.stat().st_size
    return WeightsError(f"{path}: damaged, truncated or no checkpoint ({size:,} bytes; {reason}); fetch it again")


def _likely_cause(
    wanted: Mapping[str, tuple], found: Mapping[str, tuple], others: Mapping[str, Callable[[], nn.Module]]
) -> str:
    for name, build in others.items():
        with torch.device("meta"):
            shapes = {key: tuple(value.shape) for key, value in build().state_dict().items()}
        if shapes == found:
            return f"likely cause: the file is {name}"
    for begin in {name.partition(".")[0] + "." for name in found}:
        if {name.removeprefix(begin): shape for name, shape in found.items()} == wanted:
            return f"likely cause: {begin!r} was put before all names; take it off"
    shared = sum(found.get(name) == shape for name, shape in wanted.items())
    if shared == 0:
        return "likely cause: the file belongs to another network"
    if shared == len(found):
        return "likely cause: the file is a part of the network, or its writer was stopped"
    return f"likely cause: another variant or version of the network ({shared} of {len(wanted)} tensors fit)"
