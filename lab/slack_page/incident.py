"""The story of an incident of several pods, told in the browser after the one about one pod."""

from __future__ import annotations

from dataclasses import dataclass

from lab.demo_screen import tell
from lab.slack_page.demo import CAPTURE, EPHEMERAL, ROOT, SlackDemo, check_rendering

_SMALLER = """
new Promise(done => {
  const thread = document.querySelector(".thread");
  thread.style.zoom = 0.75;
  thread.style.display = "none";
  requestAnimationFrame(() => {
    thread.style.display = "";
    requestAnimationFrame(() => requestAnimationFrame(() => done()));
  });
})
"""
"""Taken away for a frame: else traces of the larger letters remain in the picture."""


@dataclass(frozen=True, slots=True)
class IncidentDemo:
    """The pods of the namespace that a selector matches. Raises `LabError` where it goes wrong."""

    story: SlackDemo
    """What types and looks."""
    namespace: str
    selector: str
    incident: str
    pods: int

    async def run(self) -> str:
        """Tell it from the command to the end; return the table of all pods, as it is shown."""
        await self._ask()
        tell("One message shows all of them; each may be killed as soon as it is captured.")
        await self.story.tab.click(f"{EPHEMERAL} button", "Capture all of them")
        await self.story.tab.shows(ROOT, f"Incident {self.incident}")
        await self.story.tab.shows(ROOT, f"{self.pods} of {self.pods} pods may be killed", CAPTURE)
        tell("When the last one has ended there is one table, with every manifest's SHA-256.")
        await self.story.tab.shows(".thread", "All captures have ended", CAPTURE)
        table = await self.story.tab.shows(".thread .slack_blocks_to_jsx__table", "web-")
        await self._picture()
        await check_rendering(self.story.tab)
        return table

    async def _picture(self) -> None:
        """Leave a screenshot that has the whole thread in it."""
        if self.story.pictures:
            await self.story.tab.js(_SMALLER)
            await self.story.picture("incident")

    async def _ask(self) -> None:
        tell(
            "It was not the only pod: somebody asks for all of that label, and sees which they are."
        )
        asked = f"-n {self.namespace} -l {self.selector} --incident {self.incident}"
        await self.story.command(f'{asked} --reason "the same image"')
        await self.story.tab.shows(EPHEMERAL, f"{self.pods} pods: ")
