"""What the commands that show results share: run folders as `reports` sees them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.report import contrasts, opened


@contextlib.contextmanager
def views(runs: dict[str, Path]) -> Iterator[tuple[list, object]]:
    """The `RunView`s of run folders by their labels, and the paired contrasts between them."""
    from reports import RunView

    with opened(runs) as found:
        yield [RunView.of(**vars(run)) for run in found], contrasts(found)


def closing_leaderboard(folder: Path) -> str:
    """What `run` ends with: the leaderboard in ten lines; "" where nothing has a value yet."""
    from reports.comparison import compare
    from reports.terminal import leaderboard

    with views({folder.resolve().name: folder}) as (found, _):
        return leaderboard(compare(found))
