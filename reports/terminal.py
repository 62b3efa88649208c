"""The leaderboard in a terminal: ten lines after a run."""

from __future__ import annotations

from reports.answer import answer
from reports.comparison import Comparison
from reports.view import EVERY_SET
from reports.words import percent, score, span

MOST = 7  # rows; with answer, head and the rest ten lines
SIGNS = {"control": "control", "trained": "trained on the set", "other images": "fewer images", "no value": "no value"}


def leaderboard(comparison: Comparison, most: int = MOST) -> str:
    """Head, the best rows, how many more there are, and the answer; "" where nothing has a value."""
    if comparison.headline is None:
        return ""
    metric, protocol = comparison.headline
    scopes = comparison.scopes()
    if not scopes:
        return ""
    board = comparison.board(scopes[0], metric.name, protocol.name)
    order = ["ranked", *SIGNS]
    board = board.assign(place=[order.index(p) for p in board["placed"]]).sort_values("place", kind="stable")
    names = {line.index: line.label for line in comparison.lines}
    where = "mean over the test sets" if scopes[0] == EVERY_SET else scopes[0]
    rows = [("", f"{metric.title} ({protocol.name}), {where}", "unperturbed", "", "perturbed", "retained", "n")]
    shared = board[board.duplicated(["run", "rank"], keep=False)].groupby("run")["rank"].unique()
    for row in list(board.itertuples(index=False))[:most]:
        equal = "=" if row.rank in shared.get(row.run, ()) else ""
        rank = "" if row.rank != row.rank else f"{row.rank:.0f}{equal}"
        name = names[row.line] + (f" ({SIGNS[row.placed]})" if row.placed in SIGNS else "")
        n = "" if row.n != row.n else str(int(row.n))
        rows.append(
            (
                rank,
                name,
                score(row.clean),
                span(row.clean_low, row.clean_high, 2),
                score(row.perturbed),
                percent(row.retained),
                n,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(7)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if len(board) > most:
        lines.append(f"and {len(board) - most} more in the report")
    return "\n".join([*lines, " ".join(answer(comparison, scopes[0], metric.name, protocol.name))])
