"""The registry of localizers: names, cards, groups, and how one is built.

A localizer is one class in one file below `models/` (or in another package) with the `register` decorator:

    @register("ela", title="Error level analysis", paper="Krawetz, Hacker Factor 2007", groups=("baselines",))
    class ErrorLevelAnalysis(Localizer):
        def __init__(self, quality: int = 90): ...
        def localize(self, image): return ScoreMap(..., kind="score")
"""

from __future__ import annotations

import ast
import csv
import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.image import ForensicImage, ImageError, NotApplicable, ScoreMap, ScoreMapError, read_image

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
    "expand",
    "find",
    "groups",
    "read_image",
    "register",
]
ENTRY_POINTS = "bench.localizers"
SHOWN = "BENCH_LICENCES_SHOWN"  # names a process has shown the licences of


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


@dataclass(frozen=True)
class WeightFile:
    """One checkpoint file of a localizer: where it comes from and where it is looked for.

    size: in bytes, None where unknown; sha256 likewise. git_sha1: the id of its content where the authors keep it in a
    git repository, SHA-1 over "blob", the size and the bytes. shipped: its path where it is part of this repository.
    """

    name: str
    page: str
    licence: str
    size: int | None = None
    sha256: str | None = None
    shipped: Path | None = None
    git_sha1: str | None = None

    @property
    def path(self) -> Path:
        """Where the file belongs: its place in the repository, else `weights_folder()`."""
        return self.shipped or weights_folder() / self.name

    @property
    def non_commercial(self) -> bool:
        """Whether the licence allows research only, as far as its wording tells."""
        words = self.licence.lower()
        return any(sign in words for sign in ("non-commercial", "non-profit", "research only", "-nc"))


@dataclass(frozen=True)
class ModelCard:
    """What is known of a localizer without building it.

    trained_on: names of data sets (those of `datasets/*.toml` where they exist) whose images it was trained
        on: a result on one of them is marked as contaminated.
    parameters: of the network. gflops_512: 1e9 operations (a multiply-add counts as two) for a photo of 512 x 512
        pixels, of convolutions, matrix products and attention alone; many papers count multiply-adds, which is half.
        What published tables say of the method is in `bench.published`.
    """

    name: str
    title: str
    paper: str
    year: int | None = None
    summary: str = ""
    licence: str = ""
    groups: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = ()
    weights: tuple[WeightFile, ...] = ()
    needs_jpeg: bool = False
    parameters: int | None = None
    gflops_512: float | None = None


class Localizer(ABC):
    """Base of every localizer. Constructor keywords are its settings, stored under the same attribute names.

    A network also takes `weights` (a path, a state dict, or None for the registered file) and `device` (a
    `torch.device` or its name), which are not settings, and sets `trained_on` where a checkpoint
    names its training sets itself; None stands for those of the card. A class that names one of its
    settings in `argument`, a path, is asked for as NAME:PATH.
    """

    card: ModelCard
    argument: str | None = None
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
        """Names of the constructor's settings, `weights` and `device` excluded."""
        return tuple(name for name in _parameters(cls) if name not in ("weights", "device"))

    def identity_parts(self) -> Iterable[bytes | Path] | None:
        """All that a stored result of this localizer depends on: texts and settings as bytes, files as paths.

        None, the default: the suite finds it out itself, from the code of the class, its settings, the files that it
        was given and the tensors that it holds. A localizer whose results depend on what Python does not see (a
        program, a folder of maps) lists it. Of a path only the file's bytes count, never where it lies.
        """
        return None

    def settings(self) -> dict[str, object]:
        """Every setting with its value, as scikit-learn's get_params does."""
        return {name: getattr(self, name) for name in self.setting_names()}

    def identity(self) -> str:
        """SHA-256 over name, settings, weights and source code: equal identities give equal score maps."""
        own = self.identity_parts()
        if own is not None:
            parts = [part if isinstance(part, bytes) else part.read_bytes() for part in own]
            return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
        settings = json.dumps(self.settings(), sort_keys=True, default=str)
        parts = (self.card.name, settings, self.weights_digest or "", _source_digest(type(self)))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _parameters(cls: type[Localizer]) -> list[str]:
    """Names of the constructor's parameters; *args and **kwargs are none."""
    if cls.__init__ is object.__init__:
        return []
    named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    return [p.name for p in list(inspect.signature(cls.__init__).parameters.values())[1:] if p.kind in named]


@dataclass
class _Registry:
    classes: dict[str, type[Localizer]] = field(default_factory=dict)
    loaded: bool = False


_registry = _Registry()


def register(name: str, **card):
    """Class decorator that puts a Localizer into the registry; keywords are the fields of ModelCard."""

    def wrap(cls: type[Localizer]) -> type[Localizer]:
        known = _registry.classes.get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"two localizers are called {name!r}: {known.__module__} and {cls.__module__}")
        cls.card = ModelCard(name=name, **_sizes().get(name, {}) | card)
        _registry.classes[name] = cls
        return cls

    return wrap


@functools.cache
def _sizes() -> dict[str, dict[str, int | float]]:
    """`parameters` and `gflops_512` of the networks of this package, as `bench.training.tools.network_sizes` counts."""
    sizes = {}
    with Path(__file__).with_name("sizes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            counted = {"parameters": int(row["parameters"])}
            sizes[row["model"]] = counted | ({"gflops_512": float(row["gflops_512"])} if row["gflops_512"] else {})
    return sizes


def _load_all() -> dict[str, type[Localizer]]:
    """Import every module below `models/` and every entry point, once; return the registry."""
    if not _registry.loaded:
        for module in pkgutil.walk_packages(__path__, __name__ + "."):
            importlib.import_module(module.name)
        for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
            try:
                register_class(point.load(), point.name)
            except Exception as error:  # a broken plug-in must not take the suite down with it
                print(f"warning: localizer plug-in {point.name!r} ({point.value}): {error}", file=sys.stderr)
        _registry.loaded = True
    return _registry.classes


def register_class(cls: type[Localizer], name: str) -> type[Localizer]:
    """Put a class from outside under `name`; one without a card of its own gets a minimal one."""
    if "card" not in vars(cls):
        cls.card = _minimal_card(cls, name)
    _registry.classes[cls.card.name] = cls
    return cls


def cards() -> list[ModelCard]:
    """The cards of all registered localizers, by name."""
    return [cls.card for _, cls in sorted(_load_all().items())]


def groups() -> dict[str, list[str]]:
    """Group name -> names of its members."""
    found: dict[str, list[str]] = {"all": sorted(_load_all())}
    for card in cards():
        for group in card.groups:
            found.setdefault(group, []).append(card.name)
    return found


def split(name: str) -> tuple[str, str | None]:
    """`"maps:DIR"` to ("maps", "DIR"), for every registered class with an `argument`; other names with None."""
    prefix, separator, value = name.partition(":")
    cls = _load_all().get(prefix)
    return (prefix, value) if separator and cls is not None and cls.argument else (name, None)


def find(name: str) -> type[Localizer]:
    """The class behind a registered name, `NAME:PATH` or `package.module:Class`. Raises UnknownModel."""
    classes = _load_all()
    name, _ = split(name)
    if name in classes:
        return classes[name]
    module, separator, attribute = name.partition(":")
    if separator:
        return _import_class(module, attribute)
    known = sorted({*classes, *groups()})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UnknownModel(f"unknown model {name!r}; {hint}known: {', '.join(known)}")


def expand(names: str) -> list[str]:
    """`"mpc,baselines,maps:DIR"` to model names: groups are replaced by their members, duplicates dropped."""
    members = groups()
    wanted: list[str] = []
    for item in filter(None, (part.strip() for part in names.split(","))):
        if item not in members:
            find(item)
        wanted += members.get(item, [item])
    if not wanted:
        raise UnknownModel(f"no model named in {names!r}; known: {', '.join(sorted({*members, *_load_all()}))}")
    return list(dict.fromkeys(wanted))


def build(name: str, weights: str | os.PathLike | Mapping | None = None, device: str = "cpu", **settings) -> Localizer:
    """A ready localizer.

    name: a registered name, `maps:DIR` (precomputed score maps), `onnx:FILE`, `torchscript:FILE` or
        `package.module:Class`.
    weights: checkpoint path or state dict; None takes the registered file from `weights_folder()`.
    Raises UnknownModel, LocalizerError, WeightsMissing, WeightsError, SettingsError for a setting that it does not
    have or weights that it does not take, and whatever its constructor raises.
    """
    cls = find(name)
    _, argument = split(name)
    if argument is not None:
        settings = {cls.argument: argument, **settings}
    unknown = set(settings) - set(cls.setting_names())
    if unknown:
        raise SettingsError(f"{name} has no setting {sorted(unknown)}; it has {list(cls.setting_names())}")
    if cls.takes("weights"):
        settings["weights"] = weights
    elif weights is not None:
        raise SettingsError(f"{name} takes no weights")
    if cls.takes("device"):
        settings["device"] = device
    built = cls(**settings)
    if not isinstance(weights, Mapping):
        _show_licences(cls.card, None if weights is None else Path(weights))
    return built


def _show_licences(card: ModelCard, given: Path | None) -> None:
    """One line on stderr a licence that forbids commercial use, the first time that these files are loaded.

    given: the file or folder that was named instead of the registered files; a file of another name has a licence
    that is not known here. Worker processes inherit in the environment what was shown before they were started.
    """
    shown, this = os.environ.get(SHOWN, ""), f"{card.name}={given or ''};"
    if this in shown:
        return
    os.environ[SHOWN] = shown + this
    files = [f for f in card.weights if f.non_commercial]
    if given is not None and not given.is_dir():
        files = [f for f in files if given.name in (Path(f.name).name, Path(f.name).name + ".safetensors")]
    for licence in dict.fromkeys(f.licence for f in files):
        names = [f.name for f in files if f.licence == licence]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print(f"{card.name}: {names[0]}{more}: licence {licence}", file=sys.stderr)


def weights_folder() -> Path:
    """Where official checkpoints are looked for: $BENCH_WEIGHTS, else `weights/` in the working folder."""
    return Path(os.environ.get("BENCH_WEIGHTS", "weights"))


def _import_class(module: str, attribute: str) -> type[Localizer]:
    name = f"{module}:{attribute}"
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except AttributeError as error:
        raise UnknownModel(f"{name}: {module} has no {attribute}; {error}") from error
    except ModuleNotFoundError as error:
        if module == error.name or module.startswith(f"{error.name}."):
            raise UnknownModel(f"{name} cannot be imported: {error}; is its package on PYTHONPATH?") from error
        raise LocalizerError(f"{name} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        raise LocalizerError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
    if not (inspect.isclass(cls) and issubclass(cls, Localizer)):
        raise UnknownModel(f"{name} is not a subclass of models.Localizer")
    if "card" not in vars(cls):
        cls.card = _minimal_card(cls, name)
    return cls


def _minimal_card(cls: type[Localizer], name: str) -> ModelCard:
    return ModelCard(name, title=(inspect.getdoc(cls) or name).splitlines()[0], paper="not stated")


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
        if name in found or name == __name__:  # this registry decides which class is built, not what it does
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or not (spec.origin or "").endswith(".py"):
            continue
        found[name] = Path(spec.origin)
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
