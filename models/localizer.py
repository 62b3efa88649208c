"""What a localizer is: the base class, and the errors that speak of one."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path

from models.card import ModelCard
from models.image import ForensicImage, ScoreMap

# What a constructor may take besides settings: results do not depend on where the weights lie, nor on the machine.
RESOURCES = ("weights", "device", "memory_gb")


class UnknownModel(ValueError):
    """No localizer of that name; the message suggests the nearest."""


class SettingsError(TypeError):
    """A setting, or a checkpoint, for a localizer that does not take it."""


class LocalizerError(RuntimeError):
    """The code of a localizer from elsewhere fails when it is imported."""


class WeightsError(RuntimeError):
    """A checkpoint that cannot be used; the message names the file and what is wrong with it."""


class WeightsMissing(WeightsError):
    """The localizer's checkpoint is not on this machine; the message says where to get it and where it goes."""


class Localizer(ABC):
    """Base of every localizer. Constructor keywords are its settings, stored under the same attribute names.

    A network also takes `weights` (a path, a state dict, or None for the registered file), `device` (a `torch.device`
    or its name) and maybe `memory_gb` (what one photo may take), which are not settings, and sets `trained_on` where a
    checkpoint names its training sets itself; None stands for those of the card.
    """

    card: ModelCard
    weights_digest: str | None = None
    trained_on: tuple[str, ...] | None = None

    @abstractmethod
    def localize(self, image: ForensicImage) -> ScoreMap:
        """Score map of the image's size. Raises NotApplicable where the method's trace cannot exist."""

    @classmethod
    def is_network(cls) -> bool:
        """Whether it runs on a `device`: a worker then holds one at a time, and shares out the device's memory."""
        return cls.takes("device")

    @classmethod
    def takes(cls, name: str) -> bool:
        """Whether the constructor has a parameter of this name."""
        return name in _parameters(cls)

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """Names of the constructor's settings, without RESOURCES."""
        return tuple(name for name in _parameters(cls) if name not in RESOURCES)

    def identity_parts(self) -> Iterable[bytes | Path] | None:
        """All that a stored result of this localizer depends on: texts and settings as bytes, files as paths.

        None, the default: the suite finds it out itself, from the code of the class, its settings, the files that it
        was given and the tensors that it holds. A localizer whose results depend on what Python does not see (a
        program, a folder of maps) lists it. Of a path only the file's bytes count, never where it lies.
        """
        return None

    @classmethod
    def check_settings(cls, settings: Mapping[str, object]) -> None:
        """Raises SettingsError where a setting is a switch and the value, "no" for example, is not true or false."""
        defaults = _parameters(cls)
        for name, value in settings.items():
            if isinstance(defaults.get(name), bool) and not isinstance(value, bool):
                raise SettingsError(f"{cls.card.name}: {name} is true or false, got {value!r}")

    def settings(self) -> dict[str, object]:
        """Every setting with its value, as scikit-learn's get_params does."""
        return {name: getattr(self, name) for name in self.setting_names()}

    def identity(self) -> str:
        """SHA-256 over name, settings, weights and source code: equal identities give equal score maps."""
        own = self.identity_parts()
        if own is not None:
            contents = (part if isinstance(part, bytes) else part.read_bytes() for part in own)
            digests = [hashlib.sha256(content).digest() for content in contents]
            return hashlib.sha256(_source_digest(type(self)).encode() + b"".join(digests)).hexdigest()
        settings = json.dumps(self.settings(), sort_keys=True, default=str)
        parts = (self.card.name, settings, self.weights_digest or "", _source_digest(type(self)))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _parameters(cls: type[Localizer]) -> dict[str, object]:
    """The constructor's parameters with their defaults; behind **kwargs also those of the next class's constructor."""
    names: dict[str, object] = {}
    for base in cls.__mro__[:-1]:
        if "__init__" in vars(base):
            found = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
            named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
            names |= {p.name: p.default for p in found if p.kind in named and p.name not in names}
            if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in found):
                break
    return names


def _source_digest(cls: type) -> str:
    """SHA-256 of the source that makes the map: the class's module and all it imports from its own package."""
    files = sorted(_source_files(cls.__module__), key=str)
    return hashlib.sha256(b"\0".join(file.name.encode() + file.read_bytes() for file in files)).hexdigest()


@functools.cache
def _source_files(module: str) -> frozenset[Path]:
    """Files of a module and, transitively, of the modules of the same package that its text imports."""
    package = module.partition(".")[0]
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name == "models":  # this registry decides which class is built, not what it does
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or not (spec.origin or "").endswith(".py"):
            continue
        found[name] = Path(spec.origin or "")
        for node in ast.walk(ast.parse(found[name].read_bytes())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = importlib.util.resolve_name("." * node.level + (node.module or ""), spec.parent or name)
                names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
            waiting += [n for n in names if n.partition(".")[0] == package and _is_module(n)]
    return frozenset(found.values())


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the last part is an attribute of a module
        return False
