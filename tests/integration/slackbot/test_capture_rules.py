"""What CaptureRules do without anybody, told in the channel."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from forensics_loopback import Fault as ClusterFault
from tests.integration.slackbot.setup import INCIDENT, NAMESPACE, Document, SlackSetup, running

CHANNELS = [{"id": INCIDENT, "rules": ["oom*"]}]
AT = "2026-11-28T00:00:00Z"


def rule(setup: SlackSetup, name: str = "oom-shop", **status: Any) -> None:
    """Make a CaptureRule, with a status as the operator writes it."""
    body = {
        "apiVersion": "forensics.orkaproj.io/v1alpha1",
        "kind": "CaptureRule",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"namespaces": ["shop"], "events": ["OOMKilled"]},
    }
    setup.cluster.create(body)
    if status:
        says(setup, name, **status)


def says(setup: SlackSetup, name: str = "oom-shop", **status: Any) -> None:
    """Let the operator say something of a rule."""
    setup.cluster.patch("capturerules", name, {"status": status}, NAMESPACE)


def held(count: int) -> Document:
    """Return the status of a rule that held something back."""
    last = {
        "time": AT,
        "event": "OOMKilled",
        "namespace": "shop",
        "pod": "web-0",
        "reason": "PerHour",
        "message": "10 within an hour",
    }
    reasons = [{"reason": "PerHour", "count": count}]
    return {"total": count, "reasons": reasons, "last": [last]}


async def known(setup: SlackSetup) -> None:
    """Wait until the bot has read what rules there are: what they did before is no news."""
    with anyio.fail_after(20):
        while "watch capturerules" not in setup.cluster.records.counts():  # noqa: ASYNC110
            await anyio.sleep(0.02)


async def test_a_capture_by_a_rule_names_the_rule_and_the_event(setup: SlackSetup) -> None:
    async with setup.bot(channels=CHANNELS):
        labels = {
            "forensics.orkaproj.io/rule": "oom-shop",
            "forensics.orkaproj.io/event": "OOMKilled",
        }
        setup.kubectl_create("auto-1", metadata={"labels": labels})
        root = await setup.shown("By the rule oom-shop, on OOMKilled")
        await setup.shown("By the rule oom-shop, on OOMKilled", thread=True)
        setup.progress("auto-1", **running())
        await setup.posted("ruled,attempt-1")
        setup.kubectl_create(
            "not-ours", metadata={"labels": {"forensics.orkaproj.io/rule": "else"}}
        )
        await setup.alice.ask("whoami")
    assert setup.slack.workspace.roots() == [root]


async def test_a_flood_that_is_held_back_is_one_line_with_its_number(setup: SlackSetup) -> None:
    rule(setup, heldBack=held(5))
    async with setup.bot(channels=CHANNELS, ruleSeconds=1):
        await known(setup)
        says(setup, heldBack=held(7))
        await setup.shown("oom-shop held back 2: PerHour 2")
        for count in range(8, 1008, 50):
            says(setup, heldBack=held(count))
        await setup.shown("oom-shop held back")
        says(setup, heldBack=held(1007))
        await setup.slack.workspace.until(lambda: total(setup) == 1002)
    messages = setup.slack.workspace.roots()
    assert len(messages) <= 4
    assert "shop/web-0 (OOMKilled), PerHour: 10 within an hour" in messages[0].everything()


def total(setup: SlackSetup) -> int:
    """Return how much the channel was told to have been held back."""
    said = " ".join(one.everything() for one in setup.slack.workspace.roots())
    return sum(int(part.split(":")[0]) for part in said.split("held back ")[1:])


async def test_a_dry_run_says_what_it_would_have_captured(setup: SlackSetup) -> None:
    rule(setup)
    one = {"time": AT, "event": "OOMKilled", "namespace": "shop", "pod": "web-0"}
    record = one | {"checkpoint": "web-0-1", "dryRun": True}
    async with setup.bot(channels=CHANNELS):
        await known(setup)
        says(setup, captured=1, lastCaptures=[record])
        await setup.shown("oom-shop would have captured 1 (dry run): shop/web-0 (OOMKilled)")
        setup.cluster.delete("capturerules", "oom-shop", NAMESPACE)


async def test_a_bot_that_may_not_read_rules_goes_on(
    setup: SlackSetup, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = ClusterFault(verb="list", resource="capturerules", status=403)
    setup.cluster.faults.add(refusal)
    async with setup.bot(channels=CHANNELS):
        await setup.cluster.faults.until_spent(refusal)
        answer = await setup.alice.ask("whoami")
    assert "alice" in answer.text
    assert "CaptureRules are not reported" in caplog.text
