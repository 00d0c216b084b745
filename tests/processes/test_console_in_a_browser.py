"""The console in a real browser, by keyboard alone: from the upload of a file to a citation that opens its page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from domain import ANYONE, ListedStatus, Scope
from handlers import HANDLERS
from runtime.parts import Runtime
from services.erasure.requests import ErasureRequest
from services.index.index_versions import NewVersion
from services.index.version_names import NewPrompts
from services.ingest.drafts import NewDoc
from tests.support import files
from tests.support.browser import ENTER, SPACE, Browser, needs_chromium, running_browser, served
from tests.support.processes import ROOT
from tests.support.service import settings_in
from worker import Worker

pytestmark = needs_chromium

AXE = Path(os.environ.get("AXE_JS", ROOT / ".venv/axe/package/axe.min.js"))
VIOLATIONS = "return axe.run({resultTypes: ['violations']}).then(({violations}) => violations)"
PICTURES = os.environ.get("PICTURES")
"""A folder for the pictures of README: PICTURES=docs/images script/test tests/processes/test_console_in_a_browser.py"""

GUIDE = {
    "rigging": ("Rigging", "The mainsail is hoisted before the jib. Halyards are led aft to the cockpit."),
    "weather": ("Weather", "A falling barometer warns of wind. Reef the mainsail before the wind is strong."),
    "harbour": ("Entering a harbour", "Lower the sails outside the harbour and enter under power, slowly."),
}
RULES = """# Rules of the harbour

## Entering

Call the harbour master on channel 12 before you pass the outer light, and wait for an answer. Ships that leave have the
right of way in the narrows. The speed in the harbour is four knots, and three between the moorings. Sails are lowered
before the inner light; who enters under sail because the engine has failed says so on the radio. In fog nobody enters
without radar, and the horn on the mole is sounded twice a minute.

## Mooring

Berths 1 to 40 are for members, 41 to 60 for guests, and the long quay is for ships of more than fifteen metres. Guests
moor where the harbour master sends them and pay on the day of arrival. Two lines to the shore and a spring are the
least; in a gale, which the flag at the office announces, every line is doubled. Fenders hang on both sides.

## Fees

A night costs two euros for each metre, water and power included. Whoever stays for a week pays for six nights. Fees of
members are due in March. What is not paid within a month is doubled, and the berth is given to the next on the list.
"""
SCREENS = (
    *("", "/jobs", "/documents", "/documents?namespace=sailing", "/document?namespace=sailing&doc_id=weather"),
    *("/playground?namespace=sailing", "/versions?namespace=sailing", "/usage", "/keys", "/audit", "/erasures"),
    *("/jobs/{failed}", "/erasures/{erasure}", "/no-such-page"),
)


@dataclass
class Console:
    browser: Browser
    url: str
    runtime: Runtime
    worker: Worker
    key: str

    def open(self, path: str) -> None:
        self.browser.open(f"{self.url}/console{path}")

    def sign_in(self) -> None:
        self.open("/sign-in")
        self.browser.until_text("Sign in", "h1")
        self.browser.type(self.key + ENTER)  # the field has the focus
        self.browser.until_text("Overview", "h1")

    def work(self) -> None:
        while self.worker.run_one():
            pass


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    folder = tmp_path_factory.mktemp("console")
    settings = settings_in(folder, auth_mode="keys")
    with served(settings) as (url, runtime), running_browser(folder) as browser:
        teams, keys = runtime.accounts.teams, runtime.accounts.keys
        teams.create_team("acme")
        teams.create_project("acme", "sailing")
        key = keys.issue("acme", name="operations", scopes=[Scope.OPERATOR], expires_at=None, by=ANYONE).key
        worker = Worker(runtime, HANDLERS, name="worker-1")
        runtime.operations.workers.beat("worker-1")
        yield Console(browser, url, runtime, worker, key)


def test_a_file_goes_from_the_upload_to_a_citation_by_keyboard_alone(console: Console, tmp_path: Path) -> None:
    browser = console.browser
    console.sign_in()
    browser.tab_to('nav a[href$="/console/documents"]')
    browser.type(ENTER)
    browser.until_text("Namespaces of", "h1")
    browser.tab_to('main a[href*="namespace=sailing"]')
    browser.type(ENTER)
    browser.until_text("Documents in sailing", "h1")
    (tmp_path / "harbour.pdf").write_bytes(files.pdf())
    browser.choose_file("#file", tmp_path / "harbour.pdf")
    browser.tab_to("#upload button")
    browser.type(ENTER)
    browser.until_text("It waits for a worker")
    assert "/console/jobs/" in browser.address()
    browser.run("window.isSamePage = true")
    console.work()
    browser.until_text("completed", "h1")  # nobody reloaded
    assert browser.run("return window.isSamePage") is True
    browser.tab_to('main a[href*="namespace=sailing"]')
    browser.type(ENTER)
    browser.tab_to('main a[href*="doc_id="]')
    browser.type(ENTER)
    browser.until_text("How it was cut", "#chunks")
    title = browser.text("h1").removesuffix("ready").strip()
    assert "p. 1" in browser.text("#chunk-0")
    browser.tab_to('nav a[href*="/console/playground"]')
    browser.type(ENTER)
    browser.until_text("Playground", "h1")
    browser.tab_to("#query")
    browser.type("When are fees paid?")
    browser.tab_to('button[name="search"]')
    browser.type(SPACE)
    browser.until_text("dense #1")
    assert title in browser.text(".hits")
    browser.tab_to('button[name="ask"]')
    browser.type(SPACE)
    browser.until_text("Answer", "#answer")
    browser.tab_to(".answer .hits a")
    browser.type(ENTER)
    browser.until_text("How it was cut", "#chunks")
    assert browser.run("return document.querySelector(':target') !== null")
    assert browser.complaints() == []


def test_a_file_that_failed_says_why_and_is_retried_and_a_refused_one_says_so_on_the_page(
    console: Console, tmp_path: Path
) -> None:
    browser = console.browser
    console.sign_in()
    for name, content in (("broken.pdf", b"%PDF-1.4 nothing"), ("empty.pdf", b"")):
        (tmp_path / name).write_bytes(content)
    console.open("/documents?namespace=sailing")
    browser.choose_file("#file", tmp_path / "empty.pdf")
    browser.run("document.querySelector('#upload button').click()")
    browser.until_text("it has 0 bytes", "#said")
    console.open("/documents?namespace=sailing")
    browser.choose_file("#file", tmp_path / "broken.pdf")
    browser.run("document.querySelector('#upload button').click()")
    browser.until_text("It waits for a worker")
    console.work()
    browser.until_text("It is damaged, or not a PDF", ".problem")
    browser.tab_to("button.main")
    browser.type(ENTER)
    browser.until_text("It waits for a worker")
    console.work()
    browser.until_text("failed", "h1")


def test_a_key_is_made_and_its_session_ends_when_it_is_revoked(console: Console) -> None:
    browser = console.browser
    console.sign_in()
    console.open("/keys")
    browser.tab_to('input[name="name"]')
    browser.type("for the harbour")
    browser.tab_to('input[name="scope-admin"]')
    browser.type(SPACE)
    browser.tab_to("form.row button")
    browser.type(ENTER)
    browser.until_text("never again")
    key = browser.text("#secret").strip()
    browser.run("document.querySelector('.out button').click()")
    browser.until_text("Sign in", "h1")
    browser.type(key + ENTER)
    browser.until_text("Overview", "h1")
    console.runtime.accounts.keys.revoke("acme", key.split("_")[1], by=ANYONE)
    browser.until_text("Sign in", "h1")  # the page asks by itself, and is described to go there


def test_every_screen_fits_a_phone_is_fit_for_all_and_asks_nobody_else(console: Console) -> None:
    browser = console.browser
    console.sign_in()
    _fill(console)
    browser.requested(), browser.complaints()  # those of the tests before
    names = {"failed": _failed(console), "erasure": console.runtime.erasure.ledger.page(limit=1)[0].erasure_id}
    for screen in SCREENS:
        console.open(screen.format(**names))
        _check(browser, screen)
    console.open("/playground?namespace=sailing")
    browser.run("document.querySelector('#query').value = 'When is the mainsail reefed?'")
    browser.run("document.querySelector('button[name=search]').click()")
    browser.until_text("hybrid", "#mode-hybrid")
    _check(browser, "the playground's hits")
    assert {urlsplit(each).netloc for each in browser.requested()} == {urlsplit(console.url).netloc}
    assert [each for each in browser.complaints() if "404" not in each] == []


@pytest.mark.skipif(PICTURES is None, reason="PICTURES names no folder")
def test_the_pictures_of_readme_are_taken(console: Console) -> None:
    browser, folder = console.browser, Path(PICTURES or "")
    folder.mkdir(parents=True, exist_ok=True)
    console.sign_in()
    _fill(console)
    for name, path in (("overview", ""), ("document", "/document?namespace=sailing&doc_id=rules")):
        browser.show_as(width=1100, height=640)
        console.open(path)
        (folder / f"console-{name}.png").write_bytes(browser.picture())
    console.open("/playground?namespace=sailing")
    browser.run("document.querySelector('#query').value = 'When is the mainsail reefed?'")
    browser.run("document.querySelector('button[name=search]').click()")
    browser.until_text("hybrid", "#mode-hybrid")
    (folder / "console-playground.png").write_bytes(browser.picture())


def _fill(console: Console) -> None:
    """Documents, an answer, an erasure, a second version."""
    runtime = console.runtime
    docs = runtime.ingest.documents
    place: dict[str, Any] = {"tenant_id": "acme", "namespace": "sailing"}
    for doc_id, (title, text) in GUIDE.items():
        docs.upsert([NewDoc(**place, doc_id=doc_id, title=title, text=text, metadata={"chapter": title, "year": 2026})])
    for rules in (RULES, f"{RULES} Bells are rung at noon."):
        docs.upsert([NewDoc(**place, doc_id="rules", title="Rules of the harbour", text=rules, metadata={})])
    versions = runtime.index.index_versions
    if len(versions.list("acme", "sailing")) == 1:
        new = NewVersion(name="with-prompts", prompts=NewPrompts(document="passage: "))
        versions.create("acme", "sailing", new, by=ANYONE)
    runtime.erasure.requests.accept(ErasureRequest(**place, doc_ids=["nothing"], requested_by="the operator"))
    console.work()


def _failed(console: Console) -> str:
    failed = console.runtime.ingest.jobs.page(limit=1, status=ListedStatus.FAILED)
    return failed[0].job_id if failed else "none"


def _check(browser: Browser, screen: str) -> None:
    if AXE.exists():
        browser.run(AXE.read_text())
    for scheme in ("light", "dark"):
        browser.show_as(width=360, scheme=scheme)
        wide = browser.run("return document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert not wide, f"{screen or 'the overview'} scrolls sideways at 360 px"
        browser.show_as(width=1280, scheme=scheme)
        results = browser.run(VIOLATIONS) if AXE.exists() else []
        serious = [each for each in results if each["impact"] in ("serious", "critical")]
        described = [(each["id"], each["nodes"][0]["html"], each["nodes"][0]["failureSummary"]) for each in serious]
        assert described == [], f"{screen or 'the overview'}, {scheme}"
