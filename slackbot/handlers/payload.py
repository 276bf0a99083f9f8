"""Reading Slack's payloads: who acted, where, and how to reply."""

from __future__ import annotations

from typing import Any

from slackbot.authorisation import Actor
from slackbot.blocks.form import FormContext
from slackbot.slack import Reply, Slack
from slackbot.text import unmarked

Payload = dict[str, Any]


def command_actor(body: Payload) -> Actor:
    """Return who typed a command."""
    return Actor(body["user_id"], body["team_id"], body["channel_id"])


def actor_of(body: Payload, channel: str = "") -> Actor:
    """Return who clicked, typed or submitted; `channel` where the payload has none itself."""
    user, there = body["user"], body.get("channel") or {}
    # On Enterprise Grid the user's own may be the organisation instead of the workspace.
    team = (body.get("team") or {}).get("id") or user.get("team_id", "")
    return Actor(user["id"], team, there.get("id") or channel)


def form_actor(body: Payload) -> tuple[Actor, FormContext]:
    """Return who uses a form, and where it was opened: forms have no channel of their own."""
    context = FormContext.decode(body["view"].get("private_metadata", ""))
    return actor_of(body, context.channel), context


def text_of(message: Payload) -> str:
    """Return a message's text: alerts often have it in attachments or blocks alone."""
    if message.get("text"):
        return unmarked(message["text"])
    for attachment in message.get("attachments") or ():
        parts = [attachment.get(part) for part in ("pretext", "title", "text")]
        said = " ".join(filter(None, parts)) or attachment.get("fallback")
        if said or attachment.get("blocks"):
            return unmarked(said or _words(attachment["blocks"]))
    return unmarked(_words(message.get("blocks") or []))


def _words(blocks: Any) -> str:
    """Return all texts in some blocks, in order."""
    if isinstance(blocks, list):
        return " ".join(filter(None, map(_words, blocks)))
    if not isinstance(blocks, dict):
        return ""
    text = blocks.get("text")
    inside = [text] if isinstance(text, str) else []
    return " ".join(filter(None, [*inside, *map(_words, blocks.values())]))


def reply_to(slack: Slack, body: Payload, actor: Actor) -> Reply:
    """Return how to reply to a call."""
    return Reply(slack, actor.channel, actor.user, body.get("response_url", ""))
