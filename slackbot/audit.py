"""One line in the log for every decision, once it is known what came of it.

    with decision("U0ALICE", "T0LAB", "C0INC"):
        note(action="capture", identity="alice")

Whoever decides notes what is known; the line is written where the block ends.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from slackbot.errors import Refused, SlackError, UserMessage

log = logging.getLogger("slackbot.audit")
# Of its own: whoever wants a quiet log does not mean these lines.
log.setLevel(logging.INFO)


@dataclass
class Decision:
    """Who did what, and to what, as far as that is known."""

    user: str
    """Of Slack."""
    team: str
    channel: str
    action: str = ""
    """`capture`, `approve`, `cancel`, ... as the user meant it; empty: nothing was decided."""
    identity: str = ""
    """In the cluster; empty where it did not come so far."""
    namespace: str = ""
    pod: str = ""
    pod_uid: str = ""
    checkpoint: str = ""
    outcome: str = ""
    """`created`, `waiting`, `denied`."""


# A context variable, as every handler runs in a task of its own: nothing has to be passed along.
_CURRENT: ContextVar[Decision] = ContextVar("decision")


@contextmanager
def decision(user: str, team: str, channel: str) -> Iterator[None]:
    """Write the line when the block ends; one inside another has a line of its own."""
    made = Decision(user, team, channel)
    token = _CURRENT.set(made)
    try:
        yield
    except BaseException as error:
        record(made, *_verdict(error, made))
        raise
    else:
        record(made, "allowed")
    finally:
        _CURRENT.reset(token)


def note(**known: str) -> None:
    """Add to the line of the decision that is being made."""
    made = _CURRENT.get()
    for name, value in known.items():
        setattr(made, name, value)


def record(made: Decision, verdict: str, reason: str = "") -> None:
    """Write it down; nothing, if nothing was decided."""
    if not made.action:
        return
    fields = {
        "audit": verdict,
        "action": made.action,
        "slackUser": made.user,
        "slackTeam": made.team,
        "slackChannel": made.channel,
        "identity": made.identity,
        "namespace": made.namespace,
        "pod": made.pod,
        "podUID": made.pod_uid,
        "checkpoint": made.checkpoint,
        "outcome": made.outcome,
        "reason": reason,
    }
    said = f"{verdict}: {made.action} by {made.user} in {made.channel or 'no channel'}"
    log.info(said, extra=fields)


def _verdict(error: BaseException, made: Decision) -> tuple[str, str]:
    """Return `refused` or, for what was allowed and did not work, `failed`; and why."""
    cause: BaseException | None = error
    # An answer may hide a refusal: what the log says must be the refusal itself.
    while cause is not None:
        # The user reads that there is nothing, because they may not see it: the log has why.
        if isinstance(cause, Refused):
            return "refused", cause.key
        cause = cause.__cause__
    # It was done, though the answer could not be delivered.
    verdict = "allowed" if made.outcome else "failed"
    if isinstance(error, UserMessage):
        return verdict, error.key
    return verdict, error.code if isinstance(error, SlackError) else type(error).__name__
