"""Whether the checkpoint files that localizers need are on this machine, and intact."""

from __future__ import annotations

import hashlib
from pathlib import Path

import models
from models.card import CONVERTED


def readiness(card: models.ModelCard) -> str:
    """In two words whether a localizer can be asked for as it is: its files are looked for, and not read."""
    if card.argument:
        return f"needs a {card.argument}"
    return "ready" if all(file.found for file in card.weights) else "weights absent"


def row(model: str, file: models.WeightFile) -> dict:
    """What is known of a weight file and where it belongs."""
    target = file.path
    return {
        "model": model, "file": file.name, "size": file.size, "licence": file.licence, "page": file.page,
        "target": str(target), "sha256": file.sha256, "git_sha1": file.git_sha1, "state": state(target, file),
    }  # fmt: skip


def state(target: Path, file: models.WeightFile) -> str:
    """Whether a file is "absent", "damaged" (size or digest differ from what is known) or "present"."""
    if not target.exists():
        return "present (converted)" if target.with_name(target.name + CONVERTED).is_file() else "absent"
    if file.size is not None and target.stat().st_size != file.size:
        return f"damaged: {target.stat().st_size} bytes instead of {file.size}"
    if file.sha256 is None and file.git_sha1 is None:
        return "present (digest not known)"
    if file.sha256 is None:
        content = hashlib.sha1(b"blob %d\0" % target.stat().st_size)
        content.update(target.read_bytes())
        return "present" if content.hexdigest() == file.git_sha1 else f"damaged: id in git {content.hexdigest()}"
    with open(target, "rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    return "present" if found == file.sha256 else f"damaged: sha256 {found}"
