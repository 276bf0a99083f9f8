"""Errors: those whose message is for a user in Slack, and those of Slack itself."""

from __future__ import annotations

from forensics_core.errors import ForensicsError
from slackbot.catalogue import phrase


class UserMessage(ForensicsError):
    """An error whose message is for the user, by its key in the catalogue."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(phrase("en", key, **values))
        self.key = key
        self.values = values

    def __str__(self) -> str:
        return self.message

    def text(self, language: str) -> str:
        """Return the answer in the reader's language."""
        return phrase(language, self.key, **self.values)


class Refused(UserMessage):
    """The user may not do this, or not here, or not any more."""


class SlackError(ForensicsError):
    """Slack refused a call, or did not answer it; `code` is its own for why."""

    def __init__(
        self, method: str, code: str, *, transient: bool = False, away: bool = False
    ) -> None:
        hint = "Try again later" if transient else "Check the app's scopes, channels and token"
        message = f"Slack answered {code} to {method}"
        if away:
            message = f"Slack cannot be reached ({method}): {code}"
            hint = "Check the network, HTTPS_PROXY and apiUrl"
        super().__init__(message, hint=hint)
        self.code = code
        self.transient = transient
        """Whether the same call may succeed later."""
