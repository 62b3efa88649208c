"""Hooks of the documentation site: pages made from root files and from what `bench list` prints.

README.md and its like stay where readers of the repository look for them and become pages of the site, with their
links rewritten. The reference is what the commands print, so it cannot differ from the code.
"""

from __future__ import annotations

import contextlib
import io
import json
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {  # file of the repository -> page of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "models/mpc/weights/mpc_small.md": "model-cards/mpc_small.md",
}
SOURCES = {page: file for file, page in PAGES.items()}
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")
REFERENCE = {  # what `bench list` knows -> title, introduction, column -> key of the record
    "models": (
        "Localizers",
        "`--models` takes these names, the groups in the last column, and `module:Class`.",
        {"name": "name", "title": "title", "paper": "paper", "licence": "licence", "groups": "groups"},
    ),
    "data": (
        "Test sets",
        "`--data` takes these names with the folder of the set (`casia1:ROOT`); `bench data prepare NAME` shows the "
        "expected folder layout.",
        {"name": "name", "title": "title", "about": "summary"},
    ),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for kind, (title, introduction, columns) in REFERENCE.items():
        text = f"# {title}\n\n{introduction}\n\n{table(listed(kind), columns)}"
        files.append(File.generated(config, f"reference/{kind}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    uri = page.file.src_uri
    source = SOURCES.get(uri, f"docs/{uri}")

    def rewritten(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in PAGES:
            target = PAGES[path]
        elif path.startswith("docs/"):
            target = path.removeprefix("docs/")
        elif (ROOT / path).exists():
            return text  # a file that the site does not show
        else:
            return match[0]
        return f"[{text}]({posixpath.relpath(target, posixpath.dirname(uri) or '.')}{anchor})"

    return LINK.sub(rewritten, markdown)


def listed(kind: str) -> list[dict[str, Any]]:
    """The records that `bench list KIND --json` prints."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from bench.cli import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main(["list", kind, "--json"])
    if code:
        raise RuntimeError(f"bench list {kind} --json failed with exit code {code}")
    return json.loads(printed.getvalue())


def table(records: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """A Markdown table with one row per record."""
    lines = [list(columns), ["---"] * len(columns)]
    lines += [
        [cell(record.get(key, ""), number == 0) for number, key in enumerate(columns.values())] for record in records
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(value: Any, code: bool) -> str:
    """A value as text of a table's cell."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = " ".join(text.split()).replace("|", "\\|")
    return f"`{text}`" if code else re.sub(r"([<>])", r"\\\1", text)
