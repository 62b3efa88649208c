"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def atomic(path: Path, mode: str = "wb", **options) -> Iterator[IO]:
    """A file object whose content replaces `path` when the block ends, and is dropped when the block raises."""
    temporary = path.with_name(path.name + ".part")
    try:
        with open(temporary, mode, **options) as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes to `path` whole or not at all."""
    with atomic(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)
