"""`forensics-slackbot`: puts the bot together from its parts, and runs it until it is stopped."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from anyio.abc import TaskGroup
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.web.async_client import AsyncWebClient

from forensics_core._internal.tasks import task_group
from forensics_core.kube.connection import ClusterConnection, connect
from forensics_core.kube.podcheckpoints import PodCheckpoints
from forensics_core.service.health import health_server
from forensics_core.service.logs import log_as_json
from forensics_core.service.program import exit_on_error, run_until_stopped, service_command
from slackbot.approvals import Approvals, forget
from slackbot.authorisation import Authorisation
from slackbot.blocks.root import MessageOptions
from slackbot.bot import Bot
from slackbot.capture_rules import RuleReporter
from slackbot.containment import Containment
from slackbot.decisions import Decisions
from slackbot.directory import Directory
from slackbot.evidence import EvidenceReader, read_key
from slackbot.finder import Finder
from slackbot.handlers import buttons, command, form, home
from slackbot.pods import Pods
from slackbot.report_context import ReportContext
from slackbot.reporter import Reporter
from slackbot.requests import Requests
from slackbot.selection import Selector
from slackbot.settings import Settings, load_settings
from slackbot.slack import BotIdentity, Slack, slack_connection
from slackbot.transport import Liveness, listening

log = logging.getLogger(__name__)

PREVIEWS = 30
"""Lists of pods that may wait for a click at once; one more drops the oldest."""


@service_command("SLACKBOT_CONFIG")
def main(config: Path | None, kubeconfig: str | None, log_level: str) -> None:
    """Answer /checkpoint in Slack, and report PodCheckpoints there."""
    log_as_json(log_level)
    with exit_on_error():
        settings = load_settings(config, dict(os.environ))
        run_until_stopped(partial(_connect_and_serve, settings, kubeconfig))


async def _connect_and_serve(settings: Settings, kubeconfig: str | None) -> None:
    await read_key(settings.reader)
    async with connect(kubeconfig) as cluster:
        await serve(cluster, settings)


async def serve(
    cluster: ClusterConnection, settings: Settings, *, started: Callable[[int], None] | None = None
) -> None:
    """Run the bot until cancelled; `started` gets the health server's port once all is up.

    Raises `SlackError` if Slack refuses the tokens, `ClusterError` if watching is refused.
    """
    liveness = Liveness()
    async with (
        # First of all: the kubelet asks whether the bot lives while Slack still takes its time.
        health_server(settings.health_port, ready=liveness.ready, alive=liveness.alive) as port,
        slack_connection(settings) as slack,
        task_group() as tasks,
    ):
        bot = build(cluster, slack, settings, await slack.identify(), tasks)
        try:
            async with listening(make_app(bot), slack, settings) as connected:
                liveness.watch(connected, lambda: bot.reporter.ready)
                log.info("Serving the workspace %s", bot.identity.team)
                if started:
                    started(port)
                tasks.start_soon(bot.rules.run)
                await bot.reporter.run()
        finally:
            await bot.approvals.close()


def build(
    cluster: ClusterConnection,
    slack: Slack,
    settings: Settings,
    identity: BotIdentity,
    tasks: TaskGroup,
) -> Bot:
    """Put the parts together."""
    checkpoints = PodCheckpoints(cluster, settings.namespace)
    directory = Directory(slack, settings)
    authorisation = Authorisation(cluster, directory, settings, identity.team)
    pods = Pods(cluster)
    requests = Requests(slack, checkpoints, pods, authorisation, directory, settings)
    # After the requests, which know how to tell that one has expired.
    approvals = Approvals(tasks, settings, requests.expire)
    # Each may hold a thousand pods.
    few = settings.model_copy(update={"approval_limit": PREVIEWS})
    previews = Approvals(tasks, few, forget)
    evidence = EvidenceReader(settings.reader) if settings.reader else None
    options = MessageOptions(
        settings.cluster,
        settings.language,
        evidence is not None,
        containment=settings.containment,
    )
    reports = ReportContext(slack, directory, checkpoints, options, settings.edit_seconds, evidence)
    return Bot(
        settings=settings,
        slack=slack,
        identity=identity,
        authorisation=authorisation,
        requests=requests,
        finder=Finder(checkpoints, authorisation, settings),
        decisions=Decisions(requests, approvals, pods, authorisation),
        approvals=approvals,
        previews=previews,
        selector=Selector(cluster, pods, authorisation, settings),
        containment=Containment(requests, authorisation, approvals),
        pods=pods,
        reporter=Reporter(reports, settings, tasks),
        rules=RuleReporter(cluster, reports, settings),
        evidence=evidence,
        tasks=tasks,
    )


def make_app(bot: Bot) -> AsyncApp:
    """Return the Bolt app with all handlers."""
    secret = bot.settings.signing_secret
    app = AsyncApp(
        name="forensics",
        # Without a token of its own: `authorize` brings it.
        client=AsyncWebClient(base_url=bot.settings.api_url, session=bot.slack.session),
        signing_secret=secret.get_secret_value() if secret else "",
        # Left to itself, Bolt would ask Slack who it is before each acknowledgement.
        authorize=_authorize(bot),
    )
    for handlers in (command, form, buttons, home):
        handlers.register(app, bot)
    return app


def _authorize(bot: Bot) -> Callable[..., Awaitable[AuthorizeResult]]:
    token, identity = bot.settings.bot_token.get_secret_value(), bot.identity

    async def authorize(**_: Any) -> AuthorizeResult:
        return AuthorizeResult(
            enterprise_id=None,
            team_id=identity.team,
            bot_user_id=identity.user,
            bot_id=identity.bot,
            bot_token=token,
        )

    return authorize
