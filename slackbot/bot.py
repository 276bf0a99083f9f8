"""The bot's parts, put together, and how each deed runs: apart from its acknowledgement."""

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
from slackbot.authorisation import Actor, Authorisation
from slackbot.blocks.thread import verification_message
from slackbot.bookmark import Bookmark
from slackbot.catalogue import say
from slackbot.decisions import Decisions
from slackbot.errors import SlackError, Told
from slackbot.evidence import Evidence
from slackbot.finder import Finder
from slackbot.pods import Pods
from slackbot.reply import Reply
from slackbot.reporter import Reporter
from slackbot.requests import Requests
from slackbot.settings import Settings
from slackbot.slack import Slack

log = logging.getLogger(__name__)

Deed = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Bot:
    """Everything that a listener may need."""

    settings: Settings
    slack: Slack
    authorisation: Authorisation
    requests: Requests
    finder: Finder
    decisions: Decisions
    approvals: Approvals
    pods: Pods
    reporter: Reporter
    evidence: Evidence | None
    tasks: TaskGroup
    workspace: str
    """The workspace's address, ending in `/`."""

    def start(self, deed: Deed, actor: Actor, reply: Reply) -> None:
        """Run a deed after its acknowledgement; whatever goes wrong is told to who wanted it."""
        self.tasks.start_soon(self._run, deed, actor, reply)

    async def _run(self, deed: Deed, actor: Actor, reply: Reply) -> None:
        try:
            with audit.decision(actor.user, actor.team, actor.channel):
                await deed()
        except Exception as error:
            await self._explain(error, actor, reply)

    async def _explain(self, error: Exception, actor: Actor, reply: Reply) -> None:
        """Tell whoever wanted it; whatever goes wrong even there must not end the bot."""
        try:
            await reply.say(explain(error, await self.authorisation.language(actor)))
        except SlackError as failure:
            log.error("Nobody was told of '%s': %s", error, failure)
        except Exception:
            log.exception("Nobody was told of '%s'", error)

    async def verify(self, checkpoint: PodCheckpoint, reply: Reply, language: str) -> None:
        """Read a bundle again, and tell its thread. Raises `Told`."""
        evidence, location = self.evidence, checkpoint.status.location
        if evidence is None:
            raise Told("error.reader", location=location)
        bookmark = Bookmark.of(checkpoint)
        await reply.say(say(language, "answer.verifying", name=checkpoint.metadata.name))
        try:
            verification = await evidence.verify(checkpoint)
        except Told:
            raise
        except ForensicsError as error:
            raise Told("error.evidence", location=location, message=error.message) from error
        message = verification_message(verification, language)
        if bookmark.message:
            await self.reporter.desk.post(bookmark.channel, message, thread=bookmark.message)
        else:
            await reply.send(message)


def explain(error: Exception, language: str) -> str:
    """Return what to tell the user; what nobody foresaw goes into the log, with an id."""
    if isinstance(error, Told):
        return error.words(language)
    if isinstance(error, SlackError):
        log.error("%s", error)
        return say(language, "error.slack", code=error.code)
    if isinstance(error, ApiUnavailable):
        return say(language, "error.away")
    if isinstance(error, ClusterError):
        return say(language, "error.cluster", message=error.message)
    number = secrets.token_hex(4)
    log.error("Unforeseen, %s", number, exc_info=error)
    return say(language, "error.internal", id=number)
