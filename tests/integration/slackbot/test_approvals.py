"""Two people in protected namespaces, and one very pod."""

from __future__ import annotations

import logging

import anyio
import pytest

from forensics_loopback import Fault as ClusterFault
from lab.slack.faults import SlackFault
from lab.slack.workspace import PostedMessage, buttons
from tests.integration.slackbot.scene import Scene


async def asked(scene: Scene) -> PostedMessage:
    """Let Alice ask for a pod in a protected namespace."""
    answer = await scene.alice.ask('prod/api-0 --reason "odd traffic"')
    assert "approve" in answer.text
    return await scene.shown("Approval needed: prod/api-0")


async def test_another_user_approves(scene: Scene) -> None:
    async with scene.bot():
        message = await asked(scene)
        assert "within 15 min" in message.everything()
        assert scene.checkpoints() == []
        answer = await scene.bob.click(message, "approve")
        (made,) = await scene.made()
        scene.progress(made["metadata"]["name"], phase="Pending")
        root = await scene.shown("waiting")
    assert answer.text == "Freigegeben."
    assert root is message, "the request becomes the checkpoint's message"
    notes = made["metadata"]["annotations"]
    assert notes["forensics.orkaproj.io/slack-approver"] == "U0BOB"
    assert notes["forensics.orkaproj.io/requested-by"] == "alice"
    uid = scene.cluster.get("pods", "api-0", "prod")["metadata"]["uid"]
    assert notes["forensics.orkaproj.io/expected-pod-uid"] == uid
    assert "<@U0BOB>" in root.everything()
    assert "<@U0ALICE>" in root.everything()


async def test_the_requester_cannot_approve(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "slackbot.audit")
    async with scene.bot():
        message = await asked(scene)
        answer = await scene.alice.click(message, "approve")
    assert "Somebody else has to approve" in answer.text
    assert scene.checkpoints() == []
    refused = [one for one in map(vars, caplog.records) if one.get("audit") == "refused"]
    assert refused[0]["reason"] == "approval.self"


async def test_a_second_account_of_the_requester_cannot_approve(scene: Scene) -> None:
    scene.slack.workspace.groups["S0RESP"].append("U0DAVE")
    identities = {user: {"username": "alice"} for user in ("U0ALICE", "U0DAVE")}
    async with scene.bot(identities=identities):
        message = await asked(scene)
        answer = await scene.person("U0DAVE").click(message, "approve")
    assert "Somebody else has to approve" in answer.text
    assert scene.checkpoints() == []


@pytest.mark.parametrize("user", ["U0CAROL", "U0MALLORY"])
@pytest.mark.parametrize("action", ["approve", "deny"])
async def test_unauthorised_users_can_neither_approve_nor_deny(
    scene: Scene, user: str, action: str
) -> None:
    async with scene.bot():
        message = await asked(scene)
        await scene.person(user).click(message, action)
        assert set(message.buttons()) == {"approve", "deny"}
    assert scene.checkpoints() == []


async def test_a_denied_request_cannot_be_approved(scene: Scene) -> None:
    async with scene.bot():
        message = await asked(scene)
        buttons = message.buttons()
        await scene.bob.click(message, "deny")
        await scene.shown("Denied by")
        before = len(scene.bob.ephemerals())
        await scene.bob.press_value("approve", buttons["approve"]["value"])
        late = await scene.bob.next_ephemeral(before)
    assert "nicht mehr offen" in late.text
    assert message.buttons() == {}
    assert scene.checkpoints() == []


async def test_an_expired_request_cannot_be_approved(scene: Scene) -> None:
    async with scene.bot(approvalSeconds=2):
        await scene.alice.ask("prod/api-0")
        await scene.shown("Nobody approved in time")
        # As it was posted: the edit at the expiry has taken the buttons away.
        (posted,) = [one for one in scene.slack.workspace.calls if one.method == "chat.postMessage"]
        value = buttons(posted.arguments["blocks"])["approve"]["value"]
        before = len(scene.bob.ephemerals())
        await scene.bob.press_value("approve", value)
        late = await scene.bob.next_ephemeral(before)
    assert "nicht mehr offen" in late.text
    assert scene.checkpoints() == []


async def test_an_approval_is_refused_when_the_pod_was_replaced(scene: Scene) -> None:
    async with scene.bot():
        message = await asked(scene)
        scene.cluster.delete("pods", "api-0", "prod", gracePeriodSeconds="0")
        scene.cluster.seed_pod("api-0", "prod")
        answer = await scene.bob.click(message, "approve")
        await scene.shown("was replaced since the request")
    assert "wurde seit dem Auftrag ersetzt" in answer.text
    assert scene.checkpoints() == []


async def test_an_approval_is_refused_when_the_requester_lost_access(scene: Scene) -> None:
    async with scene.bot():
        message = await asked(scene)
        scene.rights.capture["alice"] = set()
        await scene.bob.click(message, "approve")
        await scene.shown("The requester may not ask for this any more")
    assert scene.checkpoints() == []


async def test_a_request_keeps_waiting_when_an_access_review_fails(scene: Scene) -> None:
    async with scene.bot():
        message = await asked(scene)
        unsure = ClusterFault(verb="create", resource="subjectaccessreviews", skip=1)
        scene.cluster.faults.add(unsure)
        first = await scene.bob.click(message, "approve")
        assert "also nein" in first.text
        await scene.bob.click(message, "approve")
        await scene.made()


async def test_a_slack_error_at_expiry_does_not_end_the_bot(scene: Scene) -> None:
    async with scene.bot(approvalSeconds=0.2):
        scene.slack.faults.add(SlackFault("chat.update", error="internal_error"))
        await scene.alice.ask("prod/api-0")
        await scene.slack.workspace.until(lambda: not scene.slack.faults.waiting)
        answer = await scene.alice.ask("whoami")
    assert "alice" in answer.text


async def test_the_oldest_request_ends_when_too_many_wait(scene: Scene) -> None:
    async with scene.bot(approvalLimit=1):
        first = await asked(scene)
        value = first.buttons()["approve"]["value"]
        await scene.alice.ask("prod/api-0")
        assert await scene.shown("Too many requests wait for approval") is first
        before = len(scene.bob.ephemerals())
        await scene.bob.press_value("approve", value)
        late = await scene.bob.next_ephemeral(before)
    assert "nicht mehr offen" in late.text
    assert first.buttons() == {}
    assert scene.checkpoints() == []


async def test_concurrent_approvals_create_one_checkpoint(scene: Scene) -> None:
    scene.rights.capture["carol"] = {"prod"}
    async with scene.bot():
        message = await asked(scene)
        value = message.buttons()["approve"]["value"]
        async with anyio.create_task_group() as tasks:
            for person in (scene.bob, scene.carol, scene.bob):
                tasks.start_soon(person.press_value, "approve", value)
        await scene.slack.workspace.until(
            lambda: len(scene.bob.ephemerals()) + len(scene.carol.ephemerals()) == 3
        )
    assert len(scene.checkpoints()) == 1


async def test_a_restart_ends_waiting_requests(scene: Scene) -> None:
    async with scene.bot():
        message = await asked(scene)
        value = message.buttons()["approve"]["value"]
    assert "before anybody approved. Ask again." in message.everything()
    assert message.buttons() == {}
    async with scene.bot():
        before = len(scene.bob.ephemerals())
        await scene.bob.press_value("approve", value)
        answer = await scene.bob.next_ephemeral(before)
    assert "nicht mehr offen" in answer.text
    assert scene.checkpoints() == []


async def test_the_approval_message_lists_everything_a_retry_repeats(scene: Scene) -> None:
    more = {"pause": True, "artifacts": ["memory"], "destination": "s3://elsewhere"}
    scene.kubectl_create(pod="api-0", namespace="prod", containers=["app"], **more)
    scene.finish("by-hand")
    async with scene.bot():
        await scene.alice.ask("retry by-hand")
        said = (await scene.shown("Approval needed: prod/api-0")).everything()
    for fact in ("As alice", "Cluster west", "Containers: app", "Artifacts: memory", "held still"):
        assert fact in said
    assert "Destination: s3://elsewhere" in said


async def test_the_approval_message_shows_what_the_cluster_refuses(scene: Scene) -> None:
    async with scene.bot():
        message = await asked(scene)
        refusal = ClusterFault(verb="create", resource="podcheckpoints", status=403)
        scene.cluster.faults.add(refusal)
        await scene.bob.click(message, "approve")
        await scene.shown("The cluster did not do it")
    assert message.buttons() == {}
