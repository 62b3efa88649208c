"""Opening a test set from its files: which images there are and which mask belongs to which of them.

Pairs are made by name, or by a list that the card names, never by position. The scan reads headers only, so that large
sets open fast; what only decoding can show (truncated data, a mask without a forged pixel) raises ImageError when the
file is read, and `python -m bench data verify` decodes everything.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.data import builtin
from bench.data.cards import Card, CardError, Group, Listed, Subset, fullmatch, load_all, read_list
from bench.data.files import IMAGE_SUFFIXES, DataError, list_files, strange_images
from bench.data.levels import suspicious_levels
from bench.data.masks import ARRAY_SUFFIXES, MaskRule, mask_size, size_problem
from bench.data.sets import Defect, Sample, TestSet
from models.image import ImageError, shown, stored_size

MASK_SUFFIXES = ("", "_gt", "_mask", "_edgemask")  # what may follow the image's stem in the name of its mask
AUTHENTIC_PREFIX, AUTHENTIC_FOLDER = "auth_", "authentic"
MIN_SIDE = 8  # pixels; a JPEG block
NAMED = 3  # files that a message names, of many


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


def open_card(card: Card, root: Path, subset: str = "") -> TestSet:
    """A published set in its official layout, at or below `root`, or a named part. Raises DataError, CardError."""
    part = card.find_subset(subset) if subset else Subset("")
    if part.unknown:
        raise DataError(f"{card.name}@{subset}: the list of its members is public nowhere. {part.note}".strip())
    groups = (part.groups or card.tampered) if part.tampered != "none" or part.groups else ()
    authentic = card.authentic if part.authentic != "none" else ()
    suffixes = IMAGE_SUFFIXES | set(ARRAY_SUFFIXES)
    suffixes |= {".json"} if any(_own(group, "polygons") for group in groups) else set()
    suffixes |= {".txt"} if any(_own(group, "boxes") for group in groups) else set()
    every = list_files(root, suffixes, f"; get the set from {card.page}" if card.page else "")
    files = _strip_prefix([*groups, *authentic], every)
    found = _Found(card.name, card.mask, card.known_defects)
    with _card_named(card):
        for group in groups:
            if isinstance(group, Listed):
                _add_listed(found, group, files, tampered=True)
            else:
                _add_tampered(found, group, files)
        for group in authentic:
            if isinstance(group, Listed):
                _add_listed(found, group, files, tampered=False)
            else:
                for name, match in _matches(group, files):
                    found.add(name, files[name], (), "authentic", _source(group, match))
        for name in sorted(found.beside - found.paired - found.claimed):
            found.reject(name, "a mask without an image")
        if not part.groups:
            found.keep_members(part)
    if not found.samples:
        raise DataError(_not_the_set(card, root, every, found, subset))
    note = " ".join(text for text in (card.note, part.note) if text)
    name = f"{card.name}@{subset}" if subset else card.name
    title = f"{card.title}, {subset}" if subset else card.title
    return TestSet(
        name, title, found.samples, found.defects, note=note, licence=card.licence, citation=card.citation, card=card,
        rule=card.mask, found=found.counts, subset=subset, remarks=found.remarks(),
    )  # fmt: skip


def open_folder(images: Path, masks: Path | None = None) -> TestSet:
    """A folder of photos, with masks by the folder rule or all authentic. Raises DataError."""
    generic = images.resolve().name.lower() in ("images", "image", "imgs", "img")
    name = shown(images.resolve().parent.name if generic else images.resolve().name)
    files = list_files(images)
    found = _Found(name, MaskRule(), {})
    if masks is None:
        for file, path in files.items():
            found.add(file, path, (), "authentic")
    else:
        files, mask_files = _masks_apart(images, files, masks)
        _add_folder_pairs(found, files, mask_files)
    for file, form in strange_images(images).items():
        ending = Path(file).suffix
        problem = f"begins like {form}, but {ending or 'no ending'} is not read; rename it or convert it to PNG or JPEG"
        found.reject(file, problem)
    if not found.samples:
        first = "".join(f"; {defect.file}: {defect.problem}" for defect in found.defects[:1])
        raise DataError(f"{shown(images)}: holds no usable image ({len(found.defects)} defects{first})")
    remarks = found.remarks()
    if masks is None and (beside := _masks_of(files)):
        remarks.append(
            f"{', '.join(list(beside)[:NAMED])} ({len(beside)} in all) look like masks and count as authentic photos; "
            f"for masks beside their images name the folder twice: folder:{images.name},{images.name}"
        )
    return TestSet(name, f"Folder {name}", found.samples, found.defects, found=found.counts, remarks=remarks)


@dataclass
class _Found:
    """Collects samples and defects of one set during its scan."""

    test_set: str
    rule: MaskRule
    known: Mapping[str, str]
    samples: list[Sample] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)  # id -> path below the root
    claimed: set[str] = field(default_factory=set)
    beside: set[str] = field(default_factory=set)  # files that are masks by the pattern of a group
    paired: set[str] = field(default_factory=set)  # those that belong to an image
    resized: set[str] = field(default_factory=set)  # ids of images with a mask of another size
    counts: dict[str, int] = field(default_factory=lambda: {"tampered": 0, "authentic": 0})

    def reject(self, file: str, problem: str) -> None:
        self.defects.append(Defect(self.test_set, file, problem, file in self.known))

    def add(
        self, file: str, image: Path, masks: tuple[Path, ...], kind: str = "", source: str = "",
        shapes: tuple[tuple[float, ...], ...] = (), forged: bool = False,
    ) -> None:  # fmt: skip
        """Take the image, or reject it when a header does not fit.

        `file`, its path below the root, names it. One that an earlier group took is passed over.
        """
        if file in self.claimed:
            return
        self.claimed.add(file)
        tampered = bool(masks or shapes or forged)
        self.counts["tampered" if tampered else "authentic"] += 1
        try:
            size = stored_size(image)
            if min(size) < MIN_SIDE:
                raise ImageError(f"{size[1]}x{size[0]} pixels are too few, {MIN_SIDE}x{MIN_SIDE} are needed")
            others = [other for mask in masks if (other := mask_size(mask)) != size]
            if others and self.rule.size == "equal":
                raise ImageError(size_problem(others[0], size))
        except ImageError as error:
            problem = str(error).removeprefix(f"{shown(image)}: ")
            for mask in masks:
                problem = problem.replace(shown(mask), f"mask {shown(mask.name)}")
            self.reject(file, problem)
            return
        sample_id = file.rpartition(".")[0]
        while sample_id in self.ids:
            sample_id = file if sample_id != file and file not in self.ids else sample_id + "'"
        self.ids.add(sample_id)
        self.names[sample_id] = file
        if others:
            self.resized.add(sample_id)
        first = masks[0] if masks else None
        self.samples.append(
            Sample(sample_id, image, first, self.test_set, kind, source or sample_id, masks[1:], shapes, forged)
        )

    def remarks(self) -> list[str]:
        """What is suspicious of images that are scored all the same."""
        resized = [sample.id for sample in self.samples if sample.id in self.resized]
        named = f"{', '.join(resized[:NAMED])}{', ...' if len(resized) > NAMED else ''}"
        who = "1 image has a mask" if len(resized) == 1 else f"{len(resized)} images have masks"
        said = [f"{who} of another size, resized to nearest: {named}"] if resized else []
        return suspicious_levels(self.samples, self.rule) + said

    def keep_members(self, part: Subset) -> None:
        """Leave out what a subset's lists do not name; a list that names absent files is told in one defect."""
        for wanted, kind in ((part.tampered, "tampered"), (part.authentic, "authentic")):
            if isinstance(wanted, str):
                continue
            members = {_stem(line): line for line in read_list(wanted)}
            kept, seen = [], set()
            for sample in self.samples:
                parts = _stem(self.names[sample.id]).split("/")
                ends = ["/".join(parts[depth:]) for depth in range(len(parts))]
                member = next((end for end in ends if end in members), None)
                if sample.tampered == (kind == "tampered"):
                    if member is None:
                        continue
                    seen.add(member)
                kept.append(sample)
            self.samples = kept
            self.defects = [defect for defect in self.defects if self._is_member(defect.file, members)]
            failed = {end for defect in self.defects for end in _ends(defect.file)}
            self.absent(wanted, [line for member, line in members.items() if member not in seen | failed])
            self.counts[kind] = sum(s.tampered == (kind == "tampered") for s in kept)

    def _is_member(self, file: str, members: Mapping[str, str]) -> bool:
        return any(end in members for end in _ends(file))

    def absent(self, where: Path, names: list[str]) -> None:
        """One defect that counts the files of a list which are not here, and names the first."""
        if names:
            more = ", ..." if len(names) > NAMED else ""
            problem = f"names {len(names)} files that are not here: {', '.join(names[:NAMED])}{more}"
            self.defects.append(Defect(self.test_set, where.name, problem))


def _stem(name: str) -> str:
    """A member's name as it is compared: without an image's ending, in lower case, with forward slashes."""
    name = name.partition(",")[0].strip().replace("\\", "/").lower()
    stem, dot, ending = name.rpartition(".")
    return stem if dot and f".{ending}" in IMAGE_SUFFIXES else name


def _ends(file: str) -> list[str]:
    parts = _stem(file).split("/")
    return ["/".join(parts[depth:]) for depth in range(len(parts))]


def _own(group: Group | Listed, key: str) -> bool:
    return isinstance(group, Group) and getattr(group, key) is not None


# -------------------------------------------------------------------------------------------------- cards: groups


def _add_tampered(found: _Found, group: Group, files: Mapping[str, Path]) -> None:
    if group.polygons is not None:
        _add_polygons(found, group, files)
        return
    if group.beside is None:
        for name, match in _matches(group, files):
            found.add(name, files[name], (), group.kind, _source(group, match), forged=True)
        return
    shared = sorted(set(group.image.groupindex) & set(group.beside.groupindex))
    beside: dict[tuple, list[str]] = defaultdict(list)
    for name in files:
        if match := fullmatch(group.beside, name):
            beside[_key(match, shared)].append(name)
    used = set()
    for name, match in _matches(group, files):
        if name in found.claimed:
            continue
        key = _key(match, shared)
        candidates = [other for other in beside.get(key, []) if other != name]
        used.add(key)
        if len(candidates) == 1 or (candidates and group.union):
            paths = tuple(files[candidate] for candidate in candidates)
            if group.boxes is None:
                found.add(name, files[name], paths, group.kind, _source(group, match))
            else:
                _add_boxes(found, group, name, files[name], paths, _source(group, match))
        else:
            found.claimed.add(name)
            found.counts["tampered"] += 1
            names = ", ".join(candidates)
            found.reject(name, f"{len(candidates)} masks: {names}; keep one" if candidates else "no mask")
    found.paired.update(name for key in used for name in beside.get(key, []))
    if group.only is None:
        found.beside.update(name for names in beside.values() for name in names)


def _key(match, shared: list[str]) -> tuple[str, ...]:
    return tuple((match[name] or "").lower() for name in shared)


def _matches(group: Group, files: Iterable[str]) -> Iterator[tuple[str, object]]:
    """(name, match) of the files that a group's pattern takes, those alone that its list names where it has one."""
    wanted = None if group.only is None else {line.lower() for line in read_list(group.only)}
    for name in files:
        match = fullmatch(group.image, name)
        if match and (wanted is None or group.member.format_map(match.groupdict()).lower() in wanted):
            yield name, match


def _add_listed(found: _Found, group: Listed, files: Mapping[str, Path], tampered: bool) -> None:
    """Pairs that a list names. What it names and is not here is one defect, a pair that lacks its mask one each."""
    by_name = {name.lower(): name for name in files}
    absent = []
    for row in group.rows():
        name = by_name.get(row["image"].lower())
        if name is None:
            absent.append(row["image"])
        elif not tampered or (not row["mask"] and not group.mask):
            found.add(name, files[name], (), row["kind"] if tampered else "authentic", row["source"], forged=tampered)
        elif (mask := by_name.get(row["mask"].lower())) is not None:
            found.add(name, files[name], (files[mask],), row["kind"], row["source"])
        else:
            found.claimed.add(name)
            found.counts["tampered"] += 1
            found.reject(name, f"its mask {row['mask']} is absent" if row["mask"] else "no mask")
    found.absent(group.list, absent)


def _add_boxes(found: _Found, group: Group, name: str, path: Path, texts: tuple[Path, ...], source: str) -> None:
    boxes = []
    for text in texts:
        try:
            for line in text.read_text(encoding="utf-8-sig").splitlines():
                if line.strip():
                    x0, y0, x1, y1 = (float(number) for number in line.replace(",", " ").split())
                    boxes.append((x0, y0, x1, y0, x1, y1, x0, y1))
        except (OSError, ValueError) as error:
            found.counts["tampered"] += 1
            found.reject(name, f"{shown(text.name)} is no list of boxes, x0 y0 x1 y1 a line ({error})")
            return
    found.add(name, path, (), group.kind, source, shapes=tuple(boxes))


def _add_polygons(found: _Found, group: Group, files: Mapping[str, Path]) -> None:
    """Images whose forged polygons a COCO file holds; one without any is authentic, one that no file names a defect."""
    outlines: dict[str, list[tuple[float, ...]]] = {}
    for name in files:
        if fullmatch(group.polygons, name):
            outlines.update(_coco_polygons(files[name], group.category))
    for name, match in _matches(group, files):
        polygons = outlines.get(name.rpartition("/")[2].lower())
        if polygons is None:
            found.counts["tampered"] += 1
            found.reject(name, "no file of polygons names it")
        else:
            kind = group.kind if polygons else "authentic"
            found.add(name, files[name], (), kind, _source(group, match), shapes=tuple(polygons))


def _coco_polygons(path: Path, category: str) -> dict[str, list[tuple[float, ...]]]:
    """File name in lower case -> the polygons of the forged category, of a COCO file. Raises DataError."""
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
        names = {image["id"]: image["file_name"].rpartition("/")[2].lower() for image in table["images"]}
        forged = {c["id"] for c in table["categories"] if not category or c["name"].lower() == category.lower()}
        found: dict[str, list[tuple[float, ...]]] = {name: [] for name in names.values()}
        for annotation in table["annotations"]:
            if annotation["category_id"] in forged:
                polygons = [tuple(map(float, corners)) for corners in annotation["segmentation"]]
                found[names[annotation["image_id"]]] += [p for p in polygons if len(p) >= 6 and len(p) % 2 == 0]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{shown(path)}: is no COCO file of polygons ({error!r}); fetch it again") from error
    return found


def _source(group: Group, match) -> str:
    return group.source.format_map(match.groupdict()) if group.source else ""


class _card_named:
    """Errors about a card's patterns and lists name the card."""

    def __init__(self, card: Card):
        self.card = card

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, CardError) and not str(error).startswith(self.card.name):
            raise CardError(f"{self.card.name}: {error}") from error


# -------------------------------------------------------------------------------------- cards: where the set lies


def _strip_prefix(groups: Iterable[Group | Listed], files: Mapping[str, Path]) -> dict[str, Path]:
    """The files named from where the official layout begins: the root itself or a folder below it."""
    patterns = [group.image for group in groups if isinstance(group, Group)]
    listed = {row["image"].lower() for group in groups if isinstance(group, Listed) for row in group.rows()}
    counts: Counter[str] = Counter()
    for name in files:
        parts = name.split("/")
        for depth in range(len(parts)):
            below = "/".join(parts[depth:])
            if below.lower() in listed or any(fullmatch(pattern, below) for pattern in patterns):
                counts["".join(part + "/" for part in parts[:depth])] += 1
                break
    prefix = max(counts, key=lambda p: (counts[p], -p.count("/")), default="")
    return {name.removeprefix(prefix): path for name, path in files.items() if name.startswith(prefix)}


def _not_the_set(card: Card, root: Path, files: Mapping[str, Path], found: _Found, subset: str) -> str:
    """What was looked for and what was found instead, and which set the folder looks like."""
    lines = [f"{shown(root)}: holds no usable image of {card.title} ({len(found.defects)} defects)"]
    if subset:
        lines[0] = lines[0].replace(card.title, f"{card.title}, subset {subset}")
    if found.defects:
        lines += [f"  {defect.file}: {defect.problem}" for defect in found.defects[:NAMED]]
    names = list(files)
    there = f"{len(names)} files of images, such as {', '.join(names[:NAMED])}" if names else "no file of an image"
    lines.append(f"found there: {there}")
    if names and (other := _looks_like(files, card)):
        lines.append(f"it looks like {other.title}: open it as {other.name}:{shown(root)}")
    lines.append(f"looked for, from {card.page}:\n{card.layout.strip()}")
    return "\n".join(lines)


def _looks_like(files: Mapping[str, Path], wanted: Card) -> Card | None:
    """The other card that takes most of these files, if it takes half of them and pairs some."""
    best, most = None, max(1, len(files) // 2) - 1
    for card in load_all():
        if card.name == wanted.name:
            continue
        groups = [*card.tampered, *card.authentic]
        inside = _strip_prefix(groups, files)
        taken = set()
        for group in groups:
            if isinstance(group, Listed):
                rows = [(row["image"].lower(), row["mask"].lower()) for row in group.rows()]
                taken |= {name for name in inside if any(name.lower() in row for row in rows)} if rows else set()
            else:
                images = [name for name in inside if fullmatch(group.image, name)]
                beside = [n for n in inside if group.beside is not None and fullmatch(group.beside, n)]
                if group.beside is None or beside:
                    taken |= {*images, *beside}
        if len(taken) > most:
            best, most = card, len(taken)
    return best


# -------------------------------------------------------------------------------------------------------- folders


def _masks_of(files: Mapping[str, Path]) -> dict[str, str]:
    """Mask -> image of the files of one folder that are called as the mask of another one there."""
    stems = {name.rpartition(".")[0] for name in files}
    found = {}
    for name in files:
        stem = name.rpartition(".")[0]
        for suffix in MASK_SUFFIXES[1:]:
            if stem.endswith(suffix) and stem.removesuffix(suffix) in stems:
                found[name] = stem.removesuffix(suffix)
    return found


def _masks_apart(images: Path, files: dict[str, Path], masks: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """(images, masks): one folder may lie in the other, or be the other."""
    if images.resolve() == masks.resolve():
        beside = _masks_of(files)
        return {n: p for n, p in files.items() if n not in beside}, {n: files[n] for n in beside}
    mask_files = list_files(masks)
    if images.resolve().is_relative_to(masks.resolve()):
        inside = {path.resolve() for path in files.values()}
        return files, {name: path for name, path in mask_files.items() if path.resolve() not in inside}
    inside = (
        {path.resolve() for path in mask_files.values()} if masks.resolve().is_relative_to(images.resolve()) else set()
    )
    return {name: path for name, path in files.items() if not inside or path.resolve() not in inside}, mask_files


def _add_folder_pairs(found: _Found, files: dict[str, Path], masks: dict[str, Path]) -> None:
    by_path, by_name = defaultdict(list), defaultdict(list)
    stems = {name.rpartition(".")[0] for name in files}
    namesakes = Counter(stem.rpartition("/")[2] for stem in (name.rpartition(".")[0] for name in files))
    for name in masks:
        stem = name.rpartition(".")[0]
        by_path[stem].append(name)
        by_name[stem.rpartition("/")[2]].append(name)
    used = set()
    for name, path in files.items():
        stem = name.rpartition(".")[0]
        folders, _, short = stem.rpartition("/")
        if short.startswith(AUTHENTIC_PREFIX) or AUTHENTIC_FOLDER in folders.lower().split("/"):
            found.add(name, path, (), "authentic")
            continue
        # A name that another image has exactly is that image's mask: face_mask.png is not of face.jpg but of
        # face_mask.jpg where there is one.
        suffixes = [suffix for suffix in MASK_SUFFIXES if not suffix or stem + suffix not in stems]
        candidates = [mask for suffix in suffixes for mask in by_path[stem + suffix]]
        if not candidates and namesakes[short] == 1:
            suffixes = [suffix for suffix in MASK_SUFFIXES if not suffix or short + suffix not in namesakes]
            candidates = [mask for suffix in suffixes for mask in by_name[short + suffix]]
        used.update(candidates)
        if len(candidates) == 1:
            found.add(name, path, (masks[candidates[0]],))
            continue
        found.counts["tampered"] += 1
        if candidates:
            found.reject(name, f"{len(candidates)} masks: {', '.join(sorted(candidates))}; keep one")
        else:
            found.reject(name, f"no mask; add {short}.png, or call it {AUTHENTIC_PREFIX}{short} if authentic")
    for name in sorted(set(masks) - used):
        found.reject(name, "a mask without an image")
