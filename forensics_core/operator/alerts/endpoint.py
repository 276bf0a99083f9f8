"""`POST /alerts/falco`: where Falco and falcosidekick send alerts.

Only the leader listens, so that one memory knows what was captured; it puts its own address behind
the Service. Who has no token is answered before anything of the body is read.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from aiohttp import web

from forensics_core._internal.tasks import task_group
from forensics_core.errors import ClusterError, UsageError
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.objects import Object, Objects
from forensics_core.kube.resources import ENDPOINT_SLICES
from forensics_core.operator.alerts.certificate import ServerCertificate
from forensics_core.operator.alerts.falco import BODY_LIMIT, UnreadableAlert, read_alert
from forensics_core.operator.alerts.intake import AlertRules, Intake
from forensics_core.operator.alerts.tokens import Tokens
from forensics_core.operator.settings import AlertSettings, Settings
from forensics_core.operator.shared.metrics import Metrics
from forensics_core.service.http import PortUnavailable, http_server

log = logging.getLogger(__name__)

PATH = "/alerts/falco"
RENEW = 60.0
"""Seconds between two looks at the certificate's files."""
WITHDRAW_SECONDS = 3.0
"""Seconds that taking the address away may take at the end."""
MANAGER = "forensics-operator"


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """What keeps senders from costing more than their alerts are worth."""

    at_once: int = 64
    """Requests whose bodies are read at once."""
    body_seconds: float = 5.0
    """How long a body may take to arrive."""
    again: float = 15.0
    """Seconds until the address is put behind the Service again after a failure."""


LIMITS = EndpointLimits()


class AlertEndpoint:
    """Answers requests; what it takes goes to the intake."""

    def __init__(
        self, intake: Intake, tokens: Tokens, metrics: Metrics, limits: EndpointLimits = LIMITS
    ) -> None:
        self._intake = intake
        self._tokens = tokens
        self._metrics = metrics
        self._limits = limits
        self._reading = 0

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request, and count what came of it."""
        if not await self._tokens.admit(request.headers.get("Authorization", "")):
            more = {"WWW-Authenticate": 'Bearer realm="alerts"'}
            return self._response(401, "Unauthorized", "the token is missing or wrong", **more)
        if self._reading >= self._limits.at_once:
            return self._try_again(503, "Busy", "too many alerts at once")
        if not self._intake.rules.ready:
            return self._try_again(503, "Starting", "the pods are not known yet")
        self._reading += 1
        try:
            return await self._take(request)
        finally:
            self._reading -= 1

    async def _take(self, request: web.Request) -> web.Response:
        try:
            with anyio.fail_after(self._limits.body_seconds):
                body = await request.read()
            received = read_alert(body)
        except TimeoutError:
            return self._response(408, "Slow", "the body did not arrive in time")
        except web.HTTPRequestEntityTooLarge:
            return self._response(413, "TooLarge", f"an alert has at most {BODY_LIMIT} bytes")
        except UnreadableAlert as error:
            return self._response(400, "Unreadable", str(error))
        outcome = self._intake.offer(received)
        if not outcome.accepted:
            return self._try_again(429, outcome, "more alerts than are looked at")
        return self._response(202, outcome, "")

    def _try_again(self, status: int, outcome: str, message: str) -> web.Response:
        return self._response(status, outcome, message, **{"Retry-After": "1"})

    def _response(self, status: int, outcome: str, message: str, **headers: str) -> web.Response:
        self._metrics.alerts.labels(outcome=str(outcome)).inc()
        answer = {"outcome": str(outcome)} | ({"message": message} if message else {})
        return web.json_response(answer, status=status, headers=headers)


async def take_alerts(
    cluster: ClusterConnection,
    settings: Settings,
    rules: AlertRules,
    metrics: Metrics,
    *,
    limits: EndpointLimits = LIMITS,
) -> None:
    """Take alerts until cancelled, if the settings say so. Raises `UsageError` if it cannot."""
    wanted = settings.alerts
    if wanted is None:
        return
    intake = Intake(rules, wanted.per_second)
    endpoint = AlertEndpoint(intake, Tokens(wanted.folder / "token"), metrics, limits)
    certificate = ServerCertificate(wanted.folder, _names(wanted.service, settings.lease_namespace))
    await certificate.load()
    try:
        async with (
            http_server(
                wanted.port,
                [web.post(PATH, endpoint.answer), web.put(PATH, endpoint.answer)],
                tls=certificate.context,
                body_limit=BODY_LIMIT,
            ) as port,
            task_group() as tasks,
        ):
            log.info("Alerts are taken on port %d", port)
            tasks.start_soon(intake.run)
            tasks.start_soon(certificate.renew, RENEW)
            async with _published(cluster, wanted, settings.lease_namespace, port, limits.again):
                await anyio.sleep_forever()
    except PortUnavailable as error:
        raise UsageError(
            f"The port {wanted.port} cannot be served: {error.message}",
            hint="Set alerts.port to another one",
        ) from error


def _names(service: str, namespace: str) -> tuple[str, ...]:
    short = f"{service}.{namespace}"
    return (f"{short}.svc", f"{short}.svc.cluster.local", short, service, "localhost")


@asynccontextmanager
async def _published(
    cluster: ClusterConnection, settings: AlertSettings, namespace: str, port: int, again: float
) -> AsyncIterator[None]:
    """Have the Service lead here for the block, if it is known where that is."""
    if not settings.address:
        yield
        return
    slices = Objects(cluster, ENDPOINT_SLICES)
    async with task_group() as tasks:
        tasks.start_soon(_publish, slices, endpoint_slice(settings, namespace, port), again)
        try:
            yield
        finally:
            # Another pod may get the address: nobody is to send it tokens.
            with anyio.move_on_after(WITHDRAW_SECONDS, shield=True):
                await _withdraw(slices, endpoint_slice(settings, namespace, port, here=False))


async def _publish(slices: Objects, body: Object, again: float) -> None:
    while True:
        try:
            await slices.apply(body, manager=MANAGER)
        except ClusterError as error:
            log.error("No Service leads to the port for alerts: %s", error)
            await anyio.sleep(again)
        else:
            return


async def _withdraw(slices: Objects, body: Object) -> None:
    try:
        await slices.apply(body, manager=MANAGER)
    except ClusterError as error:
        log.warning("The Service for alerts still leads here: %s", error)


def endpoint_slice(
    settings: AlertSettings, namespace: str, port: int, *, here: bool = True
) -> Object:
    """Return what leads the Service to this replica, or with `here` False to nobody."""
    family = "IPv6" if ":" in settings.address else "IPv4"
    endpoint = {"addresses": [settings.address], "conditions": {"ready": True}}
    return {
        "metadata": {
            "name": f"{settings.service}-{family.lower()}",
            "namespace": namespace,
            "labels": {
                "kubernetes.io/service-name": settings.service,
                "endpointslice.kubernetes.io/managed-by": MANAGER,
            },
        },
        "addressType": family,
        "ports": [{"name": "alerts", "port": port, "protocol": "TCP"}],
        "endpoints": [endpoint] if here else [],
    }
