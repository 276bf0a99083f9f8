"""`python -m lab.report_page.picture`: the pictures of docs/report.md, from a real capture.

A container is broken into as in the demo, captured, and the report is opened in Chromium.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from anyio import to_thread

from collector.local import CaptureOptions, capture_container
from forensics_core.bundle.reader import open_bundle
from forensics_core.readers.report.content import read_content
from forensics_core.readers.report.page import page
from lab.docker import docker_engine
from lab.images import busybox_rootfs
from lab.slack_page.browser import browser_tab
from lab.tamper import VOLUME, tamper, tamper_off_disk

IMAGES = Path(__file__).parents[2] / "docs" / "images"


async def main() -> None:
    """Make them anew."""
    with TemporaryDirectory(prefix="lab-report-") as name:
        folder = Path(name)
        await _capture(folder)
        async with open_bundle(str(folder / "inc-4711")) as bundle:
            story = await read_content(bundle)
        story.location = "s3://cases/forensics/inc-4711/"
        file = folder / "report.html"
        await to_thread.run_sync(file.write_text, "".join(page(story)))
        async with browser_tab() as tab:
            await tab.prefer("light")
            await tab.open(file.as_uri())
            await tab.shows(".tree summary")
            await tab.click(".finding summary", "/etc/app.conf")
            await tab.js("window.scrollTo(0, 0)")
            await tab.screenshot(IMAGES / "report-findings.png")
            await tab.prefer("dark")
            await tab.js("document.getElementById('timeline').scrollIntoView()")
            await tab.shows("#timeline p", "in sight")
            await tab.screenshot(IMAGES / "report-timeline.png")


async def _capture(folder: Path) -> None:
    async with docker_engine() as engine:
        os.environ.update(engine.env)
        rootfs = await to_thread.run_sync(busybox_rootfs, folder / "rootfs")
        image = await engine.import_image(rootfs, "shop/web:1.4.2")
        async with engine.container(image, name="web", tmpfs={VOLUME: ""}) as container:
            await tamper(engine, container)
            await tamper_off_disk(engine, container)
            options = CaptureOptions(name="inc-4711", subpath="")
            await capture_container(f"docker://{container}", to=str(folder), options=options)


if __name__ == "__main__":
    anyio.run(main)
