"""Alerts over HTTPS to rules: tokens, bursts, floods, replays, pods that are gone."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp import web

from forensics_core.api.names import ALERT_ANNOTATION, EVENT_LABEL
from forensics_core.errors import UsageError
from forensics_core.kube.connection import connect
from forensics_core.operator.alerts.certificate import make_certificate
from forensics_core.operator.alerts.endpoint import AlertEndpoint, EndpointLimits, take_alerts
from forensics_core.operator.alerts.intake import Intake
from forensics_core.operator.alerts.tokens import Tokens
from forensics_core.operator.rules.controller import RuleController
from forensics_core.service.http import http_server
from forensics_loopback import Fault
from tests.integration.operator.rules.acting import SOON, Acting, active, open_acting, reasons
from tests.unit.operator.alerts.messages import Document, body, falco, falcosidekick

TOKEN = "0123456789abcdef0123"  # noqa: S105
GOOD = {"Authorization": f"Bearer {TOKEN}"}
SLICE = "forensics-alerts-ipv4"


@dataclass
class Sender:
    """Sends alerts as falcosidekick does."""

    session: aiohttp.ClientSession
    url: str

    async def send(self, data: Any, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Send a body; return status and outcome."""
        content = data if isinstance(data, bytes) else body(data)
        given = GOOD if headers is None else headers
        async with self.session.post(self.url, data=content, headers=given) as answer:
            said = await answer.json()
        return answer.status, said["outcome"]


def now(**more: Any) -> Document:
    """Return an alert of this moment."""
    return falcosidekick(**({"time": datetime.now(UTC).isoformat()} | more))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the operator's volume holds: a token."""
    made = tmp_path / "alerts"
    made.mkdir()
    (made / "token").write_text(TOKEN)
    return made


@pytest.fixture
def trusting(folder: Path) -> ssl.SSLContext:
    """A certificate beside the token, and who trusts it."""
    certificate, key = make_certificate(("localhost",))
    (folder / "tls.crt").write_bytes(certificate)
    (folder / "tls.key").write_bytes(key)
    return ssl.create_default_context(cadata=certificate.decode())


@pytest.fixture
async def acting(tmp_path: Path, folder: Path) -> AsyncIterator[Acting]:
    """A cluster, and settings with a token, any free port, and an address."""
    alerts = {"folder": str(folder), "port": 0, "address": "127.0.0.1", "perSecond": 5000}
    async with open_acting(tmp_path, alerts=alerts) as opened:
        yield opened


@asynccontextmanager
async def taking(
    acting: Acting, rules: RuleController, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Sender]:
    """Take alerts for the block; yields who sends them to where the Service leads."""
    connector = aiohttp.TCPConnector(ssl=tls or False)
    async with (
        connect(acting.kubeconfig) as connection,
        anyio.create_task_group() as tasks,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        tasks.start_soon(take_alerts, connection, acting.settings, rules, acting.metrics)
        with anyio.fail_after(SOON):
            found = await acting.cluster.until(
                "endpointslices", lambda items: items, "forensics-operator"
            )
        (item,) = list(found)
        port = item["ports"][0]["port"]
        assert item["endpoints"][0]["addresses"] == ["127.0.0.1"]
        assert item["metadata"]["labels"]["kubernetes.io/service-name"] == "forensics-alerts"
        host = "localhost" if tls else "127.0.0.1"
        yield Sender(session, f"https://{host}:{port}/alerts/falco")
        tasks.cancel_scope.cancel()


def counted(acting: Acting, outcome: str) -> float:
    return acting.metrics.alerts.labels(outcome=outcome)._value.get()  # type: ignore[no-any-return]


@pytest.mark.parametrize("message", [falco, falcosidekick])
async def test_an_alert_makes_a_capture_that_bears_it(acting: Acting, message: Any) -> None:
    acting.rule("dying", "Alert", alert={"priority": "Notice"})
    async with acting.working() as rules, taking(acting, rules) as sender:
        await acting.begun(rules)
        said = message(time=datetime.now(UTC).isoformat())
        assert await sender.send(said) == (202, "Taken")
        (capture,) = await acting.captures(1)
        await acting.captured(1)
    assert capture["metadata"]["labels"][EVENT_LABEL] == "Alert"
    assert '"proc.cmdline": "sh -c id"' in capture["metadata"]["annotations"][ALERT_ANNOTATION]
    assert capture["spec"]["reason"].startswith("Alert: Terminal shell in container (Notice)")


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {TOKEN}x"}],
    ids=["none", "wrong", "longer"],
)
async def test_without_the_token_nothing_is_taken_or_even_read(
    acting: Acting, headers: dict[str, str]
) -> None:
    acting.rule("dying", "Alert")
    async with acting.working() as rules, taking(acting, rules) as sender:
        await acting.begun(rules)
        assert await sender.send(b"x" * 10, headers) == (401, "Unauthorized")
    assert counted(acting, "Unauthorized") == 1
    assert not acting.cluster.list("podcheckpoints")


async def test_a_thousand_alerts_of_one_pod_make_one_capture(acting: Acting) -> None:
    acting.rule("dying", "Alert")
    async with acting.working() as rules, taking(acting, rules) as sender:
        await acting.begun(rules)
        moment = datetime.now(UTC).isoformat()
        async with anyio.create_task_group() as tasks:
            for part in range(20):
                tasks.start_soon(_burst, sender, part, moment)
        await acting.captured(1)
    taken = counted(acting, "Taken") + counted(acting, "Coalesced") + counted(acting, "Busy")
    assert taken == 1000
    assert counted(acting, "Coalesced") > 500
    assert len(acting.cluster.list("podcheckpoints")) == 1


async def _burst(sender: Sender, part: int, moment: str) -> None:
    for number in range(50):
        await sender.send(falco(time=moment, output=f"{part} {number}"))


async def test_alerts_of_several_rules_for_one_pod_make_one_capture(acting: Acting) -> None:
    acting.rule("dying", "Alert")
    async with acting.working() as rules, taking(acting, rules) as sender:
        await acting.begun(rules)
        moment = datetime.now(UTC)
        for number in range(3):
            said = now(output=str(number), rule=f"rule {number}", time=moment.isoformat())
            assert await sender.send(said) == (202, "Taken")
        await acting.captured(1)
        await acting.held("PerPod")
    assert len(acting.cluster.list("podcheckpoints")) == 1


async def test_a_flood_of_different_pods_is_bounded_counted_and_told(acting: Acting) -> None:
    for number in range(30):
        acting.cluster.seed_pod(f"pod-{number}")
    acting.rule("dying", "Alert", limits={"perHour": 5})
    async with acting.working() as rules, taking(acting, rules) as sender:
        await acting.begun(rules)
        for number in range(30):
            await sender.send(now(pod=f"pod-{number}"))
        status = await acting.told(lambda found: reasons(found).get("PerHour", 0) == 25)
        await acting.captures(5)
    assert len(acting.cluster.list("podcheckpoints")) == 5
    assert status["heldBack"]["total"] == 25


async def test_what_is_sent_again_and_what_is_old_is_ignored(acting: Acting) -> None:
    acting.rule("dying", "Alert")
    async with acting.working() as rules, taking(acting, rules) as sender:
        await acting.begun(rules)
        one = now()
        assert await sender.send(one) == (202, "Taken")
        assert await sender.send(one) == (202, "Replay")
        old = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        assert await sender.send(now(time=old, output="old")) == (202, "Stale")
        host = {"container.id": "host"}
        assert await sender.send(now(pod="<NA>", fields=host)) == (202, "NoPod")
        await acting.captured(1)
        await acting.held("Stale")


async def test_an_alert_of_a_pod_that_is_gone_is_told_by_the_rule(acting: Acting) -> None:
    acting.rule("dying", "Alert")
    async with acting.working() as rules, taking(acting, rules) as sender:
        await acting.begun(rules)
        assert await sender.send(now(pod="never-was")) == (202, "Taken")
        status = await acting.held("NotFound")
    last = status["heldBack"]["last"][0]
    assert (last["pod"], last["event"]) == ("never-was", "Alert")


async def test_what_is_no_alert_or_too_large_is_refused(acting: Acting) -> None:
    acting.rule("dying", "Alert")
    async with acting.working() as rules, taking(acting, rules) as sender:
        await acting.begun(rules)
        assert await sender.send(b"22:39: Notice A shell") == (400, "Unreadable")
        assert await sender.send(b" " * 70_000) == (413, "TooLarge")
        async with sender.session.get(sender.url) as answer:
            assert answer.status == 405
        assert await sender.send(now()) == (202, "Taken")


async def test_until_the_pods_are_known_senders_are_to_try_again(acting: Acting) -> None:
    acting.cluster.faults.add(Fault("list", "pods", status=500, times=1000))
    acting.rule("dying", "Alert")
    async with acting.working() as rules, taking(acting, rules) as sender:
        await acting.told(active)
        assert await sender.send(now()) == (503, "Starting")


async def test_more_than_the_rate_are_refused(acting: Acting) -> None:
    assert acting.settings.alerts is not None
    few = acting.settings.alerts.model_copy(update={"per_second": 1})
    acting.settings = acting.settings.model_copy(update={"alerts": few})
    acting.rule("dying", "Alert")
    async with acting.working() as rules, taking(acting, rules) as sender:
        await acting.begun(rules)
        with anyio.fail_after(SOON):
            while not counted(acting, "TooMany"):
                await sender.send(now(pod=f"web-{counted(acting, 'Taken'):.0f}"))


async def test_a_certificate_of_ones_own_can_be_checked(
    trusting: ssl.SSLContext, acting: Acting
) -> None:
    acting.rule("dying", "Alert")
    async with acting.working() as rules, taking(acting, rules, trusting) as sender:
        await acting.begun(rules)
        assert await sender.send(now()) == (202, "Taken")


async def test_the_service_leads_to_nobody_once_the_leader_ends(acting: Acting) -> None:
    async with acting.working() as rules, taking(acting, rules):
        assert acting.cluster.get("endpointslices", SLICE, "forensics-operator")["endpoints"]
    assert acting.cluster.get("endpointslices", SLICE, "forensics-operator")["endpoints"] == []


UNKNOWN = {"k8s.ns.name": None, "k8s.pod.name": "<NA>"}


async def test_an_alert_that_knows_but_the_container_has_its_pod_captured(acting: Acting) -> None:
    acting.rule("dying", "Alert", template={"isolate": True})
    pod = acting.cluster.get("pods", "web-0", "default")
    (container,) = pod["status"]["containerStatuses"]
    short = container["containerID"].rpartition("//")[2][:12]
    async with acting.working() as rules:
        await acting.begun(rules)
        async with taking(acting, rules) as sender:
            assert await sender.send(now(fields=UNKNOWN | {"container.id": short})) == (
                202,
                "Taken",
            )
            (capture,) = await acting.captures(1)
    assert (capture["spec"]["pod"], capture["spec"]["isolate"]) == ("web-0", True)


async def test_an_alert_that_names_no_container_of_the_pod_has_it_captured_and_no_more(
    acting: Acting,
) -> None:
    acting.rule("dying", "Alert", template={"isolate": True, "afterCapture": "Delete"})
    async with acting.working() as rules:
        await acting.begun(rules)
        async with taking(acting, rules) as sender:
            await sender.send(now(fields={"container.id": "0" * 12}))
            (capture,) = await acting.captures(1)
    spec = capture["spec"]
    assert "isolate" not in spec or spec["isolate"] is False
    assert spec.get("afterCapture", "Keep") == "Keep"
    assert "the pod is left as it is" in spec["reason"]


async def test_a_port_that_is_taken_ends_the_operator_with_what_to_do(acting: Acting) -> None:
    async with acting.working() as rules, taking(acting, rules) as sender:
        assert acting.settings.alerts is not None
        port = int(sender.url.split(":")[2].split("/")[0])
        taken = acting.settings.alerts.model_copy(update={"port": port})
        settings = acting.settings.model_copy(update={"alerts": taken})
        async with connect(acting.kubeconfig) as connection:
            with pytest.raises(UsageError, match=r"alerts\.port"):
                await take_alerts(connection, settings, rules, acting.metrics)


async def test_where_no_alerts_are_taken_no_port_is_opened(acting: Acting) -> None:
    settings = acting.settings.model_copy(update={"alerts": None})
    async with acting.working() as rules, connect(acting.kubeconfig) as connection:
        await take_alerts(connection, settings, rules, acting.metrics)
    assert not acting.cluster.list("endpointslices")


async def test_a_body_that_does_not_arrive_and_too_many_at_once_are_refused(
    acting: Acting,
) -> None:
    acting.rule("dying", "Alert")
    async with acting.working() as rules:
        await acting.begun(rules)
        intake = Intake(rules, 100_000)
        assert acting.settings.alerts is not None
        tokens = Tokens(acting.settings.alerts.folder / "token")
        limits = EndpointLimits(at_once=1, body_seconds=0.05)
        endpoint = AlertEndpoint(intake, tokens, acting.metrics, limits)
        async with (
            http_server(0, [web.post("/", endpoint.answer)]) as port,
            anyio.create_task_group() as tasks,
            aiohttp.ClientSession() as session,
        ):
            sender = Sender(session, f"http://127.0.0.1:{port}/")
            tasks.start_soon(_send_slowly, port, started := anyio.Event())
            await started.wait()
            with anyio.fail_after(SOON):
                while not counted(acting, "Slow"):
                    await sender.send(now(output=str(datetime.now(UTC))))
            assert await sender.send(now(output="at last")) in {(202, "Taken"), (202, "Coalesced")}


async def _send_slowly(port: int, started: anyio.Event) -> None:
    """Announce a body, and send none."""
    lines = ["POST / HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}", "Content-Length: 9"]
    head = "\r\n".join([*lines, "", ""])
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(head.encode())
        started.set()
        assert b" 408 " in await stream.receive()


async def test_an_address_that_cannot_be_published_is_tried_again_or_left(acting: Acting) -> None:
    acting.cluster.faults.add(Fault("patch", "endpointslices", status=403))
    acting.rule("dying", "Alert")
    assert acting.settings.alerts is not None
    slices = acting.settings
    async with acting.working() as rules, connect(acting.kubeconfig) as connection:
        limits = EndpointLimits(again=0.01)
        async with anyio.create_task_group() as tasks:
            run = partial(take_alerts, connection, slices, rules, acting.metrics, limits=limits)
            tasks.start_soon(run)
            with anyio.fail_after(SOON):
                await acting.cluster.until(
                    "endpointslices", lambda items: items, "forensics-operator"
                )
            acting.cluster.faults.add(Fault("patch", "endpointslices", status=403))
            tasks.cancel_scope.cancel()
    assert acting.cluster.get("endpointslices", SLICE, "forensics-operator")["endpoints"]


async def test_without_an_address_the_service_is_left_alone(acting: Acting) -> None:
    assert acting.settings.alerts is not None
    alone = acting.settings.alerts.model_copy(update={"address": ""})
    settings = acting.settings.model_copy(update={"alerts": alone})
    async with acting.working() as rules, connect(acting.kubeconfig) as connection:
        with anyio.move_on_after(0.3):
            await take_alerts(connection, settings, rules, acting.metrics)
    assert not acting.cluster.list("endpointslices")
