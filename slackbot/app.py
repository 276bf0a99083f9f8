"""The bot from its parts: connections, listeners, reports; alive for as long as `serve` runs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from anyio.abc import TaskGroup
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.web.async_client import AsyncWebClient

from forensics_core.kube.connection import Cluster
from forensics_core.kube.podcheckpoints import PodCheckpoints
from forensics_core.service.health import health_server
from forensics_core.tasks import task_group
from slackbot.approvals import Approvals
from slackbot.authorisation import Authorisation
from slackbot.blocks.root import Frame
from slackbot.bot import Bot
from slackbot.decisions import Decisions
from slackbot.desk import Desk
from slackbot.directory import Directory
from slackbot.evidence import Evidence
from slackbot.finder import Finder
from slackbot.health import Liveness
from slackbot.listeners import buttons, command, form, home
from slackbot.pods import Pods
from slackbot.reporter import Reporter
from slackbot.requests import Requests
from slackbot.settings import Settings
from slackbot.slack import Slack, slack_connection
from slackbot.transport import listening

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Me:
    """The bot, as Slack knows it."""

    team: str
    user: str
    bot: str
    url: str
    """The workspace's, ending in `/`."""


async def serve(
    cluster: Cluster, settings: Settings, *, started: Callable[[int], None] | None = None
) -> None:
    """Run the bot until cancelled; `started` gets the health server's port once all is up.

    Raises `SlackError` if Slack refuses the tokens, `ClusterError` if watching is refused.
    """
    liveness = Liveness()
    async with (
        # First of all: whether it lives is asked while Slack still takes its time.
        health_server(settings.health_port, ready=liveness.ready, alive=liveness.alive) as port,
        slack_connection(settings) as slack,
        task_group() as tasks,
    ):
        me = await _me(slack)
        bot = build(cluster, slack, settings, me, tasks)
        try:
            async with listening(make_app(bot, me), slack, settings) as connected:
                liveness.watch(connected, lambda: bot.reporter.ready)
                log.info("Serving the workspace %s", me.team)
                if started:
                    started(port)
                await bot.reporter.run()
        finally:
            await bot.approvals.close()


async def _me(slack: Slack) -> Me:
    answer = await slack.call("auth.test")
    return Me(answer["team_id"], answer["user_id"], answer.get("bot_id", ""), answer["url"])


def build(cluster: Cluster, slack: Slack, settings: Settings, me: Me, tasks: TaskGroup) -> Bot:
    """Put the parts together."""
    checkpoints = PodCheckpoints(cluster, settings.namespace)
    directory = Directory(slack, settings)
    authorisation = Authorisation(cluster, directory, settings, me.team)
    pods = Pods(cluster)
    requests = Requests(slack, checkpoints, pods, authorisation, directory, settings)
    approvals = Approvals(tasks, settings.approval_seconds, requests.lapse)
    evidence = Evidence(settings.reader) if settings.reader else None
    frame = Frame(settings.cluster, settings.language, evidence is not None)
    desk = Desk(slack, directory, checkpoints, frame, settings.edit_seconds, evidence)
    return Bot(
        settings=settings,
        slack=slack,
        authorisation=authorisation,
        requests=requests,
        finder=Finder(checkpoints, authorisation, settings),
        decisions=Decisions(requests, approvals, pods, authorisation),
        approvals=approvals,
        pods=pods,
        reporter=Reporter(desk, settings, tasks),
        evidence=evidence,
        tasks=tasks,
        workspace=me.url,
    )


def make_app(bot: Bot, me: Me) -> AsyncApp:
    """Return the Bolt app with all listeners."""
    secret = bot.settings.signing_secret
    app = AsyncApp(
        name="forensics",
        # Without a token of its own: `authorize` brings it.
        client=AsyncWebClient(base_url=bot.settings.api_url, session=bot.slack.session),
        signing_secret=secret.get_secret_value() if secret else "",
        # Asked once at the start: Bolt would ask Slack before it lets a command be acknowledged.
        authorize=_authorize(bot, me),
    )
    for listener in (command, form, buttons, home):
        listener.listen(app, bot)
    return app


def _authorize(bot: Bot, me: Me) -> Callable[..., Awaitable[AuthorizeResult]]:
    token = bot.settings.bot_token.get_secret_value()

    async def authorize(**_: Any) -> AuthorizeResult:
        return AuthorizeResult(
            enterprise_id=None,
            team_id=me.team,
            bot_user_id=me.user,
            bot_id=me.bot,
            bot_token=token,
        )

    return authorize
