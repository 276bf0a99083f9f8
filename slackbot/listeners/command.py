"""`/checkpoint`, with all that may follow it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from slack_bolt.async_app import AsyncAck, AsyncApp

from slackbot.authorisation import Actor
from slackbot.blocks.answers import help_message, list_message, preview_message, sentence
from slackbot.blocks.elements import Message
from slackbot.blocks.steps import steps
from slackbot.bot import Bot
from slackbot.catalogue import say
from slackbot.command import Ask, Form, Subcommand, Verb, parse
from slackbot.finder import evidence_of
from slackbot.listeners.form import open_form
from slackbot.listeners.payload import Body, command_actor, reply_to
from slackbot.milestones import state
from slackbot.reply import Reply

COMMAND = "/checkpoint"


def listen(app: AsyncApp, bot: Bot) -> None:
    """Register the command."""

    @app.command(COMMAND)
    async def typed(ack: AsyncAck, body: Body) -> None:
        await ack()
        actor = command_actor(body)
        reply = reply_to(bot.slack, body, actor)
        bot.start(partial(obey, bot, actor, reply, body), actor, reply)


async def obey(bot: Bot, actor: Actor, reply: Reply, body: Body) -> None:
    """Do what was typed. Raises `Told`."""
    wanted = parse(body.get("text") or "", bot.settings.default_namespace)
    if isinstance(wanted, Form):
        await open_form(bot, actor, body["trigger_id"])
    elif isinstance(wanted, Subcommand):
        await _SUBCOMMANDS[wanted.verb](bot, actor, reply, wanted.name)
    else:
        await _capture(bot, actor, reply, wanted)


async def _capture(bot: Bot, actor: Actor, reply: Reply, ask: Ask) -> None:
    person = await bot.authorisation.admit(actor, "preview" if ask.dry_run else "capture")
    spec = bot.requests.spec(ask)
    if ask.dry_run:
        preview = await bot.requests.preview(person, spec)
        await reply.send(preview_message(preview, person.language))
        return
    asked = await bot.requests.ask(person, spec, bot.approvals)
    await reply.say(asked.text(person.language))


async def _help(bot: Bot, actor: Actor, reply: Reply, _: str) -> None:
    await reply.send(help_message(await bot.authorisation.language(actor)))


async def _whoami(bot: Bot, actor: Actor, reply: Reply, _: str) -> None:
    person = await bot.authorisation.admit(actor, "whoami")
    identity, language = person.identity, person.language
    key = "answer.whoami.groups" if identity.groups else "answer.whoami.nogroups"
    first = say(language, "answer.whoami", user=actor.user, identity=identity.username)
    await reply.say(f"{first} {say(language, key, groups=', '.join(identity.groups))}")


async def _list(bot: Bot, actor: Actor, reply: Reply, _: str) -> None:
    person = await bot.authorisation.admit(actor, "list")
    found = await bot.finder.seen_by(person, actor.channel)
    await reply.send(list_message(found, person.language))


async def _status(bot: Bot, actor: Actor, reply: Reply, name: str) -> None:
    person, checkpoint = await bot.finder.named(actor, "status", name)
    said = say(person.language, f"state.{state(checkpoint)}")
    found = steps(checkpoint, person.language, bot.reporter.desk.now())
    summary = " ".join(f"{step.title}: {', '.join(step.lines) or '-'}." for step in found)
    text = say(person.language, "answer.status", name=name, state=said, summary=summary)
    await reply.send(_with_location(text, checkpoint.evidence_location))


def _with_location(text: str, location: str) -> Message:
    return sentence(f"{text} {location}".strip())


async def _cancel(bot: Bot, actor: Actor, reply: Reply, name: str) -> None:
    person, checkpoint = await bot.finder.named(actor, "cancel", name)
    await bot.requests.cancel(checkpoint, person.language)
    await reply.say(say(person.language, "answer.cancelled", name=name))


async def _retry(bot: Bot, actor: Actor, reply: Reply, name: str) -> None:
    person, checkpoint = await bot.finder.named(actor, "retry", name)
    asked = await bot.requests.retry(person, checkpoint, bot.approvals)
    await reply.say(asked.text(person.language))


async def _verify(bot: Bot, actor: Actor, reply: Reply, name: str) -> None:
    person, checkpoint = await bot.finder.named(actor, "verify", name)
    evidence_of(checkpoint)
    await bot.verify(checkpoint, reply, person.language)


Obey = Callable[[Bot, Actor, Reply, str], Awaitable[None]]
_SUBCOMMANDS: dict[Verb, Obey] = {
    Verb.HELP: _help,
    Verb.WHOAMI: _whoami,
    Verb.LIST: _list,
    Verb.STATUS: _status,
    Verb.CANCEL: _cancel,
    Verb.RETRY: _retry,
    Verb.VERIFY: _verify,
}
