"""Bytes of a run folder's store for each cell, by what holds them.

    python tests/benchmarks/cell_bytes.py RUN

Pages of SQLite count as they lie on the disk: "unused" is the part of them that holds nothing.
"""

from __future__ import annotations

import argparse
import sqlite3
from pathlib import Path

PARTS = {"statistic": "statistics", "picture": "pictures", "evidence": "rows of results"}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    connection = sqlite3.connect(f"file:{parser.parse_args().run / 'evidence.sqlite'}?mode=ro", uri=True)
    (cells,) = connection.execute("select count(*) from asked").fetchone()
    sizes = dict.fromkeys([*PARTS.values(), "everything else"], (0, 0))
    query = (
        "select coalesce(made.tbl_name, dbstat.name), sum(pgsize), sum(unused) from dbstat"
        " left join sqlite_master as made on made.name = dbstat.name group by 1"
    )
    for table, size, unused in connection.execute(query):
        part = PARTS.get(table, "everything else")
        sizes[part] = (sizes[part][0] + size, sizes[part][1] + unused)
    print(f"{cells} cells\n{'part':<18}{'bytes a cell':>13}{'of it unused':>13}")
    for part, (size, unused) in [*sizes.items(), ("file", tuple(map(sum, zip(*sizes.values(), strict=True))))]:
        print(f"{part:<18}{size / cells:>13.0f}{unused / cells:>13.0f}")
    for kind, count, mean in connection.execute(
        "select kind, count(*), avg(length(data)) from statistic join evidence on evidence.key = cell group by 1"
    ):
        print(f"a statistic of a {kind}: {mean:.0f} bytes (mean of {count})")


if __name__ == "__main__":
    main()
