"""One message for all pods of an incident, and what a bot that begins makes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lab.slack.faults import SlackFault
from lab.slack.rates import Rates
from tests.integration.slackbot.setup import (
    INCIDENT,
    NAMESPACE,
    SlackSetup,
    captured,
    condition,
    failed,
    running,
)


async def test_all_pods_of_an_incident_are_shown_in_one_message(setup: SlackSetup) -> None:
    async with setup.bot():
        for number in range(5):
            setup.kubectl_create(f"case-{number}", pod=f"web-{number}", incident="INC-7")
        root = await setup.shown("Incident INC-7 · 5 pods")
        await setup.shown("0 of 5 pods may be killed")
        setup.progress("case-0", **captured("case-0"))
        await setup.shown("Captured, you may kill: shop/web-0", thread=True)
        await setup.shown("1 of 5 pods may be killed")
        setup.progress("case-1", **failed("NoDestination", "Set a destination"))
        await setup.shown("Failed: shop/web-1", thread=True)
        for number in (0, 2, 3, 4):
            setup.finish(f"case-{number}")
        end = await setup.shown("All captures have ended", thread=True)
    assert setup.slack.workspace.roots() == [root]
    assert "4 of 5 pods may be killed" in root.everything()
    assert "NoDestination: Set a destination" in root.everything()
    assert end.broadcast
    assert end.everything().count("ab" * 32) == 4


async def test_many_pods_are_counted_and_told_of_in_few_lines(setup: SlackSetup) -> None:
    for number in range(30):
        setup.kubectl_create(f"case-{number}", pod=f"web-{number}", incident="INC-7")
    setup.slack.rates = Rates()
    async with setup.bot(postSeconds=0.2):
        root = await setup.shown("30 pods")
        for number in range(12):
            setup.progress(f"case-{number}", **captured(f"case-{number}"))
        for number in range(12, 30):
            setup.progress(f"case-{number}", **running())
        await setup.shown("12 of 30 pods may be killed")
        await setup.shown("capturing: 18")
        assert "May be killed: shop/web-0, shop/web-1," in root.everything()
        lines = setup.slack.workspace.thread(root)
        for number in range(30):
            setup.finish(f"case-{number}")
        await setup.shown("30 of 30 pods may be killed. 30.0 MiB of evidence", thread=True)
    assert len(setup.slack.workspace.roots()) == 1
    assert len(lines) <= 12
    assert len(setup.slack.workspace.thread(root)) < 20


async def test_an_incident_goes_on_in_its_message_after_a_restart(setup: SlackSetup) -> None:
    async with setup.bot():
        for number in range(3):
            setup.kubectl_create(f"case-{number}", pod=f"web-{number}", incident="INC-7")
        root = await setup.shown("3 pods")
        setup.finish("case-0")
        await setup.shown("Captured, you may kill: shop/web-0", thread=True)
        await setup.posted("captured")
    setup.progress("case-1", **captured("case-1"))
    async with setup.bot():
        await setup.shown("Captured, you may kill: shop/web-1", thread=True)
        setup.finish("case-1")
        setup.finish("case-2")
        await setup.shown("All captures have ended: 3 of 3", thread=True)
        await setup.posted("captured,complete")
    assert setup.slack.workspace.roots() == [root]
    told = [line.text for line in setup.slack.workspace.thread(root)]
    assert len([text for text in told if "shop/web-0" in text]) == 1


async def test_a_second_pod_joins_the_message_of_the_first(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop --incident INC-7")
        root = await setup.shown("Checkpoint web-0")
        setup.kubectl_create(pod="web-1", incident="INC-7")
        await setup.shown("Incident INC-7 · 2 pods")
        setup.cluster.delete("podcheckpoints", "by-hand", NAMESPACE)
        await setup.shown(
            "Deleted before the end, the capture was stopped: shop/web-1", thread=True
        )
        await setup.shown("Incident INC-7 · 1 pod")
    assert setup.slack.workspace.roots() == [root]
    assert "<@U0ALICE>" in root.everything()


async def test_a_bot_that_begins_tells_no_history(setup: SlackSetup) -> None:
    before = (datetime.now(UTC) - timedelta(minutes=2)).isoformat()
    for number in range(3):
        setup.kubectl_create(f"old-{number}", pod=f"old-{number}", incident="INC-7")
        setup.finish(f"old-{number}", completionTime=before)
    setup.kubectl_create("over", incident="INC-1")
    setup.finish("over", completionTime=before)
    setup.kubectl_create("case-0", pod="web-0", incident="INC-7")
    setup.kubectl_create("case-1", pod="web-1", incident="INC-7")
    async with setup.bot():
        root = await setup.shown("3 of 5 pods may be killed")
        setup.progress("case-0", **captured("case-0"))
        await setup.shown("Captured, you may kill: shop/web-0", thread=True)
        await setup.alice.ask("whoami")
    assert setup.slack.workspace.roots() == [root]
    assert "old-0" not in "".join(one.text for one in setup.slack.workspace.thread(root))


async def test_a_live_capture_does_not_wait_behind_what_was_over(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        setup.progress(made["metadata"]["name"], **running())
        await setup.posted("attempt-1")
    note = {"forensics.orkaproj.io/slack-channel": INCIDENT}
    for number in range(20):
        setup.kubectl_create(f"old-{number}", metadata={"annotations": note})
        setup.finish(f"old-{number}")
    async with setup.bot(postSeconds=0.1):
        await setup.shown("old-")
        name = made["metadata"]["name"]
        setup.progress(name, **captured(name))
        await setup.shown("you may kill the pod now", thread=True)
        posted = [one for one in setup.slack.workspace.messages if "old-" in one.everything()]
    assert len(posted) < 20, "all that was over waits for what is under way"


async def two(setup: SlackSetup) -> None:
    """Make two checkpoints of one incident."""
    for number in range(2):
        setup.kubectl_create(f"case-{number}", pod=f"web-{number}", incident="INC-7")


async def test_lines_survive_slack_errors_and_deleted_messages(setup: SlackSetup) -> None:
    async with setup.bot():
        await two(setup)
        await setup.shown("Incident INC-7 · 2 pods")
        setup.slack.faults.add(SlackFault("chat.postMessage", times=2, status=503))
        setup.slack.faults.add(SlackFault("chat.update", error="internal_error"))
        setup.progress("case-0", **captured("case-0"))
        await setup.shown("Captured, you may kill: shop/web-0", thread=True)
        setup.slack.workspace.messages.clear()
        setup.progress("case-1", **captured("case-1"))
        await setup.shown("2 of 2 pods may be killed")
        await setup.shown("Captured, you may kill: shop/web-1", thread=True)
        setup.slack.faults.add(SlackFault("chat.postMessage", error="msg_blocks_too_long"))
        setup.finish("case-0")
        setup.finish("case-1")
        end = await setup.shown("All captures have ended: 2 of 2", thread=True)
        await setup.posted("captured,complete")
    assert [block["type"] for block in end.blocks] == ["section"]
    assert len(setup.slack.workspace.roots()) == 1


async def test_an_incident_whose_checkpoints_are_all_deleted_ends(setup: SlackSetup) -> None:
    async with setup.bot():
        await two(setup)
        await setup.shown("Incident INC-7 · 2 pods")
        for number in range(2):
            setup.cluster.delete("podcheckpoints", f"case-{number}", NAMESPACE)
        await setup.shown("Deleted before the end", thread=True)
        await setup.shown("0 of 0 pods")
        setup.kubectl_create("next", incident="INC-7")
        await setup.shown("next")


async def test_an_incident_that_is_gone_before_its_first_message_is_not_told(
    setup: SlackSetup,
) -> None:
    await two(setup)
    fault = SlackFault("chat.postMessage", times=99, status=503)
    setup.slack.faults.add(fault)
    async with setup.bot():
        await setup.slack.workspace.until(lambda: fault.times < 99)
        for number in range(2):
            setup.cluster.delete("podcheckpoints", f"case-{number}", NAMESPACE)
        setup.slack.faults.clear()
        setup.kubectl_create("next", incident="INC-7")
        await setup.shown("next")


async def test_a_release_after_the_end_is_told_in_the_incidents_thread(setup: SlackSetup) -> None:
    cut_off = condition("Isolated", "Enforced", "By a policy.")
    async with setup.bot():
        await two(setup)
        root = await setup.shown("Incident INC-7 · 2 pods")
        for number in range(2):
            done = [*captured(f"case-{number}")["conditions"], cut_off]
            setup.finish(f"case-{number}", conditions=done)
        await setup.shown("All captures have ended", thread=True)
        await setup.shown("Isolation: shop/web-0", thread=True)
        lifted = cut_off | {"status": "False", "reason": "Released"}
        done = [*captured("case-0")["conditions"], lifted]
        setup.progress("case-0", conditions=done)
        await setup.shown("Released: shop/web-0", thread=True)
        await setup.shown("Not cut off any more")
        ends = [one for one in setup.slack.workspace.thread(root) if one.broadcast]
    assert len(ends) == 1
    assert setup.slack.workspace.roots() == [root]


async def test_an_approved_checkpoint_keeps_the_message_of_its_request(setup: SlackSetup) -> None:
    async with setup.bot():
        await two(setup)
        root = await setup.shown("Incident INC-7 · 2 pods")
        await setup.alice.ask("prod/api-0 --incident INC-7")
        request = await setup.shown("Approval needed: prod/api-0")
        await setup.bob.click(request, "approve")
        await setup.made(3)
        name = next(
            one["metadata"]["name"]
            for one in setup.checkpoints()
            if one["spec"]["namespace"] == "prod"
        )
        setup.finish(name)
        await setup.shown("1 of 3 pods may be killed")
        await setup.shown("Complete: 9 artifacts", thread=True)
    assert "<@U0BOB>" in request.everything()
    own = setup.slack.workspace.thread(request)
    assert any("Captured: you may kill the pod now" in line.text for line in own)
    assert not [line for line in setup.slack.workspace.thread(root) if "api-0" in line.text]
