"""What `bench data audit` said of a set, kept beside generated data so that a report can say it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench.data.builtin import cache_folder
from bench.files import write_atomic


def keep(fingerprint: str, verdict: str, leaks: Sequence[str]) -> None:
    """Keep a verdict by the set's fingerprint; silently not where the folder cannot be written."""
    try:
        path = _path(fingerprint)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps({"verdict": verdict, "leaks": list(leaks)}))
    except OSError:
        pass


def kept(fingerprint: str) -> str:
    """The verdict on the very files of this fingerprint, "" where they were not audited on this machine."""
    try:
        verdict = json.loads(_path(fingerprint).read_text(encoding="utf-8"))["verdict"]
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    return verdict if isinstance(verdict, str) else ""


def _path(fingerprint: str) -> Path:
    return cache_folder() / "audits" / f"{fingerprint}.json"
