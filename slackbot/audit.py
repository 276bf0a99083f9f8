"""One line in the log for every decision, whichever way it went."""

from __future__ import annotations

import logging
from dataclasses import dataclass

log = logging.getLogger("slackbot.audit")


@dataclass(frozen=True, slots=True)
class Decision:
    """Who wanted what, and whether that was allowed."""

    allowed: bool
    action: str
    """`capture`, `see`, `approve`, `cancel`, ... as the user meant it."""
    user: str
    """Of Slack."""
    team: str
    channel: str
    identity: str = ""
    """In the cluster; empty where it did not come so far."""
    namespace: str = ""
    pod: str = ""
    reason: str = ""
    """Why not, by its key in the catalogue."""


def record(decision: Decision) -> None:
    """Write it down."""
    verdict = "allowed" if decision.allowed else "refused"
    fields = {
        "audit": verdict,
        "action": decision.action,
        "slackUser": decision.user,
        "slackTeam": decision.team,
        "slackChannel": decision.channel,
        "identity": decision.identity,
        "namespace": decision.namespace,
        "pod": decision.pod,
        "reason": decision.reason,
    }
    said = f"{verdict}: {decision.action} by {decision.user} in {decision.channel or 'no channel'}"
    log.info(said, extra=fields)
