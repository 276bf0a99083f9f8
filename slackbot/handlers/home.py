"""The App Home: the checkpoints that somebody may see, shown whenever they open it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from slack_bolt.async_app import AsyncApp

from forensics_core.api.podcheckpoint import PodCheckpoint
from slackbot import audit
from slackbot.authorisation import Actor
from slackbot.blocks.answers import row
from slackbot.blocks.buttons import link_button
from slackbot.blocks.elements import header, section
from slackbot.blocks.limits import Block
from slackbot.bot import Bot
from slackbot.catalogue import phrase
from slackbot.errors import Refused
from slackbot.handlers.payload import Payload
from slackbot.report_state import ReportState
from slackbot.slack import Reply

MAX_ENDED = 15
"""Ended ones that are shown."""
MAX_OPEN = 30
"""Open ones that are shown."""


def register(app: AsyncApp, bot: Bot) -> None:
    """Register the event; Bolt acknowledges events by itself."""

    @app.event("app_home_opened")
    async def opened(body: Payload) -> None:
        event = body["event"]
        if event.get("tab", "home") != "home":
            return
        actor = Actor(event["user"], body.get("team_id", ""))
        bot.start(partial(_show, bot, actor), actor, Reply(bot.slack, "", actor.user))


async def _show(bot: Bot, actor: Actor) -> None:
    try:
        with audit.decision(actor.user, actor.team, actor.channel):
            person = await bot.authorisation.admit(actor, "home", home=True)
            found = await bot.finder.seen_by(person)
    except Refused as refusal:
        language = await bot.authorisation.language(actor)
        view = home_refusal(refusal.text(language), language)
    else:
        view = home_view(found, person.language, bot.identity.url)
    await bot.slack.publish_home(actor.user, view)


def home_view(checkpoints: Sequence[PodCheckpoint], language: str, workspace: str) -> Block:
    """Return the home for somebody who may see `checkpoints`, the newest first.

    `workspace` is its address, which messages' addresses begin with.
    """
    open_ones = [one for one in checkpoints if not one.finished][:MAX_OPEN]
    recent = [one for one in checkpoints if one.finished][:MAX_ENDED]
    blocks = [
        header(phrase(language, "home.title")),
        section(phrase(language, "home.hint")),
        *_part("home.open", open_ones, language, workspace),
        *_part("home.recent", recent, language, workspace),
    ]
    return {"type": "home", "blocks": blocks}


def home_refusal(text: str, language: str) -> Block:
    """Return the home for somebody who may see nothing."""
    return {"type": "home", "blocks": [header(phrase(language, "home.title")), section(text)]}


def _part(
    key: str, checkpoints: Sequence[PodCheckpoint], language: str, workspace: str
) -> list[Block]:
    rows = [section(row(one, language), _opener(one, language, workspace)) for one in checkpoints]
    return [header(phrase(language, key)), *(rows or [section(phrase(language, "home.none"))])]


def _opener(checkpoint: PodCheckpoint, language: str, workspace: str) -> Block | None:
    """Return the button that leads to a checkpoint's message, if it has one."""
    state = ReportState.of(checkpoint)
    if not state.message:
        return None
    url = f"{workspace}archives/{state.channel}/p{state.message.replace('.', '')}"
    return link_button(checkpoint.metadata.name, url, language)
