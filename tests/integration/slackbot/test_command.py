"""Bad input, and what the bot makes of it."""

from __future__ import annotations

import json

import pytest

from lab.slack.workspace import EphemeralMessage, PostedMessage
from slackbot.blocks.limits import message_problems
from tests.integration.slackbot.setup import HERE, SlackSetup, condition

ANSWERS = [
    ("web-9 -n shop", "Pod web-9 not found in shop. Did you mean web-0, web-1?"),
    ("zzz -n shop", "Pod zzz not found in shop."),
    ("web-0 -n shop -c sidecar", "Pod web-0 has no container sidecar. It has: app."),
    ("web-0", "no namespace is named: add -n NAMESPACE"),
    ("-n shop", "no pod is named"),
    ("web-0 -n", "-n needs a value"),
    ("web-0 web-1 -n shop", "more than one pod is named: web-0 web-1"),
    ("web-0 -n shop --force", "--force is not an option"),
    ('web-0 -n shop --reason "odd', "a quote is not closed"),
    ("<!channel> -n shop", "<!channel> is not a name".replace("<", "&lt;").replace(">", "&gt;")),
    ("web-0 -n shop --incident a/b", "a/b cannot be an incident's id"),
    (f"web-0 -n shop --reason {'x' * 3000}", "the reason has 3000 characters, and 1024"),
    ("status", "status needs the name of a checkpoint"),
    ("status ../pods", "../pods is not a name"),
    ("status nothing", "There is no checkpoint nothing that you may see"),
    ("help", "keeps a pod's evidence"),
]


@pytest.mark.parametrize(("typed", "said"), ANSWERS, ids=[typed[:30] for typed, _ in ANSWERS])
async def test_every_mistake_is_answered_with_what_to_type(
    setup: SlackSetup, typed: str, said: str
) -> None:
    async with setup.bot():
        answer = await setup.alice.ask(typed)
    assert said in answer.text
    assert setup.checkpoints() == []
    assert setup.slack.workspace.messages == []


async def test_understands_typographic_quotes_and_dashes(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.ask(
            "web-0 —namespace shop —reason \u201codd — & <very> — traffic, isn\u2019t it\u201d"
        )
        (made,) = await setup.made()
    assert made["spec"]["reason"] == "odd — & <very> — traffic, isn't it"


async def test_handles_a_repeated_command_once(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.type("web-0 -n shop", copies=3)
        await setup.alice.next_ephemeral(0)
        await setup.alice.ask("whoami")
    assert len(setup.checkpoints()) == 1
    assert len(setup.alice.ephemerals()) == 2


HOSTILE = "<!channel> *x* `y` <@U0ALICE> \u202eevil\u2066 & https://evil.example"


async def test_hostile_text_is_shown_without_markup(setup: SlackSetup) -> None:
    setup.kubectl_create(reason=HOSTILE, metadata={"annotations": HERE})
    note = {"forensics.orkaproj.io/slack-requester": "x> <!everyone>"}
    setup.kubectl_create("other", incident="INC-1", metadata={"annotations": note})
    async with setup.bot():
        setup.progress("by-hand", phase="Failed", conditions=[condition("Failed", "Bad", HOSTILE)])
        await setup.shown("Failed: Bad", thread=True)
        await setup.shown("other")
    for message in setup.slack.workspace.messages:
        sent = json.dumps([message.blocks, message.text], ensure_ascii=False)
        assert "\u202e" not in sent
        assert "`y`" not in sent
        assert "<!" not in message.text
        assert "<@" not in message.text
        assert not [one for one in markup(message.blocks) if "<!" in one or "evil" in one]


def markup(data: object) -> list[str]:
    """Return the texts that Slack reads as markup."""
    if isinstance(data, list):
        return [text for one in data for text in markup(one)]
    if not isinstance(data, dict):
        return []
    mine = [str(data["text"])] if data.get("type") == "mrkdwn" else []
    return mine + [text for one in data.values() for text in markup(one)]


async def test_clicks_on_ended_or_deleted_checkpoints_are_answered(setup: SlackSetup) -> None:
    made = setup.kubectl_create(incident="INC-1")
    uid = made["metadata"]["uid"]
    alice = setup.alice

    async def press(action: str) -> EphemeralMessage:
        before = len(alice.ephemerals())
        await alice.press_value(action, uid)
        return await alice.next_ephemeral(before)

    async with setup.bot():
        await setup.shown("by-hand")
        assert "has not ended yet" in (await press("retry")).text
        assert "has no evidence to show" in (await press("download")).text
        assert "has no evidence to show" in (await press("verify")).text
        setup.finish("by-hand")
        await setup.shown("complete")
        assert "has ended already: complete" in (await press("cancel")).text
        download = await press("download")
        assert "The bot has no access to the evidence itself" in download.text
        assert "forensics fetch s3://cases/forensics/by-hand/" in download.text
        assert "has no access" in (await press("verify")).text
        setup.cluster.delete("podcheckpoints", "by-hand", "forensics-system")
        assert "There is no checkpoint" in (await press("retry")).text


async def test_retry_is_refused_when_the_pod_is_gone(setup: SlackSetup) -> None:
    setup.kubectl_create(incident="INC-1", pod="web-7")
    setup.finish("by-hand")
    async with setup.bot():
        root = await setup.shown("by-hand")
        answer = await setup.alice.click(root, "retry")
    assert "Pod web-7 not found in shop" in answer.text


async def test_other_home_tabs_are_ignored(setup: SlackSetup) -> None:
    event = {"type": "app_home_opened", "user": "U0ALICE", "tab": "messages"}
    async with setup.bot():
        payload = {"type": "event_callback", "team_id": "T0LAB", "event": event}
        await setup.slack.deliver("events_api", payload)
        await setup.alice.ask("whoami")
    assert setup.slack.workspace.homes == {}


async def test_link_buttons_are_acknowledged(setup: SlackSetup) -> None:
    async with setup.bot():
        await setup.alice.press_value("open-3", "")
    assert len(setup.slack.workspace.acknowledged) == 1


async def test_subcommands_work_like_the_buttons(setup: SlackSetup) -> None:
    setup.kubectl_create("a", incident="INC-1")
    setup.kubectl_create("b", incident="INC-1")
    setup.finish("b")
    async with setup.bot():
        assert "Cancelling a" in (await setup.alice.ask("cancel a")).text
        assert "b: complete" in (await setup.alice.ask("status b")).text
        assert "Asked for" in (await setup.alice.ask("retry b")).text
        assert "has no access" in (await setup.alice.ask("verify b")).text
    assert len(setup.checkpoints()) == 3


async def test_everything_sent_is_within_slacks_limits(setup: SlackSetup) -> None:
    containers = [{"name": f"c-{n}", "state": "Captured"} for n in range(150)]
    setup.kubectl_create("x" * 63, incident="INC-1", reason="r" * 1024, pod="p" * 253)
    async with setup.bot():
        setup.finish("x" * 63, containers=containers, location="s3://b/" + "l" * 2000)
        await setup.shown("The bundle is sealed.", thread=True)
        await setup.alice.ask("list")
        await setup.alice.ask("status " + "x" * 63)
    workspace = setup.slack.workspace
    everything: list[PostedMessage | EphemeralMessage] = [
        *workspace.messages,
        *workspace.ephemerals,
    ]
    assert [message_problems(one.blocks) for one in everything] == [[]] * len(everything)
    assert len(everything) == 6
