"""`/checkpoint`, with all that may follow it."""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import partial
from typing import Any

from slack_bolt.async_app import AsyncAck, AsyncApp

from slackbot.approvals import PendingRequest
from slackbot.authorisation import Actor
from slackbot.blocks.answers import help_message, list_message, preview_message
from slackbot.blocks.buttons import actions
from slackbot.blocks.elements import Message, sentence
from slackbot.blocks.preview import incident_preview
from slackbot.blocks.root import buttons_of
from slackbot.blocks.steps import steps
from slackbot.bot import Bot, Handler
from slackbot.catalogue import phrase
from slackbot.command import CaptureRequest, IncidentRequest, OpenForm, Subcommand, Verb, parse
from slackbot.finder import evidence_of
from slackbot.handlers.form import open_form
from slackbot.handlers.payload import Payload, command_actor, reply_to
from slackbot.report_state import phase_word
from slackbot.slack import Reply

COMMAND = "/checkpoint"


def register(app: AsyncApp, bot: Bot) -> None:
    """Register the command."""

    @app.command(COMMAND)
    async def typed(ack: AsyncAck, body: Payload) -> None:
        await ack()
        actor = command_actor(body)
        reply = reply_to(bot.slack, body, actor)
        bot.start(partial(handle, bot, actor, reply, body), actor, reply)


async def handle(bot: Bot, actor: Actor, reply: Reply, body: Payload) -> None:
    """Do what was typed. Raises `UserMessage`."""
    parsed = parse(body.get("text") or "", bot.settings.default_namespace)
    if isinstance(parsed, OpenForm):
        await open_form(bot, actor, body["trigger_id"])
    elif isinstance(parsed, Subcommand):
        await _SUBCOMMANDS[parsed.verb](bot, actor, reply, parsed.name)
    elif isinstance(parsed, IncidentRequest):
        await _preview_incident(bot, actor, reply, parsed)
    else:
        await _capture(bot, actor, reply, parsed)


async def _capture(bot: Bot, actor: Actor, reply: Reply, request: CaptureRequest) -> None:
    # Under its own name in the audit log: a preview is no capture.
    person = await bot.authorisation.admit(actor, "preview" if request.dry_run else "capture")
    spec = bot.requests.spec(request)
    if request.dry_run:
        preview = await bot.requests.preview(person, spec)
        await reply.send(preview_message(preview, person.language))
        return
    submitted = await bot.requests.submit(person, spec, bot.approvals)
    await reply.send_text(submitted.text(person.language))


async def _preview_incident(bot: Bot, actor: Actor, reply: Reply, request: IncidentRequest) -> None:
    """Show which pods are meant; a click captures these very pods."""
    person = await bot.authorisation.admit(actor, "preview")
    selection = await bot.selector.find(person, request)
    # All of one request belong together, whether or not somebody named the incident.
    incident = request.how.incident or f"case-{secrets.token_hex(4)}"
    spec = bot.requests.spec(replace(request.how, incident=incident))
    more: dict[str, Any] = {"pods": selection.pods, "again": request.again}
    pending = PendingRequest(spec, "", person, actor.channel, **more)
    await bot.authorisation.permit_all(person, pending.scopes)
    name = "" if request.how.dry_run else bot.previews.new_id()
    if name:
        bot.previews.add(name, pending)
    protected = any(map(bot.settings.is_protected, pending.namespaces))
    shown = incident_preview(pending, selection, request_id=name, protected=protected)
    await reply.send(shown)


async def _help(bot: Bot, actor: Actor, reply: Reply, _: str) -> None:
    await reply.send(help_message(await bot.authorisation.language(actor)))


async def _whoami(bot: Bot, actor: Actor, reply: Reply, _: str) -> None:
    person = await bot.authorisation.admit(actor, "whoami")
    identity, language = person.identity, person.language
    key = "answer.whoami.groups" if identity.groups else "answer.whoami.nogroups"
    first = phrase(language, "answer.whoami", user=actor.user, identity=identity.username)
    await reply.send_text(f"{first} {phrase(language, key, groups=', '.join(identity.groups))}")


async def _list(bot: Bot, actor: Actor, reply: Reply, _: str) -> None:
    person = await bot.authorisation.admit(actor, "list")
    found = await bot.finder.seen_by(person, actor.channel)
    await reply.send(list_message(found, person.language))


async def _status(bot: Bot, actor: Actor, reply: Reply, name: str) -> None:
    person, checkpoint = await bot.finder.named(actor, "status", name)
    word = phrase(person.language, f"state.{phase_word(checkpoint)}")
    found = steps(checkpoint, person.language, bot.reporter.context.now())
    summary = " ".join(f"{step.title}: {', '.join(step.lines) or '-'}." for step in found)
    text = phrase(person.language, "answer.status", name=name, state=word, summary=summary)
    said = sentence(f"{text} {checkpoint.evidence_location}".strip())
    buttons = buttons_of(checkpoint, bot.reporter.context.options, person.language)
    await reply.send(Message(said.text, [*said.blocks, *actions(*buttons)]))


async def _cancel(bot: Bot, actor: Actor, reply: Reply, name: str) -> None:
    person, checkpoint = await bot.finder.named(actor, "cancel", name)
    await bot.requests.cancel(checkpoint, person.language)
    await reply.send_text(phrase(person.language, "answer.cancelled", name=name))


async def _retry(bot: Bot, actor: Actor, reply: Reply, name: str) -> None:
    person, checkpoint = await bot.finder.named(actor, "retry", name)
    submitted = await bot.requests.retry(person, checkpoint, bot.approvals)
    await reply.send_text(submitted.text(person.language))


async def _verify(bot: Bot, actor: Actor, reply: Reply, name: str) -> None:
    person, checkpoint = await bot.finder.named(actor, "verify", name)
    evidence_of(checkpoint)
    await bot.verify(checkpoint, reply, person.language)


async def _release(bot: Bot, actor: Actor, reply: Reply, name: str) -> None:
    person, checkpoint = await bot.finder.named(actor, "release", name)
    await reply.send_text(await bot.release(person, checkpoint))


_SUBCOMMANDS: dict[Verb, Handler] = {
    Verb.HELP: _help,
    Verb.WHOAMI: _whoami,
    Verb.LIST: _list,
    Verb.STATUS: _status,
    Verb.CANCEL: _cancel,
    Verb.RETRY: _retry,
    Verb.VERIFY: _verify,
    Verb.RELEASE: _release,
}
