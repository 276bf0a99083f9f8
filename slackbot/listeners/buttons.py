"""The buttons: every click is authorised like a command, whoever posted the message."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial

from slack_bolt.async_app import AsyncAck, AsyncApp

from forensics_core.errors import ForensicsError
from slackbot.authorisation import Actor
from slackbot.blocks.answers import links_messages
from slackbot.bot import Bot
from slackbot.catalogue import say
from slackbot.errors import Told
from slackbot.finder import evidence_of
from slackbot.listeners.payload import Body, actor_of, reply_to
from slackbot.reply import Reply


def listen(app: AsyncApp, bot: Bot) -> None:
    """Register the buttons."""
    for name, deed in _DEEDS.items():
        app.action(name)(partial(_clicked, bot, deed))

    @app.action(re.compile("^open"))
    async def opened(ack: AsyncAck) -> None:
        # Slack wants to hear even of links.
        await ack()


async def _clicked(bot: Bot, deed: Deed, ack: AsyncAck, body: Body) -> None:
    await ack()
    actor = actor_of(body)
    reply = reply_to(bot.slack, body, actor)
    value = str(body["actions"][0].get("value", ""))
    bot.start(partial(deed, bot, actor, reply, value), actor, reply)


async def _approve(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    await bot.decisions.approve(actor, value)
    await reply.say(say(await bot.authorisation.language(actor), "answer.approved"))


async def _deny(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    await bot.decisions.deny(actor, value)
    await reply.say(say(await bot.authorisation.language(actor), "answer.denied"))


async def _cancel(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    person, checkpoint = await bot.finder.clicked(actor, "cancel", value)
    await bot.requests.cancel(checkpoint, person.language)
    name = checkpoint.metadata.name
    await reply.say(say(person.language, "answer.cancelled", name=name))


async def _retry(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    person, checkpoint = await bot.finder.clicked(actor, "retry", value)
    asked = await bot.requests.retry(person, checkpoint, bot.approvals)
    await reply.say(asked.text(person.language))


async def _download(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    person, checkpoint = await bot.finder.clicked(actor, "download", value)
    location = evidence_of(checkpoint)
    if bot.evidence is None:
        raise Told("error.reader", location=location)
    try:
        links = await bot.evidence.links(checkpoint)
    except ForensicsError as error:
        raise Told("error.evidence", location=location, message=error.message) from error
    name, minutes = checkpoint.metadata.name, bot.evidence.link_minutes
    for page in links_messages(name, location, links, minutes, person.language):
        await reply.send(page)


async def _verify(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    person, checkpoint = await bot.finder.clicked(actor, "verify", value)
    evidence_of(checkpoint)
    await bot.verify(checkpoint, reply, person.language)


Deed = Callable[[Bot, Actor, Reply, str], Awaitable[None]]
_DEEDS: dict[str, Deed] = {
    "approve": _approve,
    "deny": _deny,
    "cancel": _cancel,
    "retry": _retry,
    "download": _download,
    "verify": _verify,
}
