"""The text of `--data`: which test sets, and where their files lie.

A set is one of
    builtin                the built-in demonstration set (`bench.data.builtin`)
    NAME:ROOT              a published set with a card in `datasets/`, official layout, below the folder ROOT
    NAME:ROOT@SUBSET       a part of it that its card names
    CARD.toml:ROOT         the same with a card of your own
    folder:IMAGES          any folder of photos, all authentic
    folder:IMAGES,MASKS    any folder of photos with a folder of masks

Several are joined by commas. **Comma rule**: the part after `folder:IMAGES,` is its MASKS folder unless it is
itself one of the forms above (write `./builtin` for a masks folder of that name). A path may hold commas where it
exists on this machine, and begin with `~`.

**Folder rule**: pairs are made by name. `a/b.jpg` goes with `a/b`, `a/b_gt`, `a/b_mask` or `a/b_edgemask`
(any image extension) below MASKS, or else with the only mask of such a name anywhere below it; MASKS may be IMAGES
itself. White (any channel above 127) is forged. An image is authentic when its name begins with `auth_` or it lies in a
folder called `authentic`; any other without a mask is a defect. A mask without a forged pixel is a defect too, never
a silent authentic image.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from bench.data import builtin
from bench.data.cards import FOLDER, Card, CardError, card_names, load, load_all
from bench.data.files import DataError
from bench.data.pairing import open_builtin, open_card, open_folder
from bench.data.sets import TestSet
from bench.usage import suggest


class Item(NamedTuple):
    """One set of a `--data` text: name, folder of its images (None: the built-in set), of its masks, its subset."""

    name: str
    root: Path | None = None
    masks: Path | None = None
    subset: str = ""


def open_test_sets(spec: str) -> list[TestSet]:
    """The sets that a `--data` text names (see the module's text), in its order.

    Raises DataError for an unknown name (with the nearest), a missing or unreadable folder, a set without a
    usable image and a set named twice, and CardError for a bad card.
    """
    sets = [_open(item) for item in parse(spec)]
    for name, count in Counter(test_set.name for test_set in sets).items():
        if count > 1:
            raise DataError(f"two test sets are called {name!r}, which names their results; rename a folder")
    return sets


def _open(item: Item) -> TestSet:
    if item.root is None:
        return open_builtin()
    if item.name == "folder":
        return open_folder(item.root, item.masks)
    return open_card(find_card(item.name), item.root, item.subset)


def find_card(name: str) -> Card:
    """The card of a set by name, or from a path ending in .toml.

    Raises:
        DataError: no such card; with the nearest name.
        CardError: the file is no card.
    """
    if name.endswith(".toml"):
        return load(_path(name))
    path = FOLDER / f"{name}.toml"
    if path.is_file() and Path(name).name == name:
        return load(path)
    known = ["builtin", "folder", *card_names()]
    raise DataError(f"unknown test set {name!r}; {suggest(name, known)} (`bench list data` shows all)")


def describe() -> list[dict]:
    """What `bench list data` shows: the built-in set, folders, and every card of `datasets/`."""
    rows: list[dict] = [
        {"name": "builtin", "title": "Built-in demonstration set", "summary": builtin.NOTE},
        {"name": "folder:IMAGES[,MASKS]", "title": "Your own photos", "summary": "masks are paired by name"},
    ]
    for card in load_all():
        counts = ", ".join(f"{number} {kind}" for kind, number in card.counts.items()) or "numbers not exactly known"
        use = {"train": "; to train on", "both": "; to test or to train on"}.get(card.role, "")
        copy = f"; a copy of {card.copy_of}" if card.copy_of else ""
        subsets = [subset.name for subset in card.subset]
        parts = f"; subsets {', '.join(subsets)}" if subsets else ""
        row = {"name": f"{card.name}:ROOT", "title": card.title, "summary": counts + use + copy + parts}
        about = {"role": card.role, "copy_of": card.copy_of, "subsets": subsets}
        rows.append({**row, **about, "licence": card.licence, "citation": card.citation, "page": card.page})
    return rows


def parse(spec: str) -> list[Item]:
    """The sets that a text names, without opening them: the reading in which every folder exists, where one does.

    Raises DataError.
    """
    parts = [part for part in spec.split(",") if part.strip()]
    if not parts:
        raise DataError("no test set named; e.g. --data builtin or --data casia1:FOLDER")
    return _existing(parts) or _plain([part.strip() for part in parts])


def _existing(parts: list[str]) -> list[Item] | None:
    """The items of these parts with all folders on this machine, paths taking in as few commas as possible."""
    if not parts:
        return []
    first = parts[0].strip()
    if first == "builtin":
        rest = _existing(parts[1:])
        return None if rest is None else [Item("builtin"), *rest]
    name, colon, _ = first.partition(":")
    if not colon or (name != "folder" and not _is_card(name)):
        return None
    for used in range(1, len(parts) + 1):
        text = ",".join(parts[:used]).strip()[len(name) + 1 :]
        if not text:
            continue
        root, subset = _path(text), ""
        if not root.is_dir() and name != "folder" and "@" in text:
            text, _, subset = text.rpartition("@")
            root = _path(text)
        if not root.is_dir():
            continue
        following = parts[used:]
        if name == "folder":
            for more in range(1, len(following) + 1):
                masks = _path(",".join(following[:more]).strip())
                if following[0].strip() != "builtin" and masks.is_dir():
                    rest = _existing(following[more:])
                    if rest is not None:
                        return [Item(name, root, masks), *rest]
        rest = _existing(following)
        if rest is not None:
            return [Item(name, root, None, subset), *rest]
    return None


def _plain(parts: list[str]) -> list[Item]:
    """The items where some folder does not exist: a comma parts, so that the error names what is missing."""
    parts, items = list(parts), []
    while parts:
        part = parts.pop(0)
        if part == "builtin":
            items.append(Item("builtin"))
            continue
        name, colon, text = part.partition(":")
        if not colon or not text:
            if name not in ("folder", "builtin"):
                find_card(name)
            usage = "folder:IMAGES or folder:IMAGES,MASKS" if name == "folder" else f"{name}:ROOT"
            raise DataError(f"{part!r} does not say where its files lie; write {usage}")
        masks, subset = None, ""
        if name == "folder" and parts and parts[0] != "builtin" and (":" not in parts[0] or Path(parts[0]).is_dir()):
            masks = _path(parts.pop(0))
        elif name != "folder" and "@" in text:
            text, _, subset = text.rpartition("@")
        items.append(Item(name, _path(text), masks, subset))
    return items


def _is_card(name: str) -> bool:
    try:
        find_card(name)
    except (DataError, CardError):
        return False
    return True


def _path(text: str) -> Path:
    """An absolute path, `~` expanded, so that it holds wherever a localizer changes to."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:  # no such user
        return Path(text).absolute()
