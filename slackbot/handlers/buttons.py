"""What each button does. How it looks is in `slackbot.blocks.buttons`.

Every click is authorised like a command, whoever posted the message.
"""

from __future__ import annotations

import re
from functools import partial

from slack_bolt.async_app import AsyncAck, AsyncApp

from forensics_core.errors import ForensicsError
from slackbot.authorisation import Actor
from slackbot.blocks.answers import links_messages
from slackbot.bot import Bot, Handler
from slackbot.catalogue import phrase
from slackbot.errors import UserMessage
from slackbot.finder import evidence_of
from slackbot.handlers.payload import Payload, actor_of, reply_to
from slackbot.slack import Reply


def register(app: AsyncApp, bot: Bot) -> None:
    """Register the buttons."""
    for action, handler in HANDLERS.items():
        app.action(action)(partial(_handle, bot, handler))

    @app.action(re.compile("^open"))
    async def opened(ack: AsyncAck) -> None:
        # Buttons with a link do nothing here, and yet Slack wants an acknowledgement.
        await ack()


async def _handle(bot: Bot, handler: Handler, ack: AsyncAck, body: Payload) -> None:
    await ack()
    actor = actor_of(body)
    reply = reply_to(bot.slack, body, actor)
    value = str(body["actions"][0].get("value", ""))
    bot.start(partial(handler, bot, actor, reply, value), actor, reply)


async def _approve(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    await bot.decisions.approve(actor, value)
    await reply.send_text(phrase(await bot.authorisation.language(actor), "answer.approved"))


async def _deny(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    await bot.decisions.deny(actor, value)
    await reply.send_text(phrase(await bot.authorisation.language(actor), "answer.denied"))


async def _cancel(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    person, checkpoint = await bot.finder.clicked(actor, "cancel", value)
    await bot.requests.cancel(checkpoint, person.language)
    name = checkpoint.metadata.name
    await reply.send_text(phrase(person.language, "answer.cancelled", name=name))


async def _retry(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    person, checkpoint = await bot.finder.clicked(actor, "retry", value)
    submitted = await bot.requests.retry(person, checkpoint, bot.approvals)
    await reply.send_text(submitted.text(person.language))


async def _capture_all(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    person = await bot.authorisation.admit(actor, "capture")
    pending = bot.previews.get(value)
    # Whoever clicks has to be who was shown the list: it may hold names that others may not see.
    if pending is None or pending.requester.actor != actor:
        raise UserMessage("preview.gone")
    await bot.authorisation.permit_all(person, pending.scopes)
    if bot.previews.take(value) is None:
        raise UserMessage("preview.gone")
    submitted = await bot.requests.submit_checked(pending, bot.approvals)
    await reply.send_text(submitted.text(person.language))


async def _isolate(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    person, checkpoint = await bot.finder.clicked(actor, "isolate", value)
    submitted = await bot.containment.isolate(person, checkpoint)
    await reply.send_text(submitted.text(person.language))


async def _delete_pod(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    person, checkpoint = await bot.finder.clicked(actor, "delete pod", value)
    submitted = await bot.containment.delete(person, checkpoint)
    await reply.send_text(submitted.text(person.language))


async def _release(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    person, checkpoint = await bot.finder.clicked(actor, "release", value)
    await reply.send_text(await bot.release(person, checkpoint))


async def _download(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    person, checkpoint = await bot.finder.clicked(actor, "download", value)
    location = evidence_of(checkpoint)
    if bot.evidence is None:
        raise UserMessage("error.reader", location=location)
    try:
        links = await bot.evidence.links(checkpoint)
    except ForensicsError as error:
        raise UserMessage("error.evidence", location=location, message=error.message) from error
    name, minutes = checkpoint.metadata.name, bot.evidence.link_minutes
    for page in links_messages(name, location, links, minutes, person.language):
        await reply.send(page)


async def _verify(bot: Bot, actor: Actor, reply: Reply, value: str) -> None:
    person, checkpoint = await bot.finder.clicked(actor, "verify", value)
    evidence_of(checkpoint)
    await bot.verify(checkpoint, reply, person.language)


HANDLERS: dict[str, Handler] = {
    "approve": _approve,
    "deny": _deny,
    "cancel": _cancel,
    "retry": _retry,
    "download": _download,
    "verify": _verify,
    "captureall": _capture_all,
    "isolate": _isolate,
    "release": _release,
    "deletepod": _delete_pod,
}
"""By action: a new button is one function and one line here."""
