"""Somebody at a keyboard: types commands, clicks, chooses, submits."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lab.slack.limits import Data
from lab.slack.server import SlackServer
from lab.slack.workspace import TEAM, EphemeralMessage, PostedMessage


@dataclass
class ChannelMember:
    """One member, in one channel."""

    slack: SlackServer
    user: str
    channel: str
    team: str = TEAM
    organisation: str = ""
    """What payloads call the user's team on Enterprise Grid; default: the team."""

    async def type(self, text: str, *, copies: int = 1) -> Data:
        """Type `/checkpoint` and what follows; returns the acknowledgement."""
        payload = {
            "command": "/checkpoint",
            "text": escaped(text),
            "user_id": self.user,
            "team_id": self.team,
            "channel_id": self.channel,
            "trigger_id": self.slack.new_trigger(),
            "response_url": self.slack.new_response_url(self.user, self.channel),
        }
        return await self.slack.deliver("slash_commands", payload, copies=copies)

    async def ask(self, text: str, within: float = 20) -> EphemeralMessage:
        """Type a command, and wait for the next answer to it."""
        before = len(self.ephemerals())
        await self.type(text)
        return await self.next_ephemeral(before, within)

    def ephemerals(self) -> list[EphemeralMessage]:
        """Return what only this person saw."""
        return [one for one in self.slack.workspace.ephemerals if one.user == self.user]

    async def next_ephemeral(self, before: int, within: float = 20) -> EphemeralMessage:
        """Wait for one more than `before`, and return that."""
        await self.slack.workspace.until(lambda: len(self.ephemerals()) > before, within)
        return self.ephemerals()[before]

    async def press(self, message: PostedMessage | EphemeralMessage, action: str) -> None:
        """Click a button."""
        button = message.buttons()[action]
        await self.press_value(action, button.get("value", ""))

    async def press_value(self, action: str, value: str) -> None:
        """Click a button that bears `value`, wherever that comes from."""
        payload = self._payload("block_actions") | {
            "channel": {"id": self.channel},
            "actions": [{"action_id": action, "value": value, "type": "button"}],
            "response_url": self.slack.new_response_url(self.user, self.channel),
            "container": {"type": "message"},
        }
        await self.slack.deliver("interactive", payload)

    async def click(
        self, message: PostedMessage | EphemeralMessage, action: str
    ) -> EphemeralMessage:
        """Click a button, and wait for the answer."""
        before = len(self.ephemerals())
        await self.press(message, action)
        return await self.next_ephemeral(before)

    async def use_shortcut(self, message: PostedMessage, **more: Any) -> None:
        """Choose `Checkpoint pod...` from the menu of a message, which may hold `more`."""
        payload = self._payload("message_action") | {
            "callback_id": "checkpoint_message",
            "channel": {"id": self.channel},
            "message": {"ts": message.ts, "text": message.text} | more,
            "response_url": self.slack.new_response_url(self.user, self.channel),
        }
        await self.slack.deliver("interactive", payload)

    async def suggestions(self, view: Data, field: str, typed: str) -> list[str]:
        """Type into a select, and return the names that are offered.

        The app learns nothing of the other fields: Slack leaves the form's state out here.
        """
        payload = self._payload("block_suggestion") | {
            "action_id": field,
            "block_id": _blocks(view)[field],
            "value": typed,
            "view": view,
        }
        answer = await self.slack.deliver("interactive", payload)
        return [one["value"] for one in answer["options"]]

    async def choose(self, view: Data, field: str, **filled: Any) -> None:
        """Choose what `filled` says of a field; the app is told if the field is one that tells."""
        block = next(one for one in view["blocks"] if one["block_id"] == _blocks(view)[field])
        if not block.get("dispatch_action"):
            return
        action = {"action_id": field, "block_id": block["block_id"]}
        payload = self._payload("block_actions") | {
            "view": view | {"state": {"values": values(view, filled)}},
            "actions": [action | {"type": block["element"]["type"]} | _value(field, filled[field])],
            "container": {"type": "view", "view_id": view["id"]},
        }
        await self.slack.deliver("interactive", payload)

    async def chosen(self, view: Data, field: str, **filled: Any) -> Data:
        """Choose, and return the form as the app has changed it then."""
        await self.choose(view, field, **filled)
        views = self.slack.workspace.views
        await self.slack.workspace.until(lambda: views[view["id"]] is not view)
        return views[view["id"]]

    async def submit(self, view: Data, **filled: Any) -> Data:
        """Submit a form; returns the acknowledgement, which may name errors."""
        payload = self._payload("view_submission") | {
            "view": view | {"state": {"values": values(view, filled)}}
        }
        return await self.slack.deliver("interactive", payload)

    async def open_home(self) -> Data:
        """Open the app's home, and return what is shown."""
        self.slack.workspace.homes.pop(self.user, None)
        event = {"type": "app_home_opened", "user": self.user, "tab": "home", "channel": "D0"}
        payload = {"type": "event_callback", "team_id": self.team, "event": event}
        await self.slack.deliver("events_api", payload)
        workspace = self.slack.workspace
        return await workspace.until(lambda: workspace.homes.get(self.user, {}))

    async def opened_form(self) -> Data:
        """Wait for a form that is filled in, or refused, and return it."""
        views = self.slack.workspace.views

        def settled() -> Data:
            last = list(views.values())[-1:] or [{}]
            ready = "submit" in last[0] or "One moment" not in json.dumps(last[0])
            return last[0] if ready else {}

        return await self.slack.workspace.until(settled)

    def _payload(self, kind: str) -> Data:
        return {
            "type": kind,
            "team": {"id": self.team},
            "user": {"id": self.user, "team_id": self.organisation or self.team},
            "trigger_id": self.slack.new_trigger(),
        }


def escaped(text: str) -> str:
    """Return what was typed as Slack passes it on."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def values(view: Data, filled: dict[str, Any]) -> Data:
    """Return what is filled in as `view.state.values` has it."""
    blocks = _blocks(view)
    return {blocks[name]: {name: _value(name, value)} for name, value in filled.items()}


def _blocks(view: Data) -> dict[str, str]:
    """Return the ids of the blocks by their field."""
    inputs = [block for block in view["blocks"] if block["type"] == "input"]
    return {block["element"]["action_id"]: block["block_id"] for block in inputs}


def _value(name: str, value: str | Iterable[str]) -> Data:
    if name in {"namespace", "pod"}:
        return {"selected_option": {"value": value}}
    if name in {"containers", "contain"}:
        return {"selected_options": [{"value": one} for one in value]}
    return {"value": value}
