"""The form: opened at once, filled after; its suggestions and its submission."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from weakref import WeakValueDictionary

import anyio
from slack_bolt.async_app import AsyncAck, AsyncApp

from forensics_core.errors import ForensicsError
from slackbot import audit
from slackbot.authorisation import AccessScope, Actor, Person
from slackbot.blocks.form import (
    FORM,
    FormContext,
    block_of,
    chosen,
    filled_in,
    form_view,
    loading_view,
    options,
    refusal_view,
)
from slackbot.bot import Bot
from slackbot.command import REASON_LIMIT, CaptureRequest, is_name
from slackbot.errors import Refused, SlackError, UserMessage
from slackbot.handlers.payload import Payload, actor_of, form_actor, reply_to, text_of
from slackbot.slack import Reply
from slackbot.text import clean

log = logging.getLogger(__name__)

SHORTCUT = "checkpoint_message"
REVIEWED = 300
"""Namespaces whose access is reviewed for one suggestion."""
_FIELDS = {"error.reason": "reason", "error.incident": "incident"}
"""Below which field an error is shown; others below the pod."""


def register(app: AsyncApp, bot: Bot) -> None:
    """Register the shortcut, the suggestions and the submission."""

    @app.shortcut(SHORTCUT)
    async def picked(ack: AsyncAck, body: Payload) -> None:
        await ack()
        actor = actor_of(body)
        message = body["message"]
        thread = str(message.get("thread_ts") or message["ts"])
        reason = clean(text_of(message), REASON_LIMIT)
        work = partial(open_form, bot, actor, body["trigger_id"], thread, reason)
        bot.start(work, actor, reply_to(bot.slack, body, actor))

    for name in ("namespace", "pod", "containers"):
        app.options(name)(partial(_suggest, bot, name))
    # An update of a form must not overtake the one before.
    locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
    for name in ("namespace", "pod"):
        app.action(name)(partial(_choose, bot, locks))

    @app.view(FORM)
    async def submitted(ack: AsyncAck, body: Payload) -> None:
        actor, context = form_actor(body)
        try:
            request = filled_in(body["view"])
        except UserMessage as problem:
            field = block_of(body["view"], _FIELDS.get(problem.key, "pod"))
            await ack(response_action="errors", errors={field: problem.text(context.language)})
            return
        await ack()
        reply = reply_to(bot.slack, {}, actor)
        bot.start(partial(_submit, bot, actor, reply, request, context), actor, reply)


async def open_form(
    bot: Bot, actor: Actor, trigger: str, thread: str = "", reason: str = ""
) -> None:
    """Open the form, and only then find out whether it may be used."""
    # The trigger expires after three seconds, and the checks may take longer.
    view = await bot.slack.open_view(trigger, loading_view(bot.settings.language))
    try:
        with audit.decision(actor.user, actor.team, actor.channel):
            person = await bot.authorisation.admit(actor, "open form")
    except UserMessage as refusal:
        language = await bot.authorisation.language(actor)
        await bot.slack.update_view(view, refusal_view(refusal.text(language), language))
        return
    namespace = bot.settings.default_namespace or ""
    context = FormContext(actor.channel, thread, person.language, namespace)
    await bot.slack.update_view(
        view, form_view(context, reason=reason, contain=bot.settings.containment)
    )


async def _submit(
    bot: Bot, actor: Actor, reply: Reply, request: CaptureRequest, context: FormContext
) -> None:
    person = await bot.authorisation.admit(actor, "capture")
    spec = bot.requests.spec(request)
    submitted = await bot.requests.submit(person, spec, bot.approvals, context.thread)
    await reply.send_text(submitted.text(person.language))


async def _choose(
    bot: Bot, locks: WeakValueDictionary[str, anyio.Lock], ack: AsyncAck, body: Payload
) -> None:
    await ack()
    actor, _ = form_actor(body)
    lock = locks.setdefault(body["view"]["id"], anyio.Lock())
    bot.start(partial(_update_form, bot, lock, body), actor, reply_to(bot.slack, {}, actor))


async def _update_form(bot: Bot, lock: anyio.Lock, body: Payload) -> None:
    """Write a choice into the form: Slack leaves it out when it asks for suggestions."""
    view = body["view"]
    async with lock:
        actor, context = form_actor(body)
        await bot.authorisation.admit(actor, "choose")
        namespace = chosen(view, "namespace")
        pod = chosen(view, "pod") if namespace == context.namespace else ""
        context = replace(context, namespace=namespace, pod=pod)
        written = {name: chosen(view, name) for name in ("reason", "incident")}
        form = form_view(context, **written, contain=bot.settings.containment)
        try:
            await bot.slack.update_view(view["id"], form)
        except SlackError as error:
            # Most likely the user has closed it.
            log.info("The form of %s was not updated: %s", actor.user, error)


async def _suggest(bot: Bot, field: str, ack: AsyncAck, body: Payload) -> None:
    """Answer in time; a slower look-up goes on, so that the next answer has its result."""
    found: list[str] = []
    done = anyio.Event()

    async def look() -> None:
        actor, _ = form_actor(body)
        try:
            with audit.decision(actor.user, actor.team, actor.channel):
                found.extend(await _names(bot, actor, field, body))
        except ForensicsError as error:
            # No error can be shown below a list: whoever may not see the names gets none.
            log.info("No suggestions for %s: %s", actor.user, error)
        except Exception:
            log.exception("No suggestions for %s", actor.user)
        finally:
            done.set()

    # In the bot's task group: it outlives this call, and fills the cache for the next one.
    bot.tasks.start_soon(look)
    with anyio.move_on_after(bot.settings.suggestion_seconds):
        await done.wait()
    await ack(options=options(found))


async def _names(bot: Bot, actor: Actor, field: str, body: Payload) -> list[str]:
    person = await bot.authorisation.admit(actor, "suggest")
    typed = clean(body.get("value") or "", 100).lower()
    if field == "namespace":
        there = [name for name in await bot.pods.namespaces() if typed in name]
        visible = await bot.authorisation.visible(person, there[:REVIEWED])
        return [name for name in there if name in visible]
    return await _in_namespace(bot, person, field, form_actor(body)[1], typed)


async def _in_namespace(
    bot: Bot, person: Person, field: str, context: FormContext, typed: str
) -> list[str]:
    namespace, pod = context.namespace, context.pod
    # From the form's metadata: checked like what is typed, before it goes into a path of the API.
    if not is_name(namespace) or (field == "containers" and not is_name(pod)):
        return []
    await bot.authorisation.permit(person, AccessScope(namespace))
    if field == "pod":
        if not await bot.authorisation.may_list_pods(person, namespace):
            names = {"identity": person.identity.username, "namespace": namespace}
            raise Refused("refused.access", **names, right="list pods")
        return [name for name in await bot.pods.names(namespace) if typed in name]
    found = await bot.pods.get(namespace, pod)
    return [name for name in (found.containers if found else ()) if typed in name]
