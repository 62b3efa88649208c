r'''The cards of test sets, `datasets/*.toml`: where the files lie, how they pair up, how a mask is read.

A card (every key that has no default is required; patterns are Python regular expressions, matched without
regard to case against the whole path below the set's root, with forward slashes):

    name = "coverage"              # also the file's name
    title = "COVERAGE"
    licence = "..."                # terms in one line
    citation = "..."
    page = "https://..."           # where a person gets the set
    layout = """..."""             # the official layout, for a person to read
    role = "test"                  # or "train", or "both": what `bench train` may be given (default "test")
    repeat = 1                     # of a forged image in an epoch of training, MPC's released script's (default 1)
    published_as = ["CASIAv1+"]    # how published tables call the set, besides its own name (default none)
    note = "..."                   # default ""

    [[tampered]]                   # one or more groups of forged images
    image = 'image/(?P<key>\d+)t\.tif'
    mask = 'mask/(?P<key>\d+)forged\.tif'   # its pair has the same text in every named group both have; an
                                   # image file, or .npz, whose first array is the mask
    kind = "copy-move"             # "splice", "copy-move", "removal", "real-life", ... (default "")
    source = "{key}"               # the photo it came from, from named groups (default: the image's id)

    [[authentic]]                  # any number of groups of authentic images
    image = 'image/(?P<key>\d+)\.tif'
    source = "{key}"

    [mask]
    channel = "max"                # "max" of all, "red", "green" or "blue" (default "max")
    threshold = 120                # 0..254: a hard mask, forged above it (default: soft values are kept)
    forged = "above"               # or "below": forged pixels are the dark ones
    size = "equal"                 # another size than the image's: a defect (default), or "resize" (nearest)

    [counts]                       # image files of the official release, the known defects among them
    tampered = 100
    authentic = 100

    [[known_defects]]              # files that are known to be unusable in the official release
    files = ["image/41t.tif"]
    problem = "the mask has another size"
'''

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from string import Formatter

from bench.data.masks import MaskRule

FOLDER = Path(__file__).resolve().parents[2] / "datasets"
ROLES = ("test", "train", "both")


class CardError(ValueError):
    """A card that breaks the format; the message names the file, the key and the fix."""


@dataclass(frozen=True)
class Group:
    """One pattern of images, with the pattern of their masks where they are tampered."""

    image: re.Pattern
    mask: re.Pattern | None = None
    kind: str = ""
    source: str = ""


@dataclass(frozen=True)
class Card:
    """A test set as its card describes it."""

    name: str
    title: str
    licence: str
    citation: str
    page: str
    layout: str
    role: str = "test"
    repeat: int = 1
    note: str = ""
    published_as: tuple[str, ...] = ()
    tampered: tuple[Group, ...] = ()
    authentic: tuple[Group, ...] = ()
    mask: MaskRule = field(default_factory=MaskRule)
    counts: dict[str, int] = field(default_factory=dict)
    known_defects: dict[str, str] = field(default_factory=dict)  # file -> problem


def load(path: Path) -> Card:
    """Read and check one card. Raises CardError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: not valid TOML: {error}") from error
    _check_keys(path, "", table, [f.name for f in fields(Card)])
    texts = {key: _text(path, table, key) for key in ("name", "title", "licence", "citation", "page", "layout")}
    if texts["name"] != path.stem:
        raise CardError(f'{path}: name: is "{texts["name"]}"; it must be the file\'s name, "{path.stem}"')
    groups = {}
    for key in ("tampered", "authentic"):
        items = table.get(key, [])
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise CardError(f"{path}: {key}: must be a list of tables; write [[{key}]]")
        groups[key] = tuple(_group(path, key, item) for item in items)
    if not groups["tampered"] and not groups["authentic"]:
        raise CardError(f"{path}: tampered: no group of images; add [[tampered]] with image and mask")
    return Card(
        **texts,
        **groups,
        role=_choice(path, "", table, "role", ROLES, "test"),
        repeat=_repeat(path, table),
        note=_text(path, table, "note", ""),
        published_as=_texts(path, table, "published_as"),
        mask=_mask_rule(path, table.get("mask", {})),
        counts=_counts(path, table.get("counts", {})),
        known_defects=_known_defects(path, table.get("known_defects", [])),
    )


def load_all(folder: Path = FOLDER) -> list[Card]:
    """All cards of a folder, by name. Raises CardError at the first bad one."""
    return [load(path) for path in sorted(folder.glob("*.toml"))]


def _check_keys(path: Path, where: str, table: object, known: list[str]) -> None:
    if not isinstance(table, dict):
        raise CardError(f"{path}: {where}: must be a table; write [{where}]")
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            fix = f'did you mean "{near[0]}"?' if near else f"known keys: {', '.join(known)}"
            raise CardError(f"{path}: {where + '.' if where else ''}{key}: unknown key; {fix}")


def _text(path: Path, table: dict, key: str, default: str | None = None, where: str = "") -> str:
    label = f"{where}.{key}" if where else key
    if key not in table:
        if default is None:
            raise CardError(f'{path}: {label}: missing; add {key} = "..."')
        return default
    if not isinstance(table[key], str) or (default is None and not table[key]):
        raise CardError(f'{path}: {label}: must be text; write {key} = "..."')
    return table[key]


def _texts(path: Path, table: dict, key: str) -> tuple[str, ...]:
    values = table.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise CardError(f'{path}: {key}: must be a list of texts; write {key} = ["..."]')
    return tuple(values)


def _choice(path: Path, where: str, table: dict, key: str, known: tuple[str, ...], default: str) -> str:
    value = _text(path, table, key, default, where)
    if value not in known:
        label = f"{where}.{key}" if where else key
        near = difflib.get_close_matches(value, known, n=1)
        fix = f'did you mean "{near[0]}"?' if near else f"it is one of {', '.join(known)}"
        raise CardError(f'{path}: {label}: unknown value "{value}"; {fix}')
    return value


def _pattern(path: Path, where: str, table: dict, key: str) -> re.Pattern:
    text = _text(path, table, key, where=where)
    try:
        pattern = re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise CardError(f"{path}: {where}.{key}: not a regular expression ({error})") from error
    return pattern


def _group(path: Path, key: str, table: dict) -> Group:
    known = ["image", "mask", "kind", "source"] if key == "tampered" else ["image", "source"]
    _check_keys(path, key, table, known)
    image = _pattern(path, key, table, "image")
    mask = _pattern(path, key, table, "mask") if key == "tampered" else None
    if mask is not None and not set(image.groupindex) & set(mask.groupindex):
        raise CardError(
            f"{path}: {key}.mask: shares no named group with image, so nothing says which mask belongs to "
            f"which image; put e.g. (?P<key>...) into both"
        )
    source = _text(path, table, "source", "", key)
    try:
        wanted = {name for _, name, _, _ in Formatter().parse(source) if name is not None}
    except ValueError as error:
        raise CardError(f"{path}: {key}.source: {error}") from error
    for name in sorted(wanted - set(image.groupindex)):
        raise CardError(f'{path}: {key}.source: image has no named group "{name}"; add (?P<{name}>...) to it')
    return Group(image, mask, _text(path, table, "kind", "", key), source)


def _mask_rule(path: Path, table: dict) -> MaskRule:
    _check_keys(path, "mask", table, [f.name for f in fields(MaskRule)])
    threshold = table.get("threshold")
    whole = isinstance(threshold, int) and not isinstance(threshold, bool)
    if threshold is not None and not (whole and 0 <= threshold <= 254):
        raise CardError(f"{path}: mask.threshold: must be a whole number from 0 to 254, got {threshold!r}")
    return MaskRule(
        _choice(path, "mask", table, "channel", ("max", "red", "green", "blue"), "max"),
        threshold,
        _choice(path, "mask", table, "forged", ("above", "below"), "above"),
        _choice(path, "mask", table, "size", ("equal", "resize"), "equal"),
    )


def _repeat(path: Path, table: dict) -> int:
    value = table.get("repeat", 1)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CardError(f"{path}: repeat: must be a whole number from 1 up, got {value!r}")
    return value


def _counts(path: Path, table: dict) -> dict[str, int]:
    _check_keys(path, "counts", table, ["tampered", "authentic"])
    for key, value in table.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise CardError(f"{path}: counts.{key}: must be a whole number of files, got {value!r}")
    return table


def _known_defects(path: Path, items: object) -> dict[str, str]:
    if not isinstance(items, list):
        raise CardError(f"{path}: known_defects: must be a list of tables; write [[known_defects]]")
    found = {}
    for item in items:
        _check_keys(path, "known_defects", item, ["files", "problem"])
        problem = _text(path, item, "problem", where="known_defects")
        files = item.get("files")
        if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
            raise CardError(f'{path}: known_defects.files: must be a list of paths; write files = ["..."]')
        found.update(dict.fromkeys(files, problem))
    return found
