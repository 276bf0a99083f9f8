"""Reading Slack's payloads: who, where, and the way back."""

from __future__ import annotations

from typing import Any

from slackbot.authorisation import Actor
from slackbot.blocks.form import FormPlace
from slackbot.reply import Reply
from slackbot.slack import Slack

Body = dict[str, Any]


def command_actor(body: Body) -> Actor:
    """Return who typed a command."""
    return Actor(body["user_id"], body["team_id"], body["channel_id"])


def actor_of(body: Body, channel: str = "") -> Actor:
    """Return who clicked, typed or submitted; `channel` where the payload has none itself."""
    user, there = body["user"], body.get("channel") or {}
    team = user.get("team_id") or (body.get("team") or {}).get("id", "")
    return Actor(user["id"], team, there.get("id") or channel)


def form_actor(body: Body) -> tuple[Actor, FormPlace]:
    """Return who uses a form, and where it was opened: forms have no channel of their own."""
    place = FormPlace.decode(body["view"].get("private_metadata", ""))
    return actor_of(body, place.channel), place


def reply_to(slack: Slack, body: Body, actor: Actor) -> Reply:
    """Return the way back."""
    return Reply(slack, actor.channel, actor.user, body.get("response_url", ""))
