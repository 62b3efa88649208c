r'''The cards of test sets, `datasets/*.toml`: where the files lie, how they pair up, how a mask is read.

A card (every key that has no default is required; patterns are regular expressions of the package `regex`, matched
without regard to case against the whole path below the set's root, with forward slashes):

    name = "coverage"              # also the file's name
    title = "COVERAGE"
    licence = "..."                # terms in one line
    citation = "..."
    page = "https://..."           # where a person gets the set
    verified = "..."               # what names and pairing were read in (default: not stated)
    release = "official"           # or "copy" (some lab's rearrangement), "extraction" (made from it by a rule)
    copy_of = "columbia"           # the card whose photos these are, in another quality or order (default none)
    role = "test"                  # or "train", or "both": what `bench train` may be given (default "test")
    repeat = 1                     # of a forged image in an epoch of training, MPC's released script's (default 1)
    published_as = ["CASIAv1+"]    # how published tables call the set, besides its own name (default none)
    note = "..."                   # default ""
    audit = "..."                  # what `bench data audit` found where files were at hand (default "")
    layout = """
    image/1.tif          authentic
    image/1t.tif         tampered; after two spaces: what the file is, beginning with one of these words
    mask/1forged.tif     mask of image/1t.tif (the newest tampered file before it, where none is named)
    mask/1copy.tif       not used
    """

    [[tampered]]                   # one or more groups of forged images
    image = 'image/(?P<key>\d+)t\.tif'
    mask = 'mask/(?P<key>\d+)forged\.tif'   # its pair has the same text in every named group both have: an image
                                   # file, or .npz or .npy (default: no mask, only the image-level decision counts)
    masks = "one"                  # "union": all masks of an image together (default "one": several are a defect)
    boxes = '(?P<key>\d+)\.txt'    # instead of mask: text files, a box a line as x0 y0 x1 y1 in pixels
    polygons = 'Test_poly\.json'   # instead of mask: COCO files whose `file_name` ends like the image's path
    category = "fake"              # the category of `polygons` that is forged
    only = "subsets/list.txt"      # a list of the group's members,
    member = "{key}"               # each as this text of named groups (default "{key}")
    kind = "copy-move"             # "splice", "copy-move", "removal", "real-life", ... (default "")
    source = "{key}"               # the photo it came from, from named groups (default: the image's id)

    [[tampered]]                   # or: pairs that only a list knows; texts in braces are its columns
    list = "subsets/nist16-tampered-564.txt"    # beside the card; a line a pair, columns parted by commas
    columns = ["probe", "mask", "base", "kind"]
    image = "probe/{probe}.jpg"
    mask = "reference/manipulation/mask/{mask}.png"
    kind = "{kind}"
    kinds = { SP = "splice", RM = "removal", CM = "copy-move" }

    [[authentic]]                  # any number of groups of authentic images: image, only, source; or list, columns
    image = 'image/(?P<key>\d+)\.tif'

    [mask]
    channel = "max"                # "max" of all, "red", "green" or "blue" (default "max")
    threshold = 120                # 0..254: a hard mask, forged above it (default: soft values are kept)
    forged = "above"               # or "below": forged pixels are the dark ones
    no_score = [64, 191]           # values from..to that are not scored (default none)
    label_step = 50                # value / 50 is the number of the pixel's source, 0 the background (default none)
    colours = { red = "forged", green = "no_score", blue = "pristine" }    # three-class masks (default none)
    size = "equal"                 # another size than the image's: a defect (default), or "resize" (nearest)

    [counts]                       # image files of the official release, the known defects among them
    tampered = 100
    authentic = 100

    [[subset]]                     # named `coverage:ROOT@finetune-25`
    name = "finetune-25"
    used_by = ["PSCC-Net, fine-tuned"]
    tampered = "subsets/list.txt"  # ends of the paths of its members; "all" or "none" (default "all")
    authentic = "none"
    groups = [ { list = "...", columns = [...], image = "...", mask = "..." } ]    # own pairs instead of `tampered`
    count = { tampered = 25, authentic = 0 }
    published_as = ["..."]
    note = "..."                   # a subset without a known list says so here, and has no `tampered`:
    unknown = true                 # its members are public nowhere

    [[archive]]                    # what is to be downloaded
    name = "4cam_auth.tar.bz2"
    sha256 = "561d..."             # as its source states (default "")
    holds = "authentic"            # or "tampered", "masks", "" (default): what is missing without it

    [[known_defects]]              # files that are known to be unusable in the official release
    files = ["image/41t.tif"]
    problem = "the mask has another size"
'''

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from string import Formatter
from typing import Any, TypeVar

import regex

from bench.data.masks import COLOURS, MEANINGS, MaskRule
from bench.usage import suggest

_INSTALLED = Path(__file__).resolve().parents[1] / "datasets"  # where the wheel puts the repository's folder
FOLDER = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / "datasets"
ROLES = ("test", "train", "both")
RELEASES = ("official", "copy", "extraction")
MATCH_SECONDS = 1.0  # for one path; a pattern that needs longer backtracks for ever on some names


class CardError(ValueError):
    """A card that breaks the format; the message names the file, the key and the fix."""


@dataclass(frozen=True)
class Group:
    """Images of one kind by pattern, with the pattern of what says where they are forged."""

    image: regex.Pattern
    mask: regex.Pattern | None = None
    union: bool = False
    boxes: regex.Pattern | None = None
    polygons: regex.Pattern | None = None
    category: str = ""
    only: Path | None = None
    member: str = "{key}"
    kind: str = ""
    source: str = ""

    @property
    def beside(self) -> regex.Pattern | None:
        """The pattern of the files that belong to one image each: masks or boxes."""
        return self.mask or self.boxes


@dataclass(frozen=True)
class Listed:
    """Images of one kind by a list; the texts hold the names of its columns in braces."""

    list: Path
    columns: tuple[str, ...]
    image: str
    mask: str = ""
    kind: str = ""
    kinds: Mapping[str, str] = field(default_factory=dict)
    source: str = ""

    def rows(self) -> Iterator[dict[str, str]]:
        """`image`, `mask` ("" = none), `kind` and `source` of every line. Raises CardError."""
        for line in read_list(self.list):
            cells = [cell.strip() for cell in line.split(",")]
            if len(cells) < len(self.columns):
                raise CardError(f"{self.list}: {line!r} has not the columns {', '.join(self.columns)}")
            row = dict(zip(self.columns, cells, strict=False))
            found = {key: getattr(self, key).format_map(row) for key in ("image", "mask", "kind", "source")}
            if "None" in cells:
                found["mask"] = ""
            yield {**found, "kind": self.kinds.get(found["kind"], found["kind"])}


@dataclass(frozen=True)
class Subset:
    """A part of a set under a name of its own; `tampered` and `authentic`: a list, or "all" or "none"."""

    name: str
    used_by: tuple[str, ...] = ()
    tampered: Path | str = "all"
    authentic: Path | str = "all"
    groups: tuple[Group | Listed, ...] = ()
    count: Mapping[str, int] = field(default_factory=dict)
    published_as: tuple[str, ...] = ()
    note: str = ""
    unknown: bool = False


@dataclass(frozen=True)
class Archive:
    """A file to download; `holds`: "tampered", "authentic", "masks" or "", what is missing without it."""

    name: str
    sha256: str = ""
    holds: str = ""


@dataclass(frozen=True)
class Card:
    """A test set as its card describes it."""

    name: str
    title: str
    licence: str
    citation: str
    page: str
    layout: str
    verified: str = ""
    release: str = "official"
    copy_of: str = ""
    role: str = "test"
    repeat: int = 1
    note: str = ""
    audit: str = ""
    published_as: tuple[str, ...] = ()
    tampered: tuple[Group | Listed, ...] = ()
    authentic: tuple[Group | Listed, ...] = ()
    mask: MaskRule = field(default_factory=MaskRule)
    counts: Mapping[str, int] = field(default_factory=dict)
    subset: tuple[Subset, ...] = ()
    archive: tuple[Archive, ...] = ()
    known_defects: Mapping[str, str] = field(default_factory=dict)  # file -> problem

    def find_subset(self, name: str) -> Subset:
        """The subset of this name. Raises CardError with the nearest one."""
        for subset in self.subset:
            if subset.name == name:
                return subset
        known = [subset.name for subset in self.subset]
        hint = suggest(name, known) if known else "its card names none"
        raise CardError(f"{self.name} has no subset {name!r}; {hint}")

    def examples(self) -> list[tuple[str, str]]:
        """(path, what it is) of every line of the layout: "authentic", "tampered", "mask of PATH" or "not used"."""
        found: list[tuple[str, str]] = []
        for line in self.layout.strip().splitlines():
            path, _, text = line.strip().partition("  ")
            role = text.strip()
            if role.startswith("mask"):
                last = next((name for name, what in reversed(found) if what == "tampered"), "")
                named = role.removeprefix("mask").strip().removeprefix("of ").partition(";")[0].strip()
                owner = next((name for name, _ in found if name == named), last)
                found.append((path, f"mask of {owner}"))
            else:
                word = next((word for word in ("authentic", "tampered") if role.startswith(word)), "not used")
                found.append((path, word))
        return found


def fullmatch(pattern: regex.Pattern, name: str) -> regex.Match | None:
    """`pattern.fullmatch(name)` within a bounded time. Raises CardError where it takes longer."""
    try:
        return pattern.fullmatch(name, timeout=MATCH_SECONDS)
    except TimeoutError as error:
        raise CardError(
            f"the pattern {pattern.pattern!r} needs more than {MATCH_SECONDS:g} s for {name!r}; write it without "
            "repetitions inside repetitions"
        ) from error


def read_list(path: Path) -> list[str]:
    """The lines of a member list; empty ones and comments (#) are left out. Raises CardError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path}: the list cannot be read ({error}); it must lie beside the card") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def load(path: Path) -> Card:
    """Read and check one card. Raises CardError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors on Windows put a mark before the text
    except OSError as error:
        raise CardError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CardError(f"{path}: not valid TOML: {error}") from error
    top = _Table(path, "", table)
    top.only_keys(f.name for f in fields(Card))
    required = ("name", "title", "licence", "citation", "page", "layout")
    name, title, licence, citation, page, layout = (top.text(key) for key in required)
    if name != path.stem:
        raise CardError(f'{path}: name: is "{name}"; it must be the file\'s name, "{path.stem}"')
    tampered, authentic = (
        tuple(_group(item, key == "tampered") for item in top.tables(key)) for key in ("tampered", "authentic")
    )
    if not tampered and not authentic:
        raise CardError(f"{path}: tampered: no group of images; add [[tampered]] with image and mask")
    return Card(
        name,
        title,
        licence,
        citation,
        page,
        layout,
        tampered=tampered,
        authentic=authentic,
        verified=top.text("verified", ""),
        copy_of=top.text("copy_of", ""),
        note=top.text("note", ""),
        audit=top.text("audit", ""),
        release=top.choice("release", RELEASES, "official"),
        role=top.choice("role", ROLES, "test"),
        repeat=top.whole("repeat", 1, 1),
        published_as=top.texts("published_as"),
        mask=_mask_rule(top.table("mask")),
        counts=_counts(top.table("counts")),
        subset=tuple(_subset(item) for item in top.tables("subset")),
        archive=tuple(_archive(item) for item in top.tables("archive")),
        known_defects=_known_defects(top.tables("known_defects")),
    )


def card_names(folder: Path = FOLDER) -> list[str]:
    """The names of the cards of a folder, none of which is read: a card is called as its file."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load_all(folder: Path = FOLDER) -> list[Card]:
    """All cards of a folder, by name. Raises CardError at the first bad one."""
    return [load(path) for path in sorted(folder.glob("*.toml"))]


_Default = TypeVar("_Default", int, None)


@dataclass(frozen=True)
class _Table:
    """A table of a card, whose values are read by kind; a wrong one is told by its key and the fix."""

    path: Path
    where: str
    values: dict[str, Any]

    def __post_init__(self):
        if not isinstance(self.values, dict):
            raise CardError(f"{self.path}: {self.where}: must be a table; write [{self.where}]")

    def fail(self, key: str, problem: str) -> CardError:
        return CardError(f"{self.path}: {self.where + '.' if self.where else ''}{key}: {problem}")

    def only_keys(self, known: Iterable[str]) -> None:
        known = list(known)
        for key in self.values:
            if key not in known:
                hint = suggest(key, known).replace("'", '"').replace("known:", "known keys:")
                raise self.fail(key, f"unknown key; {hint}")

    def text(self, key: str, default: str | None = None) -> str:
        if key not in self.values:
            if default is None:
                raise self.fail(key, f'missing; add {key} = "..."')
            return default
        value = self.values[key]
        if not isinstance(value, str) or (default is None and not value):
            raise self.fail(key, f'must be text; write {key} = "..."')
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.values.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self.fail(key, f'must be a list of texts; write {key} = ["..."]')
        return tuple(values)

    def choice(self, key: str, known: Iterable[str], default: str) -> str:
        known, value = list(known), self.text(key, default)
        if value not in known:
            raise self.fail(key, f'unknown value "{value}"; ' + suggest(value, known).replace("'", '"'))
        return value

    def whole(self, key: str, low: int, default: _Default, high: float = float("inf"), of: str = "") -> int | _Default:
        value = self.values.get(key, default)
        if value is not default and (not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high):
            limits = of or (f"from {low} up" if high == float("inf") else f"from {low} to {high}")
            raise self.fail(key, f"must be a whole number {limits}, got {value!r}")
        return value

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.fail(key, f"must be true or false, got {value!r}")
        return value

    def pattern(self, key: str) -> regex.Pattern:
        text = self.text(key)
        try:
            return regex.compile(text, regex.IGNORECASE)
        except regex.error as error:
            raise self.fail(key, f"not a regular expression ({error})") from error

    def template(self, key: str, known: Iterable[str], remedy: str, default: str | None = "") -> str:
        """A text with names in braces, and nothing else there: a format would be a small program."""
        text = self.text(key, default)
        try:
            parts = list(Formatter().parse(text))
        except ValueError as error:
            raise self.fail(key, str(error)) from error
        for _, name, form, conversion in parts:
            if name is not None and (form or conversion or not name.isidentifier()):
                raise self.fail(key, f"in braces stands the name of a group and nothing else; found {{{name}...}}")
            if name is not None and name not in known:
                raise self.fail(key, remedy.format(name=name))
        return text

    def file(self, key: str) -> Path:
        """A file beside the card, never elsewhere."""
        text = self.text(key)
        if Path(text).is_absolute() or ".." in Path(text).parts:
            raise self.fail(key, f"{text!r} must lie beside the card")
        return self.path.parent / text

    def table(self, key: str) -> _Table:
        return _Table(self.path, f"{self.where}.{key}" if self.where else key, self.values.get(key, {}))

    def tables(self, key: str) -> list[_Table]:
        where = f"{self.where}.{key}" if self.where else key
        items = self.values.get(key, [])
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise CardError(f"{self.path}: {where}: must be a list of tables; write [[{where}]]")
        return [_Table(self.path, where, item) for item in items]


def _group(table: _Table, tampered: bool) -> Group | Listed:
    if "list" in table.values:
        return _listed(table, tampered)
    keys = ["image", "only", "member", "source"]
    table.only_keys([*keys, "mask", "masks", "boxes", "polygons", "category", "kind"] if tampered else keys)
    image = table.pattern("image")
    truths = {key: table.pattern(key) if key in table.values else None for key in ("mask", "boxes", "polygons")}
    if sum(value is not None for value in truths.values()) > 1:
        raise table.fail("mask", "mask, boxes and polygons exclude each other; keep one")
    beside = truths["mask"] or truths["boxes"]
    if beside is not None and not set(image.groupindex) & set(beside.groupindex):
        key = "mask" if truths["mask"] else "boxes"
        raise table.fail(
            key,
            "shares no named group with image, so nothing says which one belongs to which image; put e.g. (?P<key>...) "
            "into both",
        )
    only = table.file("only") if "only" in table.values else None
    if only is not None and "member" not in table.values and "key" not in image.groupindex:
        raise table.fail("only", "a list needs a named group in image; add (?P<key>...) to it")
    remedy = 'image has no named group "{name}"; add (?P<{name}>...) to it'
    return Group(
        image,
        **truths,
        union=table.choice("masks", ("one", "union"), "one") == "union",
        category=table.text("category", ""),
        only=only,
        member=table.template("member", image.groupindex, remedy, "{key}" if only else ""),
        kind=table.text("kind", ""),
        source=table.template("source", image.groupindex, remedy),
    )


def _listed(table: _Table, tampered: bool) -> Listed:
    keys = ["list", "columns", "image", "source"]
    table.only_keys([*keys, "mask", "kind", "kinds"] if tampered else keys)
    columns = table.texts("columns") or ("key",)
    remedy = f'the list has no column "{{name}}"; its columns: {", ".join(columns)}'
    texts = {key: table.template(key, columns, remedy) for key in ("mask", "kind", "source")}
    kinds = table.table("kinds")
    return Listed(
        table.file("list"),
        columns,
        table.template("image", columns, remedy, None),
        **texts,
        kinds={key: kinds.text(key) for key in kinds.values},
    )


def _mask_rule(table: _Table) -> MaskRule:
    table.only_keys(f.name for f in fields(MaskRule))
    colours = table.table("colours")
    for key in colours.values:
        if key not in COLOURS:
            raise colours.fail(key, f"is no colour of a mask; {suggest(key, COLOURS)}")
        colours.choice(key, MEANINGS, "forged")
    levels = table.values.get("no_score")
    whole = isinstance(levels, list) and len(levels) == 2 and all(type(n) is int and 0 <= n <= 255 for n in levels)
    if levels is not None and not (whole and levels[0] <= levels[1]):
        raise table.fail("no_score", f"must be two whole numbers from..to within 0..255, got {levels!r}")
    return MaskRule(
        channel=table.choice("channel", ("max", "red", "green", "blue"), "max"),
        threshold=table.whole("threshold", 0, None, 254),
        forged=table.choice("forged", ("above", "below"), "above"),
        size=table.choice("size", ("equal", "resize"), "equal"),
        no_score=None if levels is None else tuple(levels),
        label_step=table.whole("label_step", 1, None, 255),
        colours=tuple(sorted(colours.values.items())),
    )


def _counts(table: _Table) -> dict[str, int]:
    table.only_keys(["tampered", "authentic"])
    return {key: table.whole(key, 0, 0, of="of files") for key in table.values}


def _subset(table: _Table) -> Subset:
    table.only_keys(f.name for f in fields(Subset))
    tampered, authentic = (
        table.text(key, "all") if table.text(key, "all") in ("all", "none") else table.file(key)
        for key in ("tampered", "authentic")
    )
    return Subset(
        table.text("name"),
        table.texts("used_by"),
        tampered,
        authentic,
        groups=tuple(_group(item, True) for item in table.tables("groups")),
        count=_counts(table.table("count")),
        published_as=table.texts("published_as"),
        note=table.text("note", ""),
        unknown=table.flag("unknown"),
    )


def _archive(table: _Table) -> Archive:
    table.only_keys(f.name for f in fields(Archive))
    holds = table.choice("holds", ("", "tampered", "authentic", "masks"), "")
    return Archive(table.text("name"), table.text("sha256", ""), holds)


def _known_defects(items: list[_Table]) -> dict[str, str]:
    found = {}
    for item in items:
        item.only_keys(["files", "problem"])
        if "files" not in item.values:
            raise item.fail("files", 'must be a list of paths; write files = ["..."]')
        files = item.values["files"]
        if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
            raise item.fail("files", 'must be a list of paths; write files = ["..."]')
        found.update(dict.fromkeys(files, item.text("problem")))
    return found
