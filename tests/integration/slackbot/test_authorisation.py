"""Who may what: at the command, the click, the form, the home; and a line for each decision."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import anyio
import pytest

from forensics_loopback import Fault as ClusterFault
from lab.slack.faults import SlackFault
from slackbot.report_state import MESSAGE_ANNOTATION
from tests.integration.slackbot.setup import NAMESPACE, OTHER, SlackSetup, captured, running

AUDIT = "slackbot.audit"


def audits(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the lines of the audit log, as fields."""
    return [vars(record) for record in caplog.records if record.name == AUDIT]


def latest(setup: SlackSetup) -> Any:
    """Return the form that was opened last."""
    return list(setup.slack.workspace.views.values())[-1]


async def test_refuses_users_who_are_not_listed(
    setup: SlackSetup, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    async with setup.bot():
        answer = await setup.mallory.ask("web-0 -n shop")
    assert "not on the list" in answer.text
    assert setup.checkpoints() == []
    assert [(one["audit"], one["reason"]) for one in audits(caplog)] == [
        ("refused", "refused.person")
    ]


async def test_a_listed_user_needs_no_group(setup: SlackSetup) -> None:
    async with setup.bot(users=["U0MALLORY"]):
        answer = await setup.mallory.ask("whoami")
    assert answer.text == "You are U0MALLORY in Slack and mallory in the cluster. Groups: none"


async def test_refuses_channels_that_are_not_listed(setup: SlackSetup) -> None:
    async with setup.bot():
        answer = await setup.person("U0ALICE", OTHER).ask("web-0 -n shop")
    assert "does not work in this channel" in answer.text


@pytest.mark.parametrize("flag", ["is_ext_shared", "is_pending_ext_shared"])
async def test_refuses_shared_channels(setup: SlackSetup, flag: str) -> None:
    setup.slack.workspace.channels["C0INC"][flag] = True
    async with setup.bot():
        answer = await setup.alice.ask("web-0 -n shop")
    assert "shared with another organisation" in answer.text


async def test_refuses_other_workspaces(setup: SlackSetup) -> None:
    alice = setup.alice
    alice.team = "T0OTHER"
    async with setup.bot():
        answer = await alice.ask("web-0 -n shop")
    assert "own workspace" in answer.text


async def test_refuses_what_the_cluster_refuses(
    setup: SlackSetup, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    async with setup.bot():
        answer = await setup.carol.ask("web-0 -n shop")
    assert "You (carol) may not do this in the namespace shop" in answer.text
    assert setup.checkpoints() == []
    last = audits(caplog)[-1]
    assert (last["audit"], last["action"], last["identity"]) == ("refused", "capture", "carol")
    assert (last["namespace"], last["pod"], last["slackUser"]) == ("shop", "web-0", "U0CAROL")


async def test_audits_what_is_allowed(setup: SlackSetup, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
    (last,) = audits(caplog)
    assert (last["audit"], last["action"], last["identity"]) == ("allowed", "capture", "alice")
    assert (last["namespace"], last["pod"]) == ("shop", "web-0")
    assert (last["outcome"], last["checkpoint"]) == ("created", made["metadata"]["name"])
    assert last["podUID"] == setup.cluster.get("pods", "web-0", "shop")["metadata"]["uid"]


async def test_audits_every_decision_with_its_outcome(
    setup: SlackSetup, caplog: pytest.LogCaptureFixture
) -> None:
    setup.kubectl_create("theirs", pod="hidden-0", namespace="secret")
    made = setup.kubectl_create("ours", incident="INC-1")
    async with setup.bot(approvalSeconds=3):
        alice = setup.alice
        for text in ("whoami", "help", "zzz -n shop", "cancel theirs", "cancel ours", "status x/y"):
            await alice.ask(text)
        await alice.ask("prod/api-0")
        await alice.click(await setup.shown("Approval needed"), "approve")
        await setup.shown("Nobody approved in time")
        await alice.type("")
        form = await alice.opened_form()
        await alice.suggestions(form, "namespace", "")
        await setup.mallory.type("")
        await setup.slack.workspace.until(lambda: "not on the list" in str(latest(setup)))
        await setup.mallory.open_home()
    lines = audits(caplog)
    fields = ("audit", "action", "slackUser", "reason", "outcome")
    assert [tuple(line[field] for field in fields) for line in lines] == [
        ("allowed", "whoami", "U0ALICE", "", ""),
        ("failed", "capture", "U0ALICE", "error.notFound", ""),
        ("refused", "cancel", "U0ALICE", "refused.access", ""),
        ("allowed", "cancel", "U0ALICE", "", ""),
        ("allowed", "capture", "U0ALICE", "", "waiting"),
        ("refused", "approve", "U0ALICE", "approval.self", ""),
        ("refused", "capture", "U0ALICE", "approval.expired", ""),
        ("allowed", "open form", "U0ALICE", "", ""),
        ("allowed", "suggest", "U0ALICE", "", ""),
        ("refused", "open form", "U0MALLORY", "refused.person", ""),
        ("refused", "home", "U0MALLORY", "refused.person", ""),
    ]
    assert (lines[2]["checkpoint"], lines[2]["pod"]) == ("theirs", "hidden-0")
    assert lines[3]["checkpoint"] == made["metadata"]["name"]
    assert lines[5]["podUID"] == lines[6]["podUID"] != ""
    assert lines[8]["namespace"] == "prod, shop"


async def test_audits_as_allowed_what_was_done_though_the_answer_failed(
    setup: SlackSetup, caplog: pytest.LogCaptureFixture
) -> None:
    async with setup.bot():
        setup.slack.faults.add(SlackFault("response_url", status=404))
        await setup.alice.type("web-0 -n shop")
        await setup.slack.workspace.until(lambda: not setup.slack.faults.waiting)
        await setup.alice.ask("whoami")
    first = audits(caplog)[0]
    assert (first["audit"], first["outcome"], first["reason"]) == ("allowed", "created", "HTTP 404")


async def test_identifies_users_of_an_enterprise_grid_by_workspace(setup: SlackSetup) -> None:
    setup.kubectl_create(incident="INC-1")
    alice = setup.alice
    alice.organisation = "E0ORG"
    async with setup.bot():
        setup.progress("by-hand", **running())
        answer = await alice.click(await setup.shown("2 of 9"), "cancel")
    assert "Cancelling" in answer.text


async def test_reviews_access_with_the_groups_of_the_identity(setup: SlackSetup) -> None:
    setup.rights.capture["responders"] = {"shop"}
    identities = {"U0CAROL": {"username": "carol", "groups": ["responders"]}}
    async with setup.bot(identities=identities):
        answer = await setup.carol.ask("web-0 -n shop")
    assert "Asked for" in answer.text


async def test_reviews_access_as_an_authenticated_user(setup: SlackSetup) -> None:
    setup.rights.capture["system:authenticated"] = {"shop"}
    async with setup.bot():
        answer = await setup.carol.ask("web-0 -n shop")
    assert "Asked for" in answer.text


EMAIL = {"domains": ["example.com"], "prefix": "oidc:", "groups": ["staff"]}


async def test_identifies_users_by_email_where_enabled(setup: SlackSetup) -> None:
    async with setup.bot(identities={}, email=EMAIL):
        answer = await setup.alice.ask("whoami")
    assert "oidc:u0alice@example.com in the cluster. Groups: staff" in answer.text


STRANGE: list[dict[str, Any]] = [
    {"is_restricted": True},
    {"is_ultra_restricted": True},
    {"is_stranger": True},
    {"is_bot": True},
    {"deleted": True},
    {"is_email_confirmed": False},
    {"team_id": "T0OTHER"},
    {"profile": {"email": "alice@elsewhere.example"}},
    {"profile": {}},
]


@pytest.mark.parametrize("what", STRANGE, ids=str)
async def test_ignores_the_email_of_guests_bots_and_strangers(
    setup: SlackSetup, what: dict[str, Any]
) -> None:
    setup.slack.workspace.users["U0ALICE"] |= what
    async with setup.bot(identities={}, email=EMAIL):
        answer = await setup.alice.ask("web-0 -n shop")
    assert "Nothing says who you are in the cluster" in answer.text


@pytest.mark.parametrize("what", [{"is_bot": True}, {"deleted": True}], ids=str)
async def test_refuses_deleted_users_that_are_still_mapped(
    setup: SlackSetup, what: dict[str, Any]
) -> None:
    setup.slack.workspace.users["U0ALICE"] |= what
    async with setup.bot():
        answer = await setup.alice.ask("web-0 -n shop")
    assert "Nothing says who you are in the cluster" in answer.text


@pytest.mark.parametrize("method", ["users.info", "usergroups.users.list", "conversations.info"])
async def test_refuses_when_slack_does_not_answer(setup: SlackSetup, method: str) -> None:
    setup.slack.workspace.missing_scopes.add(method)
    async with setup.bot():
        answer = await setup.alice.ask("web-0 -n shop")
    assert "so the answer is no" in answer.text
    assert "missing_scope" in answer.text
    assert setup.checkpoints() == []


async def test_refuses_when_the_access_review_fails(setup: SlackSetup) -> None:
    setup.cluster.faults.add(ClusterFault(verb="create", resource="subjectaccessreviews"))
    async with setup.bot():
        answer = await setup.alice.ask("web-0 -n shop")
    assert "so the answer is no" in answer.text


async def test_caches_what_slack_says_of_users(setup: SlackSetup) -> None:
    setup.slack.faults.add(SlackFault("usergroups.users.list", skip=1, error="internal_error"))
    async with setup.bot(cacheSeconds=60):
        first = await setup.alice.ask("whoami")
        again = await setup.alice.ask("whoami")
    assert first.text == again.text
    asked = [one for one in setup.slack.workspace.calls if one.method == "users.info"]
    assert len(asked) == 1


@pytest.mark.parametrize("action", ["cancel", "retry", "download", "verify"])
async def test_refuses_clicks_of_unauthorised_users(setup: SlackSetup, action: str) -> None:
    made = setup.kubectl_create(incident="INC-1")
    setup.finish("by-hand")
    async with setup.bot():
        await setup.shown("by-hand")
        for person, why in ((setup.mallory, "not on the list"), (setup.carol, "may not do this")):
            before = len(person.ephemerals())
            await person.press_value(action, made["metadata"]["uid"])
            assert why in (await person.next_ephemeral(before)).text
    assert len(setup.checkpoints()) == 1
    assert not setup.checkpoints()[0]["spec"].get("cancel")


async def test_checks_access_again_at_every_click(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.ask("web-0 -n shop")
        (made,) = await setup.made()
        setup.progress(made["metadata"]["name"], phase="Pending")
        root = await setup.shown("waiting")
        setup.rights.capture["alice"] = set()
        answer = await setup.alice.click(root, "cancel")
    assert "may not do this" in answer.text
    assert not setup.checkpoints()[0]["spec"].get("cancel")


@pytest.mark.parametrize("verb", ["status", "cancel", "retry", "verify"])
async def test_hidden_and_missing_checkpoints_get_the_same_answer(
    setup: SlackSetup, verb: str
) -> None:
    setup.kubectl_create("theirs", pod="hidden-0", namespace="secret")
    async with setup.bot():
        hidden = await setup.alice.ask(f"{verb} theirs")
        absent = await setup.alice.ask(f"{verb} nothing")
    assert hidden.text == absent.text.replace("nothing", "theirs")


async def test_hidden_and_missing_pods_get_the_same_answer(setup: SlackSetup) -> None:
    async with setup.bot():
        there = await setup.alice.ask("hidden-0 -n secret")
        absent = await setup.alice.ask("hidden-9 -n secret")
    assert there.text == absent.text
    assert "hidden" not in there.text


async def test_suggests_no_pod_names_without_the_right_to_list(setup: SlackSetup) -> None:
    setup.rights.list_pods["alice"] = set()
    async with setup.bot():
        answer = await setup.alice.ask("web-9 -n shop")
    assert answer.text == "Pod web-9 not found in shop."


def remembered(items: Iterable[dict[str, Any]]) -> bool:
    """Return whether the bot has written down where the message of case-0 is."""
    found = [item["metadata"] for item in items if item["metadata"]["name"] == "case-0"]
    return any(MESSAGE_ANNOTATION in one.get("annotations", {}) for one in found)


async def test_list_and_home_show_visible_checkpoints_only(setup: SlackSetup) -> None:
    for number, namespace in enumerate(("shop", "secret")):
        setup.kubectl_create(f"case-{number}", pod="web-0", namespace=namespace, incident="INC-1")
    setup.kubectl_create("case-2", incident="INC-1")
    setup.kubectl_create("elsewhere", incident="OTHER-1")
    setup.progress("case-2", **(captured("case-2") | {"phase": "Complete"}))
    async with setup.bot():
        root = await setup.shown("case-0")
        with anyio.fail_after(20):
            await setup.cluster.until("podcheckpoints", remembered, NAMESPACE)
        listed = await setup.alice.ask("list")
        home = await setup.alice.open_home()
        nothing = await setup.carol.ask("list")
        refused = await setup.mallory.open_home()
    assert "case-0" in listed.everything()
    assert "case-2" in listed.everything()
    assert "case-1" not in listed.everything()
    assert "elsewhere" not in listed.everything()
    assert "elsewhere" in str(home)
    opened = [block["accessory"]["url"] for block in home["blocks"] if "accessory" in block]
    assert f"{setup.slack.url}/archives/C0INC/p{root.ts.replace('.', '')}" in opened
    assert "case-1" not in str(home)
    assert "no checkpoints" in nothing.text
    assert "not on the list" in str(refused)
