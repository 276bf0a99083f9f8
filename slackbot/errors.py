"""What the bot's users are told when something cannot be done, and what Slack refuses."""

from __future__ import annotations

from forensics_core.errors import ForensicsError
from slackbot.catalogue import say


class Told(ForensicsError):
    """An answer that is not what was hoped for, by its key in the catalogue."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(say("en", key, **values))
        self.key = key
        self.values = values

    def __str__(self) -> str:
        return self.message

    def words(self, language: str) -> str:
        """Return the answer in the reader's language."""
        return say(language, self.key, **self.values)


class Refused(Told):
    """Whoever asked may not do this, not here, or not any more."""


class SlackError(ForensicsError):
    """Slack did not do what was asked; `code` is its word for why."""

    def __init__(
        self, method: str, code: str, *, passing: bool = False, away: bool = False
    ) -> None:
        hint = "Try again later" if passing else "Check the app's scopes, channels and token"
        message = f"Slack answered {code} to {method}"
        if away:
            message = f"Slack cannot be reached ({method}): {code}"
            hint = "Check the network, HTTPS_PROXY and apiUrl"
        super().__init__(message, hint=hint)
        self.code = code
        self.passing = passing
        """Whether the same call may succeed later."""
