"""The methods of the Web API that the stand-in has."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lab.slack.limits import Data, message_refusal, view_refusal
from lab.slack.workspace import BOT_USER, TEAM, EphemeralMessage, PostedMessage, Workspace

TRIGGER_SECONDS = 3.0
"""How long a trigger may be used."""


class MethodError(Exception):  # never leaves the lab
    """An answer with `ok: false`."""


class Methods:
    """Answers calls out of a workspace. Raises `MethodError` with Slack's word for the error."""

    def __init__(self, workspace: Workspace, base: Callable[[], str]) -> None:
        self._workspace = workspace
        self._base = base
        self.triggers: dict[str, float] = {}
        """When each trigger was made, by the monotonic clock."""
        self._known: dict[str, Callable[[Data], Data]] = {
            "auth.test": self._auth_test,
            "apps.connections.open": self._connections_open,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "chat.postEphemeral": self._post_ephemeral,
            "chat.getPermalink": self._permalink,
            "views.open": self._open_view,
            "views.update": self._update_view,
            "views.publish": self._publish,
            "users.info": self._user,
            "usergroups.users.list": self._group,
            "conversations.info": self._channel_info,
        }

    def answer(self, method: str, arguments: Data) -> Data:
        """Carry a call out."""
        if method not in self._known:
            raise MethodError("unknown_method")
        if method in self._workspace.missing_scopes:
            raise MethodError("missing_scope")
        return self._known[method](arguments)

    def _auth_test(self, _: Data) -> Data:
        return {"url": f"{self._base()}/", "team_id": TEAM, "user_id": BOT_USER, "bot_id": "B0BOT"}

    def _connections_open(self, _: Data) -> Data:
        return {"url": f"{self._base().replace('http', 'ws', 1)}/link"}

    def _post(self, call: Data) -> Data:
        channel, thread = self._channel(call), str(call.get("thread_ts", ""))
        if not self._workspace.channels[channel].get("is_member", True):
            raise MethodError("not_in_channel")
        if thread and self._workspace.message(channel, thread) is None:
            raise MethodError("thread_not_found")
        self._check(call)
        ts = self._workspace.next_ts()
        broadcast = bool(call.get("reply_broadcast"))
        message = PostedMessage(channel, ts, call["text"], call["blocks"], thread, broadcast)
        self._workspace.messages.append(message)
        return {"channel": channel, "ts": ts}

    def _update(self, call: Data) -> Data:
        self._check(call)
        message = self._workspace.message(self._channel(call), call["ts"])
        if message is None:
            raise MethodError("message_not_found")
        message.text, message.blocks = call["text"], call["blocks"]
        message.edited.append(time.monotonic())
        return {"channel": message.channel, "ts": message.ts}

    def _post_ephemeral(self, call: Data) -> Data:
        self._check(call)
        ephemeral = EphemeralMessage(
            call["user"], self._channel(call), call["text"], call["blocks"]
        )
        self._workspace.ephemerals.append(ephemeral)
        return {"message_ts": self._workspace.next_ts()}

    def _permalink(self, call: Data) -> Data:
        name = call["message_ts"].replace(".", "")
        return {"permalink": f"{self._base()}/archives/{call['channel']}/p{name}"}

    def _open_view(self, call: Data) -> Data:
        made = self.triggers.pop(call["trigger_id"], None)
        if made is None or time.monotonic() - made > TRIGGER_SECONDS:
            raise MethodError("expired_trigger_id")
        view = self._checked(call) | {"id": f"V{self._workspace.next_ts()}"}
        self._workspace.views[view["id"]] = view
        return {"view": view}

    def _update_view(self, call: Data) -> Data:
        if call["view_id"] not in self._workspace.views:
            raise MethodError("not_found")
        view = self._checked(call) | {"id": call["view_id"]}
        self._workspace.views[view["id"]] = view
        return {"view": view}

    def _publish(self, call: Data) -> Data:
        self._workspace.homes[call["user_id"]] = self._checked(call)
        return {"view": call["view"]}

    def _user(self, call: Data) -> Data:
        found = self._workspace.users.get(call["user"])
        if found is None:
            raise MethodError("user_not_found")
        return {"user": found}

    def _group(self, call: Data) -> Data:
        if call["usergroup"] not in self._workspace.groups:
            raise MethodError("no_such_subteam")
        return {"users": self._workspace.groups[call["usergroup"]]}

    def _channel_info(self, call: Data) -> Data:
        return {"channel": self._workspace.channels[self._channel(call)]}

    def _channel(self, call: Data) -> str:
        channel = str(call["channel"])
        if channel not in self._workspace.channels:
            raise MethodError("channel_not_found")
        return channel

    def _check(self, call: Data) -> None:
        blocks: list[Any] = call.get("blocks") or []
        refusal = message_refusal(call.get("text", ""), blocks)
        if refusal:
            raise MethodError(refusal)
        if not self._workspace.plans and any(block["type"] == "plan" for block in blocks):
            raise MethodError("invalid_blocks")

    def _checked(self, call: Data) -> Data:
        view: Data = call["view"]
        refusal = view_refusal(view)
        if refusal:
            raise MethodError(refusal)
        return view
