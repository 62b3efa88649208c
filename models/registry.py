"""The registry of localizers: which there are, in which groups, and which class is behind a name."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import inspect
import logging
import os
import sys

from models.card import ModelCard
from models.index import entries, make_card
from models.localizer import Localizer, LocalizerError, UnknownModel

ENTRY_POINTS = "bench.localizers"
_classes: dict[str, type[Localizer]] = {}
_log = logging.getLogger(__name__)


def register(name: str, **card):
    """Class decorator that puts a Localizer into the registry; keywords are the fields of ModelCard."""

    def wrap(cls: type[Localizer]) -> type[Localizer]:
        inside = entries().get(name)
        others = [(inside.module, inside.qualname)] if inside else []
        others += [(known.__module__, known.__qualname__) for known in [_classes.get(name)] if known]
        if any(other != (cls.__module__, cls.__qualname__) for other in others):
            raise ValueError(f"two localizers are called {name!r}: {others[0][0]} and {cls.__module__}")
        cls.card = make_card(name, **card)
        _classes[name] = cls
        return cls

    return wrap


def register_class(cls: type[Localizer], name: str) -> None:
    """Put a class from outside under `name`; one without a card of its own gets a minimal one."""
    if "card" not in vars(cls):
        cls.card = _minimal_card(cls, name)
    _classes[cls.card.name] = cls


def cards() -> list[ModelCard]:
    """The cards of all registered localizers, by name; those of this package are read without importing it."""
    return [card for _, card in sorted(_cards().items())]


def groups() -> dict[str, list[str]]:
    """Group name -> names of its members; `all` is every localizer that needs no path of its own."""
    found: dict[str, list[str]] = {"all": [card.name for card in cards() if not card.argument]}
    for card in cards():
        for group in card.groups:
            found.setdefault(group, []).append(card.name)
    return found


def split(name: str) -> tuple[str, str | None]:
    """`"maps:DIR"` to ("maps", "DIR"), for every registered localizer with an `argument`; other names with None."""
    prefix, separator, value = name.partition(":")
    card = _cards().get(prefix) if separator else None
    return (prefix, value) if card is not None and card.argument else (name, None)


def find(name: str) -> type[Localizer]:
    """The class behind a registered name, `NAME:PATH` or `package.module:Class`; imports it.

    Raises UnknownModel, with the nearest name, and LocalizerError where the code of a class from outside fails.
    """
    name, _ = split(name)
    if name not in _classes and name in entries():
        importlib.import_module(entries()[name].module)
    if name in _cards():
        return _classes[name]
    module, separator, attribute = name.partition(":")
    if separator:
        return _import_class(module, attribute)
    near = difflib.get_close_matches(name, sorted({*_cards(), *groups()}), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see: python -m bench list models"
    raise UnknownModel(f"unknown model {name!r}; {hint}")


def _cards() -> dict[str, ModelCard]:
    _load_plug_ins()
    return {name: entry.card for name, entry in entries().items()} | {name: c.card for name, c in _classes.items()}


@functools.cache
def _load_plug_ins() -> None:
    """Register what installed distributions add through the entry-point group."""
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            register_class(point.load(), point.name)
        except (Exception, SystemExit) as error:  # a broken plug-in must not take the suite down with it
            _log.warning("localizer plug-in %r (%s): %s", point.name, point.value, error)


def _import_class(module: str, attribute: str) -> type[Localizer]:
    name = f"{module}:{attribute}"
    _look_in_working_folder()
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except AttributeError as error:
        raise UnknownModel(f"{name}: {module} has no {attribute}; {error}") from error
    except ModuleNotFoundError as error:
        if module == error.name or module.startswith(f"{error.name}."):
            why = "is it in the working folder, installed or on PYTHONPATH?"
            raise UnknownModel(f"{name} cannot be imported: {error}; {why}") from error
        raise LocalizerError(f"{name} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:  # whatever the module does when it is imported
        raise LocalizerError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
    if not (inspect.isclass(cls) and issubclass(cls, Localizer)):
        raise UnknownModel(f"{name} is not a subclass of models.Localizer")
    if "card" not in vars(cls):
        cls.card = _minimal_card(cls, name)
    return cls


def _look_in_working_folder() -> None:
    """Let modules of the working folder be found, last, also by `forgery-bench`, as `python -m bench` does."""
    here = os.getcwd()
    if not {"", here} & set(sys.path):
        sys.path.append(here)


def _minimal_card(cls: type[Localizer], name: str) -> ModelCard:
    return ModelCard(name, title=(inspect.getdoc(cls) or name).splitlines()[0], paper="not stated")
