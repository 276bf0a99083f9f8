"""The story that the demo's script tells in the browser, with keys and clicks, and what it saw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.demo_screen import tell
from lab.process import LabError
from lab.slack_page.browser import Tab

CAPTURE = 60.0
"""Seconds that a capture may take."""
ROOT, THREAD, EPHEMERAL = ".channel .message:not(.ephemeral)", ".thread .message", ".ephemeral"

REDRAWS_FORM = {"namespace", "pod"}
"""Fields whose choice changes the form."""
_BLOCKS = "[...document.querySelectorAll('[data-block]')].map(one => one.dataset.block).join()"
_CHANGED = f"""
(before) => new Promise(resolve => {{
  const look = () => {_BLOCKS} === before ? setTimeout(look, 20) : resolve();
  look();
}})
"""


@dataclass(frozen=True, slots=True)
class ChannelView:
    """What the channel showed at the end."""

    table: str
    """The evidence: containers, artifacts, sizes, digests."""
    edits: int
    """How often the root message was edited."""


@dataclass(frozen=True, slots=True)
class SlackDemo:
    """The story about one pod in the namespace `default`. Raises `LabError` where it goes wrong."""

    tab: Tab
    pod: str
    pictures: Path | None = None
    """A folder for screenshots; None: none are made."""

    async def run(self, url: str) -> ChannelView:
        """Tell it from the start to the end."""
        await self.tab.open(url)
        await self._ask()
        await self._form()
        await self._capture()
        seen = await self._evidence()
        await self._buttons()
        await check_rendering(self.tab)
        return seen

    async def _ask(self) -> None:
        tell("Somebody asks what can be typed, and mistypes the pod's name.")
        await self.command("help")
        await self.tab.shows(EPHEMERAL, "keeps a pod's evidence before the pod is killed")
        await self.command(f"{self.pod}x -n default")
        await self.tab.shows(EPHEMERAL, f"Did you mean {self.pod}?")

    async def _form(self) -> None:
        tell("The form offers the namespaces and pods that one may see.")
        await self.command("")
        for field, name in (("namespace", "default"), ("pod", self.pod)):
            await self.choose(field, name)
        await self.tab.shows("[data-field=containers]", "Containers")
        await self.picture("form")
        await self.tab.click(".form button", "Close")

    async def _capture(self) -> None:
        tell("The command itself, then: one message in the channel, edited as the capture goes on.")
        await self.command(f'{self.pod} -n default --reason "odd traffic" --incident INC-4711')
        await self.tab.shows(ROOT, f"default/{self.pod}")
        await self.tab.shows(THREAD, "Attempt 1 has begun")
        await self.tab.shows(ROOT, " artifacts, ", CAPTURE)
        await self.picture("capturing")
        await self.tab.shows(THREAD, "Captured: you may kill the pod now", CAPTURE)
        await self.tab.shows(f"{ROOT} .slack_blocks_to_jsx__plan", "complete", CAPTURE)

    async def _evidence(self) -> ChannelView:
        tell("At the end the thread has a table of what was kept, with every SHA-256.")
        table = await self.tab.shows(".thread .slack_blocks_to_jsx__table", "manifest.json")
        await self.picture("evidence")
        roots = await self.tab.js(
            "[...document.querySelectorAll('.thread .message')]"
            ".map(one => Number(one.dataset.edits))"
        )
        return ChannelView(table, roots[0])

    async def _buttons(self) -> None:
        tell("Buttons: the evidence is read again and compared, and there are links for minutes.")
        await self.tab.click(f"{ROOT} button", "Verify")
        await self.tab.shows(THREAD, "artifacts are as the manifest says", CAPTURE)
        await self.tab.click(f"{ROOT} button", "Get download")
        await self.tab.shows(EPHEMERAL, "good for 5 minutes")

    async def command(self, text: str) -> None:
        """Type `/checkpoint` and what follows, and press Enter."""
        await self.tab.click("#composer")
        await self.tab.type(f"/checkpoint {text}".strip())
        await self.tab.enter()

    async def choose(self, field: str, name: str) -> None:
        """Choose in a form, and wait until the bot has changed what depends on it."""
        await self.tab.shows(f"[data-field={field}]")
        before = await self.tab.js(_BLOCKS)
        await self.tab.click(f"[data-field={field}] input")
        await self.tab.type(name[:3])
        await self.tab.click(f"[data-field={field}] li button", name)
        if field in REDRAWS_FORM:
            await self.tab.js(_CHANGED, before)

    async def picture(self, name: str) -> None:
        """Leave a screenshot, where they are wanted."""
        if self.pictures:
            await self.tab.screenshot(self.pictures / f"slack-{name}.png")


async def check_rendering(tab: Tab) -> None:
    """Raise `LabError` if the page showed less than it was given, or complained."""
    wrong = [*await tab.js("window.renderErrors"), *tab.errors]
    if wrong:
        raise LabError(f"The page complains: {wrong}")
