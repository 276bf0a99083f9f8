"""The bot's parts, put together, and how it handles a call once that is acknowledged."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from anyio.abc import TaskGroup

from forensics_core.api.podcheckpoint import PodCheckpoint
from forensics_core.errors import ApiUnavailable, ClusterError, ForensicsError
from slackbot import audit
from slackbot.approvals import Approvals
from slackbot.authorisation import Actor, Authorisation, Person
from slackbot.blocks.thread import verification_message
from slackbot.capture_rules import RuleReporter
from slackbot.catalogue import phrase
from slackbot.containment import Containment
from slackbot.decisions import Decisions
from slackbot.errors import SlackError, UserMessage
from slackbot.evidence import EvidenceReader
from slackbot.finder import Finder
from slackbot.pods import Pods
from slackbot.report_state import ReportState
from slackbot.reporter import Reporter
from slackbot.requests import Requests
from slackbot.selection import Selector
from slackbot.settings import Settings
from slackbot.slack import BotIdentity, Reply, Slack

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bot:
    """Everything that a handler may need."""

    settings: Settings
    slack: Slack
    identity: BotIdentity
    authorisation: Authorisation
    requests: Requests
    finder: Finder
    decisions: Decisions
    approvals: Approvals
    previews: Approvals
    """Lists of pods that somebody was shown, and has not said yes to."""
    selector: Selector
    containment: Containment
    pods: Pods
    reporter: Reporter
    rules: RuleReporter
    evidence: EvidenceReader | None
    tasks: TaskGroup

    def start(self, work: Callable[[], Awaitable[None]], actor: Actor, reply: Reply) -> None:
        """Do what a handler has to do once the call is acknowledged; errors go to `reply`."""
        # Apart from the handler: Slack waits three seconds for the acknowledgement, and no longer.
        self.tasks.start_soon(self._run, work, actor, reply)

    async def _run(self, work: Callable[[], Awaitable[None]], actor: Actor, reply: Reply) -> None:
        try:
            with audit.decision(actor.user, actor.team, actor.channel):
                await work()
        # Whatever it is: an exception that escapes here ends the task group, and with it the bot.
        except Exception as error:
            await self._explain(error, actor, reply)

    async def _explain(self, error: Exception, actor: Actor, reply: Reply) -> None:
        """Reply with the error; whatever goes wrong even there must not end the bot."""
        try:
            await reply.send_text(explain(error, await self.authorisation.language(actor)))
        except SlackError as failure:
            log.error("The error '%s' cannot be shown to the user: %s", error, failure)
        except Exception:
            log.exception("The error '%s' cannot be shown to the user", error)

    async def release(self, person: Person, checkpoint: PodCheckpoint) -> str:
        """Lift an isolation, and return the answer. Raises `UserMessage`."""
        released = await self.containment.release(person, checkpoint)
        key = "answer.released" if released.name else "answer.release.approval"
        return phrase(person.language, key, name=checkpoint.metadata.name)

    async def verify(self, checkpoint: PodCheckpoint, reply: Reply, language: str) -> None:
        """Verify a bundle, and post the result to its thread. Raises `UserMessage`."""
        evidence, location = self.evidence, checkpoint.status.location
        if evidence is None:
            raise UserMessage("error.reader", location=location)
        state = ReportState.of(checkpoint)
        await reply.send_text(phrase(language, "answer.verifying", name=checkpoint.metadata.name))
        try:
            verification = await evidence.verify(checkpoint)
        except UserMessage:
            raise
        except ForensicsError as error:
            raise UserMessage("error.evidence", location=location, message=error.message) from error
        message = verification_message(verification, language)
        if state.message:
            await self.reporter.context.post(state.channel, message, thread=state.message)
        else:
            await reply.send(message)


Handler = Callable[[Bot, Actor, Reply, str], Awaitable[None]]
"""Handles a button or a subcommand; the text is the button's value, or the checkpoint's name."""


def explain(error: Exception, language: str) -> str:
    """Return the message for the user; an unforeseen error goes into the log, with an id."""
    if isinstance(error, UserMessage):
        return error.text(language)
    if isinstance(error, SlackError):
        log.error("%s", error)
        return phrase(language, "error.slack", code=error.code)
    if isinstance(error, ApiUnavailable):
        return phrase(language, "error.away")
    if isinstance(error, ClusterError):
        return phrase(language, "error.cluster", message=error.message)
    # The user gets no details, which may be secret; the id leads to them in the log.
    number = secrets.token_hex(4)
    log.error("Unforeseen, %s", number, exc_info=error)
    return phrase(language, "error.internal", id=number)
