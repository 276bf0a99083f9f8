"""What rules held back, and would have captured in a dry run: few lines for any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from forensics_core.api.capturerule import (
    CaptureRecord,
    CaptureRule,
    CaptureRuleStatus,
    HeldBackRecord,
)
from slackbot.blocks.elements import Message, rich_text, span
from slackbot.blocks.limits import Blocks
from slackbot.catalogue import phrase
from slackbot.text import clip

RULES = 10
"""Rules in one message."""
LAST = 2
"""Pods that are named of each."""


@dataclass(frozen=True, slots=True)
class RuleChanges:
    """What a rule did since the last message."""

    rule: str
    held_back: int
    reasons: tuple[tuple[str, int], ...]
    """Why, and how often."""
    last: tuple[HeldBackRecord, ...]
    dry: tuple[CaptureRecord, ...]
    """What it would have captured: as many as its status has room for."""

    @classmethod
    def between(cls, rule: CaptureRule, told: CaptureRuleStatus) -> Self | None:
        """Return what is new, or None. Counts that went back began anew."""
        now, before = rule.status.held_back, told.held_back
        known = {one.reason: one.count for one in before.reasons} if before else {}
        reasons = [(one.reason, one.count) for one in now.reasons] if now else []
        new = [(why, count - known.get(why, 0)) for why, count in reasons]
        new = [(why, count) for why, count in new if count > 0]
        dry = [one for one in rule.status.last_captures if one.dry_run]
        dry = [one for one in dry if one not in told.last_captures]
        if not (new or dry):
            return None
        held = sum(count for _, count in new)
        last = now.last[:LAST] if now else ()
        return cls(rule.metadata.name, held, tuple(new), last if held else (), tuple(dry))


def rules_message(several: Sequence[RuleChanges], language: str) -> Message:
    """Return one message for all of them."""
    lines: list[Blocks] = []
    for news in several[:RULES]:
        lines += _lines(news, language)
    left = len(several) - RULES
    if left > 0:
        lines.append([span(phrase(language, "incident.more", count=left))])
    title = phrase(language, "rule.title", rules=", ".join(one.rule for one in several[:RULES]))
    return Message(title, [rich_text([span(title, bold=True)], *lines)])


def _lines(news: RuleChanges, language: str) -> list[Blocks]:
    lines = []
    if news.held_back:
        why = ", ".join(f"{reason} {count}" for reason, count in news.reasons)
        said = {"rule": news.rule, "count": news.held_back, "reasons": clip(why, 300)}
        lines.append(phrase(language, "rule.held", **said))
    for one in news.last:
        pod = f"{one.namespace}/{one.pod}"
        said = {"pod": pod, "event": str(one.event), "reason": one.reason}
        lines.append(phrase(language, "rule.last", **said, message=clip(one.message, 200)))
    if news.dry:
        pods = ", ".join(f"{one.namespace}/{one.pod} ({one.event})" for one in news.dry[:LAST])
        lines.append(phrase(language, "rule.dry", rule=news.rule, count=len(news.dry), pods=pods))
    return [[span(line)] for line in lines]
