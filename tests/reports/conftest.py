"""Runs to report on, made once a session, and a browser to look at them."""

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests import `synthetic_run` from here

from synthetic_run import make_run

import reports

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]


@pytest.fixture(scope="session")
def run():
    return make_run()


@pytest.fixture(scope="session")
def written(run, tmp_path_factory):
    """Folder of the report of `run`."""
    folder = tmp_path_factory.mktemp("report")
    reports.write(folder, [run], options=reports.Options(figures=True))
    return folder


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install .[browser]")
    if CHROMIUM is None:
        pytest.skip("needs a chromium: install one or name it in $CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Opens a report at 1440x900; at the end fails on anything on the console, any error, any request but for the files
    of the report."""
    complaints, pages = [], []

    def open_page(folder, fragment="", **options):
        address, beside = (folder / "report.html").as_uri(), folder.as_uri()
        page = browser.new_page(**{"viewport": {"width": 1440, "height": 900}, **options})
        page.set_default_timeout(15_000)
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("requestfailed", lambda request: complaints.append(f"request failed: {request.url[:80]}"))
        page.on(
            "request",
            lambda request: (
                request.url.startswith(("data:", beside)) or complaints.append(f"request: {request.url[:80]}")
            ),
        )
        page.goto(address + fragment)
        page.wait_for_selector("#board > *")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []
