"""Slack and the cluster at their worst, and the bot starting again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import aiohttp
import anyio
import pytest

from forensics_core.errors import ClusterError
from forensics_loopback import Fault as ClusterFault
from lab.slack.faults import Fault
from lab.slack.rates import BURST, Rates
from slackbot.bookmark import MESSAGE
from slackbot.errors import SlackError
from tests.integration.slackbot.scene import (
    INCIDENT,
    NAMESPACE,
    OTHER,
    Document,
    Scene,
    captured,
    condition,
    running,
)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("chat.postMessage", status=429, retry_after=0),
        Fault("chat.postMessage", status=503, skip=1),
        Fault("chat.update", times=2, status=500),
        Fault("chat.update", error="internal_error"),
        Fault("chat.postMessage", error="missing_scope", skip=1),
    ],
    ids=lambda fault: f"{fault.method} {fault.status} {fault.error}",
)
async def test_no_milestone_is_lost_or_out_of_order(scene: Scene, fault: Fault) -> None:
    scene.slack.faults.add(fault)
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        name = made["metadata"]["name"]
        scene.progress(name, **running())
        scene.progress(name, **captured(name))
        scene.finish(name)
        await scene.told("attempt-1,captured,complete")
    (root,) = scene.slack.workspace.roots()
    assert "complete" in root.everything()
    told = [line.text.split(" ")[0] for line in scene.slack.workspace.thread(root)]
    assert told == ["Attempt", "Captured:", "Complete:"]


async def test_a_message_that_somebody_deleted_is_posted_again(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        scene.progress(made["metadata"]["name"], **running())
        await scene.told("attempt-1")
        await scene.shown("2 of 9")
        scene.slack.workspace.messages.clear()
        scene.slack.workspace.calls.clear()
        scene.progress(made["metadata"]["name"], **running(artifactsDone=5))
        await scene.slack.workspace.until(
            lambda: [one for one in scene.slack.workspace.calls if one.method == "chat.update"]
        )
        scene.finish(made["metadata"]["name"])
        await scene.told("attempt-1,captured,complete")
    (root,) = scene.slack.workspace.roots()
    assert "complete" in root.everything()
    told = [line.text.split(" ")[0] for line in scene.slack.workspace.thread(root)]
    assert told == ["Captured:", "Complete:"]


async def test_a_line_that_slack_refuses_to_show_is_said_in_words(scene: Scene) -> None:
    scene.slack.faults.add(Fault("chat.postMessage", error="msg_blocks_too_long", skip=3))
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        scene.finish(made["metadata"]["name"])
        await scene.told("attempt-1,captured,complete")
    (root,) = scene.slack.workspace.roots()
    *_, end = scene.slack.workspace.thread(root)
    assert [block["type"] for block in end.blocks] == ["section"]
    assert end.everything().startswith("Complete: 9 artifacts")


async def test_no_capture_waits_for_slack(scene: Scene) -> None:
    scene.slack.faults.add(Fault("chat.postMessage", times=2, status=503))
    async with scene.bot():
        answer = await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        assert scene.slack.workspace.messages == []
        await scene.shown(made["metadata"]["name"])
    assert f"Asked for, as {made['metadata']['name']}" in answer.text


@pytest.mark.parametrize(
    "fault", [Fault("response_url", status=429), Fault("response_url", status=500)]
)
async def test_an_answer_is_tried_again(scene: Scene, fault: Fault) -> None:
    scene.slack.faults.add(fault)
    async with scene.bot():
        answer = await scene.alice.ask("whoami")
    assert "alice" in answer.text


async def test_an_answer_that_never_gets_through_breaks_nothing(scene: Scene) -> None:
    async with scene.bot():
        for fault in (
            Fault("response_url", times=3, status=500),
            Fault("response_url", status=404),
        ):
            scene.slack.faults.add(fault)
            await scene.alice.type("web-0 -n nowhere")
            await scene.slack.workspace.until(lambda: not scene.slack.faults.waiting)
        answer = await scene.alice.ask("whoami")
    assert "alice" in answer.text


async def test_what_nobody_foresaw_ends_neither_the_bot_nor_in_silence(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    pod = scene.cluster.get("pods", "web-0", "shop")
    odd = json.dumps(pod | {"metadata": {"name": "web-0"}})
    fault = ClusterFault(verb="get", resource="pods", status=200, body=odd)
    async with scene.bot():
        scene.cluster.faults.add(fault)
        answer = await scene.alice.ask("web-0 -n shop")
        stranger = scene.slack.workspace.users.pop("U0BOB")
        scene.slack.workspace.users["U0BOB"] = {"name": stranger["id"]}
        await scene.bob.type("whoami")
        again = await scene.alice.ask("whoami")
    number = answer.text.rpartition(" ")[2]
    assert "Something went wrong in the bot" in answer.text
    assert f"Unforeseen, {number}" in caplog.text
    assert "alice" in again.text


async def test_a_channel_that_the_bot_is_not_in_is_said(scene: Scene) -> None:
    channel = scene.slack.workspace.channels[INCIDENT]
    channel["is_member"] = False
    async with scene.bot():
        answer = await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        refused = await scene.alice.ask("prod/api-0")
        assert scene.slack.workspace.messages == []
        channel["is_member"] = True
        await scene.shown(made["metadata"]["name"])
    assert "The bot is not in this channel: /invite it" in answer.text
    assert "Slack did not do it (not_in_channel)" in refused.text


async def test_nothing_is_reported_where_strangers_read(scene: Scene) -> None:
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


async def test_the_rates_that_slack_allows_are_lived_with(scene: Scene) -> None:
    scene.slack.rates = Rates()
    names = [f"case-{number}" for number in range(BURST + 2)]
    for name in names:
        scene.kubectl_create(name, incident="INC-1")
    async with scene.bot():
        for name in names:
            await scene.shown(name)
    assert scene.slack.rates.refused > 0


async def test_the_socket_is_opened_again(scene: Scene) -> None:
    async with scene.bot():
        await scene.slack.close_sockets()
        assert "alice" in (await scene.alice.ask("whoami")).text
        await scene.slack.refresh_sockets()
        assert "alice" in (await scene.alice.ask("whoami")).text


async def test_a_wrong_token_is_said_at_the_start(scene: Scene) -> None:
    with pytest.raises((SlackError, ExceptionGroup)) as caught:
        async with scene.bot(botToken="xoxb-wrong"):
            pass
    assert "invalid_auth" in repr(caught.value) or "invalid_auth" in str(_leaf(caught.value))


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def test_a_wrong_token_for_the_socket_is_said_at_the_start(scene: Scene) -> None:
    with pytest.raises((SlackError, ExceptionGroup)) as caught:
        async with scene.bot(appToken="xapp-wrong"):
            pass
    assert "invalid_auth to apps.connections.open" in str(_leaf(caught.value))


async def test_slack_away_at_the_start_is_waited_for(scene: Scene) -> None:
    scene.slack.faults.add(Fault("apps.connections.open", status=503))
    async with scene.bot():
        assert "alice" in (await scene.alice.ask("whoami")).text


async def test_a_watch_that_is_refused_is_said_at_the_start(scene: Scene) -> None:
    refusal = ClusterFault(verb="list", resource="podcheckpoints", status=403)
    scene.cluster.faults.add(refusal)
    with pytest.raises(ExceptionGroup) as caught:
        async with scene.bot():
            await anyio.sleep_forever()
    assert isinstance(_leaf(caught.value), ClusterError)


async def test_the_cluster_is_away(scene: Scene) -> None:
    async with scene.bot():
        scene.cluster.faults.add(ClusterFault(verb="get", resource="pods", status=500))
        answer = await scene.alice.ask("web-0 -n shop")
    assert "The Kubernetes API does not answer" in answer.text
    assert scene.checkpoints() == []


async def test_an_answer_of_the_cluster_that_was_lost_makes_no_second_checkpoint(
    scene: Scene,
) -> None:
    lost = ClusterFault(verb="create", resource="podcheckpoints", reset=True, executed=True)
    scene.cluster.faults.add(lost)
    async with scene.bot():
        answer = await scene.alice.ask("web-0 -n shop")
    assert "Asked for" in answer.text
    assert len(scene.checkpoints()) == 1


async def test_a_cluster_that_stays_away_is_said(scene: Scene) -> None:
    away = ClusterFault(verb="create", resource="podcheckpoints", times=3)
    scene.cluster.faults.add(away)
    async with scene.bot():
        answer = await scene.alice.ask("web-0 -n shop")
    assert "The Kubernetes API does not answer" in answer.text
    assert scene.slack.workspace.messages == []


async def test_a_name_that_is_taken_is_no_success(scene: Scene) -> None:
    taken = '{"kind": "Status", "reason": "AlreadyExists", "message": "taken", "code": 409}'
    fault = ClusterFault(verb="create", resource="podcheckpoints", status=409, body=taken)
    scene.cluster.faults.add(fault)
    async with scene.bot():
        answer = await scene.alice.ask("web-0 -n shop")
    assert "The cluster did not do it" in answer.text


async def test_the_memory_of_what_was_told_survives_an_outage(scene: Scene) -> None:
    scene.cluster.faults.add(ClusterFault(verb="patch", resource="podcheckpoints", times=2))
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        scene.finish(made["metadata"]["name"])
        await scene.told("attempt-1,captured,complete")
    (root,) = scene.slack.workspace.roots()
    assert len(scene.slack.workspace.thread(root)) == 3


async def test_after_a_restart_it_goes_on_where_it_was(scene: Scene) -> None:
    async with scene.bot():
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        name = made["metadata"]["name"]
        scene.progress(name, **running())
        await scene.told("attempt-1")
    scene.progress(name, **captured(name))
    async with scene.bot():
        with anyio.fail_after(5):
            await scene.shown("you may kill the pod now", thread=True)
        scene.finish(name)
        await scene.told("attempt-1,captured,complete")
    (root,) = scene.slack.workspace.roots()
    assert len(scene.slack.workspace.thread(root)) == 3
    edits = len(root.edited)
    async with scene.bot():
        await scene.alice.ask("whoami")
    assert len(root.edited) == edits, "what is over is left alone"


async def test_checkpoints_of_anybody_are_reported_where_they_belong(scene: Scene) -> None:
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
        await scene.told("attempt-1,captured,complete")
    assert len(scene.slack.workspace.roots()) == 3
    saved = scene.cluster.get("podcheckpoints", "labelled", NAMESPACE)["metadata"]["annotations"]
    assert saved["forensics.orkaproj.io/slack-message"]


async def test_what_ended_long_ago_is_not_dug_up(scene: Scene) -> None:
    scene.kubectl_create("old", incident="INC-1")
    scene.finish("old", completionTime="2026-01-01T00:00:00Z")
    scene.kubectl_create("new", incident="INC-1")
    async with scene.bot():
        await scene.shown("new")
        await scene.alice.ask("whoami")
    assert len(scene.slack.workspace.roots()) == 1


async def test_a_checkpoint_that_is_deleted_is_let_go(scene: Scene) -> None:
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


async def spent(fault: ClusterFault) -> None:
    """Wait until a fault has happened."""
    with anyio.fail_after(20):
        while fault.times:  # noqa: ASYNC110  # the cluster's faults wake nobody
            await anyio.sleep(0.01)


def noted(items: Iterable[Document]) -> bool:
    """Return whether the bot has written down where a message is."""
    return any(MESSAGE in item["metadata"].get("annotations", {}) for item in items)


@pytest.mark.parametrize("remembered", [True, False])
async def test_all_of_it_is_told_though_it_is_deleted_at_its_end(
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
            await spent(gone)
        scene.finish("by-hand")
        scene.cluster.delete("podcheckpoints", "by-hand", NAMESPACE)
        await scene.shown("The bundle is sealed.", thread=True)
        await scene.slack.workspace.until(lambda: not root.buttons())
    told = [line.text.split(" ")[0] for line in scene.slack.workspace.thread(root)]
    assert told == ["Attempt", "Captured:", "Complete:"]
    assert "The PodCheckpoint was deleted" in root.everything()
    assert "you may kill the pod now" in root.everything()


async def test_buttons_go_with_the_checkpoint_long_after_its_end(scene: Scene) -> None:
    async with scene.bot():
        scene.kubectl_create(incident="INC-1")
        scene.finish("by-hand")
        await scene.told("attempt-1,captured,complete")
        root = await scene.shown("by-hand")
        assert root.buttons()
        scene.cluster.delete("podcheckpoints", "by-hand", NAMESPACE)
        await scene.slack.workspace.until(lambda: not root.buttons())
    assert len(scene.slack.workspace.thread(root)) == 3


async def test_a_deleted_checkpoint_is_not_reported_for_ever(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene.bot():
        scene.kubectl_create(incident="INC-1")
        scene.finish("by-hand")
        await scene.told("attempt-1,captured,complete")
        fault = Fault("chat.update", error="is_archived", times=99)
        scene.slack.faults.add(fault)
        scene.cluster.delete("podcheckpoints", "by-hand", NAMESPACE)
        await scene.slack.workspace.until(lambda: fault.times < 99)
        await scene.alice.ask("whoami")
    assert fault.times == 98
    assert "The report of by-hand ended" in caplog.text


async def test_news_that_come_late_begin_nothing_again(scene: Scene) -> None:
    async with scene.bot():
        scene.kubectl_create(incident="INC-1")
        scene.finish("by-hand")
        await scene.told("attempt-1,captured,complete")
        forgotten = {"metadata": {"annotations": {"forensics.orkaproj.io/slack-told": None}}}
        scene.cluster.patch("podcheckpoints", "by-hand", forgotten, NAMESPACE)
        scene.kubectl_create("next", incident="INC-1")
        await scene.shown("next")
        await scene.alice.ask("whoami")
    assert len(scene.slack.workspace.messages) == 5


async def test_the_elapsed_time_goes_on_though_nothing_else_does(scene: Scene) -> None:
    began = datetime.now(UTC) - timedelta(seconds=58)
    async with scene.bot():
        scene.kubectl_create(incident="INC-1")
        scene.progress("by-hand", **(running() | {"startTime": began.isoformat()}))
        await scene.shown("0:5")
        await scene.shown("1:0")


async def test_what_is_news_goes_before_what_is_progress(scene: Scene) -> None:
    names = [f"case-{number}" for number in range(8)]
    for name in names:
        scene.kubectl_create(name, incident="INC-1")
    async with scene.bot(updateSeconds=0.3):
        for name in names:
            scene.progress(name, **running())
        await scene.slack.workspace.until(
            lambda: sum("2 of 9" in one.everything() for one in scene.slack.workspace.roots()) == 8
        )
        scene.slack.workspace.calls.clear()
        for name in names:
            scene.progress(name, **running(artifactsDone=5))
        await scene.shown("5 of 9")
        scene.progress("case-7", **captured("case-7"))
        root = await scene.shown("Captured: you may kill the pod now")
    edits = [one for one in scene.slack.workspace.calls if one.method == "chat.update"]
    assert "case-7" in root.text
    assert root.ts in [one.arguments["ts"] for one in edits[:4]], "it had queued as the last of 8"


async def test_plans_are_given_up_when_the_first_message_is_refused(scene: Scene) -> None:
    scene.slack.workspace.plans = False
    scene.kubectl_create(incident="INC-1")
    async with scene.bot():
        root = await scene.shown("by-hand")
    assert "plan" not in [block["type"] for block in root.blocks]


async def test_health(scene: Scene) -> None:
    async with scene.bot() as port, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/healthz") as response:
            assert response.status == 200
        with anyio.fail_after(10):
            while True:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
                    if response.status == 200:
                        break


async def test_edits_keep_their_distance(scene: Scene) -> None:
    async with scene.bot(editSeconds=0.4):
        await scene.alice.ask("web-0 -n shop")
        (made,) = await scene.made()
        name = made["metadata"]["name"]
        for number in range(60):
            scene.progress(name, **running(artifactsDone=number, artifactsTotal=60))
            await anyio.sleep(0.02)
        await scene.shown("59 of 60 artifacts")
        scene.progress(name, **running())
        scene.progress(name, conditions=[condition("Captured", "ManifestFound", "x")])
        await scene.shown("Captured: you may kill the pod now.")
    (root,) = scene.slack.workspace.roots()
    gaps = [later - sooner for sooner, later in zip(root.edited, root.edited[1:], strict=False)]
    assert min(gaps) > 0.39
