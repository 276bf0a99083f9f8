"""Who a Slack user is: for Slack by its own answers, in the cluster by the settings.

Answers are cached for `cacheSeconds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slackbot.cache import SharedAnswers
from slackbot.settings import Identity, Settings
from slackbot.slack import Slack


@dataclass(frozen=True, slots=True)
class SlackUser:
    """A Slack user."""

    id: str
    team: str
    locale: str
    email: str
    """Only if it is confirmed."""
    regular: bool
    """Neither guest, nor bot, nor deleted."""
    active: bool
    """Neither bot nor deleted."""


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """A channel."""

    shared: bool
    """Whether people of another organisation are in it, or invited."""
    joined: bool
    """Whether the bot is in it."""


class Directory:
    """Users, groups and channels. Raises `SlackError` where Slack does not answer."""

    def __init__(self, slack: Slack, settings: Settings) -> None:
        self._slack = slack
        self._settings = settings
        self._users: SharedAnswers[SlackUser] = SharedAnswers(settings.cache_seconds)
        self._groups: SharedAnswers[frozenset[str]] = SharedAnswers(settings.cache_seconds)
        self._channels: SharedAnswers[ChannelInfo] = SharedAnswers(settings.cache_seconds)

    async def user(self, user_id: str) -> SlackUser:
        """Return a user as Slack knows it."""

        async def load() -> SlackUser:
            answer = await self._slack.look_up("users.info", user=user_id, include_locale="true")
            return _slack_user(answer["user"])

        return await self._users.get(user_id, load)

    async def is_listed(self, user: str) -> bool:
        """Return whether somebody is on the list, or in one of the groups."""
        if user in self._settings.users:
            return True
        for group in self._settings.user_groups:
            if user in await self._group(group):
                return True
        return False

    async def _group(self, group: str) -> frozenset[str]:
        async def load() -> frozenset[str]:
            answer = await self._slack.look_up("usergroups.users.list", usergroup=group)
            return frozenset(answer["users"])

        return await self._groups.get(group, load)

    async def channel(self, channel: str) -> ChannelInfo:
        """Return a channel as Slack knows it."""

        async def load() -> ChannelInfo:
            answer = await self._slack.look_up("conversations.info", channel=channel)
            found = answer["channel"]
            # Pending: the others have been invited, and will read the history once they accept.
            shared = found.get("is_ext_shared") or found.get("is_pending_ext_shared")
            return ChannelInfo(bool(shared), found.get("is_member") is not False)

        return await self._channels.get(channel, load)

    def identity(self, user: SlackUser, team: str) -> Identity | None:
        """Return who a user of `team` is in the cluster: by `identities`, or else by address."""
        if not user.active:
            return None
        mapped = self._settings.identities.get(user.id)
        rule = self._settings.email
        if mapped or rule is None or not user.regular or user.team != team:
            return mapped
        if user.email.rpartition("@")[2].lower() not in rule.domains:
            return None
        return Identity(username=f"{rule.prefix}{user.email}", groups=rule.groups)


def _slack_user(user: Mapping[str, Any]) -> SlackUser:
    active = not user.get("deleted") and not user.get("is_bot")
    # Guests keep the address of wherever they are from, possibly one of a trusted domain.
    guest = any(user.get(flag) for flag in ("is_restricted", "is_ultra_restricted", "is_stranger"))
    confirmed = user.get("is_email_confirmed") is True
    # An address that nobody confirmed is a claim: anybody can enter any.
    email = user.get("profile", {}).get("email") or "" if confirmed else ""
    return SlackUser(
        id=user["id"],
        team=user.get("team_id", ""),
        locale=user.get("locale") or "",
        email=email,
        regular=active and not guest,
        active=active,
    )
