"""Test sets: which images there are, which mask belongs to which image, and what is wrong with the files.

A set is opened from one of
    builtin                the built-in demonstration set (`bench.data.builtin`)
    NAME:ROOT              a published set with a card in `datasets/`, official layout, below the folder ROOT
    CARD.toml:ROOT         the same with a card of your own
    folder:IMAGES          any folder of photos, all authentic
    folder:IMAGES,MASKS    any folder of photos with a folder of masks

Several are joined by commas. **Comma rule**: the part after `folder:IMAGES,` is its MASKS folder unless it is
itself one of the forms above (write `./builtin` for a masks folder of that name). A path cannot contain a
comma.

**Folder rule**: pairs are made by name. `a/b.jpg` goes with `a/b`, `a/b_gt`, `a/b_mask` or `a/b_edgemask`
(any image extension) below MASKS, or else with the only mask of such a name anywhere below it. White (any
channel above 127) is forged. An image is authentic when its name begins with `auth_` or it lies in a folder
called `authentic`; any other without a mask is a defect. A mask without a forged pixel is a defect too, never
a silent authentic image.

The scan reads headers only, so that large sets open fast: missing masks, masks of another size, files that
are no images. What only decoding can show (truncated data, a mask without a forged pixel) raises ImageError
when the file is read; `python -m bench data verify` decodes everything.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from bench.data import builtin, masks
from bench.data.cards import FOLDER, Card, Group, MaskRule, load, load_all
from bench.data.masks import mask_size, size_problem
from bench.truth import Truth
from models.image import ForensicImage, ImageError, read_image, shown, stored_size

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".jp2", ".avif")
)
MASK_SUFFIXES = ("", "_gt", "_mask", "_edgemask")  # what may follow the image's stem in the name of its mask
AUTHENTIC_PREFIX, AUTHENTIC_FOLDER = "auth_", "authentic"
MIN_SIDE = 8  # pixels; a JPEG block


class DataError(ValueError):
    """A test set that cannot be opened; the message names the set or file and the fix."""


@dataclass(frozen=True)
class Sample:
    """One image of a test set.

    id: unique in its set and the same on every machine. source: the photo it came from, else its id: images
    of one source are not independent, the bootstrap resamples sources.
    mask: the mask file, the first where the ground truth is the union with `more_masks`. shapes: boxes or polygons,
    (x0, y0, x1, y1, ...) in pixels each, where the set has no mask files. forged: tampered without either: only the
    image-level decision can be judged.
    """

    id: str
    image: Path
    mask: Path | None
    test_set: str
    kind: str = ""
    source: str = ""
    more_masks: tuple[Path, ...] = ()
    shapes: tuple[tuple[float, ...], ...] = ()
    forged: bool = False

    @property
    def tampered(self) -> bool:
        return self.forged or self.located

    @property
    def located(self) -> bool:
        """Whether the set says which pixels are forged."""
        return self.mask is not None or bool(self.shapes)

    @property
    def masks(self) -> tuple[Path, ...]:
        """All its mask files."""
        return () if self.mask is None else (self.mask, *self.more_masks)


@dataclass(frozen=True)
class Defect:
    """A file that cannot be scored, and why. `known`: the set's card lists it."""

    test_set: str
    file: str
    problem: str
    known: bool = False


@dataclass
class TestSet:
    """The usable images of a set, and the defects of the others.

    found: number of "tampered" and "authentic" image files, usable or not.
    """

    __test__ = False  # not a test class, whatever pytest thinks of its name

    name: str
    title: str
    samples: list[Sample]
    defects: list[Defect] = field(default_factory=list)
    demonstration: bool = False
    note: str = ""
    licence: str = ""
    citation: str = ""
    card: Card | None = None
    rule: MaskRule = field(default_factory=MaskRule)
    found: dict[str, int] = field(default_factory=dict)

    @property
    def tampered(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.tampered]

    @property
    def authentic(self) -> list[Sample]:
        return [sample for sample in self.samples if not sample.tampered]

    # Leaf modules that turn the files into image and ground truth: part of the key of a stored result.
    reader_modules: ClassVar[tuple[str, ...]] = ("models.image", "bench.data.masks", "bench.truth")

    def read_image(self, sample: Sample) -> ForensicImage:
        """The photo. Raises ImageError, which names the image by its id and no place on this machine."""
        with _named(sample):
            return read_image(sample.image)

    def read_truth(self, sample: Sample) -> Truth:
        """The ground truth, of the image's size: soft values where the mask has them and the card does not cut them.

        An authentic image has no forged pixel; of a tampered one without a mask no pixel is scorable. Raises
        ImageError (by the sample's id) where the mask cannot be read, has another size than the image (unless the
        card resizes) or marks no pixel.
        """
        with _named(sample):
            return self._truth(sample)

    def _truth(self, sample: Sample) -> Truth:
        shape = stored_size(sample.image)
        if sample.mask is not None:
            return masks.read_truth(sample.masks, self.rule, shape)
        if sample.shapes:
            return masks.shapes_truth(sample.shapes, shape)
        if sample.tampered:
            return Truth(np.zeros(shape, np.uint8), scorable=np.zeros(shape, bool))
        return Truth.pristine(shape)

    def read_mask(self, sample: Sample) -> np.ndarray:
        """The forged pixels, bool (H, W) of the image's size: `read_truth` above 127. Raises ImageError as it does,
        and ValueError for an image of which the set does not say where it is forged."""
        if not sample.located:
            raise ValueError(f"{sample.id} is {'tampered' if sample.tampered else 'authentic'} and has no mask")
        return self.read_truth(sample).forged

    def fingerprint(self, sample: Sample) -> str:
        """SHA-256 over the bytes of image and masks and the mask rule: equal ones give equal results."""
        with _named(sample):
            return self._fingerprint(sample)

    def _fingerprint(self, sample: Sample) -> str:
        parts = [_file_digest(sample.image), *map(_file_digest, sample.masks)]
        if sample.mask is not None:
            parts.append(self.rule.text)
        parts += [" ".join(f"{number:g}" for number in shape) for shape in sample.shapes]
        if sample.tampered and not sample.located:
            parts.append("tampered")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over id and fingerprint of every usable image in order: equal ones are the same test set.

        Raises ImageError where a file has become unreadable since the scan.
        """
        content = hashlib.sha256()
        for sample in self.samples:
            content.update(f"{sample.id}\n{self.fingerprint(sample)}\n".encode())
        return content.hexdigest()


@contextlib.contextmanager
def _named(sample: Sample) -> Iterator[None]:
    """Errors inside name the sample by its id instead of by the place of its files."""
    try:
        yield
    except ImageError as error:
        text = str(error)
        for path in (sample.image, *sample.masks):
            text = text.replace(shown(path), shown(path.name))
        raise ImageError(f"{sample.id}: {text}") from error


def open_test_sets(spec: str) -> list[TestSet]:
    """The sets that a `--data` text names (see the module's text), in its order.

    Raises DataError for an unknown name (with the nearest), a missing or unreadable folder, a set without a
    usable image and a set named twice, and CardError for a bad card.
    """
    sets = []
    for name, first, second in _items(spec):
        if name == "builtin":
            sets.append(open_builtin())
        elif name == "folder":
            sets.append(open_folder(Path(first), None if second is None else Path(second)))
        else:
            sets.append(open_card(find_card(name), Path(first)))
    for name, count in Counter(test_set.name for test_set in sets).items():
        if count > 1:
            raise DataError(f"two test sets are called {name!r}, which names their results; rename a folder")
    return sets


def find_card(name: str) -> Card:
    """The card of a set by name, or from a path ending in .toml. Raises DataError with the nearest name,
    CardError."""
    if name.endswith(".toml"):
        return load(Path(name))
    path = FOLDER / f"{name}.toml"
    if path.is_file():
        return load(path)
    known = ["builtin", "folder", *(path.stem for path in sorted(FOLDER.glob("*.toml")))]
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise DataError(f"unknown test set {name!r}; {hint}known: {', '.join(known)}")


def describe() -> list[dict]:
    """What `bench list data` shows: the built-in set, folders, and every card of `datasets/`."""
    rows = [
        {"name": "builtin", "title": "Built-in demonstration set", "summary": builtin.NOTE},
        {"name": "folder:IMAGES[,MASKS]", "title": "Your own photos", "summary": "masks are paired by name"},
    ]
    for card in load_all():
        counts = ", ".join(f"{number} {kind}" for kind, number in card.counts.items()) or "numbers not exactly known"
        use = {"train": "; to train on", "both": "; to test or to train on"}.get(card.role, "")
        row = {"name": f"{card.name}:ROOT", "title": card.title, "summary": counts + use, "role": card.role}
        rows.append({**row, "licence": card.licence, "citation": card.citation, "page": card.page})
    return rows


def _items(spec: str) -> Iterator[tuple[str, str, str | None]]:
    """(name, first path, second path or None) of each set in a `--data` text."""
    parts = [part.strip() for part in spec.split(",") if part.strip()]
    if not parts:
        raise DataError("no test set named; e.g. --data builtin or --data casia1:FOLDER")
    while parts:
        part = parts.pop(0)
        if part == "builtin":
            yield part, "", None
            continue
        name, colon, path = part.partition(":")
        if not colon or not path:
            if name not in ("folder", "builtin"):
                find_card(name)
            usage = "folder:IMAGES or folder:IMAGES,MASKS" if name == "folder" else f"{name}:ROOT"
            raise DataError(f"{part!r} does not say where its files lie; write {usage}")
        second = None
        if name == "folder" and parts and parts[0] != "builtin" and (":" not in parts[0] or Path(parts[0]).is_dir()):
            second = parts.pop(0)
        yield name, path, second


# ------------------------------------------------------------------------------------------- the kinds of set


def open_builtin() -> TestSet:
    """The built-in set, forged on first use. Raises DataError where it cannot be made."""
    try:
        folder, entries, digest = builtin.prepare()
    except builtin.BuiltinError as error:
        raise DataError(str(error)) from error
    note = builtin.NOTE
    if digest != builtin.GOLDEN:
        note += (
            f" WARNING: its files differ from the reference ({digest[:12]}, not {builtin.GOLDEN[:12]}), "
            "perhaps through another version of OpenCV: do not compare numbers with other machines."
        )
    samples = [
        Sample(e.id, folder / e.image, folder / e.mask if e.mask else None, "builtin", e.kind, e.source)
        for e in entries
    ]
    licence = "; ".join(f"{name}: {photo.credit}" for name, photo in builtin.PHOTOS.items())
    tampered = sum(entry.mask is not None for entry in entries)
    found = {"tampered": tampered, "authentic": len(entries) - tampered}
    return TestSet("builtin", "Built-in demonstration set", samples, [], True, note, licence, found=found)


def open_card(card: Card, root: Path) -> TestSet:
    """A published set in its official layout, at or below `root`. Raises DataError."""
    suffixes = IMAGE_SUFFIXES | set(masks.ARRAY_SUFFIXES)
    files = _list_files(root, f"; get the set from {card.page}" if card.page else "", suffixes)
    files = _strip_prefix(card, files)
    found = _Found(card.name, card.mask, card.known_defects)
    for group in card.tampered:
        _add_tampered(found, group, files)
    for group in card.authentic:
        for name, match in _matches(group.image, files):
            found.add(name, files[name], None, "authentic", _source(group, match))
    if not found.samples:
        raise DataError(
            f"{root}: holds no usable image of {card.title} ({len(found.defects)} defects); "
            f"get the set from {card.page} and unpack it as:\n{card.layout.rstrip()}"
        )
    about = dict(note=card.note, licence=card.licence, citation=card.citation, card=card, rule=card.mask)
    return TestSet(card.name, card.title, found.samples, found.defects, found=found.counts, **about)


def open_folder(images: Path, masks: Path | None = None) -> TestSet:
    """A folder of photos, with masks by the folder rule or all authentic. Raises DataError."""
    generic = images.resolve().name.lower() in ("images", "image", "imgs", "img")
    name = images.resolve().parent.name if generic else images.resolve().name
    files = _list_files(images)
    found = _Found(name, MaskRule(), {})
    if masks is None:
        for file, path in files.items():
            found.add(file, path, None, "authentic")
    else:
        mask_files = _list_files(masks)
        inside = set(mask_files.values())
        _add_folder_pairs(found, {f: p for f, p in files.items() if p not in inside}, mask_files)
    if not found.samples:
        first = "".join(f"; {defect.file}: {defect.problem}" for defect in found.defects[:1])
        raise DataError(f"{images}: holds no usable image ({len(found.defects)} defects{first})")
    return TestSet(name, f"Folder {name}", found.samples, found.defects, found=found.counts)


@dataclass
class _Found:
    """Collects samples and defects of one set during its scan."""

    test_set: str
    rule: MaskRule
    known: dict[str, str]
    samples: list[Sample] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=lambda: {"tampered": 0, "authentic": 0})

    def reject(self, file: str, problem: str) -> None:
        self.defects.append(Defect(self.test_set, file, problem, file in self.known))

    def add(self, file: str, image: Path, mask: Path | None, kind: str = "", source: str = "") -> None:
        """Take the pair, or reject it when a header does not fit. `file`: path below the root, names it."""
        self.counts["authentic" if mask is None else "tampered"] += 1
        try:
            size = stored_size(image)
            if min(size) < MIN_SIDE:
                raise ImageError(f"{size[1]}x{size[0]} pixels are too few, {MIN_SIDE}x{MIN_SIDE} are needed")
            if mask is not None and self.rule.size == "equal" and (other := mask_size(mask)) != size:
                raise ImageError(size_problem(other, size))
        except ImageError as error:
            problem = str(error).removeprefix(f"{image}: ")
            self.reject(file, problem if mask is None else problem.replace(str(mask), f"mask {mask.name}"))
            return
        stem = file.rpartition(".")[0]
        sample_id = file if stem in self.ids else stem
        self.ids.add(sample_id)
        self.samples.append(Sample(sample_id, image, mask, self.test_set, kind, source or sample_id))


def _add_tampered(found: _Found, group: Group, files: dict[str, Path]) -> None:
    shared = sorted(set(group.image.groupindex) & set(group.mask.groupindex))
    masks: dict[tuple, list[str]] = defaultdict(list)
    for name, match in _matches(group.mask, files):
        masks[tuple(match[key] for key in shared)].append(name)
    for name, match in _matches(group.image, files):
        candidates = masks.pop(tuple(match[key] for key in shared), [])
        if len(candidates) == 1:
            found.add(name, files[name], files[candidates[0]], group.kind, _source(group, match))
        else:
            found.counts["tampered"] += 1
            names = ", ".join(candidates)
            found.reject(name, f"{len(candidates)} masks: {names}; keep one" if candidates else "no mask")
    for name in sorted(name for names in masks.values() for name in names):
        found.reject(name, "a mask without an image")


def _add_folder_pairs(found: _Found, files: dict[str, Path], masks: dict[str, Path]) -> None:
    by_path, by_name = defaultdict(list), defaultdict(list)
    namesakes = Counter(Path(name).stem for name in files)
    for name in masks:
        stem = name.rpartition(".")[0]
        by_path[stem].append(name)
        by_name[stem.rpartition("/")[2]].append(name)
    used = set()
    for name, path in files.items():
        stem = name.rpartition(".")[0]
        folders, _, short = stem.rpartition("/")
        if short.startswith(AUTHENTIC_PREFIX) or AUTHENTIC_FOLDER in folders.lower().split("/"):
            found.add(name, path, None, "authentic")
            continue
        candidates = [mask for suffix in MASK_SUFFIXES for mask in by_path[stem + suffix]]
        if not candidates and namesakes[short] == 1:
            candidates = [mask for suffix in MASK_SUFFIXES for mask in by_name[short + suffix]]
        used.update(candidates)
        if len(candidates) == 1:
            found.add(name, path, masks[candidates[0]])
            continue
        found.counts["tampered"] += 1
        if candidates:
            found.reject(name, f"{len(candidates)} masks: {', '.join(sorted(candidates))}; keep one")
        else:
            found.reject(name, f"no mask; add {short}.png, or call it {AUTHENTIC_PREFIX}{short} if authentic")
    for name in sorted(set(masks) - used):
        found.reject(name, "a mask without an image")


# ----------------------------------------------------------------------------------------------------- files


def _list_files(root: Path, hint: str = "", suffixes: frozenset[str] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """Path below the root (forward slashes) -> path, of all files of these kinds but hidden ones, sorted."""
    if not root.exists():
        raise DataError(f"{root}: no such folder{hint}")
    if not root.is_dir():
        raise DataError(f"{root}: is not a folder; give the folder that holds the files")

    def fail(error: OSError) -> None:
        problem = f"cannot be read ({error.strerror}); check its permissions"
        raise DataError(f"{error.filename}: {problem}") from error

    found = {}
    for folder, folders, names in os.walk(root, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in suffixes and not name.startswith("."):
                path = Path(folder, name)
                found[path.relative_to(root).as_posix()] = path
    return found


def _strip_prefix(card: Card, files: dict[str, Path]) -> dict[str, Path]:
    """The files named from where the official layout begins: the root itself or a folder below it."""
    patterns = [group.image for group in card.tampered + card.authentic]
    counts: Counter[str] = Counter()
    for name in files:
        parts = name.split("/")
        for depth in range(len(parts)):
            if any(pattern.fullmatch("/".join(parts[depth:])) for pattern in patterns):
                counts["".join(part + "/" for part in parts[:depth])] += 1
                break
    prefix = max(counts, key=lambda p: (counts[p], -p.count("/")), default="")
    return {name.removeprefix(prefix): path for name, path in files.items() if name.startswith(prefix)}


def _matches(pattern, files: Iterable[str]):
    for name in files:
        if match := pattern.fullmatch(name):
            yield name, match


def _source(group: Group, match) -> str:
    return group.source.format_map(match.groupdict()) if group.source else ""


_digests: dict[tuple[str, int, int], str] = {}


def _file_digest(path: Path) -> str:
    """SHA-256 of a file, kept for this process by its size and modification time."""
    try:
        status = path.stat()
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key not in _digests:
            with path.open("rb") as file:
                _digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{shown(path)}: cannot be read ({error.strerror})") from error
    return _digests[key]
