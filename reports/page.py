"""The HTML page: its sections, style and script in one file, its numbers and pictures beside it or, on demand, inside.

The page itself holds the numbers of the headline metric. Those of other metrics, the values of every image and the
pictures lie in `data/` and `pictures/` and are loaded when they are looked at, which works from a disk too. It never
asks the network.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import itertools
import json
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup, escape

from reports import drill, sections, words
from reports.answer import answer
from reports.comparison import Comparison
from reports.diagnosis import diagnose
from reports.pictures import KINDS, SUFFIXES, Album, left_out
from reports.style import COLOURS
from reports.view import EVERY_SET

RANKS_OVER_LIMIT = 12  # of each end of a cell whose pictures are kept where not all are
SCRIPTS = (
    "dom",
    "data",
    "state",
    "leaderboard",
    "curves",
    "heatmap",
    "table",
    "gallery",
    "drill",
    "image",
    "compare",
    "page",
)
STYLES = ("base", "leaderboard", "results", "images", "print")
# columns of the tables in data files -> decimals of their numbers, "" for text
COUNTS = ("n", "n_failed", "n_not_applicable", "n_skipped", "contaminated")
SUMMARY = dict.fromkeys(("line", "test_set", "spec"), 0) | dict.fromkeys(("mean", "low", "high"), 5)
SUMMARY |= dict.fromkeys(COUNTS, 0)
MEANS = (
    *("clean", "clean_low", "clean_high", "perturbed", "perturbed_low", "perturbed_high"),
    *("worst", "retained", "drop", "drop_low", "drop_high", "over_control", "over_control_perturbed"),
)
PLACES = (
    *("line", "test_set", "family", "worst_spec", "levels", "n", "n_of"),
    *("rank", "rank_perturbed", "tied", "tied_perturbed"),
)
STANDINGS = dict.fromkeys(PLACES, 0) | {"placed": ""} | dict.fromkeys(MEANS, 5)
CONTRASTS = {"model": "", "run": "", "test_set": 0, "spec": 0, "difference": 5, "low": 5, "high": 5, "n": 0, "p": 5}


@dataclass(frozen=True)
class Settings:
    """How the page is written.

    Attributes:
        pictures: most picture files beside it.
        single_mb: megabytes of a single file's pictures, None for a page with files beside it.
    """

    pictures: int = 20_000
    single_mb: float | None = None


def write(folder: Path, comparison: Comparison, settings: Settings) -> list[Path]:
    """Write `report.html` and, unless it is a single file, `data/` and `pictures/`; the files that were written."""
    single = settings.single_mb is not None
    most = settings.pictures if settings.single_mb is None else int(settings.single_mb * 1e6)
    album = Album(comparison, None if single else folder / "pictures", most)
    images = drill.images_of(comparison)
    levels = _photos_of_levels(comparison, images, album)
    try:
        data = dict(_cells(comparison, images, album, single)) | dict(_numbers(comparison))
    finally:
        album.close()
    inline = {f"data-{name}": text for name, text in data.items() if single or name == _headline_name(comparison)}
    written = []
    if not single:
        (folder / "data").mkdir(parents=True, exist_ok=True)
        for name, text in data.items():
            written.append(folder / "data" / f"{name}.js")
            written[-1].write_text(f"robustness({json.dumps(name)},{text})\n", encoding="utf-8")
        written += sorted((folder / "pictures").rglob("*.*")) if (folder / "pictures").exists() else []
    page = folder / "report.html"
    page.write_text(
        build(comparison, images, inline, album, levels, single), encoding="utf-8", errors="backslashreplace"
    )
    return [page, *written]


def build(comparison: Comparison, images, inline: dict[str, str], album: Album, levels: dict, single: bool) -> str:
    """The page as text. inline: JSON texts by the id of their script element."""
    script = "\n".join(_resource("js", f"{name}.js") for name in SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=jinja2.PackageLoader("reports", "."),
    )  # fmt: skip
    environment.filters.update(
        score=words.score, signed=words.signed, span=words.span, number=words.number, percent=words.percent,
        counted=words.count, linked=words.linked, duration=words.duration,
        joined=lambda items: ", ".join(map(str, items)),
    )  # fmt: skip
    beside = "" if single else " 'self' file:"
    missing = left_out(album, images) if single and album.left_out else []
    rendered = []
    for module in found_sections():
        context = module.context(comparison)
        if context is not None:
            name = module.__name__.rpartition(".")[2]
            own = getattr(module, "TEMPLATE", None)  # of a short section, in its module
            template = environment.from_string(own) if own else environment.get_template(f"sections/{name}.html.j2")
            common = {"comparison": comparison, "single": single, "levels": levels, "album": album}
            common["left_out"] = missing
            rendered.append(
                {
                    "id": name,
                    "title": module.TITLE,
                    "short": getattr(module, "SHORT", module.TITLE),
                    "html": Markup(template.render(**common, **context)),
                }
            )
    texts = {"data": drill.text(_data(comparison, images, single)), **inline}
    if single:
        texts["pictures"] = drill.text(album.uris)
    return environment.get_template("report.html.j2").render(
        title=", ".join(run.label for run in comparison.runs),
        policy=f"default-src 'none'; img-src data:{beside}; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'{beside}",
        style=Markup("\n".join(_resource("css", f"{name}.css") for name in STYLES)),
        script=Markup(script),
        sections=rendered,
        texts={name: _embeddable(text) for name, text in texts.items()},
    )


def found_sections() -> list[ModuleType]:
    """The modules of `reports/sections`, in their ORDER."""
    names = [module.name for module in pkgutil.iter_modules(sections.__path__)]
    return sorted((importlib.import_module(f"reports.sections.{name}") for name in names), key=lambda m: m.ORDER)


def _resource(folder: str, name: str) -> str:
    return files("reports").joinpath(folder, name).read_text(encoding="utf-8")


def _embeddable(text: str) -> Markup:
    """JSON that may stand inside a script element."""
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


# ------------------------------------------------------------------------------------------------------ data files


def _cells(comparison: Comparison, images, album: Album, single: bool) -> Iterator[tuple[str, str]]:
    """("cells-LINE-SET", JSON) of every drill-down; fills the album, all pictures if they fit, else by rank."""
    total = sum(len(run.cells) for run in comparison.runs)
    sparse = single and total > drill.FULL_BELOW
    everything = not single and total * 4 <= album.most
    drills: list[drill.Drill] = []
    for one in drill.drills(comparison, images):
        one = drill.extremes(one) if sparse else one
        if everything:
            album.add(drill.cells_in_order(one))
            yield f"cells-{one.line}-{one.test_set}", drill.as_text(one, album)
        else:
            drills.append(one)
    if everything:
        return
    for rank in range(RANKS_OVER_LIMIT):
        for one in drills:
            if max(album.size, album.considered) < album.most:
                album.add(drill.cells_by_rank(one, rank))
    for one in drills:
        if max(album.size, album.considered) < album.most:
            album.add(drill.cells_in_order(one))
    album.left_out = max(album.left_out, total - len(album.codes))
    for one in drills:
        yield f"cells-{one.line}-{one.test_set}", drill.as_text(one, album)


def _numbers_name(protocol: int, metric: int) -> str:
    return f"numbers-{protocol}-{metric}"


def _headline_name(comparison: Comparison) -> str:
    if comparison.headline is None:
        return ""
    metric, protocol = comparison.headline
    return _numbers_name(comparison.protocols.index(protocol), comparison.metrics.index(metric))


def _numbers(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """("numbers-PROTOCOL-METRIC", JSON): summary, standings, contrasts and answers of one metric under one protocol."""
    places: dict[str, dict] = {
        "line": {line.index: line.index for line in comparison.lines},
        "test_set": {EVERY_SET: -1} | {s.name: i for i, s in enumerate(comparison.test_sets)},
        "spec": {"": -1} | {c.spec: i for i, c in enumerate(comparison.conditions)},
        "worst_spec": {"": -1} | {c.spec: i for i, c in enumerate(comparison.conditions)},
        "family": {"*": -1} | {name: i for i, name in enumerate(comparison.families)},
    }
    tables: dict[str, tuple[pd.DataFrame, dict]] = {
        "summary": (comparison.summary, SUMMARY),
        "standings": (_counted(comparison.standings), STANDINGS),
        "contrasts": (comparison.contrasts, CONTRASTS),
    }
    grouped = {
        name: dict(list(table.groupby(["protocol", "metric"], sort=False))) if len(table) else {}
        for name, (table, _) in tables.items()
    }
    for (p, protocol), (m, metric) in itertools.product(enumerate(comparison.protocols), enumerate(comparison.metrics)):
        key = (protocol.name, metric.name)
        if key not in grouped["summary"]:
            continue
        parts = [
            f"{json.dumps(name)}:{_columns(grouped[name].get(key), columns, places)}"
            for name, (_, columns) in tables.items()
        ]
        answers = {
            str(places["test_set"][scope]): " ".join(_marked(comparison, scope, metric.name, protocol.name))
            for scope in comparison.scopes()
        }
        yield _numbers_name(p, m), f'{{{",".join(parts)},"answers":{drill.text(answers)}}}'


def _counted(standings: pd.DataFrame) -> pd.DataFrame:
    return standings.assign(tied=standings["ties"].map(len), tied_perturbed=standings["ties_perturbed"].map(len))


def _marked(comparison: Comparison, scope: str, metric: str, protocol: str) -> list[str]:
    """The answer as HTML: everything escaped, names of localizers strong."""
    left, right = "\ue000", "\ue001"
    said = answer(comparison, scope, metric, protocol, strong=lambda name: f"{left}{name}{right}")
    return [str(escape(text)).replace(left, "<b>").replace(right, "</b>") for text in said]


def _columns(table: pd.DataFrame | None, columns: dict, places: dict) -> str:
    """A table as a JSON object of columns; names as their numbers where `places` knows them."""
    if table is None or not len(table):
        return "{}"
    parts = []
    for name, digits in columns.items():
        if name in places:
            known = places[name]
            text = drill.text([known.get(value, -1) for value in table[name].tolist()])
        elif digits == "":
            text = drill.text([str(value) for value in table[name].tolist()])
        else:
            text = drill.numbers(table[name].to_numpy(float), digits)
        parts.append(f"{json.dumps(name)}:{text}")
    return f"{{{','.join(parts)}}}"


def _data(comparison: Comparison, images, single: bool) -> dict:
    """What the script needs from the start."""
    troubles = diagnose(comparison)
    sets = {s.name: i for i, s in enumerate(comparison.test_sets)}
    return {
        "single": single,
        "runs": [run.label for run in comparison.runs],
        "lines": [
            {**vars(line), "groups": list(line.groups), "seconds": _seconds(comparison, line)}
            for line in comparison.lines
        ],
        "sets": [
            {
                "name": s.name,
                "title": s.called,
                "images": list(names),
                "tampered": "".join("1" if t else "0" for t in names.values()),
            }
            for s, names in zip(comparison.test_sets, images, strict=True)
        ],
        "together": EVERY_SET in comparison.scopes(),
        "families": [{"name": name, "axis": comparison.axis_title(name)} for name in comparison.families],
        "conditions": [
            {
                "spec": c.spec,
                "family": c.family,
                "level": c.level,
                "name": c.name,
                "identity": c.identity,
                "psnr": round(c.psnr, 1) if np.isfinite(c.psnr) else None,
            }
            for c in comparison.conditions
        ],
        "protocols": [
            {"name": p.name, "version": str(p.version), "title": p.title, "description": p.description}
            for p in comparison.protocols
        ],
        "metrics": [{**vars(m), "ranked": m.ranked, "whole": m.whole} for m in comparison.metrics],
        "offered": sorted(
            [comparison.protocols.index(comparison.protocol(p)), comparison.metrics.index(comparison.metric(m))]
            for p, m in comparison.summary[["protocol", "metric"]].drop_duplicates().itertuples(index=False, name=None)
        ),
        "troubles": [
            {"line": line, "set": sets[test_set], "said": said} for (line, test_set), said in troubles.items()
        ],
        "imageMetric": _image_metric(comparison),
        "headline": _headline_name(comparison),
        "kinds": KINDS,
        "suffixes": SUFFIXES,
        "colours": len(COLOURS),
        "differences": [{k: d[k] for k in ("what", "texts")} for d in comparison.differences],
    }


def _seconds(comparison: Comparison, line) -> float | None:
    cells = comparison.runs[line.run].cells
    chosen = cells.loc[(cells["model"] == line.model) & (cells["status"] == "ok"), "seconds"]
    median = pd.to_numeric(chosen, errors="coerce").median()
    return round(float(median), 4) if np.isfinite(median) else None


def _image_metric(comparison: Comparison) -> str:
    """The numbers that hold the image-level AUC, "" where none do."""
    present = set(comparison.summary[["protocol", "metric"]].drop_duplicates().itertuples(index=False, name=None))
    for p, protocol in enumerate(comparison.protocols):
        for m, metric in enumerate(comparison.metrics):
            if metric.name == "image_auc" and (protocol.name, metric.name) in present:
                return _numbers_name(p, m)
    return ""


def _photos_of_levels(comparison: Comparison, images, album: Album) -> dict[str, object]:
    """One photo under every condition: its name, its set and paths by spec; {} where none is kept."""
    for number, (test_set, names) in enumerate(zip(comparison.test_sets, images, strict=True)):
        for i, name in enumerate(names):
            for run_number in range(len(comparison.runs)):
                found = {}
                for c, condition in enumerate(comparison.conditions):
                    code = album.photo(run_number, number, i, c, (test_set.name, name, condition.spec))
                    if not code:
                        break
                    found[condition.spec] = f"{number}/{i}/c{c}.{SUFFIXES[code]}"
                if len(found) == len(comparison.conditions):
                    return {"image": name, "set": test_set.called, "paths": found}
            if i >= 3:
                break
    return {}
