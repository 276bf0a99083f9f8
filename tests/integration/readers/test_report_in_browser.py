"""The report in a real browser: its policy lets it work, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread

from forensics_core.bundle.reader import open_bundle
from forensics_core.readers.report.content import read_content
from forensics_core.readers.report.page import page
from lab.report_page import violations
from lab.slack_page.browser import Tab, browser_tab
from tests.unit.readers.evidence import change, process, socket, write_evidence

ROOT = Path(__file__).parents[3]
HOSTILE = "/tmp/<img src=x onerror=fetch('//x')>\u202e\x1b[2J"
FOCUSED = "document.activeElement.textContent"

pytestmark = pytest.mark.timeout(300)  # the first may have to install Chromium


@pytest.fixture(scope="module", autouse=True)
def chromium() -> None:
    install = subprocess.run(
        [ROOT / "lab" / "install.sh", "report"], capture_output=True, text=True, check=False
    )
    assert install.returncode == 0, f"Chromium cannot be installed: {install.stderr}"


def changes(many: int) -> list[dict[str, Any]]:
    return [
        *(change(f"/srv/data/{number // 1000:03}/{number:06}") for number in range(many)),
        change("/tmp/.cache/kworkerd", mode="4755", size=1_200_000, sha256="9f" * 32),
        change("/etc/ld.so.preload", mtime="2026-08-01T09:58:11.000000000Z"),
        change("/bin/ls", "C", mode="0755", notes=["mtimeRestored"], mtime="@99999999999999.0"),
        change("/root/.bash_history", type="symlink", target="/dev/null"),
        change("/var/old", "C", mtime="1901-01-01T00:00:00Z", ctime="2199-01-01T00:00:00Z"),
        change("/var/log/auth.log", "D"),
        change(HOSTILE, mode="0755"),
    ]


async def report(folder: Path, many: int) -> str:
    """Write the page of an intruder's visit with so many more changes; return its URL."""
    processes = [
        process(4101, "/usr/sbin/nginx", "nginx: master process"),
        process(4102, "/tmp/.cache/kworkerd", "[kworker/0:1]"),
        process(4103, "/memfd:x (deleted)", "sh", HOSTILE) | {"hiddenBy": ["listing"]},
    ]
    sockets = [
        socket("LISTEN", ("::", 80), ("::", 0), 4101),
        socket("ESTABLISHED", ("10.0.0.5", 40112), ("8.8.8.8", 443), 4102),
    ]
    await write_evidence(folder / "bundle", changes(many), processes, sockets)
    async with open_bundle(str(folder / "bundle")) as bundle:
        story = await read_content(bundle)
    content = await to_thread.run_sync(lambda: "".join(page(story)))
    file = folder / "report.html"
    await to_thread.run_sync(file.write_text, content)
    return file.as_uri()


async def search(tab: Tab, words: str) -> str:
    """Type into the search, in place of what stands there; return what it says."""
    await tab.js("document.getElementById('search').focus()")
    await tab.js("document.getElementById('search').select()")
    await tab.type(words)
    return await tab.shows("#count", "found")


async def test_the_page_works_under_its_own_policy(tmp_path: Path) -> None:
    url = await report(tmp_path, 30)
    async with browser_tab() as tab:
        await tab.open(url)
        await tab.shows("h2", "Findings")
        assert await tab.js("getComputedStyle(document.querySelector('.high')).color") == (
            "rgb(255, 255, 255)"
        )
        assert await search(tab, "kworkerd") == "5 found"
        assert await tab.js("document.images.length") == 0
        assert await tab.js("performance.getEntriesByType('resource').length") == 0
        assert tab.errors == []


async def test_what_a_policy_forbids_is_not_done(tmp_path: Path) -> None:
    """Markup that got into the page all the same could neither run nor call home."""
    url = await report(tmp_path, 3)
    async with browser_tab() as tab:
        await tab.open(url)
        await tab.shows("h2", "Findings")
        await tab.js(
            "document.body.insertAdjacentHTML('beforeend', '<img src=http://127.0.0.1:9/>')"
        )
        await tab.js("document.querySelector('h1').setAttribute('onclick', 'window.ran = true')")
        await tab.click("h1")
        assert await tab.js("window.ran === undefined")
        assert any("Content Security Policy" in line for line in tab.errors)


async def test_a_finding_leads_to_its_evidence(tmp_path: Path) -> None:
    url = await report(tmp_path, 1_000)
    async with browser_tab() as tab:
        await tab.open(url)
        await tab.click(".finding summary", "/tmp/.cache/kworkerd")
        await tab.click("button", "Show it among the changes")
        assert "kworkerd" in await tab.js(FOCUSED)
        assert "9f9f9f" in await tab.shows(".tree dd", "9f9f")
        await tab.click(".finding summary", "process 4103")
        await tab.click("button", "Show the process")
        assert "4103" in await tab.js(FOCUSED)
        assert await tab.shows(".processes dd", "listing")
        assert "to 8.8.8.8:443" in await tab.shows(".connections", "ESTABLISHED")


async def test_the_tree_of_changes_opens_by_keyboard_a_part_at_a_time(tmp_path: Path) -> None:
    url = await report(tmp_path, 1_000)
    async with browser_tab() as tab:
        await tab.open(url)
        await tab.js("[...document.querySelectorAll('.tree summary')]"
                     ".find(one => one.textContent.includes('srv')).focus()")  # fmt: skip
        await tab.enter()
        await tab.shows(".tree summary .name", "000199")
        assert await tab.js("document.querySelectorAll('.tree li').length") < 250
        await tab.js("document.querySelector('.tree details[open] button').focus()")
        await tab.enter()
        assert "000200" in await tab.js(FOCUSED)
        await tab.click("label", "added")
        assert "added" not in await tab.js("document.querySelector('.tree > ul').textContent")


async def test_the_search_goes_to_what_it_finds(tmp_path: Path) -> None:
    url = await report(tmp_path, 2_500)
    async with browser_tab() as tab:
        await tab.open(url)
        await tab.shows("h2", "Findings")
        assert await search(tab, "002400") == "1 found"
        await tab.click("#results button", "/srv/data/002/002400")
        assert "002400" in await tab.js(FOCUSED)
        assert await search(tab, "nothing has this") == "0 found"
        assert "Nothing" in await tab.shows("#results")


async def test_the_timeline_zooms_and_filters(tmp_path: Path) -> None:
    url = await report(tmp_path, 30)
    async with browser_tab() as tab:
        await tab.open(url)
        await tab.js("document.getElementById('timeline').scrollIntoView()")
        await tab.shows("#timeline p", "in sight")
        await tab.click("#timeline button", "All")
        whole = await tab.shows("#timeline p", "0 earlier, 0 later")
        assert await tab.shows("#timeline td", "1901-01-01 00:00:00.000Z")
        assert await tab.shows("#timeline td", "@99999999999999")
        await tab.js("document.querySelector('.graph').focus()")
        await tab.press("+")
        assert await tab.shows("#timeline p", "in sight") != whole
        await tab.press("0", "0")
        await tab.shows("#timeline p", "0 earlier, 0 later")
        await tab.click("#timeline label", "Files")
        found = "document.querySelectorAll('#timeline tbody tr')"
        rows = f"[...{found}].map(row => row.cells[1].innerText)"
        assert set(await tab.js(rows)) == {"Processes", "Capture"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_everybody_can_use_the_page(tmp_path: Path, scheme: str) -> None:
    url = await report(tmp_path, 30)
    async with browser_tab() as tab:
        await tab.prefer(scheme)
        await tab.open(url)
        await tab.shows("h2", "Findings")
        assert await violations(tab) == []
        await tab.js("document.querySelectorAll('details').forEach(one => { one.open = true })")
        await search(tab, "tmp")
        await tab.js("theTimeline()")
        assert await violations(tab) == []


async def test_it_prints_with_what_is_folded_in_the_findings(tmp_path: Path) -> None:
    url = await report(tmp_path, 30)
    async with browser_tab() as tab:
        await tab.open(url)
        await tab.shows("h2", "Findings")
        assert (await tab.print()).startswith(b"%PDF")
        assert await tab.shows(".finding p", "added, 1200000 bytes, SHA-256 9f9f")


async def test_a_page_of_very_many_changes_opens(tmp_path: Path) -> None:
    """How long it takes is measured by `bench.report`."""
    url = await report(tmp_path, 100_000)
    assert (await to_thread.run_sync((tmp_path / "report.html").stat)).st_size < 25 * 1024 * 1024
    async with browser_tab() as tab:
        await tab.open(url)
        assert "100,007" in await tab.shows("h3", "Changes")
        assert await search(tab, "/srv/data/099/0999") == "100 found"
        assert tab.errors == []
