"""The channel in a real browser, shown as Slack would; typed and clicked, the bot behind it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lab.docker import DockerEngine
from lab.slack_page.browser import Tab, browser_tab
from lab.slack_page.demo import EPHEMERAL, THREAD, SlackDemo, check_rendering
from lab.slack_page.demo import ROOT as MESSAGE
from lab.slack_page.server import running_page
from tests.integration.slackbot.setup import (
    INCIDENT,
    SlackSetup,
    captured,
    condition,
    failed,
    running,
)

ROOT = Path(__file__).parents[3]
PICTURES = "SLACK_PICTURES"
"""The variable that names a folder for screenshots; `docs/images` to make them anew."""


pytestmark = pytest.mark.timeout(300)  # the first may have to install Chromium


@pytest.fixture(scope="module", autouse=True)
def page() -> None:
    """Install Chromium and make the page's bundle, where that is not done: this never skips."""
    install = subprocess.run(
        [ROOT / "lab" / "install.sh", "slack"], capture_output=True, text=True, check=False
    )
    assert install.returncode == 0, f"The Slack page cannot be made: {install.stderr}"


@pytest.fixture
async def story(setup: SlackSetup) -> AsyncIterator[SlackDemo]:
    """The page of the setup's channel, in a browser; whoever types is Alice."""
    async with running_page(setup.slack, INCIDENT) as url, browser_tab() as tab:
        await tab.open(url)
        await tab.shows("#composer")
        yield SlackDemo(tab, "web-0")


async def blocks_shown(tab: Tab) -> list[str]:
    """Return the types of the blocks of the last root message, as the renderer names them."""
    found: list[str] = await tab.js(
        """[...[...document.querySelectorAll('.channel .message:not(.ephemeral)')].at(-1)
            .querySelector('.slack_blocks_to_jsx--blocks').children]
            .map(one => one.innerHTML.match(/slack_blocks_to_jsx__(\\w+)/)?.[1])"""
    )
    return found


def plain_texts(data: object) -> list[str]:
    """Return all texts in some blocks that are shown as they are, questions of buttons apart."""
    if isinstance(data, list):
        return [text for one in data for text in plain_texts(one)]
    if not isinstance(data, dict) or data.get("type") == "mrkdwn":
        return []
    texts = [data["text"]] if isinstance(data.get("text"), str) else []
    inside = [value for key, value in data.items() if key not in {"confirm", "hint"}]
    return [text for text in (*texts, *plain_texts(inside)) if text.strip()]


async def missing_texts(setup: SlackSetup, tab: Tab) -> list[str]:
    """Return what the messages in the channel say, and the page does not."""
    shown = " ".join((await tab.js("document.body.textContent")).split())
    workspace = setup.slack.workspace
    there = [one.blocks for one in workspace.messages if not one.thread or one.broadcast]
    told = plain_texts(there + [one.blocks for one in setup.alice.ephemerals()])
    assert told
    return [text for text in told if " ".join(text.split()) not in shown]


@pytest.mark.docker
@pytest.mark.s3
async def test_demo_from_command_to_verified_evidence(docker: DockerEngine, tmp_path: Path) -> None:
    pictures = os.environ.get(PICTURES)
    options = ["--pictures", pictures] if pictures else []
    demo = subprocess.run(  # noqa: ASYNC221  # nothing else runs in this loop
        [sys.executable, "-m", "lab.demo_slack", "--script", *options],
        cwd=ROOT,
        env={**os.environ, **docker.env, "TMPDIR": str(tmp_path), "KUBECONFIG": "/nowhere"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout
    *_, incident, edits, manifest = demo.stdout.splitlines()
    assert incident == "Manifests in the incident's table: 5"
    assert int(edits.removeprefix("Edits of the one message: ")) >= 2
    assert re.fullmatch(r"Manifest in the table: sha256:[0-9a-f]{64}", manifest)
    assert list(tmp_path.iterdir()) == []


async def test_renders_every_message(setup: SlackSetup, story: SlackDemo) -> None:
    async with setup.bot():
        for text in ("help", "whoami", "list", "prod/api-0 --dry-run", "web-0 -n shop"):
            await story.command(text)
        (made,) = await setup.made()
        name = made["metadata"]["name"]
        setup.progress(name, **running())
        await story.tab.shows(MESSAGE, "2 of 9 artifacts")
        assert await blocks_shown(story.tab) == [
            "header",
            "context",
            "plan",
            "rich_text",
            "actions",
        ]
        gap = condition("Partial", "NotSupported", "Not captured: memory")
        setup.finish(name, conditions=[*captured(name)["conditions"], gap])
        await story.tab.shows(f"{THREAD} table", "ab" * 32)
        await story.tab.shows(EPHEMERAL, "nothing was begun")
        setup.kubectl_create(incident="INC-7")
        await story.tab.shows(MESSAGE, "Checkpoint by-hand")
        setup.progress("by-hand", **failed("NoDestination", "Set a destination"))
        await story.tab.shows(THREAD, "Failed: NoDestination")
    assert await missing_texts(setup, story.tab) == []
    await check_rendering(story.tab)


async def test_form_is_filled_in_and_submitted(setup: SlackSetup, story: SlackDemo) -> None:
    async with setup.bot():
        await story.command("")
        for field, name in (("namespace", "shop"), ("pod", "web-1"), ("containers", "app")):
            await story.choose(field, name)
        await story.tab.click("[data-field=reason] textarea")
        await story.tab.type("odd traffic")
        await story.tab.click(".form button", "Capture")
        await story.tab.shows(MESSAGE, "shop/web-1")
        (made,) = await setup.made()
    expected = {"pod": "web-1", "namespace": "shop", "containers": ["app"], "reason": "odd traffic"}
    assert made["spec"] == made["spec"] | expected
    await check_rendering(story.tab)


async def test_cancel_asks_for_confirmation(setup: SlackSetup, story: SlackDemo) -> None:
    async with setup.bot():
        await story.command("web-0 -n shop")
        (made,) = await setup.made()
        setup.progress(made["metadata"]["name"], **running())
        await story.tab.shows(MESSAGE, "2 of 9 artifacts")
        await story.tab.click(f"{MESSAGE} .slack_blocks_to_jsx__button_element", "Cancel")
        await story.tab.shows(".slack_blocks_to_jsx__confirm_dialog", "cannot be resumed")
        assert setup.checkpoints()[0]["spec"]["cancel"] is False
        await story.tab.click(".slack_blocks_to_jsx__confirm_dialog button", "Stop the capture")
        await story.tab.shows(EPHEMERAL, "Cancelling")
    assert setup.checkpoints()[0]["spec"]["cancel"] is True


async def test_renders_home_and_shortcut(setup: SlackSetup, story: SlackDemo) -> None:
    async with setup.bot():
        await story.command("web-0 -n shop")
        await story.tab.shows(EPHEMERAL, "Asked for")
        await story.tab.click(f"{MESSAGE} .link", "Checkpoint pod...")
        await story.tab.shows(".form [data-field=pod]", "Pod")
        reason = "document.querySelector('[data-field=reason] textarea').value"
        assert "Checkpoint web-0" in await story.tab.js(reason)
        await story.tab.click(".form button", "Close")
        await story.tab.click("header button", "App home")
        home = await story.tab.shows(".channel", "Recent")
    assert "shop/web-0" in home
    await check_rendering(story.tab)


async def test_another_user_approves_in_the_browser(setup: SlackSetup, story: SlackDemo) -> None:
    choose = """(user) => {
        const list = document.querySelector("header select");
        Object.getOwnPropertyDescriptor(HTMLSelectElement.prototype, "value").set.call(list, user);
        list.dispatchEvent(new Event("change", { bubbles: true }));
    }"""
    async with setup.bot():
        await story.command("api-0 -n prod")
        await story.tab.click(f"{MESSAGE} button", "Approve")
        await story.tab.shows(EPHEMERAL, "Somebody else has to approve")
        assert setup.checkpoints() == []
        await story.tab.js(choose, "U0BOB")
        await story.tab.click(f"{MESSAGE} button", "Approve")
        (made,) = await setup.made()
    assert made["metadata"]["annotations"]["forensics.orkaproj.io/requested-by"] == "alice"


async def test_detects_blocks_that_cannot_be_rendered(setup: SlackSetup, story: SlackDemo) -> None:
    async with setup.bot():
        await story.command("web-0 -n shop")
        await story.tab.shows(MESSAGE, "shop/web-0")
        await check_rendering(story.tab)
        (root,) = setup.slack.workspace.roots()
        root.blocks.append({"type": "unheard-of"})
        setup.slack.workspace.notify()
        await story.tab.js(
            """new Promise(resolve => {
                const look = () => renderErrors.length ? resolve() : setTimeout(look, 20);
                look();
            })"""
        )
    with pytest.raises(Exception, match="unheard-of"):
        await check_rendering(story.tab)
