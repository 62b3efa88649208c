"""What a test set is: its images, where each of them is forged, and the files that cannot be used."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from bench.data import masks, verdicts
from bench.data.cards import Card
from bench.data.files import file_digest
from bench.data.masks import MaskRule
from bench.truth import Truth
from models.image import ForensicImage, ImageError, read_image, shown


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
        """Whether the set says that something in it is forged."""
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

    name: the set's, with `@subset` where it is a part of it; the samples' `test_set` is the set's name in both cases,
    so that a result of one serves the other. found: number of "tampered" and "authentic" image files, usable or not.
    remarks: what is suspicious but scored.
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
    subset: str = ""
    remarks: list[str] = field(default_factory=list)

    # Leaf modules that turn the files into image and ground truth: part of the key of a stored result.
    reader_modules: ClassVar[tuple[str, ...]] = ("bench.data.masks:truth_of",)

    @property
    def tampered(self) -> list[Sample]:
        """The tampered images, in the set's order."""
        return [sample for sample in self.samples if sample.tampered]

    @property
    def authentic(self) -> list[Sample]:
        """The authentic images, in the set's order."""
        return [sample for sample in self.samples if not sample.tampered]

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
            return masks.truth_of(sample.image, sample.masks, sample.shapes, sample.tampered, self.rule)

    def read_mask(self, sample: Sample) -> np.ndarray:
        """The forged pixels, bool (H, W) of the image's size: `read_truth` above 127.

        Raises:
            ImageError: as `read_truth` does.
            ValueError: the set does not say where this image is forged.
        """
        if not sample.located:
            raise ValueError(f"{sample.id} is {'tampered' if sample.tampered else 'authentic'} and has no mask")
        return self.read_truth(sample).forged

    def fingerprint(self, sample: Sample) -> str:
        """SHA-256 over the bytes of image and masks and the mask rule: equal ones give equal results."""
        with _named(sample):
            return self._fingerprint(sample)

    def _fingerprint(self, sample: Sample) -> str:
        parts = [file_digest(sample.image), *map(file_digest, sample.masks)]
        if sample.mask is not None:
            parts.append(self.rule.text)
        parts += [" ".join(f"{number:g}" for number in shape) for shape in sample.shapes]
        if sample.tampered and not sample.located:
            parts.append("tampered")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over id and fingerprint of every usable image in order: equal ones are the same test set.

        A file that has become unreadable since the scan counts as its id alone.
        """
        content = hashlib.sha256()
        for sample in self.samples:
            with contextlib.suppress(ImageError):
                content.update(self.fingerprint(sample).encode())
            content.update(f" {sample.id}\n".encode())
        return content.hexdigest()

    def record(self) -> dict:
        """What run.json keeps of the set.

        Name, title, card, subset, digest, numbers, terms, remarks, defects, and what `bench data audit` said of these
        very files on this machine.
        """
        tampered = self.tampered
        return {
            "name": self.name, "title": self.title, "card": self.card.name if self.card else "",
            "subset": self.subset, "digest": self.digest, "n": len(self.samples),
            "n_tampered": len(tampered), "n_located": sum(s.located for s in tampered),
            "n_authentic": len(self.samples) - len(tampered), "demonstration": self.demonstration,
            "note": self.note, "licence": self.licence, "citation": self.citation,
            "remarks": self.remarks, "audit": verdicts.kept(self.digest),
            "defects": [{"file": d.file, "problem": d.problem, "known": d.known} for d in self.defects],
        }  # fmt: skip


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
