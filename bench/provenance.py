"""What made a result: versions, revision, machine, and the digest of the code between image and evidence."""

from __future__ import annotations

import datetime
import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

PACKAGES = [
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "scikit-image",
    "opencv-python",
    "pillow",
    "pyjpegio",
    "joblib",
    "matplotlib",
]
MEASURING = ("image.py", "perturb/*.py", "perturb/families/*.py", "evidence.py", "severity.py")


@functools.cache
def code_digest() -> str:
    """SHA-256 over the harness's source that a stored cell depends on (localizers digest their own)."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for pattern in MEASURING:
        for file in sorted(root.glob(pattern)):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def machine() -> dict[str, object]:
    """Processor, cores and system: enough to read timings by, nothing that names a user or a path."""
    return {"system": platform.system(), "processor": _processor(), "cores": os.cpu_count()}


def revision() -> str:
    """Git revision of the suite's working tree, with "+changes" when it differs from it; "" where it is not in git."""
    root = Path(__file__).parents[1]

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # an installed suite may lie inside a repository of the user's
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def now() -> str:
    """The present moment, UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
