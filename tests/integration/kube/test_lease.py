"""Leader election: one leads, the others wait; a leader that cannot renew stops."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from aiohttp import web

from forensics_core.errors import LeaseLost
from forensics_core.kube.connection import ClusterConnection
from forensics_core.kube.lease import LeaseName, LeaseTiming, lead
from tests.integration.kube.scripted import Answer, ScriptedApi, answer, refusal

LEASE = LeaseName("operator", "forensics-operator")
PATH = "/apis/coordination.k8s.io/v1/namespaces/forensics-operator/leases"
ONE = f"{PATH}/operator"
QUICK = LeaseTiming(retry=0.05)
STEADY = LeaseTiming(duration=2, renew_within=1.9, retry=0.05)
IMPATIENT = LeaseTiming(duration=2, renew_within=1, retry=0.05)


class Store:
    """One Lease, with optimistic concurrency."""

    def __init__(self, api: ScriptedApi, holder: str | None = None) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.api = api
        if holder is not None:
            self.put({"holderIdentity": holder, "leaseDurationSeconds": 1, "leaseTransitions": 3})
        self.up()

    @property
    def spec(self) -> dict[str, Any]:
        assert self.lease is not None
        spec: dict[str, Any] = self.lease["spec"]
        return spec

    def put(self, spec: dict[str, Any]) -> None:
        self.version += 1
        metadata = {"name": "operator", "namespace": "forensics-operator"}
        self.lease = {
            "metadata": metadata | {"resourceVersion": str(self.version)},
            "spec": spec,
        }

    def up(self) -> None:
        self.api.on("GET", ONE, self.get)
        self.api.on("POST", PATH, self.write)
        self.api.on("PUT", ONE, self.write)

    def down(self) -> None:
        away = refusal(503, "ServiceUnavailable")
        for method, path in (("GET", ONE), ("POST", PATH), ("PUT", ONE)):
            self.api.on(method, path, away)

    async def get(self, api: ScriptedApi, request: web.Request) -> web.StreamResponse:
        reply: Answer = answer(self.lease) if self.lease else refusal(404, "NotFound")
        return await reply(api, request)

    async def write(self, api: ScriptedApi, request: web.Request) -> web.StreamResponse:
        body = api.seen[-1].body
        version = body["metadata"].get("resourceVersion", "0")
        if version != str(self.version):
            return await refusal(409, "Conflict")(api, request)
        self.put(body["spec"])
        return await answer(self.lease)(api, request)


async def test_a_new_lease_is_made_and_given_back(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    store = Store(api)
    held: list[dict[str, Any]] = []

    async def body() -> None:
        held.append(store.spec)

    await lead(cluster, LEASE, "a", body, timing=QUICK)
    assert held[0]["holderIdentity"] == "a"
    assert held[0]["leaseTransitions"] == 0
    assert held[0]["renewTime"].endswith("Z")
    assert store.spec["holderIdentity"] == ""
    assert store.spec["leaseDurationSeconds"] == 1


async def test_a_free_lease_is_taken_over(api: ScriptedApi, cluster: ClusterConnection) -> None:
    store = Store(api, holder="")
    transitions: list[int] = []

    async def body() -> None:
        transitions.append(store.spec["leaseTransitions"])

    await lead(cluster, LEASE, "a", body, timing=QUICK)
    assert transitions == [4]


async def test_a_lease_that_nobody_renews_is_taken_over(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    store = Store(api, holder="dead")

    async def body() -> None:
        assert store.spec["holderIdentity"] == "a"

    await lead(cluster, LEASE, "a", body, timing=QUICK)
    assert len(api.asked("GET", ONE)) > 2, "it waited for the term to pass"


async def test_while_one_leads_the_other_stands_by(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    store = Store(api)
    order: list[str] = []
    leads, enough = anyio.Event(), anyio.Event()

    async def first() -> None:
        order.append("a begins")
        leads.set()
        await enough.wait()
        order.append("a ends")

    async def second() -> None:
        order.append("b begins")

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: lead(cluster, LEASE, "a", first, timing=STEADY))
        await leads.wait()
        group.start_soon(lambda: lead(cluster, LEASE, "b", second, timing=STEADY))
        await api.until(lambda: store.version > 60)  # renewals: more than a term goes by
        enough.set()
    assert order == ["a begins", "a ends", "b begins"]


async def test_cancelling_the_leader_gives_the_lease_back(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    store = Store(api)
    leads = anyio.Event()

    async def body() -> None:
        leads.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: lead(cluster, LEASE, "a", body, timing=QUICK))
        await leads.wait()
        group.cancel_scope.cancel()
    assert store.spec["holderIdentity"] == ""


async def test_what_the_work_raises_comes_out_and_the_lease_goes_back(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    store = Store(api)

    async def body() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await lead(cluster, LEASE, "a", body, timing=QUICK)
    assert store.spec["holderIdentity"] == ""


async def test_an_outage_longer_than_the_term_stops_the_work(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    store = Store(api)
    stopped = anyio.Event()

    async def body() -> None:
        store.down()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    with pytest.raises(LeaseLost, match="could not be renewed"):
        await lead(cluster, LEASE, "a", body, timing=IMPATIENT)
    assert stopped.is_set()


async def test_a_short_outage_is_waited_out(api: ScriptedApi, cluster: ClusterConnection) -> None:
    store = Store(api)

    async def body() -> None:
        before = len(api.seen)
        store.down()
        await api.until(lambda: len(api.seen) > before)
        store.up()
        version = store.version
        await api.until(lambda: store.version > version)

    await lead(cluster, LEASE, "a", body, timing=QUICK)
    assert store.spec["holderIdentity"] == ""


async def test_a_lease_that_somebody_took_stops_the_work(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    store = Store(api)

    async def body() -> None:
        store.put({"holderIdentity": "thief", "leaseDurationSeconds": 15})
        await anyio.sleep_forever()

    with pytest.raises(LeaseLost):
        await lead(cluster, LEASE, "a", body, timing=QUICK)
    assert store.spec["holderIdentity"] == "thief", "what is not ours is not given back"


async def test_a_lease_that_was_taken_away_and_made_anew_is_held(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    """Whoever held it is forgotten, not taken for a usurper at the first renewal."""
    store = Store(api)
    store.put({"holderIdentity": "b", "leaseDurationSeconds": 15})

    async def body() -> None:
        version = store.version
        await api.until(lambda: store.version > version + 1)

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: lead(cluster, LEASE, "a", body, timing=QUICK))
        await api.until(lambda: len(api.asked("GET", ONE)) > 1)
        store.lease, store.version = None, 0
    assert store.spec["holderIdentity"] == ""


async def test_the_first_try_waits_for_the_server(
    api: ScriptedApi, cluster: ClusterConnection
) -> None:
    store = Store(api)
    api.on("GET", ONE, refusal(500, "InternalError"), refusal(403, "Forbidden"), store.get)

    async def body() -> None:
        assert store.spec["holderIdentity"] == "a"

    await lead(cluster, LEASE, "a", body, timing=QUICK)


async def test_a_lost_race_is_no_lead(api: ScriptedApi, cluster: ClusterConnection) -> None:
    store = Store(api, holder="")
    api.on("PUT", ONE, refusal(409, "Conflict"), store.write)

    async def body() -> None:
        assert len(api.asked("PUT", ONE)) == 2

    await lead(cluster, LEASE, "a", body, timing=QUICK)
