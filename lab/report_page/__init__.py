"""axe-core, which finds what keeps people with disabilities from using a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anyio import to_thread

from lab.process import LabError
from lab.slack_page.browser import Tab

AXE = Path(__file__).parents[2] / ".lab/report/node_modules/axe-core/axe.min.js"
_RUN = """
axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations.map(
  each => `${each.id}: ${each.help}: ${each.nodes.slice(0, 3).map(one => one.html).join(" ")}`
))
"""


async def violations(tab: Tab) -> list[str]:
    """Return what axe-core finds wrong with the page as it is shown. Raises `LabError`."""
    if not AXE.exists():
        raise LabError("axe-core is not installed", hint="Run lab/install.sh report")
    # Over the debugger, which no policy of the page's holds for.
    await tab.js(await to_thread.run_sync(AXE.read_text, "utf-8"))
    found: list[Any] = await tab.js(_RUN, within=120)
    return [str(each) for each in found]
