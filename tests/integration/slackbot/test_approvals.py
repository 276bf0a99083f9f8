"""Two people in protected namespaces, and one very pod."""

from __future__ import annotations

import logging

import anyio
import pytest

from forensics_loopback import Fault as ClusterFault
from lab.slack.faults import SlackFault
from lab.slack.workspace import PostedMessage, buttons
from tests.integration.slackbot.setup import SlackSetup


async def asked(setup: SlackSetup) -> PostedMessage:
    """Let Alice ask for a pod in a protected namespace."""
    answer = await setup.alice.ask('prod/api-0 --reason "odd traffic"')
    assert "approve" in answer.text
    return await setup.shown("Approval needed: prod/api-0")


async def test_another_user_approves(setup: SlackSetup) -> None:
    async with setup.bot():
        message = await asked(setup)
        assert "within 15 min" in message.everything()
        assert setup.checkpoints() == []
        answer = await setup.bob.click(message, "approve")
        (made,) = await setup.made()
        setup.progress(made["metadata"]["name"], phase="Pending")
        root = await setup.shown("waiting")
    assert answer.text == "Freigegeben."
    assert root is message, "the request becomes the checkpoint's message"
    notes = made["metadata"]["annotations"]
    assert notes["forensics.orkaproj.io/slack-approver"] == "U0BOB"
    assert notes["forensics.orkaproj.io/requested-by"] == "alice"
    uid = setup.cluster.get("pods", "api-0", "prod")["metadata"]["uid"]
    assert notes["forensics.orkaproj.io/expected-pod-uid"] == uid
    assert "<@U0BOB>" in root.everything()
    assert "<@U0ALICE>" in root.everything()


async def test_the_requester_cannot_approve(
    setup: SlackSetup, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "slackbot.audit")
    async with setup.bot():
        message = await asked(setup)
        answer = await setup.alice.click(message, "approve")
    assert "Somebody else has to approve" in answer.text
    assert setup.checkpoints() == []
    refused = [one for one in map(vars, caplog.records) if one.get("audit") == "refused"]
    assert refused[0]["reason"] == "approval.self"


async def test_a_second_account_of_the_requester_cannot_approve(setup: SlackSetup) -> None:
    setup.slack.workspace.groups["S0RESP"].append("U0DAVE")
    identities = {user: {"username": "alice"} for user in ("U0ALICE", "U0DAVE")}
    async with setup.bot(identities=identities):
        message = await asked(setup)
        answer = await setup.person("U0DAVE").click(message, "approve")
    assert "Somebody else has to approve" in answer.text
    assert setup.checkpoints() == []


@pytest.mark.parametrize("user", ["U0CAROL", "U0MALLORY"])
@pytest.mark.parametrize("action", ["approve", "deny"])
async def test_unauthorised_users_can_neither_approve_nor_deny(
    setup: SlackSetup, user: str, action: str
) -> None:
    async with setup.bot():
        message = await asked(setup)
        await setup.person(user).click(message, action)
        assert set(message.buttons()) == {"approve", "deny"}
    assert setup.checkpoints() == []


async def test_a_denied_request_cannot_be_approved(setup: SlackSetup) -> None:
    async with setup.bot():
        message = await asked(setup)
        buttons = message.buttons()
        await setup.bob.click(message, "deny")
        await setup.shown("Denied by")
        before = len(setup.bob.ephemerals())
        await setup.bob.press_value("approve", buttons["approve"]["value"])
        late = await setup.bob.next_ephemeral(before)
    assert "nicht mehr offen" in late.text
    assert message.buttons() == {}
    assert setup.checkpoints() == []


async def test_an_expired_request_cannot_be_approved(setup: SlackSetup) -> None:
    async with setup.bot(approvalSeconds=2):
        await setup.alice.ask("prod/api-0")
        await setup.shown("Nobody approved in time")
        # As it was posted: the edit at the expiry has taken the buttons away.
        (posted,) = [one for one in setup.slack.workspace.calls if one.method == "chat.postMessage"]
        value = buttons(posted.arguments["blocks"])["approve"]["value"]
        before = len(setup.bob.ephemerals())
        await setup.bob.press_value("approve", value)
        late = await setup.bob.next_ephemeral(before)
    assert "nicht mehr offen" in late.text
    assert setup.checkpoints() == []


async def test_an_approval_is_refused_when_the_pod_was_replaced(setup: SlackSetup) -> None:
    async with setup.bot():
        message = await asked(setup)
        setup.cluster.delete("pods", "api-0", "prod", gracePeriodSeconds="0")
        setup.cluster.seed_pod("api-0", "prod")
        answer = await setup.bob.click(message, "approve")
        await setup.shown("was replaced since the request")
    assert "wurde seit dem Auftrag ersetzt" in answer.text
    assert setup.checkpoints() == []


async def test_an_approval_is_refused_when_the_requester_lost_access(setup: SlackSetup) -> None:
    async with setup.bot():
        message = await asked(setup)
        setup.rights.capture["alice"] = set()
        await setup.bob.click(message, "approve")
        await setup.shown("The requester may not ask for this any more")
    assert setup.checkpoints() == []


async def test_a_request_keeps_waiting_when_an_access_review_fails(setup: SlackSetup) -> None:
    async with setup.bot():
        message = await asked(setup)
        unsure = ClusterFault(verb="create", resource="subjectaccessreviews", skip=1)
        setup.cluster.faults.add(unsure)
        first = await setup.bob.click(message, "approve")
        assert "also nein" in first.text
        await setup.bob.click(message, "approve")
        await setup.made()


async def test_a_slack_error_at_expiry_does_not_end_the_bot(setup: SlackSetup) -> None:
    async with setup.bot(approvalSeconds=0.2):
        setup.slack.faults.add(SlackFault("chat.update", error="internal_error"))
        await setup.alice.ask("prod/api-0")
        await setup.slack.workspace.until(lambda: not setup.slack.faults.waiting)
        answer = await setup.alice.ask("whoami")
    assert "alice" in answer.text


async def test_the_oldest_request_ends_when_too_many_wait(setup: SlackSetup) -> None:
    async with setup.bot(approvalLimit=1):
        first = await asked(setup)
        value = first.buttons()["approve"]["value"]
        await setup.alice.ask("prod/api-0")
        assert await setup.shown("Too many requests wait for approval") is first
        before = len(setup.bob.ephemerals())
        await setup.bob.press_value("approve", value)
        late = await setup.bob.next_ephemeral(before)
    assert "nicht mehr offen" in late.text
    assert first.buttons() == {}
    assert setup.checkpoints() == []


async def test_concurrent_approvals_create_one_checkpoint(setup: SlackSetup) -> None:
    setup.rights.capture["carol"] = {"prod"}
    async with setup.bot():
        message = await asked(setup)
        value = message.buttons()["approve"]["value"]
        async with anyio.create_task_group() as tasks:
            for person in (setup.bob, setup.carol, setup.bob):
                tasks.start_soon(person.press_value, "approve", value)
        await setup.slack.workspace.until(
            lambda: len(setup.bob.ephemerals()) + len(setup.carol.ephemerals()) == 3
        )
    assert len(setup.checkpoints()) == 1


async def test_a_restart_ends_waiting_requests(setup: SlackSetup) -> None:
    async with setup.bot():
        message = await asked(setup)
        value = message.buttons()["approve"]["value"]
    assert "before anybody approved. Ask again." in message.everything()
    assert message.buttons() == {}
    async with setup.bot():
        before = len(setup.bob.ephemerals())
        await setup.bob.press_value("approve", value)
        answer = await setup.bob.next_ephemeral(before)
    assert "nicht mehr offen" in answer.text
    assert setup.checkpoints() == []


async def test_the_approval_message_lists_everything_a_retry_repeats(setup: SlackSetup) -> None:
    more = {"pause": True, "artifacts": ["memory"], "destination": "s3://elsewhere"}
    setup.kubectl_create(pod="api-0", namespace="prod", containers=["app"], **more)
    setup.finish("by-hand")
    async with setup.bot():
        await setup.alice.ask("retry by-hand")
        said = (await setup.shown("Approval needed: prod/api-0")).everything()
    for fact in ("As alice", "Cluster west", "Containers: app", "Artifacts: memory", "held still"):
        assert fact in said
    assert "Destination: s3://elsewhere" in said


async def test_the_approval_message_shows_what_the_cluster_refuses(setup: SlackSetup) -> None:
    async with setup.bot():
        message = await asked(setup)
        refusal = ClusterFault(verb="create", resource="podcheckpoints", status=403)
        setup.cluster.faults.add(refusal)
        await setup.bob.click(message, "approve")
        await setup.shown("The cluster did not do it")
    assert message.buttons() == {}
