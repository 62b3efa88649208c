"""What a request names: localizers with their labels, weights and settings, and how each is recorded in a run folder.

`--models` takes a list joined by commas, and each item is a group's name or

    [LABEL=]NAME[@WEIGHTS][?SETTING=VALUE[&SETTING=VALUE...]]

NAME is a registered name, NAME:PATH (`maps:`, `onnx:`, `torchscript:`, `exec:`) or package.module:Class. LABEL is what
tables call it; by default that is the item itself, with paths reduced to their last part, because a run may be
published. A path may begin with ~. A path that holds a comma is recognised where it exists.

    mpc,baselines                       the usual
    mine=mpc@a.pth,other=mpc@b.pth      two checkpoints of one network
    ela,ela?quality=75                  two settings of one method
"""

from __future__ import annotations

import contextlib
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import models
from bench import plan
from bench.identity import IdentityError, identify, unrepeatable
from bench.usage import UsageError, suggest

if TYPE_CHECKING:
    from models.device import Device

_LABELLED = re.compile(r"(?P<label>[^=:@?/\\,]+)=(?P<rest>.+)", re.DOTALL)
_SETTINGS = re.compile(r"\w+=[^&]*(&\w+=[^&]*)*")
_LABEL = re.compile(r"\w[\w .:@?&=+()~-]*")


@dataclass(frozen=True)
class Requested:
    """One localizer that was asked for.

    label: its name in tables, unique in a request. name: as `models.build` takes it. weights: an absolute path.
    """

    label: str
    name: str
    weights: str | None = None
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def kind(self) -> type[models.Localizer]:
        """Its class. Raises UnknownModel, LocalizerError."""
        return models.find(self.name)


@dataclass(frozen=True)
class Unusable:
    """A localizer that was asked for and cannot run. status: "skipped" for want of its weights, or "failed"."""

    status: str
    reason: str


def requested_models(names: str | Sequence[str], weights: Iterable[str] = ()) -> list[Requested]:
    """The localizers of a `--models` text, or of a list of its items, and of `--weights` texts MODEL=FILE.

    Raises UnknownModel and UsageError: an unknown name or setting, two localizers with one label, a checkpoint for a
    method that takes none, or two for one localizer.
    """
    items = _joined_where_paths_hold_commas(names.split(",")) if isinstance(names, str) else list(names)
    found: dict[Requested, None] = {}
    for item in filter(None, (item.strip() for item in items)):
        found |= dict.fromkeys(_read(item))
    if not found:
        raise models.UnknownModel(f"no model named in {names!r}; see: python -m bench list models")
    wanted = _with_weights(list(found), weights)
    for label, count in Counter(each.label for each in wanted).items():
        if count > 1:
            raise UsageError(f"{count} localizers would be called {label!r} in tables; name them: one={label},...")
    for each in wanted:
        _check(each)
    return wanted


def in_precision(each: Requested, precision: str) -> Requested:
    """The same with its network computing in this precision, where it is a network that has a choice."""
    with contextlib.suppress(models.LocalizerError):
        if precision != "float32" and each.kind.takes("precision") and "precision" not in dict(each.settings):
            return replace(each, settings=(*each.settings, ("precision", precision)))
    return each


def plan_models(
    wanted: Sequence[Requested], device: Device, fresh: bool = False
) -> tuple[list[plan.PlannedModel], dict[str, Unusable]]:
    """Build each localizer once to learn what its results depend on.

    fresh: measured anew each time, so that what a localizer holds need not be digestible.

    Those that cannot be built are returned by label with the reason, whatever their constructors do; what they print
    goes to standard error.
    """
    planned, unusable = [], {}
    for each in wanted:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                built = models.build(each.name, weights=each.weights, device=device, **dict(each.settings))
                planned.append(_planned(each, built, device, fresh))
        except models.WeightsMissing as error:
            unusable[each.label] = Unusable("skipped" if each.weights is None else "failed", str(error))
        except (Exception, SystemExit) as error:
            unusable[each.label] = Unusable("failed", reason(error))
    return planned, unusable


def _planned(each: Requested, built: models.Localizer, device: Device, fresh: bool) -> plan.PlannedModel:
    seen = built.card.trained_on if built.trained_on is None else built.trained_on
    try:
        found = identify(built, each.weights)
    except IdentityError:
        if not fresh:
            raise
        found = unrepeatable()
    environment = {**found.environment, "device": device.type}
    return plan.PlannedModel(
        each.label, each.name, found.digest, each.weights, built.is_network(), seen, each.settings, found.parts,
        environment, built.weights_digest or "", built.card.parameters,
    )  # fmt: skip


def reason(error: BaseException) -> str:
    """An error in one line; those of the suite's own classes speak for themselves."""
    text = " ".join(str(error).split())
    own = type(error).__module__.partition(".")[0] in ("bench", "models")
    return text if own and text else f"{type(error).__name__}: {text}".rstrip(": ")


def model_record(each: Requested, planned: Sequence[plan.PlannedModel], unusable: dict[str, Unusable]) -> dict:
    """What a run folder keeps of a localizer that was asked for, whether or not it could run."""
    try:
        card = each.kind.card
    except models.LocalizerError:
        card = models.ModelCard(each.name, title=each.name, paper="not stated")
    ready = {p.name: p for p in planned}.get(each.label)
    refused = unusable.get(each.label)
    return {
        "name": each.label, "localizer": card.name, "title": card.title, "paper": card.paper, "year": card.year,
        "summary": card.summary, "licence": card.licence, "groups": list(card.groups), "featured": card.featured,
        "trained_on": list(ready.trained_on if ready else card.trained_on),
        "settings": dict(each.settings),
        "status": refused.status if refused else "run", "reason": refused.reason if refused else "",
        "identity": ready.identity if ready else "", "weights_digest": ready.weights_digest if ready else "",
        "own_weights": ready is not None and ready.weights is not None,
    }  # fmt: skip


def without_paths(data: str) -> str:
    """The --data text with folders reduced to their last name: a run folder may be published."""
    parts = []
    for item in data.split(","):
        name, separator, root = item.partition(":")
        parts.append(f"{name}:{Path(root).name}" if separator else Path(name).name)
    return ",".join(parts)


def _exists(path: str) -> bool:
    """Whether there is such a file or folder; a text that no file system could name is none."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        return Path(path).expanduser().exists()
    return False


def _joined_where_paths_hold_commas(parts: list[str]) -> list[str]:
    """Items whose path was cut at its commas, whole again: the longest run of parts that names what exists."""
    items = []
    while parts:
        length = next((n for n in range(len(parts), 1, -1) if _is_path_with_commas(parts[:n])), 1)
        items.append(",".join(parts[:length]))
        parts = parts[length:]
    return items


def _is_path_with_commas(parts: list[str]) -> bool:
    whole = ",".join(parts)
    begins = [n + 1 for n, character in enumerate(parts[0]) if character in ":@"]
    ends = [len(whole), whole.rfind("?")]
    return any(_exists(whole[a:b]) for a in begins for b in ends if b > len(parts[0]))


def _read(item: str) -> list[Requested]:
    labelled = _LABELLED.fullmatch(item)
    label, rest = (labelled["label"], labelled["rest"]) if labelled else ("", item)
    if label and not _LABEL.fullmatch(label):
        raise UsageError(f"{item!r}: {label!r} cannot be a label; use letters, digits, blanks and . _ -")
    text, settings = _cut_settings(rest)
    name, argument = models.split(text)
    weights = ""
    if argument is None:
        name, separator, weights = text.partition("@")
        if separator and not weights:
            raise UsageError(f"{item!r}: no file after the @")
    if name in models.groups():
        if label or weights or settings:
            raise UsageError(f"{item!r}: {name} is a group; labels, weights and settings go to one localizer each")
        return [Requested(member, member) for member in models.groups()[name]]
    shown = name if argument is None else f"{name}:{Path(argument).resolve().name}"
    if argument is not None:
        name = f"{name}:{Path(argument).expanduser().resolve()}"
    with contextlib.suppress(models.LocalizerError):  # its code fails: recorded when it is built, the others run
        models.find(name)
    shown += f"@{Path(weights).name}" if weights else ""
    shown += f"?{rest.rpartition('?')[2]}" if settings else ""
    return [Requested(label or shown, name, _absolute(weights) if weights else None, settings)]


def _cut_settings(text: str) -> tuple[str, tuple[tuple[str, object], ...]]:
    head, separator, tail = text.rpartition("?")
    path = re.split(r"[:@]", text, maxsplit=1)[-1]
    if not separator or not _SETTINGS.fullmatch(tail) or _exists(path):
        return text, ()
    pairs = (pair.partition("=") for pair in tail.split("&"))
    return head, tuple((name, _value(value)) for name, _, value in pairs)


def _value(text: str) -> object:
    """A TOML value (75, 0.5, true, [1, 2], "text"), and any other text as it is."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return tuple(value) if isinstance(value, list) else value


def _absolute(file: str) -> str:
    return str(Path(file).expanduser().resolve())


def _with_weights(wanted: list[Requested], options: Iterable[str]) -> list[Requested]:
    for option in options:
        name, separator, file = option.partition("=")
        targets = [n for n, each in enumerate(wanted) if name == each.label]
        targets = targets or [n for n, each in enumerate(wanted) if name == each.name]
        if not separator or not file or not targets:
            labels = ", ".join(each.label for each in wanted)
            raise UsageError(f"--weights {option}: expected MODEL=FILE with a MODEL of --models ({labels})")
        for number in targets:
            if wanted[number].weights is not None:
                raise UsageError(
                    f"two checkpoints for {wanted[number].label}; compare them as two localizers: "
                    f"--models one={name}@FILE,two={name}@FILE"
                )
            wanted[number] = replace(wanted[number], weights=_absolute(file))
    return wanted


def _check(each: Requested) -> None:
    """Raises UsageError for weights or settings that the localizer does not take."""
    try:
        kind = each.kind
    except models.LocalizerError:
        return
    if each.weights is not None and not kind.takes("weights"):
        raise UsageError(f"{each.label}: {each.name} takes no weights; leave out {Path(each.weights).name}")
    for name, _ in each.settings:
        if not kind.takes(name) or name in ("weights", "device"):
            known = kind.setting_names()
            hint = suggest(name, known) if known else "it has none"
            raise UsageError(f"{each.label}: {each.name} has no setting {name!r}; {hint}")
    try:
        kind.check_settings(dict(each.settings))
    except models.SettingsError as error:
        raise UsageError(f"{each.label}: {error}") from error
