"""Tables of one run as Markdown, `docs/results/classical.md`: every localizer on every test set and perturbation.

    python -m bench run --models classical --data SETS --perturbations standard --out RUN
    python -m bench run --models classical --data SETS --perturbations clean --limit 4 --workers 1 --out TIMED
    python -m bench.training.tools.classical_results RUN TIMED > docs/results/classical.md

RUN gives the values. TIMED, a small run on an otherwise idle machine, gives the seconds. Values: protocol
`native`, mean over the tampered images to which the localizer applies.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from bench.results import read, read_about
from bench.store import Store
from bench.summary import summarize

ALL = "All sets together"
METRICS = {"auc": "pixel AUC", "best_f1": "best-threshold F1"}


def main(run: Path, timed: Path) -> None:
    """Print the document."""
    about = read_about(run)
    results, cells = read(run), cells_of(run)
    results = results[(results["protocol"] == "native") & results["metric"].isin(METRICS)]
    seconds = seconds_per_image(cells_of(timed))
    summary = summarize(pd.concat([together(results), results]), pd.concat([together(cells), cells]))
    versions = about["versions"]
    print(INTRODUCTION.format(
        suite=about["suite"], python=versions["python"], opencv=versions["opencv-python"], torch=versions["torch"],
        processor=read_about(timed)["machine"]["processor"],
    ))  # fmt: skip
    for test_set in summary["test_set"].unique():
        block = summary[summary["test_set"] == test_set]
        images = cells[cells["test_set"] == test_set] if test_set != ALL else together(cells)
        images = images.drop_duplicates("image")
        print(f"## {test_set}\n")
        print(f"{images['tampered'].sum()} tampered images, {(~images['tampered'].astype(bool)).sum()} authentic.\n")
        print(clean_table(block, seconds, test_set))
        for metric, title in METRICS.items():
            print(f"{title[0].upper()}{title[1:]} under the `standard` grid:\n")
            print(grid_table(block[block["metric"] == metric]))


def cells_of(run: Path) -> pd.DataFrame:
    """The table of a run's cells."""
    with Store(run) as store:
        return store.cells()


def together(table: pd.DataFrame) -> pd.DataFrame:
    """The images of all sets as one set."""
    names = {
        column: table["test_set"] + "/" + table[column] for column in ("image", "source") if column in table.columns
    }
    table = table.assign(**names, test_set=ALL)
    return table[~table["image"].str.endswith("/*")]


def seconds_per_image(cells: pd.DataFrame) -> pd.Series:
    """Median seconds of a clean image by (test set, model)."""
    scored = cells[(cells["spec"] == "identity") & (cells["status"] == "ok")]
    both = pd.concat([together(scored), scored])
    return both.assign(seconds=pd.to_numeric(both["seconds"])).groupby(["test_set", "model"])["seconds"].median()


def clean_table(block: pd.DataFrame, seconds: pd.Series, test_set: str) -> str:
    """Without perturbation, best AUC first: AUC and best F1 with intervals, denominators, seconds."""
    clean = block[block["spec"] == "identity"].set_index(["model", "metric"])
    models = clean.xs("auc", level="metric").sort_values("mean", ascending=False, na_position="last")
    rows = []
    for model, row in models.iterrows():
        time = seconds.get((test_set, model))
        rows.append([
            f"`{model}`", with_interval(row), with_interval(clean.loc[(model, "best_f1")]), row["n"],
            row["n_not_applicable"], row["n_failed"], "" if time is None else f"{time:.2f}",
        ])  # fmt: skip
    header = ["localizer", "AUC", "best F1", "n", "not applicable", "failed", "s per image"]
    return markdown(header, rows)


def grid_table(block: pd.DataFrame) -> str:
    """One row per localizer, one column per condition; n where not every image could be scored."""
    most = block["n"].max()
    order = list(dict.fromkeys(block["spec"]))
    rows = []
    for model, part in block.groupby("model", sort=False):
        values = part.set_index("spec")
        cells = []
        for spec in order:
            row = values.loc[spec]
            few = "" if row["n"] == most else f" ({row['n']})"
            cells.append("n/a" if row["n"] == 0 else short(row["mean"]) + few)
        rows.append([f"`{model}`", *cells])
    return markdown(["localizer", *(spec.replace(":", " ") for spec in order)], rows)


def with_interval(row: pd.Series) -> str:
    """Mean and interval, as in `.702 [.650, .751]`."""
    if row["n"] == 0:
        return "n/a"
    return short(row["mean"]) + ("" if pd.isna(row["low"]) else f" [{short(row['low'])}, {short(row['high'])}]")


def short(value: float) -> str:
    """Three digits without the leading zero."""
    return f"{value:.3f}".removeprefix("0") if value < 0.9995 else "1.00"


def markdown(header: list[str], rows: list[list]) -> str:
    """A Markdown table, followed by an empty line."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


INTRODUCTION = """\
# Classical localizers on real images, measured

Every weight-free localizer (and `adaptive-cfa`, whose small network its authors give away) on samples of six
standard test sets, without perturbation and under the `standard` grid. Weak results are included. `fusion` combines the
maps of the fast ones and was fitted on the built-in forgeries alone; no localizer was fitted or chosen on the images
below, except `cfa2`, whose score was chosen on a table that included some of them.

Protocol `native` v1: mean over the tampered images to which a localizer applies, at the ground truth's resolution.
In brackets 95 % bootstrap intervals over source photos. A mean over few images ("n") is not comparable with a mean over
all of them: a JPEG method that applies to a fifth of a set is judged on that fifth. In the tables of the grid a number
in parentheses is n where it is smaller than the table's largest; "n/a": it applied to no image. Best-threshold F1 uses
each image's best threshold, chosen with the ground truth: an upper bound, not an expected result. The samples are
small; for a comparison worth citing, run the whole sets.

Made by the suite's version {suite} (Python {python}, OpenCV {opencv}, torch {torch}) with

    python -m bench run --models classical --data SETS --perturbations standard --out RUN
    python -m bench run --models classical --data SETS --perturbations clean --limit 4 --workers 1 --out TIMED
    python -m bench.training.tools.classical_results RUN TIMED > docs/results/classical.md

where SETS names the six as `folder:casia1/images,casia1/masks,...`. Seconds are the median wall time per image,
one thread of "{processor}", from the second command.
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder that gives the values")
    parser.add_argument("timed", type=Path, help="run folder that gives the seconds")
    chosen = parser.parse_args()
    main(chosen.run, chosen.timed)
