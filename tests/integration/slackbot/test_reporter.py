"""Which checkpoints are reported, before and after a restart, and when they are deleted."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import pytest

from forensics_core.errors import ClusterError
from forensics_loopback import Fault as ClusterFault
from lab.slack.faults import SlackFault
from slackbot.report_state import MESSAGE_ANNOTATION
from tests.integration.slackbot.setup import (
    INCIDENT,
    NAMESPACE,
    OTHER,
    Document,
    SlackSetup,
    captured,
    innermost,
    running,
)


async def test_does_not_report_in_shared_channels(setup: SlackSetup) -> None:
    workspace = setup.slack.workspace
    workspace.channels[INCIDENT]["is_ext_shared"] = True
    setup.kubectl_create(incident="INC-1")
    async with setup.bot():
        await workspace.until(
            lambda: [one for one in workspace.calls if one.method == "conversations.info"]
        )
        assert "shared with another organisation" in (await setup.alice.ask("whoami")).text
        assert workspace.messages == []
        workspace.channels[INCIDENT]["is_ext_shared"] = False
        root = await setup.shown("by-hand")
        workspace.channels[INCIDENT]["is_pending_ext_shared"] = True
        setup.progress("by-hand", **running())
        assert "shared with another organisation" in (await setup.alice.ask("whoami")).text
        assert workspace.messages == [root]
        assert root.edited == []


async def test_continues_reports_after_a_restart(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        name = made["metadata"]["name"]
        setup.progress(name, **running())
        await setup.posted("attempt-1")
    setup.progress(name, **captured(name))
    async with setup.bot():
        with anyio.fail_after(5):
            await setup.shown("you may kill the pod now", thread=True)
        setup.finish(name)
        await setup.posted("attempt-1,captured,complete")
    (root,) = setup.slack.workspace.roots()
    assert len(setup.slack.workspace.thread(root)) == 3
    edits = len(root.edited)
    async with setup.bot():
        await setup.alice.ask("whoami")
    assert len(root.edited) == edits, "what is over is left alone"


async def test_reports_checkpoints_by_annotation_and_incident(setup: SlackSetup) -> None:
    note = {"forensics.orkaproj.io/slack-channel": INCIDENT}
    setup.kubectl_create("annotated", metadata={"annotations": note})
    setup.kubectl_create("labelled", incident="INC-9")
    label = {"forensics.orkaproj.io/incident": "INC-8"}
    setup.kubectl_create("bare-label", metadata={"labels": label})
    elsewhere = {"forensics.orkaproj.io/slack-channel": OTHER}
    setup.kubectl_create("elsewhere", metadata={"annotations": elsewhere})
    setup.kubectl_create("nowhere")
    async with setup.bot():
        await setup.shown("annotated")
        await setup.shown("labelled")
        await setup.shown("bare-label")
        setup.finish("annotated")
        await setup.posted("attempt-1,captured,complete")
    assert len(setup.slack.workspace.roots()) == 3
    saved = setup.cluster.get("podcheckpoints", "labelled", NAMESPACE)["metadata"]["annotations"]
    assert saved["forensics.orkaproj.io/slack-message"]


async def test_does_not_report_what_ended_long_ago(setup: SlackSetup) -> None:
    setup.kubectl_create("old", incident="INC-1")
    setup.finish("old", completionTime="2026-01-01T00:00:00Z")
    setup.kubectl_create("new", incident="INC-1")
    async with setup.bot():
        await setup.shown("new")
        await setup.alice.ask("whoami")
    assert len(setup.slack.workspace.roots()) == 1


async def test_reports_a_deletion_and_removes_the_buttons(setup: SlackSetup) -> None:
    async with setup.bot():
        setup.kubectl_create(incident="INC-1")
        await setup.shown("by-hand")
        setup.progress("by-hand", **running())
        root = await setup.shown("2 of 9 artifacts")
        setup.cluster.delete("podcheckpoints", "by-hand", NAMESPACE)
        await setup.shown("Deleted before its end", thread=True)
    assert "The PodCheckpoint was deleted" in root.everything()
    assert "Leave the pod alone" not in root.everything()
    assert root.buttons() == {}


def noted(items: Iterable[Document]) -> bool:
    """Return whether the bot has written down where a message is."""
    return any(MESSAGE_ANNOTATION in item["metadata"].get("annotations", {}) for item in items)


@pytest.mark.parametrize("remembered", [True, False])
async def test_posts_all_milestones_of_a_checkpoint_deleted_at_its_end(
    setup: SlackSetup, remembered: bool
) -> None:
    async with setup.bot(editSeconds=0.5):
        setup.kubectl_create(incident="INC-1")
        root = await setup.shown("by-hand")
        await setup.cluster.until("podcheckpoints", noted, NAMESPACE)
        gone = ClusterFault(verb="patch", resource="podcheckpoints", status=404)
        if not remembered:
            setup.cluster.faults.add(gone)
        setup.progress("by-hand", **running())
        await setup.shown("Attempt 1", thread=True)
        if not remembered:
            with anyio.fail_after(20):
                await setup.cluster.faults.until_spent(gone)
        setup.finish("by-hand")
        setup.cluster.delete("podcheckpoints", "by-hand", NAMESPACE)
        await setup.shown("The bundle is sealed.", thread=True)
        await setup.slack.workspace.until(lambda: not root.buttons())
    told = [line.text.split(" ")[0] for line in setup.slack.workspace.thread(root)]
    assert told == ["Attempt", "Captured:", "Complete:"]
    assert "The PodCheckpoint was deleted" in root.everything()
    assert "you may kill the pod now" in root.everything()


async def test_removes_the_buttons_when_an_ended_checkpoint_is_deleted(setup: SlackSetup) -> None:
    async with setup.bot():
        setup.kubectl_create(incident="INC-1")
        setup.finish("by-hand")
        await setup.posted("attempt-1,captured,complete")
        root = await setup.shown("by-hand")
        assert root.buttons()
        setup.cluster.delete("podcheckpoints", "by-hand", NAMESPACE)
        await setup.slack.workspace.until(lambda: not root.buttons())
    assert len(setup.slack.workspace.thread(root)) == 3


async def test_gives_up_the_report_of_a_deleted_checkpoint_after_a_permanent_error(
    setup: SlackSetup, caplog: pytest.LogCaptureFixture
) -> None:
    async with setup.bot():
        setup.kubectl_create(incident="INC-1")
        setup.finish("by-hand")
        await setup.posted("attempt-1,captured,complete")
        fault = SlackFault("chat.update", error="is_archived", times=99)
        setup.slack.faults.add(fault)
        setup.cluster.delete("podcheckpoints", "by-hand", NAMESPACE)
        await setup.slack.workspace.until(lambda: fault.times < 99)
        await setup.alice.ask("whoami")
    assert fault.times == 98
    assert "The report of by-hand ended" in caplog.text


async def test_late_events_do_not_restart_a_report(setup: SlackSetup) -> None:
    async with setup.bot():
        setup.kubectl_create(incident="INC-1")
        setup.finish("by-hand")
        await setup.posted("attempt-1,captured,complete")
        forgotten = {"metadata": {"annotations": {"forensics.orkaproj.io/slack-told": None}}}
        setup.cluster.patch("podcheckpoints", "by-hand", forgotten, NAMESPACE)
        setup.kubectl_create("next", incident="INC-1")
        await setup.shown("next")
        await setup.alice.ask("whoami")
    assert len(setup.slack.workspace.messages) == 5


async def test_saves_posted_milestones_after_an_outage(setup: SlackSetup) -> None:
    setup.cluster.faults.add(ClusterFault(verb="patch", resource="podcheckpoints", times=2))
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        setup.finish(made["metadata"]["name"])
        await setup.posted("attempt-1,captured,complete")
    (root,) = setup.slack.workspace.roots()
    assert len(setup.slack.workspace.thread(root)) == 3


async def test_a_refused_watch_is_an_error_at_start(setup: SlackSetup) -> None:
    refusal = ClusterFault(verb="list", resource="podcheckpoints", status=403)
    setup.cluster.faults.add(refusal)
    with pytest.raises(ExceptionGroup) as caught:
        async with setup.bot():
            await anyio.sleep_forever()
    assert isinstance(innermost(caught.value), ClusterError)
