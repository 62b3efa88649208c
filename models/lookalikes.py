"""Files that bear a checkpoint's name and are something else: what they are, and what to do about it."""

from __future__ import annotations

from pathlib import Path

from models.localizer import WeightsError

_BEGINNINGS = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer and not the file itself; run `git lfs pull` in "
     "its repository, or download the file from the repository's page"),
    (b"/annex/objects/", "a git-annex pointer and not the file itself; run `git annex get` in its repository"),
    (b"<!doctype", "a web page and no checkpoint; its download must be confirmed in a browser"),
    (b"<html", "a web page and no checkpoint; its download must be confirmed in a browser"),
    (b"<?xml", "an XML text and no checkpoint, often a server's error message; fetch the file again"),
    (b"{", "a JSON text and no checkpoint: an index of other files, or a server's error message"),
    (b"\x1f\x8b", "a gzip archive; unpack it and name the checkpoint inside"),
    (b"bzh", "a bzip2 archive; unpack it and name the checkpoint inside"),
    (b"\xfd7zxz", "an xz archive; unpack it and name the checkpoint inside"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it and name the checkpoint inside"),
    (b"rar!", "a RAR archive; unpack it and name the checkpoint inside"),
)  # fmt: skip


def refuse_lookalikes(path: Path) -> None:
    """Raises WeightsError for a file that is known to be no checkpoint by its first bytes, and OSError."""
    with path.open("rb") as file:
        begin = file.read(512)
    if begin[4:9] == b"\0\0\0\0{":  # safetensors: the length of the header, whose bytes may be anything, then JSON
        return
    plain = begin.lstrip().lower()
    for beginning, what in _BEGINNINGS:
        if plain.startswith(beginning):
            raise WeightsError(f"{path}: {what}")
    if begin[257:262] == b"ustar":
        raise WeightsError(f"{path}: a tar archive; unpack it and name the checkpoint inside")
