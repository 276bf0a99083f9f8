"""The bot's home."""

from __future__ import annotations

from functools import partial

from slack_bolt.async_app import AsyncApp

from slackbot import audit
from slackbot.authorisation import Actor
from slackbot.blocks.home import home_view, refused_home
from slackbot.bot import Bot
from slackbot.errors import Refused
from slackbot.listeners.payload import Body
from slackbot.reply import Reply


def listen(app: AsyncApp, bot: Bot) -> None:
    """Register the event; Slack hears at once that it arrived."""

    @app.event("app_home_opened")
    async def opened(body: Body) -> None:
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
        view = refused_home(refusal.words(language), language)
    else:
        view = home_view(found, person.language, bot.workspace)
    await bot.slack.publish_home(actor.user, view)
