"""Which checkpoints are reported, before and after a restart, and when they are deleted."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import pytest

from forensics_core.errors import ClusterError
from forensics_loopback import Fault as ClusterFault
from lab.slack.faults import SlackFault
from slackbot.report_state import MESSAGE_ANNOTATION
from tests.integration.slackbot.scene import (
    INCIDENT,
    NAMESPACE,
    OTHER,
    Document,
    Scene,
    captured,
    innermost,
    running,
)


async def test_does_not_report_in_shared_channels(scene: Scene) -> None:
    workspace = scene.slack.workspace
    workspace.channels[INCIDENT]["is_ext_shared"] = True
    scene.kubectl_create(incident="INC-1")
    async with scene.bot():
        await workspace.until(
            lambda: [one for one in workspace.calls if one.method == "conversations.info"]
        )
        assert "shared with another organisation" in (await scene.alice.ask("whoami")).text
        assert workspace.messages == []
        workspace.channels[INCIDENT]["is_ext_shared"] = False
        root = await scene.shown("by-hand")
        workspace.channels[INCIDENT]["is_pending_ext_shared"] = True
        scene.progress("by-hand", **running())
        assert "shared with another organisation" in (await scene.alice.ask("whoami")).text
        assert workspace.messages == [root]
        assert root.edited == []


async def test_continues_reports_after_a_restart(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        name = made["metadata"]["name"]
        scene.progress(name, **running())
        await scene.posted("attempt-1")
    scene.progress(name, **captured(name))
    async with scene.bot():
        with anyio.fail_after(5):
            await scene.shown("you may kill the pod now", thread=True)
        scene.finish(name)
        await scene.posted("attempt-1,captured,complete")
    (root,) = scene.slack.workspace.roots()
    assert len(scene.slack.workspace.thread(root)) == 3
    edits = len(root.edited)
    async with scene.bot():
        await scene.alice.ask("whoami")
    assert len(root.edited) == edits, "what is over is left alone"


async def test_reports_checkpoints_by_annotation_and_incident(scene: Scene) -> None:
    note = {"forensics.orkaproj.io/slack-channel": INCIDENT}
    scene.kubectl_create("annotated", metadata={"annotations": note})
    scene.kubectl_create("labelled", incident="INC-9")
    label = {"forensics.orkaproj.io/incident": "INC-8"}
    scene.kubectl_create("bare-label", metadata={"labels": label})
    elsewhere = {"forensics.orkaproj.io/slack-channel": OTHER}
    scene.kubectl_create("elsewhere", metadata={"annotations": elsewhere})
    scene.kubectl_create("nowhere")
    async with scene.bot():
        await scene.shown("annotated")
        await scene.shown("labelled")
        await scene.shown("bare-label")
        scene.finish("annotated")
        await scene.posted("attempt-1,captured,complete")
    assert len(scene.slack.workspace.roots()) == 3
    saved = scene.cluster.get("podcheckpoints", "labelled", NAMESPACE)["metadata"]["annotations"]
    assert saved["forensics.orkaproj.io/slack-message"]


async def test_does_not_report_what_ended_long_ago(scene: Scene) -> None:
    scene.kubectl_create("old", incident="INC-1")
    scene.finish("old", completionTime="2026-01-01T00:00:00Z")
    scene.kubectl_create("new", incident="INC-1")
    async with scene.bot():
        await scene.shown("new")
        await scene.alice.ask("whoami")
    assert len(scene.slack.workspace.roots()) == 1


async def test_reports_a_deletion_and_removes_the_buttons(scene: Scene) -> None:
    async with scene.bot():
        scene.kubectl_create(incident="INC-1")
        await scene.shown("by-hand")
        scene.progress("by-hand", **running())
        root = await scene.shown("2 of 9 artifacts")
        scene.cluster.delete("podcheckpoints", "by-hand", NAMESPACE)
        await scene.shown("Deleted before its end", thread=True)
    assert "The PodCheckpoint was deleted" in root.everything()
    assert "Leave the pod alone" not in root.everything()
    assert root.buttons() == {}


def noted(items: Iterable[Document]) -> bool:
    """Return whether the bot has written down where a message is."""
    return any(MESSAGE_ANNOTATION in item["metadata"].get("annotations", {}) for item in items)


@pytest.mark.parametrize("remembered", [True, False])
async def test_posts_all_milestones_of_a_checkpoint_deleted_at_its_end(
    scene: Scene, remembered: bool
) -> None:
    async with scene.bot(editSeconds=0.5):
        scene.kubectl_create(incident="INC-1")
        root = await scene.shown("by-hand")
        await scene.cluster.until("podcheckpoints", noted, NAMESPACE)
        gone = ClusterFault(verb="patch", resource="podcheckpoints", status=404)
        if not remembered:
            scene.cluster.faults.add(gone)
        scene.progress("by-hand", **running())
        await scene.shown("Attempt 1", thread=True)
        if not remembered:
            with anyio.fail_after(20):
                await scene.cluster.faults.until_spent(gone)
        scene.finish("by-hand")
        scene.cluster.delete("podcheckpoints", "by-hand", NAMESPACE)
        await scene.shown("The bundle is sealed.", thread=True)
        await scene.slack.workspace.until(lambda: not root.buttons())
    told = [line.text.split(" ")[0] for line in scene.slack.workspace.thread(root)]
    assert told == ["Attempt", "Captured:", "Complete:"]
    assert "The PodCheckpoint was deleted" in root.everything()
    assert "you may kill the pod now" in root.everything()


async def test_removes_the_buttons_when_an_ended_checkpoint_is_deleted(scene: Scene) -> None:
    async with scene.bot():
        scene.kubectl_create(incident="INC-1")
        scene.finish("by-hand")
        await scene.posted("attempt-1,captured,complete")
        root = await scene.shown("by-hand")
        assert root.buttons()
        scene.cluster.delete("podcheckpoints", "by-hand", NAMESPACE)
        await scene.slack.workspace.until(lambda: not root.buttons())
    assert len(scene.slack.workspace.thread(root)) == 3


async def test_gives_up_the_report_of_a_deleted_checkpoint_after_a_permanent_error(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene.bot():
        scene.kubectl_create(incident="INC-1")
        scene.finish("by-hand")
        await scene.posted("attempt-1,captured,complete")
        fault = SlackFault("chat.update", error="is_archived", times=99)
        scene.slack.faults.add(fault)
        scene.cluster.delete("podcheckpoints", "by-hand", NAMESPACE)
        await scene.slack.workspace.until(lambda: fault.times < 99)
        await scene.alice.ask("whoami")
    assert fault.times == 98
    assert "The report of by-hand ended" in caplog.text


async def test_late_events_do_not_restart_a_report(scene: Scene) -> None:
    async with scene.bot():
        scene.kubectl_create(incident="INC-1")
        scene.finish("by-hand")
        await scene.posted("attempt-1,captured,complete")
        forgotten = {"metadata": {"annotations": {"forensics.orkaproj.io/slack-told": None}}}
        scene.cluster.patch("podcheckpoints", "by-hand", forgotten, NAMESPACE)
        scene.kubectl_create("next", incident="INC-1")
        await scene.shown("next")
        await scene.alice.ask("whoami")
    assert len(scene.slack.workspace.messages) == 5


async def test_saves_posted_milestones_after_an_outage(scene: Scene) -> None:
    scene.cluster.faults.add(ClusterFault(verb="patch", resource="podcheckpoints", times=2))
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        scene.finish(made["metadata"]["name"])
        await scene.posted("attempt-1,captured,complete")
    (root,) = scene.slack.workspace.roots()
    assert len(scene.slack.workspace.thread(root)) == 3


async def test_a_refused_watch_is_an_error_at_start(scene: Scene) -> None:
    refusal = ClusterFault(verb="list", resource="podcheckpoints", status=403)
    scene.cluster.faults.add(refusal)
    with pytest.raises(ExceptionGroup) as caught:
        async with scene.bot():
            await anyio.sleep_forever()
    assert isinstance(innermost(caught.value), ClusterError)
