"""The bot's settings: one YAML file, and the tokens from the environment.

channels:
  - {id: C0123456789, incidents: ["INC-*"]}
userGroups: [S0123456789]
identities:
  U0123456789: {username: alice@example.com, groups: [responders]}
protected: [prod, "prod-*"]
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from forensics_core.api.order import Model
from forensics_core.api.podcheckpoint import Destination, DnsLabel
from forensics_core.service.settings import check_settings, read_settings

_DOCUMENT = "docs/slack.md"
TOKENS = {
    "botToken": "SLACK_BOT_TOKEN",
    "appToken": "SLACK_APP_TOKEN",
    "signingSecret": "SLACK_SIGNING_SECRET",
}
"""Settings that are secret, and the environment variables that hold them."""


class ChannelSettings(Model):
    """A channel in which the bot listens."""

    id: Annotated[str, Field(pattern="^[CG][A-Z0-9]{2,}$")]
    incidents: tuple[str, ...] = ()
    """Patterns of incidents' ids: checkpoints with such a label are reported here, whoever made
    them."""
    rules: tuple[str, ...] = ()
    """Patterns of CaptureRules' names: what they capture and hold back is reported here."""


class Identity(Model):
    """Who somebody is in the cluster."""

    username: Annotated[str, Field(min_length=1)]
    groups: tuple[str, ...] = ()


class EmailRule(Model):
    """How people without an entry of their own are known by their address."""

    domains: Annotated[tuple[str, ...], Field(min_length=1)]
    """Domains whose addresses are trusted."""
    prefix: str = ""
    """What the cluster puts before the address: `oidc:`."""
    groups: tuple[str, ...] = ()
    """The groups of everybody known in this way."""


class ReaderSettings(Model):
    """The identity that may read the evidence; its credentials come from the AWS environment."""

    endpoint: str | None = None
    region: str = "us-east-1"
    public_key: Path | None = None
    """The PEM file that seals are checked with."""
    link_seconds: Annotated[int, Field(ge=30, le=3600)] = 300
    manifest_bytes: Annotated[int, Field(ge=1)] = 8 * 2**20
    """A larger manifest is not read for links or for the table."""


class Settings(Model):
    """Everything that can be set."""

    bot_token: SecretStr
    """From SLACK_BOT_TOKEN: xoxb-..."""
    app_token: SecretStr | None = None
    """From SLACK_APP_TOKEN, for Socket Mode: xapp-..."""
    signing_secret: SecretStr | None = None
    """From SLACK_SIGNING_SECRET, for HTTP."""
    transport: Literal["socket", "http"] = "socket"
    """Socket Mode needs no way in from the internet."""
    port: Annotated[int, Field(ge=0, le=65535)] = 3000
    """For HTTP: where `/slack/events` is served."""
    api_url: str = "https://slack.com/api/"
    channels: tuple[ChannelSettings, ...] = ()
    """Where the command may be used; nowhere else."""
    user_groups: tuple[str, ...] = ()
    """Slack's user groups whose members may use it."""
    users: tuple[str, ...] = ()
    """Slack users who may use it besides."""
    identities: dict[str, Identity] = Field(default_factory=dict)
    """By Slack user: who that is in the cluster."""
    email: EmailRule | None = None
    """For everybody else; None: nobody else."""
    protected: tuple[str, ...] = ()
    """Patterns of namespaces in which a second person has to approve."""
    approval_seconds: Annotated[float, Field(gt=0, le=3600)] = 900.0
    approval_limit: Annotated[int, Field(ge=1)] = 200
    """Requests that may wait for approval at once; one more ends the oldest."""
    namespace: DnsLabel = "forensics-system"
    """Where PodCheckpoints are made."""
    default_namespace: DnsLabel | None = None
    """The target's, where a command names none."""
    destination: Destination | None = None
    """Default: the operator's."""
    containment: bool = False
    """Whether buttons offer to isolate, release and delete pods. It takes an overlay."""
    cluster: Annotated[str, Field(max_length=100)] = ""
    """What to call the cluster in messages."""
    language: Literal["en", "de"] = "en"
    """For messages about checkpoints that nobody asked for in Slack."""
    reader: ReaderSettings | None = None
    """None: no downloads and no verification from Slack."""
    edit_seconds: Annotated[float, Field(ge=0)] = 3.0
    """The shortest time between two edits of one message."""
    update_seconds: Annotated[float, Field(ge=0)] = 1.2
    """The same between any two edits: Slack allows about fifty a minute."""
    post_seconds: Annotated[float, Field(ge=0)] = 1.0
    """The shortest time between two new messages in one channel."""
    rule_seconds: Annotated[float, Field(ge=0)] = 300.0
    """The shortest time between two messages on what rules held back."""
    suggestion_seconds: Annotated[float, Field(gt=0, lt=3)] = 2.5
    """How long a suggestion in the form may take: Slack waits three seconds."""
    cache_seconds: Annotated[float, Field(ge=0, le=60)] = 60.0
    """How long a person, a group or a channel is believed to be as Slack said."""
    health_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """For `/healthz` and `/readyz`; 0 takes any free one."""

    @model_validator(mode="after")
    def _credentials(self) -> Self:
        if self.transport == "socket" and self.app_token is None:
            raise ValueError("Socket Mode needs SLACK_APP_TOKEN")
        if self.transport == "http" and self.signing_secret is None:
            raise ValueError("HTTP needs SLACK_SIGNING_SECRET")
        return self

    def channel(self, channel: str) -> ChannelSettings | None:
        """Return what is set for a channel, or None: it is not on the list."""
        return next((one for one in self.channels if one.id == channel), None)

    def channel_for(self, incident: str) -> ChannelSettings | None:
        """Return the channel in which an incident is at home, or None."""
        # The first that matches: the order of the file decides.
        for channel in self.channels:
            if any(fnmatchcase(incident, pattern) for pattern in channel.incidents):
                return channel
        return None

    def channel_for_rule(self, rule: str) -> ChannelSettings | None:
        """Return the channel in which a rule is at home, or None."""
        for channel in self.channels:
            if any(fnmatchcase(rule, pattern) for pattern in channel.rules):
                return channel
        return None

    def is_protected(self, namespace: str) -> bool:
        """Return whether a second person has to approve there."""
        return any(fnmatchcase(namespace, pattern) for pattern in self.protected)


def load_settings(path: Path | None, environ: dict[str, str]) -> Settings:
    """Read the settings. Raises `UsageError` that names the first setting which does not fit."""
    data = read_settings(path, document=_DOCUMENT)
    data |= {name: environ[key] for name, key in TOKENS.items() if environ.get(key)}
    return check_settings(Settings, data, path, document=_DOCUMENT, variables=TOKENS)
