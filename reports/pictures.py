"""The pictures behind the numbers: which are shown, and under which names they lie beside the page.

A name is made of numbers alone, so that the page need not list it: `pictures/SET/IMAGE/truth.webp`, `c3.webp` (the
photo under condition 3), `l0c3-score.webp` (line 0 under condition 3).
"""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from reports.comparison import Comparison

KINDS = ("photo", "truth", "score", "prediction", "confidence", "sources")  # the last two where a localizer has them
SUFFIXES = ("", "webp", "jpg", "png")  # by the two bits of a code; 0: there is none
MAGIC = {b"RIFF": 1, b"\xff\xd8": 2, b"\x89PNG": 3}
TOGETHER = 64  # pictures that are handed to the thread that writes them at once
MIME = {"webp": "image/webp", "jpg": "image/jpeg", "png": "image/png"}


@dataclass(frozen=True)
class Cell:
    """One cell whose pictures are wanted: numbers of line, set, condition and image, and its names in the store."""

    line: int
    test_set: int
    condition: int
    image: int
    run: int
    key: str
    photo: tuple[str, ...]
    truth: tuple[str, ...]
    scored: bool


class PictureError(ValueError):
    """A stored picture that is neither WebP, JPEG nor PNG."""


@dataclass
class Album:
    """Pictures written below `folder`, or kept as data URIs in `uris` where there is none.

    most: how many files (with a folder) or characters (without) it may hold. codes: per kind two bits of SUFFIXES.
    """

    comparison: Comparison
    folder: Path | None
    most: int
    uris: dict[str, str] = field(default_factory=dict)
    codes: dict[tuple[int, int, int, int], int] = field(default_factory=dict)
    size: int = 0
    considered: int = 0
    left_out: int = 0
    _suffix: dict[str, int] = field(default_factory=dict)
    _made: set[str] = field(default_factory=set)
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _writing: list[Future] = field(default_factory=list)
    _waiting: list[tuple[str, bytes]] = field(default_factory=list)

    def close(self) -> None:
        """Wait until all pictures are written. Raises OSError where one could not be."""
        self._hand_over()
        self._writer.shutdown()
        for writing in self._writing:
            writing.result()

    def add(self, cells: Iterable[Cell]) -> None:
        """Take the pictures of cells in this order as long as there is room; `left_out` counts cells without."""
        for cell in cells:
            if max(self.size, self.considered) >= self.most:
                self.left_out += 1
                continue
            self.considered += 1
            code = 0
            for number, (kind, stem, key) in enumerate(_wanted(cell)):
                code |= self._take(cell.run, kind, stem, key) << (2 * number)
            self.codes[cell.line, cell.test_set, cell.condition, cell.image] = code

    def photo(self, run: int, test_set: int, image: int, condition: int, key: tuple[str, ...]) -> int:
        """Take one photo alone; its code among SUFFIXES."""
        return self._take(run, "photo", f"{test_set}/{image}/c{condition}", key)

    def _take(self, run: int, kind: str, stem: str, key: str | tuple[str, ...]) -> int:
        if stem not in self._suffix:
            data = self.comparison.runs[run].picture(kind, key) if key else None
            self._suffix[stem] = 0 if data is None else self._keep(stem, data)
        return self._suffix[stem]

    def _keep(self, stem: str, data: bytes) -> int:
        code = next((code for magic, code in MAGIC.items() if data.startswith(magic)), None)
        if code is None:
            raise PictureError("a stored picture is neither WebP, JPEG nor PNG; run the same `bench run` again")
        name = f"{stem}.{SUFFIXES[code]}"
        if self.folder is None:
            self.uris[name] = f"data:{MIME[SUFFIXES[code]]};base64,{base64.b64encode(data).decode('ascii')}"
            self.size += len(self.uris[name])
        else:
            self._waiting.append((name, data))
            if len(self._waiting) == TOGETHER:
                self._hand_over()
            self.size += 1
        return code

    def _hand_over(self) -> None:
        # to create a file takes as long as to find its picture, and the system does it beside this thread
        if self.folder is not None:
            self._writing.append(self._writer.submit(self._write, self.folder, self._waiting))
            self._waiting = []

    def _write(self, folder: Path, pictures: Sequence[tuple[str, bytes]]) -> None:
        for name, data in pictures:
            place = os.path.join(folder, os.path.dirname(name))
            if place not in self._made:
                os.makedirs(place, exist_ok=True)
                self._made.add(place)
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)


def left_out(album: Album, images: Sequence[Mapping[str, bool]]) -> list[tuple[str, list[str], list[str]]]:
    """Per test set its images without any picture, and those with the pictures of some cells alone, as text.

    images: per test set its images in their order, as `reports.drill.images_of` finds them.
    """
    pictured = Counter((test_set, image) for _, test_set, _, image in album.codes)
    sizes = [run.cells.groupby(["test_set", "image"], observed=True).size() for run in album.comparison.runs]
    cells = Counter({place: int(n) for place, n in pd.concat(sizes).groupby(level=[0, 1]).sum().items()})
    found = []
    for number, (test_set, names) in enumerate(zip(album.comparison.test_sets, images, strict=True)):
        none, some = [], []
        for i, name in enumerate(names):
            shown, total = pictured[number, i], cells[test_set.name, name]
            if shown == 0:
                none.append(name)
            elif shown < total:
                some.append(f"{name} ({shown} of {total})")
        if none or some:
            found.append((test_set.called, none, some))
    return found


def _wanted(cell: Cell) -> Iterator[tuple[str, str, str | tuple[str, ...]]]:
    """(kind, stem, key in the store) in the order of KINDS; an empty key where nothing can be."""
    at, of_line = f"{cell.test_set}/{cell.image}", f"l{cell.line}c{cell.condition}"
    yield "photo", f"{at}/c{cell.condition}", cell.photo
    yield "truth", f"{at}/truth", cell.truth
    for kind in KINDS[2:]:
        yield kind, f"{at}/{of_line}-{kind}", cell.key if cell.scored else ""
