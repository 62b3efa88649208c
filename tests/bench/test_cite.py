"""`bench cite`: what a line holds, BibTeX that can be parsed, a reference or a plain "not known" for every record."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from bench import __version__
from bench.cite import SUITE_AUTHOR, SUITE_TITLE, escaped, references
from bench.cli import main
from bench.data.spec import find_card

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(photo_folder, tmp_path, capsys):
    """A finished run of a published method, a toy without a paper and one that is not applicable, on five images."""
    Image.open(photo_folder / "images" / "image0.png").save(photo_folder / "images" / "auth_one.png")
    data = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"
    words = ["run", "--models", "noi2,toy_localizers:Redness,toy_localizers:OnlyJpeg", "--data", data, "--workers", "1"]
    words += ["--perturbations", "jpeg:70", "--protocols", "native,trufor", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    capsys.readouterr()
    return tmp_path / "run"


def fields(bibtex):
    """{key: {field: value}} of BibTeX: a reader of its grammar that knows nothing of how it was written."""
    entries, at = {}, 0
    while (at := bibtex.find("@", at)) >= 0:
        kind, key = re.match(r"@(\w+)\{([^\s,{}]+),", bibtex[at:]).groups()
        assert kind == "misc" and key not in entries
        depth, end = 0, bibtex.index("{", at)
        while True:
            before = bibtex[end - 1]
            depth += (bibtex[end] == "{" and before != "\\") - (bibtex[end] == "}" and before != "\\")
            end += 1
            if not depth:
                break
        entries[key] = dict(re.findall(r"^  (\w+) = \{(.*)\},$", bibtex[at:end], re.MULTILINE))
        at = end
    return entries


def test_a_line_holds_all_that_makes_a_number_citable(run, capsys):
    assert main(["cite", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    about = json.loads((run / "run.json").read_text())
    line = next(x for x in found["lines"] if x.startswith("toy_localizers:Redness") and "unperturbed" in x)
    fingerprint, identity = about["test_sets"][0]["digest"][:12], about["models"][1]["identity"][:12]
    for words in (f"identity {identity}", f"(fingerprint {fingerprint})", "n = 4;", "native@", "95% interval"):
        assert words in line, words
    assert line.endswith(f"forgery-bench {__version__}")
    assert sum("jpeg:70 (seed 0)" in x and "trufor@1 f1" in x for x in found["lines"]) == 3
    only_jpeg = [x for x in found["lines"] if x.startswith("toy_localizers:OnlyJpeg") and "unperturbed" in x]
    assert all("n = 0 of 4 (4 not applicable or undefined)" in x and "undefined (no interval)" in x for x in only_jpeg)
    assert len(found["lines"]) == 3 * 2 * 2  # localizers, conditions, protocols


def test_the_bibtex_parses_and_covers_every_record(run, tmp_path, capsys):
    assert main(["cite", str(run), "--bibtex", str(tmp_path / "a.bib")]) == 0
    assert "@misc" not in capsys.readouterr().out
    text = (tmp_path / "a.bib").read_text(encoding="utf-8")
    entries = fields(text)
    used = " ".join(entry["annote"] for entry in entries.values())
    unknown = re.findall(r"^% no reference is known of (.*)$", text, re.MULTILINE)
    about = json.loads((run / "run.json").read_text())
    for role, kind in (("localizer", "models"), ("test set", "test_sets"), ("protocol", "protocols")):
        for record in about[kind]:
            name = f"{role} {record['name']}"
            assert (escaped(name) in used) != (name in unknown), name
    assert "localizer toy_localizers:Redness" in unknown and f"test set {about['test_sets'][0]['name']}" in unknown
    assert "Guillaro et al." in next(e["note"] for e in entries.values() if "protocol trufor" in e["annote"])
    assert all(re.fullmatch(r"(19|20)\d\d", entry["year"]) for entry in entries.values() if "year" in entry)


@pytest.mark.slow
def test_the_weights_of_a_localizer_are_in_its_line(photo_folder, tmp_path, capsys):
    data = f"folder:{photo_folder / 'images'},{photo_folder / 'masks'}"
    words = ["run", "--models", "mpc", "--data", data, "--perturbations", "clean", "--workers", "1"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    digest = json.loads((tmp_path / "run" / "run.json").read_text())["models"][0]["weights_digest"]
    capsys.readouterr()
    assert main(["cite", str(tmp_path / "run"), "--metrics", "native.auc"]) == 0
    line = capsys.readouterr().out.partition("\n")[0]
    assert re.fullmatch("[0-9a-f]{64}", digest) and f"mpc (weights {digest[:12]}, identity " in line
    assert "native@" in line and " auc = " in line
    assert main(["cite", str(tmp_path / "run"), "--metrics", "native.aucc"]) == 2
    assert "native.auc" in capsys.readouterr().err


def test_a_work_used_twice_is_one_entry():
    card = find_card("columbia")
    entry = {"name": card.name, "card": card.name, "title": card.title, "citation": card.citation}
    about = {"models": [], "protocols": [], "test_sets": [entry, {**entry, "name": "columbia@part"}]}
    works, unknown = references(about)
    assert unknown == () and [len(work.used_for) for work in works] == [2, 1]
    assert "ICME 2006" in works[0].text and "year = {2006}" in works[0].bibtex()
    assert works[0].url == card.page


def test_signs_of_tex_are_written_as_characters():
    assert escaped("A & B_{1}: 5% \\ ~") == r"A \& B\_\{1\}: 5\% \textbackslash{} \textasciitilde{}"


def test_the_suite_is_cited_as_its_citation_file_says():
    said = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f'title: "{SUITE_TITLE}"' in said and f"  - name: {SUITE_AUTHOR}" in said
