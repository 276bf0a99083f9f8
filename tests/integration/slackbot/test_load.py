"""Many at once: commands are acknowledged, and every thread is complete and in order."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from tests.integration.slackbot.setup import (
    HERE,
    NAMESPACE,
    Document,
    SlackSetup,
    captured,
    running,
)

WATCHED, COMMANDS = 100, 50


async def test_acknowledges_fifty_commands_while_watching_a_hundred_checkpoints(
    setup: SlackSetup,
) -> None:
    names = [f"case-{number}" for number in range(WATCHED)]
    for name in names:
        setup.kubectl_create(name, metadata={"annotations": HERE})
    async with setup.bot():
        workspace = setup.slack.workspace
        await workspace.until(lambda: len(workspace.roots()) == WATCHED, 40)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(play, setup, names)
            for _ in range(COMMANDS):
                tasks.start_soon(setup.alice.type, "whoami")
        await workspace.until(lambda: len(setup.alice.ephemerals()) == COMMANDS, 40)
        with anyio.fail_after(40):
            await setup.cluster.until("podcheckpoints", all_told, NAMESPACE)
    assert len(workspace.acknowledged) == COMMANDS
    for root in workspace.roots():
        told = [line.text.split(" ")[0] for line in workspace.thread(root)]
        assert told == ["Attempt", "Captured:", "Complete:"]


async def play(setup: SlackSetup, names: list[str]) -> None:
    """Let all of them go their way at once."""
    for change in (running(), running(artifactsDone=5)):
        for name in names:
            setup.progress(name, **change)
        await anyio.lowlevel.checkpoint()
    for name in names:
        setup.progress(name, **captured(name))
    for name in names:
        setup.finish(name)


def all_told(items: list[Document]) -> bool:
    """Return whether every thread has its end, and the bot knows."""
    told = "forensics.orkaproj.io/slack-told"
    return all(
        item["metadata"].get("annotations", {}).get(told, "")[-8:] == "complete" for item in items
    )
