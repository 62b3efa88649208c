"""The files below a folder: which of them are a set's, under which names, and what they hold, bit by bit."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Collection
from pathlib import Path

from models.image import ImageError, shown

IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".jif",
        ".png",
        ".apng",
        ".tif",
        ".tiff",
        ".bmp",
        ".dib",
        ".webp",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".gif",
        ".jp2",
        ".j2k",
        ".jpx",
        ".avif",
    ]
)
# Folders that systems, archivers and network drives put beside photos; all that begin with a dot or @ as well.
NO_PHOTOS = frozenset(("__macosx", "#recycle", "#snapshot", "$recycle.bin", "lost+found", "system volume information"))
MAGICS = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG", "PNG"), (b"II*\0", "TIFF or raw"), (b"MM\0*", "TIFF or raw"),
    (b"GIF8", "GIF"), (b"\0\0\0\x0cjP  ", "JPEG 2000"), (b"8BPS", "Photoshop"),
)  # fmt: skip


class DataError(ValueError):
    """A test set that cannot be opened; the message names the set or file and the fix."""


def list_files(root: Path, suffixes: Collection[str] = IMAGE_SUFFIXES, hint: str = "") -> dict[str, Path]:
    """Name -> path of all files below a folder with these endings, sorted by folder and name; links are followed.

    The name is the path below the root with forward slashes, in Unicode's composed form (NFC), so that it is the same
    on every system; bytes that are not UTF-8 are escaped. Hidden files and what systems put beside photos are left
    out. Raises DataError where the root is no folder or one cannot be read.
    """
    return {name: path for name, path in _walk(root, hint) if path.suffix.lower() in suffixes}


def strange_images(root: Path) -> dict[str, str]:
    """Name -> format of the files below a folder that begin like an image but have another ending."""
    found = {}
    for name, path in _walk(root):
        if path.suffix.lower() not in IMAGE_SUFFIXES and (form := _sniff(path)):
            found[name] = form
    return found


def _walk(root: Path, hint: str = ""):
    if not root.exists():
        raise DataError(f"{shown(root)}: no such folder{hint}")
    if not root.is_dir():
        raise DataError(f"{shown(root)}: is not a folder; give the folder that holds the files")

    def fail(error: OSError) -> None:
        problem = f"cannot be read ({error.strerror}); check its permissions"
        raise DataError(f"{shown(error.filename)}: {problem}") from error

    entered = {str(root): frozenset((os.path.realpath(root),))}  # folder -> the real folders that lead to it
    taken: set[str] = set()
    for folder, folders, names in os.walk(root, onerror=fail, followlinks=True):
        way = entered.pop(folder)
        kept = []
        for name in sorted(folders):
            if name.startswith((".", "@")) or name.lower() in NO_PHOTOS:
                continue
            child = os.path.join(folder, name)
            real = os.path.realpath(child) if os.path.islink(child) else os.path.join(os.path.realpath(folder), name)
            if real not in way:  # else a link back to where we come from
                entered[child] = way | {real}
                kept.append(name)
        folders[:] = kept
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(folder, name)
                below = shown(path.relative_to(root).as_posix())
                composed = unicodedata.normalize("NFC", below)
                # the two forms of one name may lie side by side; in tables "*" and "**" stand for whole test sets
                key = next(n for n in (composed, below, unicodedata.normalize("NFD", below)) if n not in taken)
                taken.add(key)
                yield key.replace("*", "\\x2a") if os.path.splitext(key)[0] in ("*", "**") else key, path


def _sniff(path: Path) -> str:
    """The image format that a file begins like, "" for none."""
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return ""
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"avif"):
        return "AVIF" if start[8:12] == b"avif" else "HEIC"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    return next((form for magic, form in MAGICS if start.startswith(magic)), "")


_digests: dict[tuple[str, int, int], str] = {}


def file_digest(path: Path) -> str:
    """SHA-256 of a file, kept for this process by its size and modification time. Raises ImageError."""
    try:
        status = path.stat()
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key not in _digests:
            with path.open("rb") as file:
                _digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{shown(path)}: cannot be read ({error.strerror})") from error
    return _digests[key]
