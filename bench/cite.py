"""What a paper has to say of a run: one citable line a number, and the BibTeX of all that was used.

A number never travels without its protocol, its n and its test-set fingerprint: a line holds the localizer with the
digest of its weights, the set with subset, fingerprint and n, the perturbation, the protocol with its version, and the
value with its interval. References are those of the cards of localizers and sets, of the protocols and of the suite,
as they are written there; a record of which none is known is listed, never made up.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bench import __version__
from bench.data.cards import FOLDER, load
from bench.metrics import PROTOCOLS
from bench.results import read, read_about
from bench.store import Store
from bench.summary import summarize
from bench.usage import UsageError, suggest

# CITATION.cff says the same (a test compares them); it is not part of an installed package.
SUITE_TITLE = "Forgery bench: an evaluation suite for image forgery localizers"
SUITE_AUTHOR = "the forgery-bench maintainers"
_NONE = ("", "none", "not stated")
_YEAR = re.compile(r"\b(19|20)\d\d\b")
_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    sign: "\\" + sign for sign in "&%$#_{}"
}


@dataclass
class Reference:
    """One work: the text of its reference, and what of the run it is the source of, as (role, name)."""

    key: str
    title: str
    text: str
    used_for: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""
    author: str = ""

    def bibtex(self) -> str:
        """Its entry: the reference as the card writes it stands in `note`, as cards do not part authors from titles."""
        years = [match.group() for match in _YEAR.finditer(self.text)]
        values = {
            "title": "{" + escaped(self.title) + "}",
            "author": "{" + escaped(self.author) + "}" if self.author else "",
            "year": years[-1] if years else "",
            "note": escaped(self.text),
            "url": self.url,
            "annote": escaped("Used for: " + ", ".join(f"{role} {name}" for role, name in self.used_for)),
        }
        body = "".join(f"  {name} = {{{value}}},\n" for name, value in values.items() if value)
        return f"@misc{{{self.key},\n{body}}}\n"


@dataclass(frozen=True)
class Citation:
    """lines: one a number. references: the works. unknown: (role, name) of what no reference is known of."""

    lines: tuple[str, ...]
    references: tuple[Reference, ...]
    unknown: tuple[tuple[str, str], ...]

    def bibtex(self) -> str:
        """All entries, after a comment on what has none."""
        missing = [f"% no reference is known of {role} {name}\n" for role, name in self.unknown]
        return "\n".join(["".join(missing)] * bool(missing) + [reference.bibtex() for reference in self.references])

    def record(self) -> dict:
        """As plain values, for JSON."""
        return {
            "lines": list(self.lines),
            "references": [
                {
                    "key": r.key,
                    "title": r.title,
                    "text": r.text,
                    "url": r.url,
                    "used_for": [list(u) for u in r.used_for],
                }
                for r in self.references
            ],
            "unknown": [list(each) for each in self.unknown],
            "bibtex": self.bibtex(),
        }


def cite(folder: Path, metrics: Collection[str] = ()) -> Citation:
    """The citable lines and references of a finished run folder.

    metrics: NAME or PROTOCOL.NAME; none: the headline metric of each protocol.

    Raises:
        UsageError: no finished run, or a metric that it does not hold.
    """
    about = read_about(folder)
    with Store(folder) as store:
        cells = store.cells()
    table = summarize(read(folder), cells)
    return Citation(tuple(citable(about, chosen(table, about, metrics))), *references(about))


def chosen(table: pd.DataFrame, about: Mapping, metrics: Collection[str]) -> pd.DataFrame:
    """The rows of a summary that are asked for. Raises UsageError for a metric that is not in it."""
    if not metrics:
        headlines = {(record["name"], record["headline"]) for record in about["protocols"]}
        return table[[pair in headlines for pair in zip(table["protocol"], table["metric"], strict=True)]]
    both = table["protocol"] + "." + table["metric"]
    for metric in metrics:
        if not ((both == metric) | (table["metric"] == metric)).any():
            raise UsageError(f"the run holds no metric {metric!r}; {suggest(metric, sorted(set(both)))}")
    return table[both.isin(metrics) | table["metric"].isin(metrics)]


def citable(about: Mapping, table: pd.DataFrame) -> list[str]:
    """One line a row of a summary, in its order; see the text of this module."""
    models, sets, protocols = (
        {record["name"]: record for record in about[kind]} for kind in ("models", "test_sets", "protocols")
    )
    seed = about.get("request", {}).get("seed", 0)
    suite = f"forgery-bench {about.get('suite', __version__)}"
    found = []
    for row in table.to_dict("records"):
        model, test_set, protocol = models[row["model"]], sets[row["test_set"]], protocols[row["protocol"]]
        spec = "unperturbed" if row["spec"] == "identity" else f"{row['spec']} (seed {seed})"
        value = "undefined" if pd.isna(row["mean"]) else f"{row['mean']:.4f}"
        interval = "no interval" if pd.isna(row["low"]) else f"95% interval {row['low']:.4f} to {row['high']:.4f}"
        found.append(
            f"{row['model']} ({_digests(model)}); {_set(test_set)}, n = {_counted(row)}; {spec}; "
            f"{row['protocol']}@{protocol['version']} {row['metric']} = {value} ({interval}); {suite}"
            + ("; only forgeries of the demonstration set" if test_set.get("demonstration") else "")
        )
    return found


def _digests(model: Mapping) -> str:
    weights = f"weights {model['weights_digest'][:12]}, " if model.get("weights_digest") else ""
    return f"{weights}identity {model.get('identity', '')[:12]}"


def _set(test_set: Mapping) -> str:
    subset = str(test_set.get("subset") or "")
    name = test_set["name"] if not subset or "@" in test_set["name"] else f"{test_set['name']}@{subset}"
    return f"{name} (fingerprint {test_set['digest'][:12]})"


def _counted(row: Mapping) -> str:
    """`91`, or `88 of 91 (2 failed, 1 not applicable or undefined)`."""
    words = {"n_failed": "failed", "n_not_applicable": "not applicable or undefined", "n_skipped": "not run"}
    missing = [f"{int(row[name])} {word}" for name, word in words.items() if row[name]]
    asked = int(row["n"]) + sum(int(row[name]) for name in words)
    return f"{int(row['n'])} of {asked} ({', '.join(missing)})" if missing else f"{int(row['n'])}"


def references(about: Mapping) -> tuple[tuple[Reference, ...], tuple[tuple[str, str], ...]]:
    """The works behind the records of run.json, each once, and (role, name) of the records of which none is known."""
    works: dict[str, Reference] = {}
    unknown = []
    for role, name, title, text, url in _sources(about):
        text = " ".join(text.split())
        if text.lower().rstrip(".") in _NONE:
            unknown.append((role, name))
            continue
        if text not in works:
            works[text] = Reference(_key(name, {work.key for work in works.values()}), title, text, url=url)
        works[text].used_for.append((role, name))
        works[text].url = works[text].url or url
    suite = f"Version {about.get('suite', __version__)}"
    works[suite] = Reference(_key("forgery-bench", {w.key for w in works.values()}), SUITE_TITLE, suite)
    works[suite].author = SUITE_AUTHOR
    works[suite].used_for.append(("suite", "forgery-bench"))
    works[suite].used_for += [("protocol", name) for name in _own_protocols(about)]
    return tuple(works.values()), tuple(unknown)


def _sources(about: Mapping) -> Iterable[tuple[str, str, str, str, str]]:
    """Role, name, title, reference ("" = none known) and address of every record that is not this suite's own."""
    for record in about["models"]:
        if record["status"] == "run":
            yield "localizer", record["name"], record["title"], str(record.get("paper") or ""), ""
    for record in about["test_sets"]:
        yield "test set", record["name"], record["title"], str(record.get("citation") or ""), _page(record)
    own = set(_own_protocols(about))
    for record in about["protocols"]:
        protocol = PROTOCOLS.get(record["name"])
        if record["name"] not in own:
            text = protocol.paper if protocol else ""
            yield "protocol", record["name"], record["title"], text, ""


def _page(record: Mapping) -> str:
    """The page of a set with a card of the suite, else ""."""
    name = str(record.get("card") or "")
    return load(FOLDER / f"{name}.toml").page if (FOLDER / f"{name}.toml").is_file() else ""


def _own_protocols(about: Mapping) -> list[str]:
    """Names of the protocols that are this suite's own: no paper and no original code."""
    found = [PROTOCOLS.get(record["name"]) for record in about["protocols"]]
    return [p.name for p in found if p is not None and not (p.paper or p.original)]


def _key(name: str, taken: Collection[str]) -> str:
    plain = re.sub(r"[^A-Za-z0-9:_-]+", "-", name).strip("-") or "work"
    return next(key for key in (plain, *(f"{plain}-{n}" for n in range(2, 10_000))) if key not in taken)


def escaped(text: str) -> str:
    """The text with what TeX reads as commands written as characters."""
    return "".join(_SPECIAL.get(sign, sign) for sign in text)
