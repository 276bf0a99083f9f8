"""The report in a real browser: its policy lets it work, and nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from anyio import to_thread

from forensics_core.bundle.reader import open_bundle
from forensics_core.readers.report.page import page
from forensics_core.readers.report.story import tell
from lab.slack_page.browser import browser_tab
from tests.unit.readers.evidence import change, process, socket, write_evidence

ROOT = Path(__file__).parents[3]
PICTURES = "REPORT_PICTURES"
"""The variable that names a folder for a screenshot."""
ROWS = "[...document.querySelectorAll('tbody tr')].filter(row => !row.hidden).length"

pytestmark = pytest.mark.timeout(300)  # the first may have to install Chromium


@pytest.fixture(scope="module", autouse=True)
def chromium() -> None:
    install = subprocess.run(
        [ROOT / "lab" / "install.sh", "slack"], capture_output=True, text=True, check=False
    )
    assert install.returncode == 0, f"Chromium cannot be installed: {install.stderr}"


async def report(folder: Path, changes: int) -> Path:
    rows = [change(f"/srv/data/{number:06}") for number in range(changes)]
    rows += [
        change("/tmp/.cache/kworkerd", mode="4755", size=1_200_000, sha256="9f" * 32),
        change("/etc/ld.so.preload", mtime="2026-08-01T09:58:11.000000000Z"),
        change("/bin/ls", "C", mode="0755", notes=["mtimeRestored"]),
        change("/root/.bash_history", type="symlink", target="/dev/null"),
        change("/tmp/<img src=x onerror=fetch('//x')>", mode="0755"),
    ]
    processes = [
        process(4101, "/usr/sbin/nginx", "nginx: master process"),
        process(4102, "/tmp/.cache/kworkerd", "[kworker/0:1]"),
        process(4103, "/memfd:x (deleted)", "sh"),
    ]
    sockets = [
        socket("LISTEN", ("::", 80), ("::", 0), 4101),
        socket("ESTABLISHED", ("10.0.0.5", 40112), ("8.8.8.8", 443), 4102),
    ]
    await write_evidence(folder / "bundle", rows, processes, sockets)
    async with open_bundle(str(folder / "bundle")) as bundle:
        story = await tell(bundle)
    content = await to_thread.run_sync(lambda: "".join(page(story)))
    await to_thread.run_sync((folder / "report.html").write_text, content)
    return folder / "report.html"


async def test_the_page_works_under_its_own_policy(tmp_path: Path) -> None:
    file = await report(tmp_path, 30)
    async with browser_tab() as tab:
        await tab.open(file.as_uri())
        await tab.shows("h2", "Findings")
        assert await tab.js("getComputedStyle(document.querySelector('.high')).color") == (
            "rgb(255, 255, 255)"
        )
        if PICTURES in os.environ:
            await tab.screenshot(Path(os.environ[PICTURES]) / "report.png")
        before = await tab.js(ROWS)
        await tab.js("document.getElementById('search').focus()")
        await tab.type("kworkerd")
        told = await tab.shows("#count", "rows")
        found = await tab.js(ROWS)
        assert 0 < found < before and told == f"{found} rows"
        assert await tab.js("document.images.length") == 0
        assert tab.errors == []


async def test_a_page_of_very_many_changes_opens(tmp_path: Path) -> None:
    file = await report(tmp_path, 100_000)
    assert (await to_thread.run_sync(file.stat)).st_size < 25 * 1024 * 1024
    async with browser_tab() as tab:
        await tab.open(file.as_uri())
        assert "100,005" in await tab.shows("h3", "Changes")
        assert tab.errors == []
